from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_service.catalog.annotations import ANNOTATION_COLUMNS
from datalake_service.catalog.columns import ColumnType
from datalake_service.errors import StoreError
from datalake_service.tables.formats.schema import (
    Column,
    MergedMetadata,
    TableSchema,
    annotation_schema,
    physical_names,
    row_schema,
)
from tests.support.json_values import TEXT

NAMES = st.one_of(
    TEXT, st.sampled_from(["", "text", "Text", "a.b", 'a"b', "select", "column_1", "column_1_", "column_2", "a\0b"])
)
KINDS = st.sets(st.sampled_from("nbiIBfsxjJ")).map(lambda kinds: "".join(sorted(kinds)))
CENSUS = st.dictionaries(NAMES.filter(lambda name: name not in ("id", "_batch", "_created_at")), KINDS, max_size=8)
METADATA = MergedMetadata(
    kind="rows",
    attempt="f0f1f2f3f4f5",
    merged_at=datetime(2026, 11, 20, 13, 0, 0, 5, tzinfo=UTC),
    columns=(Column("id", "s"), Column("\ud800", "j")),
    counts={"rows": 3, "duplicates": 1},
    contains=(("a1b2c3_chunk_00000.jsonl", "etag"),),
    kept=("x.jsonl",),
    deduplicate_on=(("text",), ("text", "n")),
    duplicates="f0f1f2f3f4f5",
)


@given(st.lists(NAMES, unique=True, max_size=10))
def test_every_column_gets_a_field_that_parquet_can_keep(names: list[str]) -> None:
    """Distinct, not empty, UTF-8, without null characters; the same name wherever that is possible."""
    fields = physical_names(names)
    assert len(set(fields)) == len(names)
    for name, field in zip(names, fields, strict=True):
        field.encode("utf-8")
        assert field
        assert "\0" not in field
        usable = bool(name) and "\0" not in name and not any("\ud800" <= letter <= "\udfff" for letter in name)
        assert (field == name) == usable


@given(CENSUS)
def test_a_schema_survives_arrow(census: dict[str, str]) -> None:
    """True names, types and kinds come back from the field metadata, in order."""
    schema = row_schema(census)
    assert [column.name for column in schema.columns] == ["id", *census, "_batch", "_created_at"]
    assert TableSchema.from_arrow(schema.arrow(), key="k") == schema
    assert TableSchema.from_arrow(pa.ipc.read_schema(schema.arrow().serialize()), key="k") == schema


def test_the_id_is_one_column() -> None:
    """A census that counted the ids of rows adds no second column."""
    assert [column.name for column in row_schema({"id": "s", "a": "i"}).columns] == [
        "id", "a", "_batch", "_created_at",
    ]  # fmt: skip
    assert [column.name for column in annotation_schema({"id": "s", "label": "s"}).columns] == [
        "id", *ANNOTATION_COLUMNS, "label",
    ]  # fmt: skip


def test_types_are_native_where_they_can_be() -> None:
    """Everything else is text with 64-bit offsets."""
    schema = row_schema({"b": "bn", "i": "iI", "f": "f", "s": "s", "number": "fi", "mixed": "is", "none": "n"})
    types = {
        column.name: (column.type, field.type) for column, field in zip(schema.columns, schema.arrow(), strict=True)
    }
    text = pa.large_string()
    assert types["b"] == (ColumnType.BOOL, pa.bool_())
    assert types["i"] == (ColumnType.INT64, pa.int64())
    assert types["f"] == (ColumnType.DOUBLE, pa.float64())
    assert types["s"] == (ColumnType.STRING, text)
    assert types["number"] == (ColumnType.NUMBER, text)
    assert types["mixed"] == (ColumnType.JSON, text)
    assert types["none"] == (ColumnType.NULL, text)


@pytest.mark.parametrize("metadata", [None, {b"datalake.name": b'"a"'}, {
    b"datalake.name": b'"a"', b"datalake.kinds": b"i", b"datalake.type": b"string",
}])  # fmt: skip
def test_a_foreign_schema_is_refused(metadata: dict[bytes, bytes] | None) -> None:
    """A Parquet file that no merge wrote is not taken for one."""
    schema = pa.schema([pa.field("a", pa.int64(), metadata=metadata)])
    with pytest.raises(StoreError, match="k was not written by a merge of datalake"):
        TableSchema.from_arrow(schema, key="k")


def test_the_commit_record_survives_json() -> None:
    """Everything that a later merge has to know."""
    assert MergedMetadata.from_json(METADATA.to_json(), key="k") == METADATA
    assert MergedMetadata.from_json(replace(METADATA, duplicates=None).to_json(), key="k").duplicates is None


def test_the_commit_record_is_as_documented() -> None:
    """Other readers (DuckDB has no Arrow metadata) rely on these names."""
    document = json.loads(METADATA.to_json())
    assert document["format"] == 1
    assert document["contains"] == [["a1b2c3_chunk_00000.jsonl", "etag"]]
    assert document["deduplicateOn"] == [["text"], ["text", "n"]]
    assert document["columns"][0] == {"name": "id", "type": "string", "kinds": "s"}


@pytest.mark.parametrize("change", [{"format": 2}, {"format": "1"}])
def test_a_newer_format_is_refused_politely(change: dict[str, object]) -> None:
    """The message says what to do."""
    document = json.loads(METADATA.to_json()) | change
    with pytest.raises(StoreError, match="please upgrade"):
        MergedMetadata.from_json(json.dumps(document).encode(), key="k")


@pytest.mark.parametrize("record", [b"null", b"{", b"[]", b'{"format":1}'])
def test_a_record_that_is_none_is_refused(record: bytes) -> None:
    """A damaged footer is an error that names the object."""
    with pytest.raises(StoreError, match="k was not written by a merge"):
        MergedMetadata.from_json(record, key="k")
