"""Bytes of chunks and foreign files to rows, line by line, exactly, in bounded memory. Pure: no store, no clock.

Every line is either a row or a ``BadLine`` that says why it is none; nothing is dropped without a word but lines of
white space. Knows nothing of who wrote the file or what the rows are for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, compress
from typing import Any, BinaryIO

import numpy as np
import orjson

from datalake_service.jsontext import loads, orjson_reads_exactly

MAX_LINE_BYTES = 64 << 20
"""A longer line is a rejection: it would need a multiple of its size in memory."""
BLOCK_BYTES = 512 << 10
"""Bytes of lines that are parsed together. Larger blocks are slower: their rows no longer fit into the caches."""
MAX_KEPT_BYTES = 1 << 20
"""Bytes of a line that is too long that are kept in memory; more than a rejection file holds of it."""

_READ_BYTES = 1 << 18
_BOM = b"\xef\xbb\xbf"
_WHITE_SPACE = b" \t\r\n"
_LINE_FEED = 10


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no usable row."""

    number: int
    """Lines before it in the file."""
    start: int
    """Offset of its first byte in the file."""
    end: int
    """Offset of the byte after its last, the line feed not counted."""
    message: str
    """What is wrong with it; holds nothing of its content."""
    data: bytes
    """Its bytes; only the first ``MAX_KEPT_BYTES`` if it is longer than a line may be."""


@dataclass(slots=True)
class Lines:
    """Consecutive lines of one file, parsed."""

    rows: list[dict[str, Any]]
    numbers: Sequence[int]
    """The line number of each row, counted from 0 in the file."""
    bad: list[BadLine] = field(default_factory=list)
    exact: bool = True
    """Whether orjson alone parsed every row: then no text in them has lone surrogates."""
    data: bytes = b""
    first: int = 0
    """Number of the first line in ``data``."""
    offset: int = 0
    """Offset of ``data`` in the file."""

    @property
    def count(self) -> int:
        """How many lines there are, white space and bad ones included."""
        return _count_line_feeds(self.data) + bool(self.data and not self.data.endswith(b"\n"))

    def forget(self) -> None:
        """Let go of bytes and rows: generators on the way hold on to this object while its rows are used."""
        self.data, self.rows, self.numbers = b"", [], ()

    def text(self) -> list[bytes]:
        """The bytes of every line, white space lines and bad ones included; index by number minus ``first``."""
        return _split(self.data)

    def ends(self) -> list[int]:
        """Where each line ends in ``data``, its line feed not counted."""
        feeds: list[int] = np.flatnonzero(np.frombuffer(self.data, np.uint8) == _LINE_FEED).tolist()
        return feeds if self.data.endswith(b"\n") else [*feeds, len(self.data)]

    def refuse(self, reasons: dict[int, str]) -> None:
        """Turn rows into bad lines; ``reasons`` holds a message by index in ``rows``."""
        if not reasons:
            return
        texts = self.text()
        starts = _starts(texts, self.offset)
        for index, message in reasons.items():
            at = self.numbers[index] - self.first
            self.bad.append(_bad_line(self.numbers[index], starts[at], texts[at], message))
        keep = [index not in reasons for index in range(len(self.rows))]
        self.rows = list(compress(self.rows, keep))
        self.numbers = list(compress(self.numbers, keep))

    def refused(self, indexes: Sequence[int], message: str) -> list[BadLine]:
        """What rows would be if they were refused; they stay rows."""
        texts = self.text()
        starts = _starts(texts, self.offset)
        places = [self.numbers[index] - self.first for index in indexes]
        return [_bad_line(self.first + place, starts[place], texts[place], message) for place in places]


def parse_lines(
    data: bytes,
    *,
    first: int = 0,
    offset: int = 0,
    vouched_rows: int | None = None,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> Lines:
    """Parse whole lines.

    Args:
        data: The bytes; the last line may lack its line feed.
        first: Number of the first line.
        offset: Offset of ``data`` in the file.
        vouched_rows: How many rows these lines are, if our own writer made them and says that orjson reads them
            exactly. They are parsed in one piece then, and line by line if that does not give so many rows.
        max_line_bytes: A longer line is refused.
    """
    if first == 0 and data.startswith(_BOM):
        data, offset = data[len(_BOM) :], offset + len(_BOM)
    if len(data) <= max_line_bytes:
        rows = _parse_in_one_piece(data, vouched_rows) or _parse_exact_lines(data)
        if rows is not None:
            return Lines(rows, range(first, first + len(rows)), data=data, first=first, offset=offset)
    return _parse_carefully(data, first, offset, max_line_bytes)


def _parse_in_one_piece(data: bytes, vouched_rows: int | None) -> list[dict[str, Any]] | None:
    if not vouched_rows or not data.endswith(b"}\n") or _count_line_feeds(data) != vouched_rows:
        return None
    try:
        listed = memoryview(data.replace(b"\n", b","))[:-1]
        rows: list[dict[str, Any]] = orjson.loads(b"".join((b"[", listed, b"]")))
    except orjson.JSONDecodeError:
        return None
    return rows if len(rows) == vouched_rows and set(map(type, rows)) == {dict} else None


def _count_line_feeds(data: bytes) -> int:
    """Five times as fast as ``bytes.count``."""
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == _LINE_FEED))


