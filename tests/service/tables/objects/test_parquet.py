from __future__ import annotations

import errno
import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_service.catalog.columns import SYSTEM_COLUMNS, kind_of, merge_censuses
from datalake_service.errors import MergeError, ObjectNotFoundError, PreconditionFailedError, StoreError
from datalake_service.storage.base import CreateOnly, ObjectStore, Overwrite
from datalake_service.storage.folder import FolderStore
from datalake_service.tables.formats.schema import MergedMetadata, TableSchema, row_schema
from datalake_service.tables.formats.values import UnexpectedKindsError
from datalake_service.tables.objects.blocks import ParsedBlock, StoredBlock
from datalake_service.tables.objects.merged import MergedFile
from datalake_service.tables.objects.parquet import MergedWriter, repeating_columns
from datalake_service.tables.objects.ranged import RangedFile
from tests.support.faulty_store import Crash, Fault, FaultyStore, at
from tests.support.json_values import ROWS, canonical

KEY = "d/b/merged.parquet"
Rows = list[dict[str, Any]]


def schema_of(*parts: Rows) -> TableSchema:
    """The schema that holds all of these rows."""
    return row_schema(merge_censuses({name: kind_of(row[name]) for name in row} for rows in parts for row in rows))


def block(rows: Rows, start: int = 0) -> ParsedBlock:
    """Rows with ids by their number."""
    ids = [f"id{number}" for number in range(start, start + len(rows))]
    return ParsedBlock(ids, rows, {"_batch": ["b"] * len(rows), "_created_at": ["t"] * len(rows)})


def metadata(schema: TableSchema) -> MergedMetadata:
    """A commit record."""
    return MergedMetadata(
        kind="rows",
        attempt="0123456789ab",
        merged_at=datetime(2026, 1, 1, tzinfo=UTC),
        columns=schema.columns,
        counts={},
    )


def write(path: Path, rows: Rows, **limits: int) -> TableSchema:
    """A merged object in a local file."""
    schema = schema_of(rows)
    writer = MergedWriter(path, schema, **limits)
    for start in range(0, len(rows), 100):
        writer.add(block(rows[start : start + 100], start).table(schema, None))
    writer.finish(metadata(schema))
    assert writer.rows == len(rows)
    return schema


def stored(store: ObjectStore, tmp_path: Path, rows: Rows, **limits: int) -> None:
    """A merged object in a store."""
    path = tmp_path / "local.parquet"
    path.unlink(missing_ok=True)
    write(path, rows, **limits)
    store.put(KEY, path, mode=Overwrite())


def test_an_object_without_rows_is_valid(tmp_path: Path) -> None:
    """Columns, a commit record, no row group that says otherwise."""
    write(tmp_path / "m.parquet", [])
    assert pq.read_table(tmp_path / "m.parquet").num_rows == 0
    assert pq.read_schema(tmp_path / "m.parquet").names == ["id", "_batch", "_created_at"]


def test_row_groups_are_bounded_by_bytes_and_rows(tmp_path: Path) -> None:
    """Large rows make small groups; a single row may be larger than a group."""
    rows: Rows = [{"text": "x" * 1000} for _ in range(1000)] + [{"text": "y" * 90_000}] + [{"text": "z"}] * 500
    write(tmp_path / "m.parquet", rows, group_bytes=50_000, group_rows=300)
    with pq.ParquetFile(tmp_path / "m.parquet") as file:
        groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
        assert sum(group.num_rows for group in groups) == 1501
        assert max(group.num_rows for group in groups) <= 300
        assert max(group.total_byte_size for group in groups) < 200_000
        assert len(groups) > 10
        assert [text.as_py() for text in file.read().column("text")] == [row["text"] for row in rows]


def test_a_table_larger_than_a_row_group_is_cut(tmp_path: Path) -> None:
    """What comes in one piece need not go out in one."""
    rows: Rows = [{"n": number} for number in range(1000)]
    schema = schema_of(rows)
    writer = MergedWriter(tmp_path / "m.parquet", schema, group_rows=64)
    writer.add(block(rows).table(schema, None))
    writer.finish(metadata(schema))
    with pq.ParquetFile(tmp_path / "m.parquet") as file:
        assert [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)] == [64] * 15 + [40]
        assert file.read().column("n").to_pylist() == list(range(1000))


