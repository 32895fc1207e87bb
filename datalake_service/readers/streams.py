"""A stream of bytes as it is stored → a stream of bytes as it was written: decompressed, in blocks, in flat memory.

Where decompression can begin again (``Entry``) is told along the way, so that a checkpoint can name a place inside the
object. Bad data ends the stream with one ``Damage``, after everything that could be decoded before it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import BinaryIO, Final

from datalake_service.readers.codecs import MEMBERS, whole_gzip
from datalake_service.readers.sniffing import MAGICS, Compression, Damage, DamageKind, is_beginning

Opener = Callable[[int], BinaryIO]
"""Opens the object's bytes from an offset to its end; always the same version of it."""

READ_BYTES: Final = 256 << 10
"""Asked from the store's stream at once, and the size of a plain block: larger blocks leave the processor's cache."""
_SMALLEST_PIECE, _LARGEST_PIECE = 16 << 10, 128 << 10
"""Compressed bytes given to a decoder at once. What it does not use because its data ended is copied, so crawls with a
member for every page take small ones."""
_MOST_DECODED: Final = 256 << 10
"""Decoded bytes at once, however much a few bytes claim to stand for. For 1 MiB, ISA-L asks the system for fresh memory
each time, which costs more than decoding small members does."""
_FULL_BLOCK: Final = 256 << 10
"""Decoded bytes are collected up to this: members may hold a hundred bytes."""
_ENTRY_SPACING: Final = 256 << 10
"""Decoded bytes between two entries that are told; to begin a little earlier costs nothing."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A place where decompression can begin: the start of a gzip member, zstd frame or bzip2 stream."""

    at: int
    """Offset in the object."""
    offset: int
    """Offset in the decompressed data."""


@dataclass(frozen=True, slots=True)
class Block:
    """Some bytes, contiguous with the block before."""

    data: bytes
    entries: tuple[Entry, ...]
    """Entries in these bytes, in order."""
    read: int
    """Offset in the object up to which it was read."""


class Input:
    """Bytes of the object with their offsets: looked at, and taken in pieces of any size."""

    def __init__(self, stream: BinaryIO, at: int) -> None:
        """Take a stream that begins at offset ``at`` of the object."""
        self._stream = stream
        self._buffer = memoryview(b"")
        self.at = at
        """Offset of the next byte."""

    def peek(self, count: int) -> bytes:
        """Return the next ``count`` bytes, or fewer at the end, without taking them."""
        while len(self._buffer) < count:
            more = self._stream.read(max(READ_BYTES, count))
            if not more:
                break
            self._buffer = memoryview(bytes(self._buffer) + more) if self._buffer else memoryview(more)
        return bytes(self._buffer[:count])

    def piece(self, most: int) -> memoryview:
        """Return at most ``most`` of the next bytes, empty at the end, without taking them."""
        if not self._buffer:
            self._buffer = memoryview(self._stream.read(READ_BYTES))
        return self._buffer[:most]

    def at_hand(self) -> memoryview:
        """Return the next bytes without taking them, as many as need no reading."""
        return self._buffer

    def take(self, count: int) -> None:
        """Take bytes that ``peek`` or ``piece`` returned."""
        self._buffer = self._buffer[count:]
        self.at += count

    def rest(self) -> Iterator[bytes]:
        """Take everything, as it comes."""
        while piece := self.piece(READ_BYTES):
            self.take(len(piece))
            yield bytes(piece)


def plain_blocks(source: Input) -> Iterator[Block]:
    """Yield the rest of an object that is not compressed. It can be entered anywhere, so no entries are told."""
    for data in source.rest():
        yield Block(data, (), source.at)


def decoded_blocks(source: Input, compression: Compression, *, offset: int, reopen: Opener) -> Iterator[Block | Damage]:
    """Yield the rest of a compressed object; a ``Damage`` is the last item, if there is one.

    Args:
        source: Stands at an entry.
        compression: How it is compressed.
        offset: The entry's offset in the decompressed data.
        reopen: Opens the object again, to get out what came right before damaged data.
    """
    return _Decoding(source, compression, offset, reopen).blocks()


