"""Records of a sample that is in memory as a whole: the rules of ``SingleFileParser``, said plainly."""

from __future__ import annotations

import bz2
import gzip
import os
from collections.abc import Iterator
from pathlib import Path

from datalake_interfaces.model import RecordHintType, RecordParseHint

Sample = bytes | str | os.PathLike[str]
"""The bytes of a file, decompressed; or the path of one, which may end in ``.gz`` or ``.bz2``."""


def records(data: bytes, start: RecordParseHint, end: RecordParseHint) -> Iterator[tuple[int, bytes]]:
    """Yield the offset and the bytes of each record."""
    at = 0
    while True:
        if start.record_hint_type is RecordHintType.OFFSET:
            begin = behind_start = at + (start.offset or 0)
        else:
            begin = data.find(start.pattern_bytes, at)
            behind_start = begin + len(start.pattern_bytes)
        if not 0 <= begin < len(data):
            return
        if end.record_hint_type is RecordHintType.OFFSET:
            at = begin + max(1, end.offset or 0)
        else:
            found = data.find(end.pattern_bytes, behind_start)
            at = found + len(end.pattern_bytes) if found >= 0 else len(data)
        yield begin, data[begin:at]


def read_sample(sample: bytes | str | os.PathLike[str]) -> tuple[bytes, str]:
    """Return the decompressed bytes of a sample, and what it is called."""
    if isinstance(sample, bytes | bytearray | memoryview):
        return bytes(sample), "sample"
    path = Path(sample)
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    elif path.suffix == ".bz2":
        data = bz2.decompress(data)
    elif path.suffix in {".zst", ".zstd"}:
        raise ValueError(f"{path}: the standard library cannot read zstd; give the decompressed bytes")
    return data, path.name
