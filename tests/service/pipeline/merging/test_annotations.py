from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.catalog.annotations import ANNOTATION_COLUMNS
from datalake_service.catalog.manifests import RunManifest, save_manifest
from datalake_service.chunks.reader import MAX_KEPT_BYTES
from datalake_service.errors import DatalakeError, MergeError, NameNotAllowedError, StoreError
from datalake_service.pipeline.merging.merge import MAX_ATTEMPTS, merge_annotator
from datalake_service.storage.base import CreateOnly, ObjectMeta, ObjectStore, Overwrite, PutMode
from datalake_service.storage.folder import FolderStore
from datalake_utils.clock import ManualClock
from tests.support.faulty_store import FaultyStore
from tests.support.json_values import VALUES, canonical
from tests.support.merging import TinyLimits, read_merged, read_record, read_rejected

PREFIX = "d/annotations/a/"
TEMP = f"{PREFIX}.temp/"

Row = dict[str, Any]


def row(row_id: str, batch: str, status: str = "done", **columns: Any) -> Row:
    """An annotation row."""
    return {"id": row_id, "_batch": batch, "_status": status, "_annotated_at": "2026-11-20T13:00:00.000000Z", **columns}


def chunk(store: ObjectStore, name: str, *rows: Row | bytes) -> None:
    """Rows as JSON, bytes as they are."""
    lines = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in rows]
    store.put(f"{TEMP}{name}_chunk_00000.jsonl", b"".join(line + b"\n" for line in lines), mode=CreateOnly())


def merged(store: ObjectStore, batch: str) -> dict[str, Row]:
    """The merged annotations of a batch by id, without what is the same in all of them."""
    rows = read_merged(store, f"{PREFIX}{batch}/merged.parquet")
    assert all(found.pop("_batch") == batch and found.pop("_annotated_at") for found in rows)
    ids = [found.pop("id") for found in rows]
    assert len(set(ids)) == len(ids)
    return dict(zip(ids, rows, strict=True))


def counts(store: ObjectStore, batch: str) -> Any:
    """What the commit record counts."""
    return read_record(store, f"{PREFIX}{batch}/merged.parquet")["counts"]


def test_each_batch_gets_its_annotations(any_store: ObjectStore) -> None:
    """Chunks hold rows of many batches; what is final stays, what failed is replaced."""
    chunk(any_store, "aaaaaa", row("1", "b1", "failed", _error="no"), row("2", "b1", v=1), row("1", "b10", v="x"))
    result = merge_annotator(any_store, "d", "a")
    assert set(result.batches) == {"b1", "b10"}
    assert (result.batches["b1"].rows, result.batches["b1"].chunks) == (2, 1)
    chunk(
        any_store, "bbbbbb", row("1", "b1", v=[1]), row("2", "b1", v=3), row("3", "b1", "skipped", _metadata={"m": 1})
    )
    result = merge_annotator(any_store, "d", "a")
    assert set(result.batches) == {"b1"}
    assert (result.batches["b1"].rows, result.batches["b1"].new_rows, result.batches["b1"].repeated) == (3, 1, 2)
    assert merged(any_store, "b1") == {
        "1": {"_status": "done", "v": [1]},
        "2": {"_status": "done", "v": 1},
        "3": {"_status": "skipped", "_metadata": {"m": 1}},
    }
    assert merged(any_store, "b10") == {"1": {"_status": "done", "v": "x"}}
    assert counts(any_store, "b1") == {"rows": 3, "done": 2, "skipped": 1, "failed": 0, "superseded": 2}
    assert list(any_store.list(TEMP)) == []
    assert merge_annotator(any_store, "d", "a").batches == {}


def test_columns_stand_behind_the_system_columns(folder_store: FolderStore) -> None:
    """In the order in which they first came; those of another batch are not among them."""
    chunk(folder_store, "aaaaaa", row("1", "b1", z=1, a=2), row("2", "b2", other=1), row("3", "b1", m=None))
    merge_annotator(folder_store, "d", "a")
    names = [column["name"] for column in read_record(folder_store, f"{PREFIX}b1/merged.parquet")["columns"]]
    assert names == ["id", *ANNOTATION_COLUMNS, "z", "a", "m"]


STATUS = st.sampled_from(["done", "skipped", "failed"])
ANNOTATIONS = st.tuples(
    st.sampled_from(["r1", "r2", "r3", "ré"]), st.sampled_from(["b1", "b2"]), STATUS,
    st.dictionaries(st.sampled_from(["v", "V", "a.b", ""]), VALUES, max_size=2),
)  # fmt: skip


