from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from datalake_service.catalog import layout
from datalake_service.catalog.manifests import RunManifest, save_manifest
from datalake_service.chunks.reader import MAX_KEPT_BYTES
from datalake_service.errors import MergeError, NameNotAllowedError, StoreError, UsageError
from datalake_service.pipeline.ingest import ingest_iterator
from datalake_service.pipeline.merging.files import RowFile
from datalake_service.pipeline.merging.merge import merge_batch
from datalake_service.pipeline.merging.result import MergeLimits, MergeResult
from datalake_service.storage.base import CreateOnly, ObjectMeta, ObjectStore, Overwrite, PutMode
from datalake_service.storage.folder import FolderStore
from datalake_utils.clock import ManualClock
from tests.support.faulty_store import FaultyStore
from tests.support.merging import (
    KEY,
    PREFIX,
    check,
    column,
    files_of,
    foreign,
    ingest,
    names,
    read_duplicates,
    read_merged,
    read_record,
    read_rejected,
)


def test_a_batch_is_merged(any_store: ObjectStore) -> None:
    """Rows of runs and files, once; the result says what was done, and nothing else is left."""
    ingest(any_store, {"text": "a", "n": 1}, {"text": "b"}, {"text": "a", "x": [1]}, columns=["text"])
    foreign(any_store, "mine", {"text": "c", "id": 5}, b"nonsense", {"text": "c", "id": "5"})
    files = files_of(any_store, PREFIX, [])
    result = merge_batch(any_store, "d", "b")
    assert result.seconds > 0
    assert result == MergeResult(
        key=KEY, committed=True, rows=3, new_rows=3, duplicates=1, repeated=1, rejected=1, chunks=3,
        size=sum(len(file.body) for file in files), seconds=result.seconds,
    )  # fmt: skip
    check(any_store, PREFIX, files)
    ingest(any_store, {"text": "d"}, {"text": "b", "n": 2})
    files += files_of(any_store, PREFIX, files)
    result = merge_batch(any_store, "d", "b")
    assert (result.rows, result.new_rows, result.duplicates, result.restored) == (4, 1, 1, 0)
    check(any_store, PREFIX, files)
    assert {name for name in names(any_store) if "/" not in name} == {"merged.parquet", "manifest.yaml"}
    assert not merge_batch(any_store, "d", "b").committed


def test_rows_stand_in_the_order_in_which_they_came(folder_store: FolderStore) -> None:
    """Merged rows first; so ids that annotations point to survive, and a preview shows the beginning."""
    run = ingest(folder_store, *({"n": number} for number in range(7)), chunk_size=3)
    merge_batch(folder_store, "d", "b")
    foreign(folder_store, "a", {"n": 7}, {"n": 8})
    foreign(folder_store, "0", {"n": 9, "late": True})
    merge_batch(folder_store, "d", "b")
    assert sorted(column(folder_store, "n")[:7]) == list(range(7))
    assert column(folder_store, "n")[7:] == [7, 8, 9]
    assert set(column(folder_store, "id")[:7]) == {f"{run}-{n // 3:05d}-{n % 3}" for n in range(7)}
    assert list(read_merged(folder_store, KEY)[-1]) == ["id", "n", "late", "_batch", "_created_at"]


def test_rows_say_when_they_came(tmp_path: Path) -> None:
    """When the chunk was sealed, or the foreign file was written."""
    clock = ManualClock()
    store = FolderStore(tmp_path / "lake", durable=False, clock=clock)
    asyncio.run(ingest_iterator(store, [{"n": 1}], dataset="d", batch="b", clock=clock))
    clock.advance(3600)
    foreign(store, "mine", {"n": 2})
    merge_batch(store, "d", "b")
    assert column(store, "_created_at") == ["2026-01-01T00:00:00.000000Z", "2026-01-01T01:00:00.000000Z"]
    assert column(store, "_batch") == ["b", "b"]


