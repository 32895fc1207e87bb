"""The beginnings of lines say whose rows they are, or that they have to be parsed."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.chunks.annotation_encoder import AnnotationEncoder
from datalake_service.tables.formats.answered_lines import answered_lines

LINE = b'{"id":"a","_batch":"b1","_status":"done","_annotated_at":"t","n":1}\n'
TEXTS = st.text(max_size=12) | st.text('ab"\\{}\n', max_size=6)
NAMES = ("id", "_batch", "_status", "_annotated_at", "text", "nested", "_version")
ROWS = st.fixed_dictionaries(
    {
        "id": TEXTS,
        "_batch": st.sampled_from(["b1", "b10"]),
        "_status": st.sampled_from(["done", "skipped", "failed"]),
        "_annotated_at": st.just("2026-11-20T13:00:00Z"),
    },
    optional={"text": TEXTS, "nested": st.dictionaries(TEXTS, TEXTS, max_size=2), "_version": st.just("v1")},
).map(lambda row: {name: row[name] for name in NAMES if name in row})


def told(data: bytes) -> Counter[tuple[str, str, str]] | None:
    """What is read of a chunk, row by row."""
    answers = answered_lines(data)
    if answers is None:
        return None
    return Counter((row_id, batch, status) for batch, status, ids in answers for row_id in ids.to_pylist())


def parsed(data: bytes) -> Counter[tuple[str, str, str]]:
    """The same by a parser."""
    rows = [json.loads(line) for line in data.split(b"\n") if line]
    return Counter((row["id"], row["_batch"], row["_status"]) for row in rows)


@given(st.lists(ROWS, min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_lines_of_our_writer_are_read_as_a_parser_reads_them(rows: list[dict[str, object]]) -> None:
    """Whatever ids and values hold; a parser is for ids with escapes, and for lines that say their maker."""
    encode = AnnotationEncoder().encode
    data = b"".join(map(encode, rows))
    found = told(data)
    if found is None:
        assert any("_version" in row or "\\" in json.dumps(row["id"], ensure_ascii=False) for row in rows)
    else:
        assert found == parsed(data)


@given(st.lists(ROWS, min_size=1, max_size=5), st.data())
@settings(max_examples=60, deadline=None)
def test_a_line_that_begins_otherwise_is_parsed(rows: list[dict[str, object]], data: st.DataObject) -> None:
    """Keys in another order, or with spaces: nothing is taken for what it is not."""
    lines = []
    for row in rows:
        keys = data.draw(st.permutations(list(row)))
        spaced = data.draw(st.booleans())
        separators = (", ", ": ") if spaced else (",", ":")
        lines.append(json.dumps({key: row[key] for key in keys}, separators=separators).encode() + b"\n")
    found = told(b"".join(lines))
    assert found is None or found == parsed(b"".join(lines))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"}\n",
        LINE[:-1],
        LINE + LINE[:-2],
        LINE + LINE[:40] + b"\n",
        LINE + b"\n" + LINE,
        b"\xef\xbb\xbf" + LINE,
        LINE.replace(b'"t"', b'"\xff"'),
        LINE.replace(b'"a"', b'"a\\u0041"'),
        LINE.replace(b'"a"', b"1"),
        LINE.replace(b'"n"', b'"_generation"'),
        LINE + b'{"id":"}\n',
        b"".join(LINE.replace(b"b1", b"b%d" % number) for number in range(100)),
    ],
)
def test_what_is_not_plain_is_left_to_the_parser(data: bytes) -> None:
    """Cut lines, blank ones, marks, bytes that are no text, escapes, other types, makers, too many batches."""
    assert answered_lines(data) is None
