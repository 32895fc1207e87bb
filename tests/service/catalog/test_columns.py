"""Kinds of values and the column types that follow."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_service.catalog.columns import ColumnType, column_type, kind_of, merge_censuses
from tests.support.json_values import VALUES


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([None], ColumnType.NULL),
        ([True, None], ColumnType.BOOL),
        ([1, 2**60], ColumnType.INT64),
        ([1.5, float("nan")], ColumnType.DOUBLE),
        (["a"], ColumnType.STRING),
        ([1, 1.5], ColumnType.NUMBER),
        ([2**53, 1.5], ColumnType.NUMBER),
        ([2**53 + 1, 1.5], ColumnType.JSON),
        ([2**63], ColumnType.JSON),
        ([-(2**63)], ColumnType.INT64),
        ([True, 1], ColumnType.JSON),
        ([1, "a"], ColumnType.JSON),
        (["\ud800"], ColumnType.JSON),
        ([[1]], ColumnType.JSON),
        ([{}], ColumnType.JSON),
    ],
)
def test_types_keep_every_value(values: list[Any], expected: ColumnType) -> None:
    """A native type is taken only where it holds every value exactly."""
    assert column_type({kind_of(value) for value in values}) is expected


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.lists(VALUES, min_size=1, max_size=3)), max_size=5))
def test_merging_censuses_is_a_union(parts: list[dict[str, list[Any]]]) -> None:
    """No column and no kind is lost, in whatever parts they came."""
    censuses = [{name: "".join(map(kind_of, values)) for name, values in part.items()} for part in parts]
    merged = merge_censuses(censuses)
    assert {name: set(kinds) for name, kinds in merged.items()} == {
        name: {kind_of(value) for part in parts for value in part.get(name, [])} for part in parts for name in part
    }


def test_what_is_no_json_has_no_kind() -> None:
    """A value that json cannot hold is an error, not a guess."""
    with pytest.raises(TypeError, match="set"):
        kind_of({1})