@pytest.mark.parametrize("limits", [None, TinyLimits()], ids=["in memory", "on disk"])
@settings(max_examples=25)
@given(rounds=st.lists(st.lists(st.lists(ANNOTATIONS, min_size=1, max_size=4), min_size=1, max_size=2), max_size=3))
def test_the_first_final_annotation_counts(
    tmp_path_factory: pytest.TempPathFactory, limits: TinyLimits | None, rounds: list[list[list[Any]]]
) -> None:
    """Else the last failure; however the rows are cut into chunks, whenever they are merged, whatever they hold."""
    store = FolderStore(tmp_path_factory.mktemp("lake"), durable=False)
    expected: dict[tuple[str, str], Row] = {}
    for number, chunks in enumerate(rounds):
        for part, rows in enumerate(chunks):
            chunk(store, f"{number:03x}{part:03x}", *(row(i, b, s, **columns) for i, b, s, columns in rows))
            for row_id, batch, status, columns in rows:
                if expected.get((batch, row_id), {"_status": "failed"})["_status"] == "failed":
                    values = {name: value for name, value in columns.items() if value is not None}
                    expected[batch, row_id] = {"_status": status, **values}
        merge_annotator(store, "d", "a", limits=limits)
    for batch in {batch for batch, _ in expected}:
        wanted = {row_id: value for (other, row_id), value in expected.items() if other == batch}
        assert canonical(merged(store, batch)) == canonical(wanted)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row("1", "b1") | {"id": 1}, "column 'id' of an annotation row is the id of a row, text"),
        (row("1", "b1") | {"id": "\ud800"}, "column 'id' of an annotation row is the id of a row, text"),
        (row("1", "../x"), "column '_batch' of an annotation row is the name of a batch"),
        (row("1", "b1", "maybe"), "column '_status' of an annotation row is one of done, skipped, failed"),
        (row("1", "b1") | {"_annotated_at": None}, "column '_annotated_at' of an annotation row is a time, as text"),
        (row("1", "b1", _error=[1]), "column '_error' of an annotation row is text or null"),
        (row("1", "b1", _mine=1), "column '_mine' begins with an underscore"),
        (b"[1]", "an array, not a JSON object"),
    ],
)
def test_what_is_no_annotation_row_is_rejected(folder_store: FolderStore, bad: Row | bytes, message: str) -> None:
    """With its bytes and the reason; the rows around it count, and nothing is written outside of the annotator."""
    chunk(folder_store, "aaaaaa", row("2", "b1"), bad, row("3", "b1"))
    result = merge_annotator(folder_store, "d", "a")
    assert (result.rejected, result.batches["b1"].rows) == (1, 2)
    (kept,) = folder_store.list(f"{PREFIX}.rejected/")
    assert json.loads(folder_store.get(kept.key)[0])["message"] == f"line 2: {message}"
    assert json.loads(read_rejected(folder_store, f"{PREFIX}.")[0]) == (
        json.loads(bad) if isinstance(bad, bytes) else bad
    )
    assert set(folder_store.list_folders("")) == {"d"}


def test_errors_of_annotators_may_be_any_text(folder_store: FolderStore) -> None:
    """Text that is no UTF-8 is shown escaped; it never blocks a batch."""
    chunk(folder_store, "aaaaaa", row("1", "b1", "failed", _error="bad \ud800 text"))
    merge_annotator(folder_store, "d", "a")
    assert merged(folder_store, "b1")["1"]["_error"] == "bad \\ud800 text"


def test_a_batch_that_fails_keeps_its_chunks_only(folder_store: FolderStore) -> None:
    """The others are merged, and not again when the damage is repaired."""
    folder_store.put(f"{PREFIX}b2/merged.parquet", b"damaged", mode=CreateOnly())
    chunk(folder_store, "aaaaaa", row("1", "b1", "failed"), row("1", "b2"))
    chunk(folder_store, "bbbbbb", row("1", "b1", "failed"))
    chunk(folder_store, "cccccc", row("2", "b2"), row("2", "b3"))
    failures: dict[str, DatalakeError] = {}
    result = merge_annotator(folder_store, "d", "a", on_failure=failures.__setitem__)
    assert set(result.batches) == {"b1", "b3"}
    assert list(failures) == ["b2"]
    assert "b2/merged.parquet is no complete Parquet file" in str(failures["b2"])
    left = {meta.key.removeprefix(TEMP) for meta in folder_store.list(TEMP)}
    assert left == {"aaaaaa_chunk_00000.jsonl", "cccccc_chunk_00000.jsonl"}
    before = counts(folder_store, "b1")
    with pytest.raises(StoreError, match=r"b2/merged\.parquet is no complete"):
        merge_annotator(folder_store, "d", "a")
    assert counts(folder_store, "b1") == before
    folder_store.delete(f"{PREFIX}b2/merged.parquet")
    assert set(merge_annotator(folder_store, "d", "a").batches) == {"b2"}
    assert counts(folder_store, "b1") == before
    assert set(merged(folder_store, "b2")) == {"1", "2"}
    assert list(folder_store.list(TEMP)) == []


