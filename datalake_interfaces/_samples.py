"""Records of a sample that is in memory as a whole: the rules of ``SingleFileParser``, said plainly."""

from __future__ import annotations

from collections.abc import Iterator

from datalake_interfaces.model import RecordHintType, RecordParseHint


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
