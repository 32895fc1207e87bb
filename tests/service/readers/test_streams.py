from __future__ import annotations

import bz2
import gzip
import io
import random
import struct
import zlib
from collections.abc import Callable
from typing import BinaryIO

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.readers.sniffing import Compression, Damage, DamageKind
from datalake_service.readers.streams import Block, Entry, Input, decoded_blocks, plain_blocks

KINDS = [Compression.GZIP, Compression.ZSTD, Compression.BZIP2]
Pack = Callable[[bytes], bytes]
PACK: dict[Compression, Pack] = {
    Compression.GZIP: lambda data: gzip.compress(data, 6, mtime=0),
    Compression.ZSTD: lambda data: zstandard.ZstdCompressor(level=3, write_checksum=True).compress(data),
    Compression.BZIP2: lambda data: bz2.compress(data, 1),
}
UNPACK: dict[Compression, Pack] = {
    Compression.GZIP: gzip.decompress,
    Compression.ZSTD: lambda data: zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read(),
    Compression.BZIP2: bz2.decompress,
}


class Trickle(io.RawIOBase, BinaryIO):
    """A stream that returns as many bytes as it likes, as a network does."""

    def __init__(self, data: bytes, rng: random.Random, most: int = 50) -> None:
        super().__init__()
        self._data = io.BytesIO(data)
        self._rng = rng
        self._most = most

    def read(self, size: int = -1, /) -> bytes:
        return self._data.read(min(size, self._rng.randint(1, self._most)) if size >= 0 else size)


class Decoded:
    """What came out of a stream."""

    def __init__(self, data: bytes, kind: Compression, *, trickle: random.Random | None = None) -> None:
        def reopen(at: int) -> BinaryIO:
            return Trickle(data[at:], trickle) if trickle else io.BytesIO(data[at:])

        self.data = bytearray()
        self.entries: list[Entry] = []
        self.damage: Damage | None = None
        self.largest = 0
        for item in decoded_blocks(Input(reopen(0), 0), kind, offset=0, reopen=reopen):
            assert self.damage is None  # it is the last item
            if isinstance(item, Damage):
                self.damage = item
                continue
            assert isinstance(item, Block)
            self.data += item.data
            self.entries.extend(item.entries)
            self.largest = max(self.largest, len(item.data))


def words(seed: int, count: int) -> bytes:
    """Text that compresses like text."""
    rng = random.Random(seed)
    known = [bytes(rng.choices(b"abcdefghij", k=rng.randint(2, 9))) for _ in range(300)]
    return b" ".join(rng.choices(known, k=count))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(KINDS), st.lists(st.binary(max_size=300), min_size=1, max_size=6), st.integers(0, 2**32))
def test_members_come_out_as_they_went_in(kind: Compression, parts: list[bytes], seed: int) -> None:
    """Any number of members, read in pieces of any size."""
    decoded = Decoded(b"".join(map(PACK[kind], parts)), kind, trickle=random.Random(seed))
    assert decoded.damage is None
    assert bytes(decoded.data) == b"".join(parts)


@pytest.mark.parametrize("kind", KINDS)
def test_every_entry_is_a_place_to_begin(kind: Compression) -> None:
    """From each entry that is told, the object decompresses to the rest of the data."""
    parts = [words(seed, 40_000) for seed in range(8)] + [b"x", b"", b"y"]
    whole = b"".join(parts)
    packed = b"".join(map(PACK[kind], parts))
    decoded = Decoded(packed, kind)
    assert len(decoded.entries) >= 4
    for entry in decoded.entries:
        assert UNPACK[kind](packed[entry.at :]) == whole[entry.offset :]


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_bytes_that_stand_for_millions_stay_small(kind: Compression) -> None:
    """Blocks have a size of their own, whatever the data claims."""
    zeros = bytes(64 << 20)
    packed = PACK[kind](zeros)
    assert len(packed) < len(zeros) // 500
    decoded = Decoded(packed, kind)
    assert bytes(decoded.data) == zeros
    assert decoded.largest <= (1 << 20) + (128 << 10)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_anywhere_yields_what_is_before_it(kind: Compression) -> None:
    """Truncated at every byte: a beginning of the data, and one damage, except where a member ends."""
    parts = [words(1, 300), words(2, 300), b"tail"]
    packed = [PACK[kind](part) for part in parts]
    whole, stored = b"".join(parts), b"".join(packed)
    ends = {0: 0, len(packed[0]): len(parts[0]), len(packed[0] + packed[1]): len(parts[0] + parts[1])}
    longest = 0
    for cut in range(len(stored)):
        decoded = Decoded(stored[:cut], kind)
        assert whole.startswith(bytes(decoded.data)), cut
        assert len(decoded.data) >= longest, cut
        longest = len(decoded.data)
        if cut in ends:
            assert (decoded.damage, len(decoded.data)) == (None, ends[cut])
        else:
            assert decoded.damage is not None, cut
            assert decoded.damage.kind is DamageKind.TRUNCATED, cut
            assert str(cut) in decoded.damage.message


