from __future__ import annotations

import io
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_service.chunks.reader import MAX_KEPT_BYTES, BadLine, Lines, parse_lines, read_lines
from tests.support.json_values import ROWS, VALUES, canonical

JUNK = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([b"", b" ", b"\t\r", b"{", b'{"a":1', b'{"a":1}}', b"\x00\xff", b"nul", b'{"a":1} {"a":2}', b"{}"]),
    VALUES.map(lambda value: json.dumps(value).encode()),
).map(lambda line: line.replace(b"\n", b" "))
LINES = st.one_of(ROWS.map(lambda row: json.dumps(row).encode()), JUNK)
FEEDS = st.sampled_from([b"\n", b"\r\n"])


def expected(data: bytes) -> tuple[list[tuple[int, Any]], list[tuple[int, int, int]]]:
    """What the standard library says of each line: (number, row), and (number, start, end) of those that are none."""
    rows, bad = [], []
    start = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    for number, line in enumerate(data[start:].split(b"\n")):
        end = start + len(line)
        if line.strip(b" \t\r\n"):
            try:
                value = json.loads(line.decode("utf-8"))
            except (ValueError, RecursionError):
                value = None
            if isinstance(value, dict):
                rows.append((number, value))
            else:
                bad.append((number, start, end))
        start = end + 1
    return rows, bad


def found(blocks: list[Lines]) -> tuple[list[tuple[int, Any]], list[tuple[int, int, int]]]:
    """The same of what was parsed."""
    rows = [pair for lines in blocks for pair in zip(lines.numbers, lines.rows, strict=True)]
    bad = [(line.number, line.start, line.end) for lines in blocks for line in lines.bad]
    return rows, bad


def same(one: Any, other: Any) -> bool:
    """Whether two answers of the functions above are equal, NaN included."""
    return canonical([[number, row] for number, row in one[0]]) == canonical(
        [[number, row] for number, row in other[0]]
    ) and (one[1] == other[1])


@given(st.lists(st.tuples(LINES, FEEDS), max_size=8), st.booleans(), st.booleans(), st.integers(1, 60))
def test_every_line_is_a_row_or_a_bad_line(
    lines: list[tuple[bytes, bytes]],
    with_bom: bool,
    unfinished: bool,
    block_bytes: int,
) -> None:
    """Whatever stands in a file, and however it is cut into blocks: what json reads is a row, nothing is lost."""
    data = (b"\xef\xbb\xbf" if with_bom else b"") + b"".join(line + feed for line, feed in lines)
    if unfinished:
        data = data.removesuffix(b"\n")
    blocks = list(read_lines(io.BytesIO(data), block_bytes=block_bytes))
    assert same(found(blocks), expected(data))
    assert same(found([parse_lines(data)]), expected(data))
    for lines_ in blocks:
        assert all(data[bad.start : bad.end] == bad.data for bad in lines_.bad)


@given(st.lists(ROWS, min_size=1, max_size=6))
def test_vouched_chunks_read_the_same(rows: list[dict[str, Any]]) -> None:
    """Lines that our writer vouches for are parsed in one piece, with the same result."""
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    plain = parse_lines(data)
    if plain.exact:
        vouched = parse_lines(data, vouched_rows=len(rows))
        assert same(found([vouched]), found([plain]))
        assert vouched.text() == plain.text()


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1}\n{"a":2}\n',
        b'{"a":[{"b":1}\n{"b":2}]}\n{"a":1}\n',
        b'{"a":1},{"a":2}\n{"a":3}\n',
        b'{"a":1\n"b":2}\n{"a":3}\n',
        b'{"a":1}\n{"a":2}',
        b'{"a":1}\n[2]\n{"a":3}\n',
        b'{"a":1}\n\n{"a":3}\n',
    ],
)
def test_a_chunk_that_is_not_what_was_vouched_for_is_read_line_by_line(data: bytes) -> None:
    """Lines that only together are JSON stay what they are: bad lines."""
    assert same(found([parse_lines(data, vouched_rows=3)]), expected(data))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"a":', "not JSON: Expecting value (character 5 of the line)"),
        (b'{"secret":"\xff"}', "not UTF-8 (byte 11 of the line)"),
        (b"[1]", "an array, not a JSON object"),
        (b"null", "null, not a JSON object"),
        (b"true", "true or false, not a JSON object"),
        (b"1.5", "a number, not a JSON object"),
        (b'"text"', "text, not a JSON object"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "not JSON: nested too deeply"),  # 3.13 reads 9,000 levels
    ],
)
def test_a_bad_line_says_why(line: bytes, message: str) -> None:
    """One line that tells what is wrong and where, without a word of the content."""
    lines = parse_lines(b'{"a":1}\n' + line + b"\n")
    assert lines.bad == [BadLine(1, 8, 8 + len(line), message, line)]
    assert len(lines.rows) == 1


