"""Compressed bytes in, bytes out: one gzip member, zstd frame or bzip2 stream at a time. Pure, does no I/O.

All three have the same shape. ``decode`` never returns much more than it is asked for, whatever the data claims, so
that memory stays flat, and never raises for bad data: ``failure`` says what is wrong, and what was decoded before has
been returned.
"""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Mapping
from typing import Final, Protocol, cast

import zstandard
from isal import igzip_lib, isal_zlib

from datalake_service.readers.sniffing import Compression, Damage, DamageKind

_IsalError: Final = cast("type[Exception]", igzip_lib.IsalError)  # its stub declares an instance
_SKIPPABLE_HEADER: Final = 8


class Member(Protocol):
    """One stretch of compressed data that can be decompressed on its own."""

    eof: bool
    """Whether its end was reached and is as it should be."""
    unused: bytes
    """After ``eof``: what was given beyond the end."""
    needs_input: bool
    """Whether ``decode`` can go no further without more data."""
    failure: Damage | None
    """Why it cannot be decoded further. ``message`` tells it of the data: ``gzip data is damaged``."""
    loses_output: bool
    """Whether a failure may have swallowed bytes that were decoded right before it."""

    def decode(self, data: bytes | memoryview, most: int) -> bytes:
        """Take more data (none, unless ``needs_input``) and return about ``most`` decoded bytes or fewer."""
        ...


class GzipMember:
    """A gzip member. The header and the checksums are looked at here; ISA-L only inflates, which it does best."""

    _FHCRC, _FEXTRA, _FNAME, _FCOMMENT, _RESERVED = 2, 4, 8, 16, 0xE0
    _LONGEST_HEADER: Final = 1 << 20
    """A name that never ends is no name."""

    def __init__(self, *, exact: bool = False) -> None:
        """Begin at the header. ``exact``: inflate slowly, but up to the very byte that is damaged."""
        self.eof = False
        self.unused = b""
        self.needs_input = True
        self.failure: Damage | None = None
        self.loses_output = not exact
        self._inflate = _ExactInflate() if exact else _FastInflate()
        self._head: bytes | None = b""
        self._inflated = False
        self._tail = b""
        self._crc = self._size = 0

    def decode(self, data: bytes | memoryview, most: int) -> bytes:
        """See ``Member``."""
        if self._head is not None:
            self._head += data
            end = self._header_end(self._head)
            if end is None:
                return b""
            data, self._head = self._head[end:], None
        if self._inflated:
            self._check_trailer(data)
            return b""
        try:
            decoded, rest = self._inflate.decode(data, most)
        except (_IsalError, zlib.error) as error:
            self.failure = Damage(DamageKind.CORRUPT, f"gzip data is damaged ({error})")
            return b""
        self._crc = isal_zlib.crc32(decoded, self._crc)
        self._size += len(decoded)
        self.needs_input = self._inflate.needs_input
        if rest is not None:
            self._inflated = True
            self._check_trailer(rest)
        return decoded

    def _header_end(self, head: bytes) -> int | None:
        """Where the header ends; ``None`` if more of it is needed."""
        fixed = 10
        if len(head) < fixed:
            return None
        flags = head[3]
        if head[:3] != b"\x1f\x8b\x08" or flags & self._RESERVED:
            self.failure = Damage(DamageKind.CORRUPT, "gzip data has no valid header")
            return None
        end = fixed
        if flags & self._FEXTRA:
            end += 2 + int.from_bytes(head[end : end + 2], "little")
        for flag in (self._FNAME, self._FCOMMENT):
            if flags & flag:
                end = head.find(b"\0", end) + 1
                if end == 0:
                    break
        end = end + 2 if end and flags & self._FHCRC else end
        if 0 < end <= len(head):
            return end
        if len(head) > self._LONGEST_HEADER:
            self.failure = Damage(DamageKind.CORRUPT, "gzip data has a header without an end")
        return None

    def _check_trailer(self, data: bytes | memoryview) -> None:
        length = 8
        self._tail += data
        if len(self._tail) < length:
            self.needs_input = True
            return
        crc, size = int.from_bytes(self._tail[:4], "little"), int.from_bytes(self._tail[4:length], "little")
        if crc != self._crc or size != self._size & 0xFFFFFFFF:
            what = "checksum" if crc != self._crc else "length"
            self.failure = Damage(DamageKind.CHECKSUM, f"gzip data has another {what} than it was written with")
            self.loses_output = False
            return
        self.eof, self.unused = True, self._tail[length:]