def exact_beginning(packed: bytes) -> bytes:
    """All that zlib gets out of a damaged gzip member, byte by byte."""
    inflate, out = zlib.decompressobj(31), bytearray()
    try:
        piece = inflate.decompress(packed, 1)
        while piece or inflate.unconsumed_tail:
            out += piece
            piece = inflate.decompress(inflate.unconsumed_tail, 1)
    except zlib.error:
        pass
    return bytes(out)


@pytest.mark.parametrize("seed", range(40))
def test_everything_before_damaged_data_comes_out(seed: int) -> None:
    """Bytes flipped in a member: the fast decoder loses up to 64 KiB right before them, the stream does not."""
    rng = random.Random(seed)
    first, second = words(seed, 20_000), words(seed + 100, 20_000)
    packed = bytearray(PACK[Compression.GZIP](first) + PACK[Compression.GZIP](second))
    begins = len(PACK[Compression.GZIP](first))
    place = rng.randrange(begins + 20, len(packed) - 8)
    packed[place : place + 3] = bytes(byte ^ rng.randint(1, 255) for byte in packed[place : place + 3])
    decoded = Decoded(bytes(packed), Compression.GZIP, trickle=random.Random(seed) if seed % 2 else None)
    wanted = first + exact_beginning(bytes(packed[begins:]))
    assert decoded.data.startswith(wanted)
    assert len(decoded.data) <= len(wanted) + 300  # the fast decoder may notice the damage a match later
    assert decoded.damage is not None
    assert decoded.damage.kind in {DamageKind.CORRUPT, DamageKind.CHECKSUM, DamageKind.TRUNCATED}


@pytest.mark.parametrize("kind", [Compression.ZSTD, Compression.BZIP2])
def test_whole_blocks_before_damaged_data_come_out(kind: Compression) -> None:
    """These decode block by block: the blocks before the damaged one are there."""
    data = words(3, 200_000)
    packed = bytearray(PACK[kind](data))
    place = len(packed) * 9 // 10
    packed[place : place + 20] = bytes(byte ^ 0xFF for byte in packed[place : place + 20])
    decoded = Decoded(bytes(packed), kind)
    assert decoded.damage is not None
    assert decoded.damage.kind in {DamageKind.CORRUPT, DamageKind.CHECKSUM}
    assert len(decoded.data) > len(data) // 2
    same = next((i for i, (a, b) in enumerate(zip(decoded.data, data, strict=False)) if a != b), len(decoded.data))
    assert same > len(data) // 2


@pytest.mark.parametrize("at", [-8, -1])
def test_a_wrong_checksum_or_length_is_told_after_the_data(at: int) -> None:
    """The trailer of a gzip member comes last, so its data has been read by then; the next member is not read."""
    packed = bytearray(PACK[Compression.GZIP](b"data"))
    packed[at] ^= 1
    decoded = Decoded(bytes(packed) + PACK[Compression.GZIP](b"more"), Compression.GZIP)
    assert bytes(decoded.data) == b"data"
    assert decoded.damage is not None
    assert decoded.damage.kind is DamageKind.CHECKSUM
    assert ("checksum" if at == -8 else "length") in decoded.damage.message


def test_a_wrong_zstd_checksum_is_told() -> None:
    """It is the last thing in a frame."""
    packed = bytearray(PACK[Compression.ZSTD](words(1, 100_000)))
    packed[-1] ^= 1
    decoded = Decoded(bytes(packed), Compression.ZSTD)
    assert decoded.damage is not None
    assert decoded.damage.kind is DamageKind.CHECKSUM


@pytest.mark.parametrize("kind", KINDS)
def test_what_follows_the_data_and_is_none_is_told(kind: Compression) -> None:
    """Trailing garbage: the data is read, and its user learns that there was more."""
    packed = PACK[kind](b"data")
    decoded = Decoded(packed + b"garbage", kind)
    assert bytes(decoded.data) == b"data"
    assert decoded.damage is not None
    assert decoded.damage.kind is DamageKind.TRAILING
    assert f"byte {len(packed)} " in decoded.damage.message