def test_pages_can_be_found(tmp_path: Path) -> None:
    """Every column has an offset index, so that a reader of a few rows need not read a row group."""
    write(tmp_path / "m.parquet", [{"text": f"{number}" * 100_000, "n": number} for number in range(64)])
    with pq.ParquetFile(tmp_path / "m.parquet") as file:
        columns = [file.metadata.row_group(0).column(number) for number in range(5)]
        assert all(column.has_offset_index for column in columns)


def test_dictionaries_are_for_values_that_repeat() -> None:
    """Decided on the first rows."""
    table = pa.table({
        "unique": [f"{number}" for number in range(1000)], "few": ["a", "b"] * 500, "flag": [True, False] * 500,
        "numbers": [1, 2] * 500, "none": pa.nulls(1000),
    })  # fmt: skip
    assert repeating_columns(table) == ["few", "numbers", "none"]
    assert repeating_columns(table.slice(0, 0)) == ["unique", "few", "numbers", "none"]


def test_a_full_disk_is_an_error_with_a_name() -> None:
    """The thread's error reaches the caller, and the caller never waits for a dead thread."""
    schema = schema_of([{"text": "x"}])
    writer = MergedWriter(Path("/dev/full"), schema, group_bytes=1000)
    rng = np.random.default_rng(7)

    def fill() -> None:
        for _ in range(200):
            text = rng.integers(0, 10, 100_000).tobytes().hex()
            writer.add(block([{"text": text}]).table(schema, None))
        writer.finish(metadata(schema))

    with pytest.raises(MergeError, match=r"cannot write the temporary file /dev/full: .*[Nn]o space left"):
        fill()
    writer.abort()
    assert not [thread for thread in threading.enumerate() if thread.name == "parquet"]


def test_a_file_that_ends_too_early_is_noticed(tmp_path: Path) -> None:
    """What was written is checked before anybody relies on it."""
    path = tmp_path / "m.parquet"
    schema = schema_of([{"a": 1}])
    writer = MergedWriter(path, schema)
    writer.add(block([{"a": 1}]).table(schema, None))
    writer.finish(metadata(schema))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(
        MergeError, match=r"cannot write the temporary file .*m\.parquet: Parquet magic bytes not found"
    ):
        writer._verify(metadata(schema))


def test_other_rows_than_were_written_are_noticed(tmp_path: Path) -> None:
    """A count that does not agree leaves the batch as it was."""
    schema = schema_of([{"a": 1}])
    writer = MergedWriter(tmp_path / "m.parquet", schema)
    writer.add(block([{"a": 1}]).table(schema, None))
    writer.rows += 1
    with pytest.raises(MergeError, match="holds 1 rows after 2 were written"):
        writer.finish(metadata(schema))


def test_aborting_leaves_no_thread(tmp_path: Path) -> None:
    """At any time."""
    schema = schema_of([{"a": 1}])
    MergedWriter(tmp_path / "a.parquet", schema).abort()
    writer = MergedWriter(tmp_path / "b.parquet", schema, group_rows=1)
    writer.add(block([{"a": 1}]).table(schema, None))
    writer.abort()
    assert not [thread for thread in threading.enumerate() if thread.name == "parquet"]