class _Decoding:
    """One pass over a compressed object."""

    def __init__(self, source: Input, compression: Compression, offset: int, reopen: Opener) -> None:
        self._source = source
        self._compression = compression
        self._reopen = reopen
        self._offset = offset  # of the decoded bytes so far, collected ones included
        self._collected: list[bytes] = []
        self._collected_bytes = 0
        self._entries: list[Entry] = []
        self._last_entry: int | None = None
        self._small = False  # whether the member before was so small that the next may well lie in one piece

    def blocks(self) -> Iterator[Block | Damage]:
        """Yield blocks, member by member."""
        first = True
        damage: Damage | None = None
        while damage is None and self._source.piece(1):
            if self._small:
                yield from self._small_members()
            if not self._source.piece(1):
                break
            damage = self._look_at_beginning(first=first)
            first = False
            if damage is None and self._source.piece(1):
                damage = yield from self._member()
        if self._collected:
            yield self._collected_block()
        if damage is not None:
            yield damage

    def _small_members(self) -> Iterator[Block]:
        """Take members that lie as a whole in what is at hand, as most do in crawls; the hot loop for them.

        It ends before one that does not, or about which anything is strange.
        """
        buffer = self._source.at_hand()
        at, first, collected = 0, self._source.at, self._collected
        while at < len(buffer):
            found = whole_gzip(buffer[at : at + _SMALLEST_PIECE], _MOST_DECODED)
            if found is None:
                break
            decoded, size = found
            if self._last_entry is None or self._offset - self._last_entry >= _ENTRY_SPACING:
                self._entries.append(Entry(first + at, self._offset))
                self._last_entry = self._offset
            at += size
            if decoded:
                collected.append(decoded)
            self._offset += len(decoded)
            self._collected_bytes += len(decoded)
            if self._collected_bytes >= _FULL_BLOCK:
                self._source.take(at)
                buffer, first, at = buffer[at:], first + at, 0
                yield self._collected_block()
                collected = self._collected
        self._source.take(at)

    def _look_at_beginning(self, *, first: bool) -> Damage | None:
        """Tell what is no beginning of a member. Zeros to the end of the object are padding, and taken."""
        source, kind = self._source, self._compression
        at = source.at
        head = source.peek(max(map(len, MAGICS[kind])))
        if head.startswith(MAGICS[kind]) or is_beginning(head, kind):
            return None
        if not first and head[:1] == b"\0" and not any(piece.strip(b"\0") for piece in source.rest()):
            return None
        return Damage(DamageKind.TRAILING, f"no {kind} data from byte {at} on; what follows was not read")

    def _member(self) -> Generator[Block, None, Damage | None]:
        """Decode one member; returns what is wrong with it."""
        source, at, offset = self._source, self._source.at, self._offset
        if self._last_entry is None or offset - self._last_entry >= _ENTRY_SPACING:
            self._entries.append(Entry(at, offset))
            self._last_entry = offset
        member = MEMBERS[self._compression]()
        size, given = _SMALLEST_PIECE, 0
        while not member.eof:
            piece = memoryview(b"")
            if member.needs_input:
                source.take(given)
                piece = source.piece(size)
                size, given = min(2 * size, _LARGEST_PIECE), len(piece)
                if not piece:
                    return Damage(
                        DamageKind.TRUNCATED, f"cut off: the {self._compression} data ends at byte {source.at}"
                    )
            yield from self._collect(member.decode(piece, _MOST_DECODED))
            if member.failure is not None:
                if member.loses_output:
                    yield from self._salvage(at, self._offset - offset)
                found = member.failure
                return Damage(found.kind, f"{found.message} in the part from byte {at} on; what follows was not read")
        source.take(given - len(member.unused))
        self._small = self._compression is Compression.GZIP and source.at - at < _SMALLEST_PIECE
        return None

    def _salvage(self, at: int, delivered: int) -> Iterator[Block]:
        """Yield what the member at ``at`` holds behind its first ``delivered`` bytes, up to the damaged place."""
        member = MEMBERS[self._compression](exact=True)
        seen = 0
        with closing(self._reopen(at)) as stream:
            source = Input(stream, at)
            while not member.eof and member.failure is None:
                piece = source.piece(_LARGEST_PIECE) if member.needs_input else memoryview(b"")
                if member.needs_input and not piece:
                    return
                decoded = member.decode(piece, min(_MOST_DECODED, max(1, delivered - seen)))
                source.take(len(piece))
                yield from self._collect(decoded[max(0, delivered - seen) :])
                seen += len(decoded)

    def _collect(self, decoded: bytes) -> Iterator[Block]:
        """Add decoded bytes; yields them when there are enough for a block."""
        if decoded:
            self._collected.append(decoded)
            self._collected_bytes += len(decoded)
            self._offset += len(decoded)
            if self._collected_bytes >= _FULL_BLOCK:
                yield self._collected_block()

    def _collected_block(self) -> Block:
        block = Block(b"".join(self._collected), tuple(self._entries), self._source.at)
        self._collected, self._collected_bytes, self._entries = [], 0, []
        return block
