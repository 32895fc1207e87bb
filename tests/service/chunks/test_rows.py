from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_service.catalog.layout import ChunkName
from datalake_service.chunks.reader import parse_lines
from datalake_service.chunks.rows import Census, Origin, identify
from tests.support.json_values import ROWS

CHUNK = Origin("a1b2c3_chunk_00007.jsonl", ChunkName("a1b2c3", 7))
FOREIGN = Origin("export.jsonl", None)


def identified(data: bytes, origin: Origin = CHUNK, *, trusted: bool = False) -> tuple[list[str], Any]:
    """The ids and the lines of some bytes."""
    lines = parse_lines(data)
    return identify(lines, origin, trusted=trusted), lines


def test_rows_of_chunks_are_named_by_their_place() -> None:
    """Run, chunk and line; blank and bad lines are counted, null is no id."""
    ids, lines = identified(b'{"a":0}\n\nnonsense\n{"a":3,"id":null}\n{"id":"own"}\n')
    assert ids == ["a1b2c3-00007-0", "a1b2c3-00007-3", "own"]
    assert lines.rows == [{"a": 0}, {"a": 3}, {}]


def test_rows_of_foreign_files_are_named_by_place_and_content() -> None:
    """The same file gives the same ids; another name, line or content gives others."""
    data = b'{"a":1}\n{"a":1}\n'
    ids, _ = identified(data, FOREIGN)
    assert identified(data, FOREIGN)[0] == ids
    assert len({*ids, *identified(data, Origin("other.jsonl", None))[0], *identified(b'{"a":2}', FOREIGN)[0]}) == 5
    assert all(len(row_id) == 32 and int(row_id, 16) >= 0 for row_id in ids)


@given(st.lists(ROWS, min_size=1, max_size=5), st.integers(0, 5))
def test_foreign_ids_do_not_depend_on_how_a_file_is_cut(rows: list[dict[str, Any]], cut: int) -> None:
    """Blocks of a stream give the ids that the whole file gives."""
    texts = [json.dumps(row).encode() + b"\n" for row in rows]
    whole, _ = identified(b"".join(texts), FOREIGN)
    first = parse_lines(b"".join(texts[:cut]))
    second = parse_lines(b"".join(texts[cut:]), first=min(cut, len(texts)), offset=len(b"".join(texts[:cut])))
    assert identify(first, FOREIGN, trusted=False) + identify(second, FOREIGN, trusted=False) == whole


@pytest.mark.parametrize(
    ("value", "expected"), [('"text"', "text"), ("17", "17"), ("-5", "-5"), (f"{2**70}", str(2**70)), ('""', "")]
)
def test_own_ids_are_text_or_digits(value: str, expected: str) -> None:
    """Text stays as it is; an integer of any size is its digits."""
    assert identified(f'{{"id":{value}}}'.encode())[0] == [expected]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1.5", "column 'id': an id is text or an integer, not a JSON number with a fraction"),
        ("true", "column 'id': an id is text or an integer, not a JSON boolean"),
        ("[1]", "column 'id': an id is text or an integer, not a JSON array"),
        ('{"a":1}', "column 'id': an id is text or an integer, not a JSON object"),
        ('"\\ud800"', "column 'id': text with lone surrogates"),
    ],
)
def test_other_ids_are_refused(value: str, message: str) -> None:
    """The row becomes a bad line; the rows around it keep their ids."""
    ids, lines = identified(f'{{"a":0}}\n{{"id":{value}}}\n{{"a":2}}\n'.encode())
    assert ids == ["a1b2c3-00007-0", "a1b2c3-00007-2"]
    assert [(bad.number, bad.message) for bad in lines.bad] == [(1, message)]


@pytest.mark.parametrize("column", ["_batch", "_created_at"])
@pytest.mark.parametrize("value", ["1", "null"])
def test_system_columns_are_refused(column: str, value: str) -> None:
    """A line that brings one is no row, whatever its value."""
    ids, lines = identified(f'{{"{column}":{value},"id":"x"}}\n{{"id":"y"}}\n'.encode())
    assert ids == ["y"]
    assert lines.bad[0].message == f"column {column!r} is a system column"


@given(st.lists(ROWS, max_size=6))
def test_the_census_names_every_kind(rows: list[dict[str, Any]]) -> None:
    """Each column with each kind of its values, in the order in which columns first appear."""
    census = Census()
    census.count(rows[:3])
    census.count(rows[3:])
    kinds = census.kinds()
    assert list(kinds) == list(dict.fromkeys(name for row in rows for name in row))
    for name in kinds:
        types = {type(row[name]) for row in rows if name in row}
        assert (type(None) in types) == ("n" in kinds[name])
        assert (bool in types) == ("b" in kinds[name])
        assert (float in types) == ("f" in kinds[name])
        assert bool(types & {list, dict}) == ("j" in kinds[name])
        assert (int in types) == bool(set("iIB") & set(kinds[name]))
        assert (str in types) == bool(set("sx") & set(kinds[name]))
