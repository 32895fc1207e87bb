from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_service.catalog.columns import ColumnType
from datalake_service.jsontext import dumps
from datalake_service.tables.formats.rows import ExportRow, RowMaker, decoded
from tests.support.json_values import VALUES, canonical


@given(values=st.lists(VALUES, max_size=6))
def test_a_column_of_json_is_decoded_exactly(values: list[Any]) -> None:
    """Huge integers, NaN and lone surrogates as well, whatever else is in the column."""
    texts = [None if value is None else dumps(value).decode() for value in values]
    assert [canonical(value) for value in decoded(texts)] == [canonical(json.loads(text or "null")) for text in texts]


def row() -> ExportRow:
    """One row."""
    made = RowMaker(["id", "text"], [ColumnType.STRING, ColumnType.STRING], batch="b")([("x", "hello", "2026")])
    return made[0]


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_row_can_be_copied_and_sent(copied: Any) -> None:
    """With its batch and its time."""
    other = copied(row())
    assert other == {"id": "x", "text": "hello"}
    assert (other.id, other.batch, other["_created_at"]) == ("x", "b", "2026")


def test_a_row_is_written_like_any_dict() -> None:
    """By json, by orjson, by unpacking."""
    assert (
        json.loads(json.dumps(row())) == orjson.loads(orjson.dumps(row())) == {**row()} == {"id": "x", "text": "hello"}
    )
    assert row().get("_batch") is None
    assert "_batch" not in row()
