"""Rows to lines: exact, with a census of every value."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections import namedtuple
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from datalake_service.chunks.encoder import RowEncoder
from datalake_service.errors import RowError
from datalake_service.jsontext import loads
from tests.support.json_values import ROWS, VALUES, canonical

Point = namedtuple("Point", "x y")  # noqa: PYI024 - the untyped kind is what people use


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Inner:
    n: int
    colour: Colour


class Model(BaseModel):
    when: date


def oracle_kind(value: Any) -> str:
    """The kind of a JSON value, decided from its JSON text and shares no code with the product."""
    text = json.dumps(value)
    if text in ("null", "true", "false"):
        return {"null": "n", "true": "b", "false": "b"}[text]
    if text[0] in "[{":
        return "j"
    if text[0] == '"':
        return "x" if any("\ud800" <= c <= "\udfff" for c in value) else "s"
    if set(text) <= set("-0123456789"):
        size = abs(int(text))
        return "i" if size <= 2**53 else "I" if -(2**63) <= int(text) < 2**63 else "B"
    return "f"


@given(st.lists(ROWS, min_size=1, max_size=8))
def test_lines_read_back_as_json_would_read_them(rows: list[dict[str, Any]]) -> None:
    """For every row that json writes, the line is one line and reads back equal, by both readers."""
    encoder = RowEncoder()
    for row in rows:
        line = encoder.encode(row)
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        assert canonical(json.loads(line)) == canonical(row)
        assert canonical(loads(line)) == canonical(row)


@given(st.lists(ROWS, min_size=1, max_size=8))
def test_the_census_holds_every_kind_of_every_row(rows: list[dict[str, Any]]) -> None:
    """The census is the union of the kinds of all values, whatever path a row took."""
    encoder = RowEncoder()
    expected: dict[str, set[str]] = {}
    for row in rows:
        encoder.encode(row)
        for column, value in row.items():
            expected.setdefault(column, set()).add(oracle_kind(value))
    census = encoder.take_census()
    # That a nested value has long numbers is said of all nested values of its row.
    assert {column: set(kinds.replace("J", "j")) for column, kinds in census.items()} == expected
    assert encoder.take_census() == {}


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**40])
def test_the_census_tells_of_long_numbers_inside_nested_values(number: int) -> None:
    """What a fast reader would read inexactly is marked, so that readers may trust all other chunks."""
    encoder = RowEncoder()
    encoder.encode({"nested": {"deep": [number]}, "other": 1})
    assert encoder.take_census() == {"nested": "J", "other": "i"}
    encoder.encode({"nested": {"deep": [1.5, 2**40, "x"]}})
    assert encoder.take_census() == {"nested": "j"}


@given(VALUES)
def test_the_row_is_not_changed(value: Any) -> None:
    """Encoding leaves the caller's row as it was."""
    row = {"id": 7, "value": value}
    before = canonical(row)
    RowEncoder().encode(row)
    assert canonical(row) == before


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), "2026-01-02T03:04:05.000006+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Decimal("1.10"), "1.10"),
        (b"\xff\x00", "/wA="),
        (bytearray(b"a"), "YQ=="),
        (np.int64(2**60), 2**60),
        (np.float32(1.5), 1.5),
        (np.bool_(True), True),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Inner(1, Colour.RED), {"n": 1, "colour": "red"}),
        (Model(when=date(2026, 1, 2)), {"when": "2026-01-02"}),
        (Point(1, 2), [1, 2]),
        ((1, 2), [1, 2]),
    ],
)
def test_documented_conversions(value: object, expected: object) -> None:
    """Values that json cannot write have one conversion, at the top of a row and deep inside."""
    line = loads(RowEncoder().encode({"a": value, "b": [{"c": value}]}))
    assert line == {"a": expected, "b": [{"c": expected}]}


def test_a_converted_nan_stays_a_nan() -> None:
    """A NaN that hides in a numpy value is not written as null."""
    line = RowEncoder().encode({"a": [np.float32("nan"), None], "b": np.float64("inf")})
    assert line == b'{"a":[NaN,null],"b":Infinity}\n'


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"ok": 1, "tags": {1, object()}}, "'tags'"),
        ({"deep": [{"x": object()}]}, "'deep'"),
        ({"deep": {("a",): 1}}, "'deep'"),
        ({("a",): 1}, "('a',)"),
        ({"_batch": "b"}, "'_batch'"),
        ({"_created_at": 1}, "'_created_at'"),
        ({"id": True}, "'id'"),
        ({"id": 1.5}, "'id'"),
        ({"id": "\ud800"}, "'id'"),
        (["no", "row"], "list"),
    ],
)
def test_what_cannot_be_stored_is_an_error_that_names_the_column(row: Any, named: str) -> None:
    """The error names the column, and the census does not know the row."""
    encoder = RowEncoder()
    with pytest.raises(RowError) as caught:
        encoder.encode(row)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    assert encoder.take_census() == {}


def test_a_value_that_contains_itself_is_refused() -> None:
    """A cycle is an error that names the column, not a crash."""
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(RowError, match="'loop'"):
        RowEncoder().encode({"loop": cycle})


def test_ids_are_text() -> None:
    """An integer id becomes its digits; null and text stay."""
    encoder = RowEncoder()
    assert encoder.encode({"id": 12}) == b'{"id":"12"}\n'
    assert encoder.encode({"id": None}) == b'{"id":null}\n'
    assert encoder.encode({"id": "1e5"}) == b'{"id":"1e5"}\n'


def test_sets_become_sorted_lists() -> None:
    """Equal sets make equal rows, however Python keeps them; also those whose elements have no order of their own."""
    row = {"text": {"b", "a", "c"}, "numbers": frozenset({10, 9, 2.5}), "mixed": {None, "a", 1, (2, 3)}, "none": set()}
    line = RowEncoder().encode(row)
    assert line == b'{"text":["a","b","c"],"numbers":[2.5,9,10],"mixed":["a",1,[2,3],null],"none":[]}\n'