@pytest.mark.parametrize("lines", [[], [b""], [b"  ", b"nonsense", b"[1]"]])
def test_a_batch_without_rows_is_a_merged_batch(folder_store: FolderStore, lines: list[bytes]) -> None:
    """An empty file, white space, rejected lines only: an object with no rows that says so."""
    foreign(folder_store, "mine", *lines)
    result = merge_batch(folder_store, "d", "b")
    assert (result.committed, result.rows, result.rejected) == (True, 0, 2 if len(lines) == 3 else 0)
    assert read_merged(folder_store, KEY) == []
    assert read_record(folder_store, KEY)["counts"]["rejected"] == result.rejected
    assert read_rejected(folder_store, PREFIX) == lines[1:]


def test_a_finished_run_without_rows_makes_an_empty_batch(folder_store: FolderStore) -> None:
    """Zero rows are a result; a second empty run changes nothing but goes away as well."""
    ingest(folder_store)
    assert merge_batch(folder_store, "d", "b").committed
    assert read_merged(folder_store, KEY) == []
    ingest(folder_store, columns=["text"])
    assert not merge_batch(folder_store, "d", "b").committed
    assert names(folder_store) == {"merged.parquet", "manifest.yaml"}


def test_a_run_that_is_only_claimed_is_left_alone(folder_store: FolderStore) -> None:
    """Its writer may be about to store its first chunk."""
    clock = ManualClock()
    save_manifest(folder_store, PREFIX, RunManifest("aaaaaa", "rows", clock.now(), ("text",), 100))
    result = merge_batch(folder_store, "d", "b")
    assert (result.committed, result.rows) == (False, 0)
    assert names(folder_store) == {"aaaaaa.manifest.json"}
    foreign(folder_store, "mine", {"text": "a"}, {"text": "a"})
    assert merge_batch(folder_store, "d", "b").rows == 2  # a run without rows has no say
    assert "aaaaaa.manifest.json" in names(folder_store)


def test_a_batch_that_is_not_there_has_nothing_to_merge(folder_store: FolderStore) -> None:
    """Nothing is written for it."""
    assert not merge_batch(folder_store, "d", "b").committed
    assert list(folder_store.list("")) == []


@pytest.mark.parametrize(("dataset", "batch"), [("../x", "b"), ("d", "a/b"), ("d", "annotations"), ("", "b")])
def test_names_are_checked_first(folder_store: FolderStore, dataset: str, batch: str) -> None:
    """Before anything is read or written."""
    store = FaultyStore(folder_store)
    with pytest.raises(NameNotAllowedError):
        merge_batch(store, dataset, batch)
    assert store.operations == []


def test_a_line_too_long_for_a_rejection_keeps_its_file(folder_store: FolderStore) -> None:
    """Nothing is lost: the file stays, is not merged again, and goes when its owner replaces it."""
    long = b'{"text":"' + b"x" * MAX_KEPT_BYTES
    foreign(folder_store, "mine", {"n": 1}, long, {"n": 2})
    result = merge_batch(folder_store, "d", "b")
    assert result.warnings == ("d/b/mine.jsonl stays: it has a rejected line that is too long to be kept elsewhere",)
    assert (result.rows, result.rejected) == (2, 1)
    foreign(folder_store, "other", {"n": 3})
    merge_batch(folder_store, "d", "b")
    assert not merge_batch(folder_store, "d", "b").committed
    assert column(folder_store, "n") == [1, 2, 3]
    assert read_rejected(folder_store, PREFIX) == [long[:MAX_KEPT_BYTES]]
    assert "mine.jsonl" in names(folder_store)
    folder_store.put(f"{PREFIX}mine.jsonl", b'{"n":4}', mode=Overwrite())
    merge_batch(folder_store, "d", "b")
    assert column(folder_store, "n") == [1, 2, 3, 4]
    assert "mine.jsonl" not in names(folder_store)


