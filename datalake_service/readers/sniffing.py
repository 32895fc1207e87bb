"""What an object holds: by its first bytes, and by what its name promises. Pure.

The content decides; a name that says something else is told to the user. ``docs/design/003-record-extraction.md`` has
the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

SNIFFED_BYTES: Final = 4096
"""How many of the first bytes are looked at."""


class Compression(StrEnum):
    """How the bytes of an object are compressed. The values are kept in checkpoints."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"
    BZIP2 = "bzip2"


class DamageKind(StrEnum):
    """Why an object cannot be read to its end."""

    TRUNCATED = "truncated"
    """It ends in the middle."""
    CORRUPT = "corrupt"
    """Compressed data that no compressor wrote."""
    CHECKSUM = "checksum"
    """It decompresses, but not to what was compressed."""
    TRAILING = "trailing"
    """Something else follows the compressed data."""
    MISNAMED = "misnamed"
    """Neither what its name says, nor text."""
    UNSUPPORTED = "unsupported"
    """An archive of a kind that is not read."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Where and why reading stopped. What came before was read."""

    kind: DamageKind
    message: str
    """A phrase to stand behind the object's name and a colon."""


@dataclass(frozen=True, slots=True)
class Content:
    """What an object holds."""

    compression: Compression
    notice: str | None = None
    """What its user should know although it is read: a phrase to stand behind the object's name and a colon."""


_SUFFIXES: Final = {
    ".gz": Compression.GZIP,
    ".gzip": Compression.GZIP,
    ".tgz": Compression.GZIP,
    ".zst": Compression.ZSTD,
    ".zstd": Compression.ZSTD,
    ".bz2": Compression.BZIP2,
    ".bz": Compression.BZIP2,
}
MAGICS: Final[dict[Compression, tuple[bytes, ...]]] = {
    Compression.GZIP: (b"\x1f\x8b\x08",),
    # The frame, and the sixteen kinds of skippable frames.
    Compression.ZSTD: (b"\x28\xb5\x2f\xfd", *(bytes([0x50 + kind, 0x2A, 0x4D, 0x18]) for kind in range(16))),
    # The level, then the number that begins a block, or the one that ends a stream without any.
    Compression.BZIP2: tuple(
        b"BZh%d" % level + number
        for level in range(1, 10)
        for number in (b"\x31\x41\x59\x26\x53\x59", b"\x17\x72\x45\x38\x50\x90")
    ),
}
"""What the data of each compression begins with."""
_UNSUPPORTED: Final = {
    b"PK\x03\x04": "zip",
    b"\xfd7zXZ\x00": "xz",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x1f\x9d": "compress (.Z)",
    b"\xff\x06\x00\x00sNaPpY": "snappy",
}
_TEXT_CONTROLS: Final = frozenset(b"\t\n\r\f\b\x1b")
_NOT_TEXT: Final = bytes(sorted(set(range(32)) - _TEXT_CONTROLS)) + b"\x7f"
_BYTE_ORDER_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")


def sniff(head: bytes, name: str) -> Content | Damage:
    """Return what an object holds, or why it cannot be read.

    Args:
        head: Its first ``SNIFFED_BYTES`` (all of it, if it is shorter).
        name: Its key, for the suffix.
    """
    archive = next((kind for magic, kind in _UNSUPPORTED.items() if head.startswith(magic)), None)
    if archive is not None:
        return Damage(DamageKind.UNSUPPORTED, f"{archive} archives cannot be read; gzip, zstd and bzip2 can")
    suffix, promised = _promise(name)
    found = next((kind for kind, magics in MAGICS.items() if head.startswith(magics)), None)
    if found is not None:
        return Content(found, None if found is promised else _misnamed(suffix, f"{found} data", "decompressed"))
    if promised is None or not head:
        return Content(Compression.NONE)
    if is_beginning(head, promised):
        return Content(promised)
    if _is_text(head):
        return Content(Compression.NONE, _misnamed(suffix, "text", "read as it is"))
    return Damage(DamageKind.MISNAMED, f"named {suffix}, but neither {promised} data nor text; it was not read")


def is_beginning(head: bytes, compression: Compression) -> bool:
    """Whether ``head`` is cut off so early that it may still be the beginning of such data."""
    return any(len(head) < len(magic) and magic.startswith(head) for magic in MAGICS[compression])


def _promise(name: str) -> tuple[str, Compression | None]:
    lowered = name.lower()
    return next(((suffix, kind) for suffix, kind in _SUFFIXES.items() if lowered.endswith(suffix)), ("", None))


def _misnamed(suffix: str, found: str, done: str) -> str:
    named = f"named {suffix}, but holds" if suffix else "its name does not say that it holds"
    return f"{named} {found}; {done}"


def _is_text(head: bytes) -> bool:
    return head.startswith(_BYTE_ORDER_MARKS) or len(head.translate(None, _NOT_TEXT)) == len(head)