def test_the_lease_and_live_runs_are_left_alone(folder_store: FolderStore) -> None:
    """A merge takes no lease; it may run beside the annotator."""
    now = ManualClock().now()
    folder_store.put(f"{TEMP}.lock", b"{}", mode=CreateOnly())
    save_manifest(folder_store, TEMP, RunManifest("aaaaaa", "annotation", now, None, 100))
    save_manifest(folder_store, TEMP, RunManifest("bbbbbb", "annotation", now, None, 100, completed_at=now))
    chunk(folder_store, "aaaaaa", row("1", "b1"))
    chunk(folder_store, "bbbbbb", row("2", "b1"))
    merge_annotator(folder_store, "d", "a")
    assert {meta.key.removeprefix(TEMP) for meta in folder_store.list(TEMP)} == {".lock", "aaaaaa.manifest.json"}


def test_a_finished_run_keeps_its_manifest_while_a_chunk_waits(folder_store: FolderStore) -> None:
    """The manifest describes what is left."""
    now = ManualClock().now()
    save_manifest(folder_store, TEMP, RunManifest("aaaaaa", "annotation", now, None, 100, completed_at=now))
    chunk(folder_store, "aaaaaa", row("1", "b1"))
    folder_store.put(f"{PREFIX}b1/merged.parquet", b"damaged", mode=CreateOnly())
    with pytest.raises(StoreError):
        merge_annotator(folder_store, "d", "a")
    assert len(list(folder_store.list(TEMP))) == 2


def test_a_line_too_long_for_a_rejection_keeps_its_chunk(folder_store: FolderStore) -> None:
    """Its other rows are merged once."""
    chunk(folder_store, "aaaaaa", row("1", "b1"), b"x" * (MAX_KEPT_BYTES + 1))
    result = merge_annotator(folder_store, "d", "a")
    assert "too long" in result.warnings[0]
    assert merge_annotator(folder_store, "d", "a").batches == {}
    assert counts(folder_store, "b1")["superseded"] == 0


class BusyStore(FaultyStore):
    """A store in which something happens right before a merged object is written."""

    def __init__(self, inner: ObjectStore, happens: Callable[[], object], times: int) -> None:
        super().__init__(inner)
        self.happens = happens
        self.left = times

    def put(self, key: str, body: bytes | Path, *, mode: PutMode) -> ObjectMeta:
        if key.endswith("merged.parquet") and self.left:
            self.left -= 1
            self.happens()
        return super().put(key, body, mode=mode)


def test_a_merge_that_loses_a_race_starts_again(folder_store: FolderStore) -> None:
    """Every annotation is there once, whoever stored it."""
    chunk(folder_store, "aaaaaa", row("1", "b1"), row("1", "b2"))

    def meanwhile() -> None:
        merge_annotator(folder_store, "d", "a")
        chunk(folder_store, "bbbbbb", row("2", "b1"))

    result = merge_annotator(BusyStore(folder_store, meanwhile, 1), "d", "a")
    assert set(result.batches) == {"b1"}
    assert (set(merged(folder_store, "b1")), set(merged(folder_store, "b2"))) == ({"1", "2"}, {"1"})
    assert counts(folder_store, "b1")["superseded"] == 0


def test_a_merge_that_always_loses_gives_up(folder_store: FolderStore) -> None:
    """It says so."""
    numbers = iter(range(100))
    chunk(folder_store, "ffffff", row("0", "b1"))

    def meanwhile() -> None:
        merge_annotator(folder_store, "d", "a")
        chunk(folder_store, f"{next(numbers):06x}", row("1", "b1"))

    with pytest.raises(MergeError, match=f"changed during each of {MAX_ATTEMPTS} merges"):
        merge_annotator(BusyStore(folder_store, meanwhile, 100), "d", "a")


def test_names_are_checked_first(folder_store: FolderStore) -> None:
    """Before anything is read."""
    store = FaultyStore(folder_store)
    for dataset, annotator in (("..", "a"), ("d", "x/y")):
        with pytest.raises(NameNotAllowedError):
            merge_annotator(store, dataset, annotator)
    assert store.operations == []


def test_chunks_are_read_once(folder_store: FolderStore) -> None:
    """However many batches are in them."""
    for number in range(5):
        chunk(folder_store, f"{number:06x}", *(row(f"{number}", f"b{batch}") for batch in range(10)))
    store = FaultyStore(folder_store)
    assert len(merge_annotator(store, "d", "a").batches) == 10
    reads = [operation for operation in store.operations if operation.verb in ("get", "open") and TEMP in operation.key]
    assert len([operation for operation in reads if operation.key.endswith(".jsonl")]) == 5
    assert sum(operation.verb == "list" for operation in store.operations) == 1


def test_a_batch_may_be_overwritten_by_nobody(folder_store: FolderStore) -> None:
    """An object that is replaced by a stranger between look and commit is not lost."""
    chunk(folder_store, "aaaaaa", row("1", "b1"))

    def stranger() -> None:
        folder_store.put(f"{PREFIX}b1/merged.parquet", b"precious", mode=Overwrite())

    with pytest.raises(StoreError):
        merge_annotator(BusyStore(folder_store, stranger, 1), "d", "a")
    assert folder_store.get(f"{PREFIX}b1/merged.parquet")[0] == b"precious"