def test_a_line_may_be_as_long_as_the_limit_says(folder_store: FolderStore) -> None:
    """The limit is the caller's."""
    foreign(folder_store, "mine", {"text": "x" * 1000}, {"text": "y"})
    result = merge_batch(folder_store, "d", "b", limits=MergeLimits(max_line_bytes=500))
    assert (result.rows, result.rejected) == (1, 1)


def test_what_deserves_a_look_is_a_warning(folder_store: FolderStore) -> None:
    """A dedup column that no row has, rows without a key, runs that agree on nothing."""
    ingest(folder_store, {"text": "a"}, {"n": 1}, columns=["text", "txet"])
    assert merge_batch(folder_store, "d", "b").warnings == (
        "no row has the dedup column 'txet'",
        "1 rows have none of the dedup columns text, txet; they stay",
    )
    ingest(folder_store, {"text": "a"}, columns=["n"])
    result = merge_batch(folder_store, "d", "b")
    assert result.warnings == ("nothing is deduplicated: no column is in every run's list (text, txet; n)",)


def test_system_columns_are_no_keys(folder_store: FolderStore) -> None:
    """Every row of a batch has the same ``_batch``; nobody means that by a duplicate."""
    ingest(folder_store, {"n": 1}, {"n": 2}, columns=["_batch", "_created_at"])
    result = merge_batch(folder_store, "d", "b")
    assert result.rows == 2
    assert result.warnings[0] == "no row has the dedup column '_batch', '_created_at'"


def test_the_side_objects_of_dead_merges_go_with_the_next_commit(folder_store: FolderStore) -> None:
    """But not before: a merge that is under way may be about to name one."""
    ingest(folder_store, {"text": "a"}, {"text": "a"}, columns=["text"])
    merge_batch(folder_store, "d", "b")
    orphan = layout.duplicates_key("d", "b", "0123456789ab")
    folder_store.put(orphan, b"", mode=CreateOnly())
    assert not merge_batch(folder_store, "d", "b").committed
    assert folder_store.head(orphan).size == 0
    ingest(folder_store, {"text": "b"})
    merge_batch(folder_store, "d", "b")
    assert [meta.key for meta in folder_store.list(f"{PREFIX}duplicates/")] == [
        layout.duplicates_key("d", "b", read_record(folder_store, KEY)["attempt"])
    ]
    assert [row["text"] for row in read_duplicates(folder_store, PREFIX)] == ["a"]


def test_duplicates_that_no_longer_are_come_back(folder_store: FolderStore) -> None:
    """Where a later run names fewer columns, rows without those have no key; the side object goes when it is empty."""
    ingest(folder_store, {"text": "a", "n": 1}, {"text": "a", "n": 1, "x": 2}, columns=["text", "n"])
    assert merge_batch(folder_store, "d", "b").duplicates == 1
    ingest(folder_store, {"n": 5}, columns=["other"])
    result = merge_batch(folder_store, "d", "b")
    assert (result.restored, result.rows, result.new_rows) == (1, 3, 1)
    assert list(folder_store.list(f"{PREFIX}duplicates/")) == []
    assert column(folder_store, "x") == [None, 2, None]


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_damaged_duplicates_are_an_error(folder_store: FolderStore, damage: str) -> None:
    """They are rows; a merge does not go on without them."""
    ingest(folder_store, {"text": "a"}, {"text": "a"}, columns=["text"])
    merge_batch(folder_store, "d", "b")
    (aside,) = folder_store.list(f"{PREFIX}duplicates/")
    if damage == "gone":
        folder_store.delete(aside.key)
    else:
        folder_store.put(aside.key, folder_store.get(aside.key)[0][:-5], mode=Overwrite())
    before = folder_store.head(KEY)
    foreign(folder_store, "mine", {"n": 1})
    with pytest.raises(StoreError, match="is damaged; it holds the duplicates of d/b: restore it"):
        merge_batch(folder_store, "d", "b")
    assert folder_store.head(KEY) == before
    assert "mine.jsonl" in names(folder_store)