def _parse_exact_lines(data: bytes) -> list[dict[str, Any]] | None:
    """Rows, if every line is one that orjson reads as ``json`` does."""
    if not orjson_reads_exactly(data):
        return None
    try:
        rows = list(map(orjson.loads, _split(data)))
    except orjson.JSONDecodeError:
        return None
    return rows if set(map(type, rows)) <= {dict} else None


def _parse_carefully(data: bytes, first: int, offset: int, max_line_bytes: int) -> Lines:
    """Parse line by line: any line may be anything."""
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    bad: list[BadLine] = []
    texts = _split(data)
    for number, (start, text) in enumerate(zip(_starts(texts, offset), texts, strict=True), first):
        if not text.strip(_WHITE_SPACE):
            continue
        if len(text) > max_line_bytes:
            bad.append(_bad_line(number, start, text, _too_long(len(text), max_line_bytes)))
            continue
        try:
            row = loads(text)
        except ValueError as error:
            bad.append(_bad_line(number, start, text, _explain(error)))
            continue
        if isinstance(row, dict):
            rows.append(row)
            numbers.append(number)
        else:
            bad.append(_bad_line(number, start, text, f"{_name(row)}, not a JSON object"))
    return Lines(rows, numbers, bad, exact=False, data=data, first=first, offset=offset)


def read_lines(
    stream: BinaryIO,
    *,
    block_bytes: int = BLOCK_BYTES,
    max_line_bytes: int = MAX_LINE_BYTES,
    numbers_matter: bool = True,
) -> Iterator[Lines]:
    """Parse a file of any size from front to back, about ``block_bytes`` of lines at a time.

    ``numbers_matter``: whether anybody looks at numbers. If not, long ones may come out as other numbers; the lines of
    our own writer are read three times as fast then.
    """

    def parse(data: bytes, first: int, offset: int) -> Lines:
        rows = None if numbers_matter else _count_line_feeds(data)
        return parse_lines(data, first=first, offset=offset, vouched_rows=rows, max_line_bytes=max_line_bytes)

    first = offset = size = 0
    complete: list[bytes] = []  # whole lines
    begun: list[bytes] = []  # the line after them
    while piece := stream.read(_READ_BYTES):
        size += len(piece)
        end = piece.rfind(b"\n") + 1
        if end:
            complete += [*begun, piece[:end]]
            begun = [piece[end:]]
        else:
            begun.append(piece)
        if complete and size >= block_bytes:
            lines = parse(_joined(complete), first, offset)
            first, offset, size = first + lines.count, lines.offset + len(lines.data), sum(map(len, begun))
            yield lines
        elif not complete and size > max_line_bytes:
            long = _LongLine(first, offset, _joined(begun), max_line_bytes)
            rest = long.skip(stream.read)
            yield Lines([], [], [long.as_bad_line()])
            first, offset, size = first + 1, long.end + 1, len(rest)
            end = rest.rfind(b"\n") + 1
            complete, begun = [rest[:end]] * bool(end), [rest[end:]]
    complete += begun
    if size:
        yield parse(_joined(complete), first, offset)


def _joined(pieces: list[bytes]) -> bytes:
    """The bytes of all pieces, which are let go of."""
    data = b"".join(pieces)
    pieces.clear()
    return data


@dataclass(slots=True)
class _LongLine:
    """A line that is too long to be parsed, while it is being passed over."""

    number: int
    start: int
    data: bytes
    limit: int
    end: int = 0

    def skip(self, read: Callable[[int], bytes]) -> bytes:
        """Read on to the end of the line; return what was read of the next."""
        self.end = self.start + len(self.data)
        while piece := read(_READ_BYTES):
            line, feed, rest = piece.partition(b"\n")
            if len(self.data) < MAX_KEPT_BYTES:
                self.data += line
            self.end += len(line)
            if feed:
                return rest
        return b""

    def as_bad_line(self) -> BadLine:
        message = _too_long(self.end - self.start, self.limit)
        return BadLine(self.number, self.start, self.end, message, self.data[:MAX_KEPT_BYTES])


def _split(data: bytes) -> list[bytes]:
    texts = data.split(b"\n")
    if not texts[-1]:
        texts.pop()
    return texts


def _starts(texts: list[bytes], offset: int) -> list[int]:
    return list(accumulate((len(text) + 1 for text in texts), initial=offset))[: len(texts)]


def _bad_line(number: int, start: int, text: bytes, message: str) -> BadLine:
    return BadLine(number, start, start + len(text), message, text)


def _too_long(size: int, limit: int) -> str:
    return f"a line of {size} bytes; the limit is {limit}"


def _explain(error: ValueError) -> str:
    """Say what is wrong without a word of the content."""
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 (byte {error.start} of the line)"
    message, position = getattr(error, "msg", None), getattr(error, "pos", None)
    if message is not None and position is not None:
        return f"not JSON: {message} (character {position} of the line)"
    return f"not JSON: {str(error).splitlines()[0]}"


def _name(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    return "text" if isinstance(value, str) else "an array"