class _FastInflate:
    """ISA-L's inflate: a failure loses what was decoded in the same call, and what it decoded ahead."""

    def __init__(self) -> None:
        self._decompressor = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_DEFLATE)
        self.needs_input = True

    def decode(self, data: bytes | memoryview, most: int) -> tuple[bytes, bytes | None]:
        """Return decoded bytes, and what follows the compressed data once its end was reached."""
        decoded = self._decompressor.decompress(data, most)
        self.needs_input = self._decompressor.needs_input
        return decoded, self._decompressor.unused_data if self._decompressor.eof else None


class _ExactInflate:
    """zlib's inflate: decodes no byte more than it is asked for."""

    def __init__(self) -> None:
        self._decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
        self.needs_input = True

    def decode(self, data: bytes | memoryview, most: int) -> tuple[bytes, bytes | None]:
        """See ``_FastInflate``."""
        decoded = self._decompressor.decompress(data or self._decompressor.unconsumed_tail, most)
        # zlib may hold decoded bytes without any input left: it has no more only if it returned less than it might.
        self.needs_input = not self._decompressor.unconsumed_tail and len(decoded) < most
        return decoded, self._decompressor.unused_data if self._decompressor.eof else None


def whole_gzip(data: memoryview, most: int) -> tuple[bytes, int] | None:
    """Decode a gzip member that lies in ``data`` as a whole: what it holds, and its length.

    ``None`` if it does not, if it holds more than ``most`` bytes, or if anything about it is not as it should be: then
    nothing is known, and ``GzipMember`` tells what is wrong with it. Crawls are millions of small members.
    """
    decompressor = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    try:
        decoded = decompressor.decompress(data, most)
    except _IsalError:
        return None
    return (decoded, len(data) - len(decompressor.unused_data)) if decompressor.eof else None


class Bzip2Member:
    """A bzip2 stream."""

    def __init__(self, *, exact: bool = False) -> None:
        """Begin at the magic number. Always exact if asked for single bytes."""
        self.eof = False
        self.unused = b""
        self.needs_input = True
        self.failure: Damage | None = None
        self.loses_output = not exact
        self._decompressor = bz2.BZ2Decompressor()

    def decode(self, data: bytes | memoryview, most: int) -> bytes:
        """See ``Member``."""
        try:
            decoded = self._decompressor.decompress(data, most)
        except OSError as error:
            self.failure = Damage(DamageKind.CORRUPT, f"bzip2 data is damaged ({error})")
            return b""
        self.eof, self.needs_input = self._decompressor.eof, self._decompressor.needs_input
        if self.eof:
            self.unused = self._decompressor.unused_data
        return decoded