@pytest.mark.parametrize("block_bytes", [100, 1 << 20])
@pytest.mark.parametrize("size", [300_000, 700_000, MAX_KEPT_BYTES + 300_000])
def test_a_line_that_is_too_long_is_passed_over(size: int, block_bytes: int) -> None:
    """It is reported with its place and its beginning; the lines around it are read, in bounded memory."""
    long = b'{"a":"' + b"x" * size + b'"}'
    data = b'{"a":0}\n' + long + b'\n{"a":2}\n\n{"a":4}'
    blocks = list(read_lines(io.BytesIO(data), block_bytes=block_bytes, max_line_bytes=200_000))
    rows, _ = found(blocks)
    assert rows == [(0, {"a": 0}), (2, {"a": 2}), (4, {"a": 4})]
    (bad,) = [bad for lines in blocks for bad in lines.bad]
    assert (bad.number, bad.start, bad.end) == (1, 8, 8 + len(long))
    assert bad.data in (long, long[:MAX_KEPT_BYTES])
    assert bad.message == f"a line of {len(long)} bytes; the limit is 200000"


def test_a_line_that_is_too_long_may_end_the_file() -> None:
    """A file may end inside of it."""
    data = b'{"a":0}\n' + b"x" * 400_000
    blocks = list(read_lines(io.BytesIO(data), block_bytes=1000, max_line_bytes=1000))
    assert found(blocks) == ([(0, {"a": 0})], [(1, 8, len(data))])


def test_a_line_of_fifty_megabytes_is_a_row() -> None:
    """The default limit lets it pass."""
    text = "x" * (50 << 20)
    (lines,) = read_lines(io.BytesIO(json.dumps({"text": text}).encode() + b"\n"))
    assert lines.rows == [{"text": text}]


def test_numbers_are_exact() -> None:
    """Where the fast reader would round, the exact one reads."""
    data = b'{"a":18446744073709551616,"b":[-9223372036854775809],"c":NaN,"d":1e999}\n'
    (row,) = parse_lines(data).rows
    assert row["a"] == 2**64
    assert row["b"] == [-(2**63) - 1]
    assert row["c"] != row["c"]
    assert row["d"] == float("inf")


def test_refused_rows_are_bad_lines_with_their_place() -> None:
    """Rows can be refused after they were parsed; the others keep their numbers."""
    lines = parse_lines(b'{"a":0}\n\n{"a":2}\n{"a":3}\n')
    lines.refuse({1: "because"})
    assert lines.bad == [BadLine(2, 9, 16, "because", b'{"a":2}')]
    assert list(zip(lines.numbers, lines.rows, strict=True)) == [(0, {"a": 0}), (3, {"a": 3})]
    assert lines.refused([1], "why")[0] == BadLine(3, 17, 24, "why", b'{"a":3}')


def test_nobody_keeps_a_block_that_was_handed_out() -> None:
    """A line may be most of the memory there is."""
    size = 4 << 20
    stream = io.BytesIO((json.dumps({"text": "x" * size}).encode() + b"\n") * 6)
    held = []
    tracemalloc.start()
    try:
        for lines in read_lines(stream):
            held.append(tracemalloc.get_traced_memory()[0])  # the bytes and the text
            lines.forget()
            held.append(tracemalloc.get_traced_memory()[0])  # what was read of the next line
    finally:
        tracemalloc.stop()
    assert max(held[::2]) < 2.5 * size
    assert max(held[1::2]) < 0.5 * size


@pytest.mark.parametrize(
    "body",
    [b'{"a":"1"}\n{"a":"2"}\n{"b":[1]}\n', b'{"a":"1"}\n{"a":"2"}', b'{"a":"1"}\nno\n\n[1]\n{"a":"2"}\n', b"", b"\n"],
)
def test_lines_are_the_same_when_numbers_do_not_matter(body: bytes) -> None:
    """Rows, their numbers, and what is no row; in blocks of any size."""
    for size in (1, 12, 1_000):
        exact, fast = (
            list(read_lines(io.BytesIO(body), block_bytes=size, numbers_matter=matter)) for matter in (True, False)
        )
        assert [(lines.rows, list(lines.numbers), lines.bad) for lines in fast] == [
            (lines.rows, list(lines.numbers), lines.bad) for lines in exact
        ]
