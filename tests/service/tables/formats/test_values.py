from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_service.catalog.columns import ColumnType, column_type, kind_of
from datalake_service.tables.formats.schema import arrow_type
from datalake_service.tables.formats.values import UnexpectedKindsError, dump_json, to_arrow, to_values, widen
from tests.support.json_values import FLOATS, INTEGERS, TEXT, VALUES, canonical

SAME_KIND: st.SearchStrategy[list[Any]] = st.one_of(
    [
        st.lists(st.one_of(st.none(), kind), max_size=8)
        for kind in (st.booleans(), INTEGERS, FLOATS, TEXT, VALUES, st.one_of(INTEGERS, FLOATS), st.text(), st.none())
    ]
)


def type_of(*columns: list[Any]) -> ColumnType:
    """The type of a column that holds all of these values."""
    return column_type({kind_of(value) for values in columns for value in values})


@given(SAME_KIND)
def test_values_come_back_as_they_were(values: list[Any]) -> None:
    """Bit for bit, whatever type the census makes of them."""
    kind = type_of(values)
    column = to_arrow(values, kind)
    assert column.type == arrow_type(kind)
    column.validate(full=True)
    assert canonical(to_values(column, kind)) == canonical(values)


@given(SAME_KIND, SAME_KIND)
def test_a_column_that_gets_another_type_keeps_its_values(old: list[Any], new: list[Any]) -> None:
    """Stored as the type of its own values, then widened to the type of these and others."""
    before, after = type_of(old), type_of(old, new)
    stored = pa.chunked_array([to_arrow(old[:2], before), to_arrow(old[2:], before)], arrow_type(before))
    widened = widen(stored, before, after)
    assert widened.type == arrow_type(after)
    assert canonical(to_values(widened, after)) == canonical(old)


@given(SAME_KIND, SAME_KIND)
def test_values_of_another_type_are_refused_not_converted(values: list[Any], others: list[Any]) -> None:
    """A census that is wrong is noticed: either the values come back, or none are stored."""
    kind = type_of(others)
    try:
        column = to_arrow(values, kind)
    except UnexpectedKindsError:
        assert kind is not type_of(others, values)
    else:
        assert canonical(to_values(column, kind)) == canonical(values)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1], ColumnType.DOUBLE),
        ([1.0], ColumnType.INT64),
        ([True], ColumnType.INT64),
        ([1], ColumnType.BOOL),
        (["1"], ColumnType.INT64),
        ([1], ColumnType.STRING),
        ([2**63], ColumnType.INT64),
        ([2**53 + 1], ColumnType.NUMBER),
        (["x"], ColumnType.NUMBER),
        (["\ud800"], ColumnType.STRING),
        ([[1]], ColumnType.STRING),
        ([0], ColumnType.NULL),
    ],
)
def test_what_arrow_would_convert_is_refused(values: list[Any], kind: ColumnType) -> None:
    """Arrow itself would take some of these silently."""
    with pytest.raises(UnexpectedKindsError):
        to_arrow(values, kind)


@given(VALUES)
def test_json_text_is_what_json_reads(value: Any) -> None:
    """Not a number lost, not a NaN turned into null."""
    assert canonical(json.loads(dump_json(value))) == canonical(value)


@pytest.mark.parametrize("depth", [250, 260, 990, 1020])
def test_what_could_be_read_can_be_written(depth: int) -> None:
    """However deep: the fast reader goes deeper than Python can call."""
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value, "b": [None, "x"]}
    text = dump_json(value)
    assert text.count(b"[") == text.count(b"]") == depth // 2 + (depth + 1) // 2
    assert text.count(b"{") == text.count(b"}") == (depth + 1) // 2
    (again,) = to_values(to_arrow([value], ColumnType.JSON), ColumnType.JSON)
    assert dump_json(again) == text


def test_a_type_cannot_become_narrower() -> None:
    """Nothing asks for it; if something does, it is a mistake in this program."""
    with pytest.raises(ValueError, match="cannot change from string to int64"):
        widen(pa.chunked_array([["x"]]), ColumnType.STRING, ColumnType.INT64)