class ZstdMember:
    """A zstd frame, or a skippable one.

    The library decodes all that it is given at once, and a few bytes can stand for megabytes, so the frame's blocks are
    found here and handed over a few at a time: a block never holds more than 128 KiB. This also shows where a frame
    ends, which the library does not tell when the frame is cut off.
    """

    _BLOCK: Final = 128 << 10
    _RLE, _RESERVED = 1, 3

    def __init__(self, *, exact: bool = False) -> None:
        """Begin at the magic number. ``exact``: hand over single blocks."""
        self.eof = False
        self.unused = b""
        self.needs_input = True
        self.failure: Damage | None = None
        self.loses_output = not exact
        self._exact = exact
        self._decompressor = zstandard.ZstdDecompressor().decompressobj()
        self._data = b""
        self._at = 0  # the next unit of the frame (header, block, checksum) begins here in the data
        self._checksum: int | None = None  # bytes of it; None: the header was not seen yet
        self._last = False  # whether the last block was seen
        self._to_skip: int | None = None  # bytes still to come of a frame to be skipped

    def decode(self, data: bytes | memoryview, most: int) -> bytes:
        """See ``Member``."""
        self._data = self._data[self._at :] + bytes(data)
        self._at = 0
        if self._checksum is None and not self._pass_header():
            return b""
        if self._to_skip is not None:
            return self._skip(self._to_skip)
        blocks = 1 if self._exact else max(1, most // self._BLOCK)
        while blocks and not self._last and self._pass_block():
            blocks -= 1
        whole = self._last and len(self._data) - self._at >= (self._checksum or 0)
        if whole:
            self._at += self._checksum or 0
        self.needs_input = not whole and (self._last or blocks > 0)
        if self.failure is not None or not self._at:
            return b""
        try:
            decoded = self._decompressor.decompress(self._data[: self._at])
        except zstandard.ZstdError as error:
            text = str(error).removeprefix("zstd decompressor error: ")
            kind = DamageKind.CHECKSUM if "checksum" in text else DamageKind.CORRUPT
            self.failure = Damage(kind, f"zstd data is damaged ({text})")
            return b""
        if whole:
            self.eof, self.unused = True, self._data[self._at :]
        return decoded

    def _pass_header(self) -> bool:
        """Go over the frame header; ``False`` if it is not complete."""
        data, shortest = self._data, 6
        if len(data) < shortest:
            return False
        if data[:4] != b"\x28\xb5\x2f\xfd":  # a frame to be skipped: its size, then anything
            if len(data) < _SKIPPABLE_HEADER:
                return False
            self._checksum, self._at = 0, _SKIPPABLE_HEADER
            self._to_skip = int.from_bytes(data[4:_SKIPPABLE_HEADER], "little")
            return True
        descriptor = data[4]
        single, dictionary = descriptor >> 5 & 1, (0, 1, 2, 4)[descriptor & 3]
        content = (single, 2, 4, 8)[descriptor >> 6]
        length = 5 + (1 - single) + dictionary + content
        if len(data) < length:
            return False
        self._checksum = 4 * (descriptor >> 2 & 1)
        self._at = length
        return True

    def _skip(self, count: int) -> bytes:
        """Drop the bytes of a frame that is to be skipped, as they come: there may be gigabytes of them."""
        have = len(self._data) - self._at
        if have < count:
            self._to_skip = count - have
            self._data, self._at = b"", 0
        else:
            self.eof, self.needs_input, self.unused = True, False, self._data[self._at + count :]
        return b""

    def _pass_block(self) -> bool:
        """Go over one block; ``False`` if it is not complete."""
        header = self._data[self._at : self._at + 3]
        if len(header) < 3:  # noqa: PLR2004 - a block header
            return False
        value = int.from_bytes(header, "little")
        kind, size = value >> 1 & 3, value >> 3
        if kind == self._RESERVED or size > self._BLOCK:
            self.failure = Damage(DamageKind.CORRUPT, "zstd data is damaged (a block has no valid header)")
            return False
        end = self._at + 3 + (1 if kind == self._RLE else size)
        if end > len(self._data):
            return False
        self._at, self._last = end, bool(value & 1)
        return True


class MemberType(Protocol):
    """Makes decoders."""

    def __call__(self, *, exact: bool = False) -> Member:
        """Begin a member. ``exact``: slowly, but up to the very place that is damaged."""
        ...


MEMBERS: Final[Mapping[Compression, MemberType]] = {
    Compression.GZIP: GzipMember,
    Compression.ZSTD: ZstdMember,
    Compression.BZIP2: Bzip2Member,
}
"""Who decodes what."""