@given(st.lists(ROWS, max_size=8), st.integers(1, 4), st.lists(ROWS, max_size=3))
def test_rows_come_back_from_a_merged_object(rows: Rows, group_rows: int, others: Rows) -> None:
    """As they were, also with the columns and types that later rows make necessary."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        store = FolderStore(Path(name) / "lake", durable=False)
        path = Path(name) / "m.parquet"
        write(path, rows, group_rows=group_rows)
        store.put(KEY, path, mode=CreateOnly())
        with closing(MergedFile(store, store.head(KEY))) as file:
            assert file.rows == len(rows)
            blocks = [
                StoredBlock(file, file.read_group(number), system=SYSTEM_COLUMNS)
                for number in range(len(file.group_sizes))
            ]
            every = [np.ones(len(item.ids), np.bool_) for item in blocks]
            contents = [row for item, mask in zip(blocks, every, strict=True) for row in item.contents(mask)]
            wanted = [{name: value for name, value in row.items() if value is not None} for row in rows]
            assert [canonical(row) for row in contents] == [canonical(row) for row in wanted]
            assert [row_id for item in blocks for row_id in item.ids] == [f"id{n}" for n in range(len(rows))]
            schema = schema_of(rows, others)
            wide = Path(name) / "wide.parquet"
            writer = MergedWriter(wide, schema)
            for item in blocks:
                writer.add(item.table(schema, None))
            writer.finish(metadata(schema))
        store.put(KEY, wide, mode=Overwrite())
        with closing(MergedFile(store, store.head(KEY))) as file:
            assert file.schema == schema
            again = [
                canonical(row)
                for number in range(len(file.group_sizes))
                for item in [StoredBlock(file, file.read_group(number), system=SYSTEM_COLUMNS)]
                for row in item.contents(np.ones(len(item.ids), np.bool_))
            ]
        assert again == [canonical(row) for row in wanted]


def test_blocks_give_the_rows_that_are_asked_for(folder_store: FolderStore, tmp_path: Path) -> None:
    """Parsed and stored rows alike: chosen rows, values of a column, system columns."""
    rows: Rows = [{"a": 1, "n": None}, {"a": 2.5, "b": [1]}, {"b": "x"}]
    stored(folder_store, tmp_path, rows)
    mask = np.array([False, True, True])
    with closing(MergedFile(folder_store, folder_store.head(KEY))) as file:
        table = file.read_group(0)
        for item in (block(rows), StoredBlock(file, table, system=SYSTEM_COLUMNS)):
            assert item.values("a") == [1, 2.5, None]
            assert item.values("id") == ["id0", "id1", "id2"]
            assert item.values("nobody") == [None] * 3
            assert item.values("_batch") == ["b"] * 3
            assert list(item.contents(mask)) == rows[1:]
            assert list(item.stored(mask)) == [
                {"id": "id1", **rows[1], "_batch": "b", "_created_at": "t"},
                {"id": "id2", **rows[2], "_batch": "b", "_created_at": "t"},
            ]
            assert item.table(file.schema, mask).column("id").to_pylist() == ["id1", "id2"]


def test_a_column_that_no_census_named_is_noticed() -> None:
    """It would be lost otherwise."""
    with pytest.raises(UnexpectedKindsError, match="columns that no census named"):
        block([{"a": 1}, {"b": 1}]).table(schema_of([{"a": 1}]), None)


def test_rows_without_an_id_are_damage(folder_store: FolderStore, tmp_path: Path) -> None:
    """Every merged row has one."""
    schema = schema_of([])
    writer = MergedWriter(tmp_path / "m.parquet", schema)
    writer.add(pa.Table.from_pylist([{"id": None}], schema=schema.arrow()))
    writer.finish(metadata(schema))
    folder_store.put(KEY, tmp_path / "m.parquet", mode=CreateOnly())
    with (
        closing(MergedFile(folder_store, folder_store.head(KEY))) as file,
        pytest.raises(StoreError, match="without an id"),
    ):
        StoredBlock(file, file.read_group(0), system=SYSTEM_COLUMNS)


def test_one_version_is_read_or_none(any_store: ObjectStore, tmp_path: Path) -> None:
    """An object that is replaced while it is read is an error that a merge knows how to handle."""
    stored(any_store, tmp_path, [{"text": f"{number}" * 100} for number in range(1000)], group_rows=100)
    meta = any_store.head(KEY)
    with closing(MergedFile(any_store, meta)) as file:
        assert file.read_group(3, ["text"]).column("text")[0].as_py() == "300" * 100
        stored(any_store, tmp_path, [{"text": "other"}])
        with pytest.raises(PreconditionFailedError):
            file.read_group(4)
    with pytest.raises(PreconditionFailedError):
        MergedFile(any_store, meta)
    any_store.delete(KEY)
    with pytest.raises(ObjectNotFoundError):
        MergedFile(any_store, meta)


def test_a_crash_while_reading_is_a_crash(folder_store: FolderStore, tmp_path: Path) -> None:
    """Nothing of what the store raises is lost on its way through Arrow."""
    stored(folder_store, tmp_path, [{"text": "x"}])

    def read(store: ObjectStore) -> None:
        with closing(MergedFile(store, folder_store.head(KEY))) as file:
            file.read_group(0)

    clean = FaultyStore(folder_store)
    read(clean)
    for number in range(1, len(clean.operations) + 1):
        with pytest.raises(Crash):
            read(FaultyStore(folder_store, {number: Fault.CRASH_BEFORE}))
    slow = FaultyStore(folder_store, at("open", Fault.UNAVAILABLE))
    with pytest.raises(StoreError, match="planned"):
        MergedFile(slow, folder_store.head(KEY))


@pytest.mark.parametrize("cut", [0, 3, 100, -1, -9])
def test_a_truncated_object_is_told(folder_store: FolderStore, tmp_path: Path, cut: int) -> None:
    """In one line that names it."""
    write(tmp_path / "m.parquet", [{"text": "x" * 1000}])
    folder_store.put(KEY, (tmp_path / "m.parquet").read_bytes()[:cut], mode=CreateOnly())
    with pytest.raises(StoreError, match=r"d/b/merged\.parquet is no complete Parquet file"):
        MergedFile(folder_store, folder_store.head(KEY))


def test_a_foreign_parquet_file_is_told(folder_store: FolderStore, tmp_path: Path) -> None:
    """It has no commit record."""
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "m.parquet")
    folder_store.put(KEY, tmp_path / "m.parquet", mode=CreateOnly())
    with pytest.raises(StoreError, match="was not written by a merge of datalake"):
        MergedFile(folder_store, folder_store.head(KEY))


def test_a_damaged_row_group_is_told(folder_store: FolderStore, tmp_path: Path) -> None:
    """The footer is fine, the data is not."""
    write(tmp_path / "m.parquet", [{"text": f"{number:08x}"} for number in range(5000)])
    body = bytearray((tmp_path / "m.parquet").read_bytes())
    body[4:4000] = bytes(3996)
    folder_store.put(KEY, bytes(body), mode=CreateOnly())
    with (
        closing(MergedFile(folder_store, folder_store.head(KEY))) as file,
        pytest.raises(StoreError, match="row group 0"),
    ):
        file.read_group(0)


@pytest.mark.parametrize("name", ["a.b", 'a"b', "", "a"])
def test_columns_are_read_by_their_true_names(folder_store: FolderStore, tmp_path: Path, name: str) -> None:
    """Also where one name is the beginning of another."""
    stored(folder_store, tmp_path, [{"a.b": 1, 'a"b': 2, "": 3, "a": 4}])
    with closing(MergedFile(folder_store, folder_store.head(KEY))) as file:
        table = file.read_group(0, [name])
        assert len(table.columns) == 1
        assert file.values(table, name) == [{"a.b": 1, 'a"b': 2, "": 3, "a": 4}[name]]
        with pytest.raises(KeyError, match="no column 'b'"):
            file.field_name("b")


def test_a_ranged_file_reads_what_is_there(folder_store: FolderStore) -> None:
    """Like an open file, one request for each read."""
    meta = folder_store.put(KEY, bytes(range(100)), mode=CreateOnly())
    store = FaultyStore(folder_store)
    with RangedFile(store, meta) as file:
        assert file.readable()
        assert file.seekable()
        assert file.seek(-10, 2) == 90
        assert file.read(4) == bytes(range(90, 94))
        assert file.tell() == 94
        assert file.seek(2, 1) == 96
        assert file.read() == bytes(range(96, 100))
        assert file.read(5) == b""
        assert file.seek(0) == 0
        buffer = bytearray(200)
        assert file.readinto(buffer) == 100
        assert buffer[:100] == bytes(range(100))
    assert len(store.operations) == 3
    with (
        RangedFile(store, replace(meta, size=200)) as file,
        pytest.raises(StoreError, match="gave 100 of the 200 bytes"),
    ):
        file.read()


def test_the_reason_of_a_system_error_is_kept() -> None:
    """Errors of the operating system say their reason, others their message."""
    writer = MergedWriter(Path("x"), schema_of([]))
    assert "no space left" in str(writer._failed(OSError(errno.ENOSPC, "no space left"))).lower()
    assert str(writer._failed(ValueError("first line\nsecond"))).endswith("first line")