@pytest.mark.parametrize("kind", KINDS)
def test_padding_with_zeros_is_no_damage(kind: Compression) -> None:
    """As every decompressor has it; zeros followed by something else are garbage."""
    packed = PACK[kind](b"data")
    assert Decoded(packed + bytes(1000), kind).damage is None
    damage = Decoded(packed + bytes(1000) + b"x", kind).damage
    assert damage is not None
    assert damage.kind is DamageKind.TRAILING


def gzip_with_header(data: bytes, *, extra: bytes, name: bytes, comment: bytes) -> bytes:
    """A member with every optional field."""
    header = b"\x1f\x8b\x08\x1e" + bytes(6) + struct.pack("<H", len(extra)) + extra + name + b"\0" + comment + b"\0"
    packed = gzip.compress(data, mtime=0)
    return header + struct.pack("<H", zlib.crc32(header) & 0xFFFF) + packed[10:]


@given(st.binary(max_size=70), st.binary(max_size=9), st.binary(max_size=9), st.integers(0, 2**32))
def test_headers_with_every_field_are_passed(extra: bytes, name: bytes, comment: bytes, seed: int) -> None:
    """Extra fields, names and comments, cut anywhere."""
    clean_name, clean_comment = name.replace(b"\0", b"n"), comment.replace(b"\0", b"c")
    packed = gzip_with_header(b"data", extra=extra, name=clean_name, comment=clean_comment)
    assert gzip.decompress(packed) == b"data"
    decoded = Decoded(packed, Compression.GZIP, trickle=random.Random(seed))
    assert (bytes(decoded.data), decoded.damage) == (b"data", None)


def test_a_header_with_flags_of_the_future_is_damage() -> None:
    """Nobody knows how long it is."""
    damage = Decoded(b"\x1f\x8b\x08\xe0" + bytes(30), Compression.GZIP).damage
    assert damage is not None
    assert damage.message.startswith("gzip data has no valid header")


def test_a_header_without_an_end_is_damage() -> None:
    """A name that never ends does not eat the memory."""
    packed = b"\x1f\x8b\x08\x08" + bytes(6) + b"x" * (3 << 20)
    damage = Decoded(packed, Compression.GZIP).damage
    assert damage is not None
    assert damage.kind is DamageKind.CORRUPT


def test_zstd_frames_to_be_skipped_are_skipped() -> None:
    """They may be huge and anywhere."""
    skipped = struct.pack("<II", 0x184D2A53, 3 << 20) + bytes(3 << 20)
    empty = struct.pack("<II", 0x184D2A50, 0)
    packed = skipped + PACK[Compression.ZSTD](b"one") + empty + PACK[Compression.ZSTD](b"two") + skipped
    decoded = Decoded(packed, Compression.ZSTD)
    assert (bytes(decoded.data), decoded.damage) == (b"onetwo", None)
    small = struct.pack("<II", 0x184D2A5F, 5) + b"extra"
    decoded = Decoded(small + PACK[Compression.ZSTD](b"one") + small, Compression.ZSTD, trickle=random.Random(3))
    assert (bytes(decoded.data), decoded.damage) == (b"one", None)
    cut = Decoded(packed[:-1], Compression.ZSTD)
    assert bytes(cut.data) == b"onetwo"
    assert cut.damage is not None
    assert cut.damage.kind is DamageKind.TRUNCATED


@pytest.mark.parametrize("level", [1, 3, 19])
@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize("size", [True, False])
def test_zstd_frames_of_every_kind(*, level: int, checksum: bool, size: bool) -> None:
    """With and without checksum and size; blocks that are compressed, stored and run-length encoded."""
    data = words(4, 50_000) + random.Random(1).randbytes(300_000) + bytes(500_000)
    compressor = zstandard.ZstdCompressor(level=level, write_checksum=checksum, write_content_size=size)
    decoded = Decoded(compressor.compress(data), Compression.ZSTD)
    assert (bytes(decoded.data), decoded.damage) == (data, None)


def test_a_zstd_block_header_of_no_kind_is_damage() -> None:
    """The reserved block type, and a block larger than blocks are."""
    frame = bytearray(PACK[Compression.ZSTD](b"data"))
    for header in (b"\x07\0\0", (((200 << 10) << 3) | 1).to_bytes(3, "little")):
        frame[6:9] = header
        damage = Decoded(bytes(frame), Compression.ZSTD).damage
        assert damage is not None
        assert damage.kind is DamageKind.CORRUPT


def test_plain_data_comes_in_blocks() -> None:
    """Nothing is changed, and the offset in the object is told."""
    data = random.Random(1).randbytes(700_000)
    blocks = list(plain_blocks(Input(io.BytesIO(data), 100)))
    assert b"".join(block.data for block in blocks) == data
    assert blocks[-1].read == 700_100
    assert len(blocks) > 1