def test_a_damaged_merged_object_is_left_as_it_is(folder_store: FolderStore) -> None:
    """And the chunks stay."""
    folder_store.put(KEY, b"PAR1 was it not", mode=CreateOnly())
    foreign(folder_store, "mine", {"n": 1})
    with pytest.raises(StoreError, match=r"d/b/merged\.parquet is no complete Parquet file"):
        merge_batch(folder_store, "d", "b")
    assert names(folder_store) == {"merged.parquet", "mine.jsonl"}


def test_too_little_memory_is_refused() -> None:
    """Before anything is done, with the least that is needed."""
    with pytest.raises(UsageError, match="at least 256 MiB, not 1000 bytes"):
        MergeLimits(memory_bytes=1000)
    assert MergeLimits(memory_bytes=256 << 20).group_bytes > 0


def test_a_full_disk_is_an_error_with_a_name(tmp_path: Path) -> None:
    """Rows that are put aside go to a file; the message names it."""
    rows = RowFile(Path("/dev/full"))
    with pytest.raises(MergeError, match="cannot use the temporary file /dev/full: no space left on device"):
        rows.add({"text": "x" * 100} for _ in range(1000))
    rows.abandon()
    unwritable = RowFile(tmp_path / "no" / "such")
    with pytest.raises(MergeError, match="no such file or directory"):
        unwritable.add([{}])


def test_the_summary_is_for_people(folder_store: FolderStore) -> None:
    """YAML with the totals, the columns and what came last."""
    run = ingest(folder_store, {"text": "a", "n": 1}, {"text": "a"}, columns=["text"])
    merge_batch(folder_store, "d", "b")
    page = yaml.safe_load(folder_store.get(f"{PREFIX}manifest.yaml")[0])
    assert page["dataset"], page["batch"] == ("d", "b")
    assert page["counts"]["rows"] == 1
    assert page["counts"]["duplicates"] == 1
    assert page["deduplicateOn"] == ["text"]
    assert {"name": "n", "type": "int64"} in page["columns"]
    assert page["lastMerge"]["runs"] == [run]
    assert page["bytes"] == folder_store.head(KEY).size


def test_large_files_are_streamed(folder_store: FolderStore) -> None:
    """A foreign file of many blocks, with bad lines in it and no line feed at its end."""
    rows = ({"n": number, "text": "x" * 5000} for number in range(2000))
    body = b"\r\n".join(json.dumps(row).encode() if number % 500 else b"[bad" for number, row in enumerate(rows))
    folder_store.put(f"{PREFIX}large.jsonl", body, mode=CreateOnly())
    result = merge_batch(folder_store, "d", "b")
    assert (result.rows, result.rejected) == (1996, 4)
    assert column(folder_store, "n") == [number for number in range(2000) if number % 500]


def test_it_costs_one_listing(folder_store: FolderStore) -> None:
    """Never one per chunk: a listing of a thousand keys takes a third of a second."""
    ingest(folder_store, *({"n": number} for number in range(40)), chunk_size=1)
    store = FaultyStore(folder_store)
    merge_batch(store, "d", "b")
    verbs = [operation.verb for operation in store.operations]
    assert verbs.count("list") == 1
    assert verbs.count("get") == 41
    assert len(verbs) < 41 + 12


def test_an_interrupted_merge_leaves_no_file(folder_store: FolderStore) -> None:
    """Temporary files go with it."""

    class Interrupting(FaultyStore):
        def list(self, prefix: str) -> Iterator[ObjectMeta]:
            return super().list(prefix)

        def put(self, key: str, body: bytes | Path, *, mode: PutMode) -> ObjectMeta:
            raise KeyboardInterrupt

    ingest(folder_store, {"text": "a"}, {"text": "a"}, columns=["text"])
    with pytest.raises(KeyboardInterrupt):
        merge_batch(Interrupting(folder_store), "d", "b")
    scratch = folder_store.root / ".tmp" / "scratch"
    assert not scratch.exists() or list(scratch.iterdir()) == []
