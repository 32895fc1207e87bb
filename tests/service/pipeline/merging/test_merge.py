from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import yaml

from datalake_service.catalog import layout
from datalake_service.catalog.manifests import RunManifest, save_manifest
from datalake_service.chunks.reader import MAX_KEPT_BYTES
from datalake_service.errors import (
    MergeError,
    NameNotAllowedError,
    OutcomeUnknownError,
    StoreError,
    UsageError,
)
from datalake_service.pipeline.ingest import ingest_iterator
from datalake_service.pipeline.merging.files import RowFile
from datalake_service.pipeline.merging.merge import MAX_ATTEMPTS, merge_batch
from datalake_service.pipeline.merging.result import MergeLimits, MergeResult
from datalake_service.storage.base import CreateOnly, ObjectMeta, ObjectStore, Overwrite, PutMode
from datalake_service.storage.folder import FolderStore
from datalake_utils.clock import ManualClock
from tests.support.faulty_store import Fault, FaultyStore, at
from tests.support.merging import File, check, files_of, read_duplicates, read_merged, read_record, read_rejected

PREFIX = "d/b/"
KEY = "d/b/merged.parquet"


def ingest(store: ObjectStore, *rows: Any, columns: list[str] | None = None, chunk_size: int = 2) -> str:
    """One run; returns its name."""
    result = asyncio.run(
        ingest_iterator(store, rows, dataset="d", batch="b", chunk_size=chunk_size, deduplicate_on=columns)
    )
    return result.run


def foreign(store: ObjectStore, name: str, *lines: object) -> ObjectMeta:
    """A file that somebody put into the batch: bytes as they are, everything else as JSON."""
    body = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    return store.put(f"{PREFIX}{name}.jsonl", body, mode=CreateOnly())


def names(store: ObjectStore) -> set[str]:
    """What lies in the batch."""
    return {meta.key.removeprefix(PREFIX) for meta in store.list(PREFIX)}


def column(store: ObjectStore, name: str) -> list[Any]:
    """One column of the merged rows, in order."""
    return [row.get(name) for row in read_merged(store, KEY)]


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


class BusyStore(FaultyStore):
    """A store in which something happens right before an object is written."""

    def __init__(self, inner: ObjectStore, key: str, happens: Callable[[], object], times: int = 1) -> None:
        super().__init__(inner)
        self.key = key
        self.happens = happens
        self.left = times

    def put(self, key: str, body: bytes | Path, *, mode: PutMode) -> ObjectMeta:
        if key.endswith(self.key) and self.left:
            self.left -= 1
            self.happens()
        return super().put(key, body, mode=mode)


@pytest.mark.parametrize("merged_before", [False, True])
def test_a_merge_that_loses_a_race_starts_again(
    folder_store: FolderStore,
    merged_before: bool,
) -> None:
    """Two merges of the same files, and a file that came in between: everything is there once."""
    files: list[File] = []
    if merged_before:
        ingest(folder_store, {"text": "a"}, columns=["text"])
        files += files_of(folder_store, PREFIX, files)
        merge_batch(folder_store, "d", "b")
    ingest(folder_store, {"text": "a"}, {"text": "b", "id": "x"}, columns=["text"])
    foreign(folder_store, "one", {"text": "a", "id": "x"}, {"text": "b"})
    files += files_of(folder_store, PREFIX, files)

    def meanwhile() -> None:
        merge_batch(folder_store, "d", "b")
        foreign(folder_store, "two", {"text": "c"}, {"text": "a"})
        files.extend(files_of(folder_store, PREFIX, files))

    result = merge_batch(BusyStore(folder_store, "merged.parquet", meanwhile), "d", "b")
    assert result.chunks == 1
    check(folder_store, PREFIX, files)
    (aside,) = folder_store.list(f"{PREFIX}duplicates/")
    assert aside.key.endswith(f"{read_record(folder_store, KEY)['duplicates']}.jsonl")


def test_a_merge_that_always_loses_gives_up(folder_store: FolderStore) -> None:
    """It says what to do; the others' work stands."""
    numbers = iter(range(100))
    foreign(folder_store, "first", {"n": -1})

    def meanwhile() -> None:
        merge_batch(folder_store, "d", "b")
        foreign(folder_store, f"more {next(numbers)}", {"n": 1})

    store = BusyStore(folder_store, "merged.parquet", meanwhile, times=100)
    with pytest.raises(MergeError, match=f"d/b changed during each of {MAX_ATTEMPTS} merges"):
        merge_batch(store, "d", "b")
    assert read_record(folder_store, KEY)["counts"]["rows"] == MAX_ATTEMPTS


def merge_until(stop: threading.Event, store: ObjectStore, failures: list[BaseException]) -> None:
    """Merge again and again; losing to the others is no failure."""
    while not stop.is_set():
        try:
            merge_batch(store, "d", "b")
        except MergeError as error:
            if "changed during each" not in str(error):
                failures.append(error)
        except BaseException as error:  # noqa: BLE001 - a thread has nowhere else to say it
            failures.append(error)


def test_merges_and_writers_at_once(folder_store: FolderStore) -> None:
    """Any number of each; whoever gets through, no row is missing and none is there twice."""

    def write(name: str) -> None:
        for number in range(5):
            rows = ({"text": f"{name} {number} {row}", "id": f"{name}-{number}-{row % 3}"} for row in range(4))
            ingest(folder_store, *rows)

    failures: list[BaseException] = []
    stop = threading.Event()
    writers = [threading.Thread(target=write, args=(name,)) for name in ("p", "q")]
    mergers = [threading.Thread(target=merge_until, args=(stop, folder_store, failures)) for _ in range(3)]
    for thread in [*writers, *mergers]:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in mergers:
        thread.join()
    merge_batch(folder_store, "d", "b")
    assert failures == []
    assert sorted(column(folder_store, "id")) == sorted(
        f"{name}-{number}-{row}" for name in "pq" for number in range(5) for row in range(3)
    )
    counts = read_record(folder_store, KEY)["counts"]
    assert (counts["rows"], counts["conflicts"], counts["rejected"], counts["repeated"]) == (30, 10, 10, 0)
    assert len(read_rejected(folder_store, PREFIX)) == 10


def test_nothing_is_deleted_after_an_ambiguous_commit(folder_store: FolderStore) -> None:
    """Whether it was applied or not: the chunks stay until a merge knows."""
    for fault in (Fault.UNKNOWN, Fault.LOST):
        ingest(folder_store, {"text": "a"}, {"text": "a"}, columns=["text"])
        before = names(folder_store)
        with pytest.raises(OutcomeUnknownError):
            merge_batch(FaultyStore(folder_store, at("put", fault, key="merged.parquet")), "d", "b")
        assert names(folder_store) >= before
        merge_batch(folder_store, "d", "b")
    assert column(folder_store, "text") == ["a"]
    assert read_record(folder_store, KEY)["counts"]["duplicates"] == 3


class ReplacingStore(FaultyStore):
    """A store in which somebody replaces a file after it was listed."""

    def __init__(self, inner: ObjectStore, key: str, body: bytes, *, verb: str) -> None:
        super().__init__(inner)
        self.key, self.body, self.verb = key, body, verb

    def _replace(self, verb: str, key: str) -> None:
        if verb == self.verb and key == self.key and self.body:
            self.inner.put(key, self.body, mode=Overwrite())
            self.body = b""

    def get(self, key: str, *, etag: str | None = None) -> tuple[bytes, ObjectMeta]:
        self._replace("get", key)
        return super().get(key, etag=etag)

    def delete(self, key: str, *, etag: str | None = None) -> None:
        self._replace("delete", key)
        super().delete(key, etag=etag)

    def open(self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None) -> BinaryIO:
        self._replace("open", key)
        return super().open(key, start=start, end=end, etag=etag)


def test_a_file_that_is_replaced_while_it_is_merged_is_merged_as_it_is_now(folder_store: FolderStore) -> None:
    """Never half of one version and half of the other."""
    foreign(folder_store, "mine", {"n": 1})
    merge_batch(ReplacingStore(folder_store, f"{PREFIX}mine.jsonl", b'{"n":2}', verb="get"), "d", "b")
    assert column(folder_store, "n") == [2]


def test_a_file_that_is_replaced_after_its_merge_is_not_deleted(folder_store: FolderStore) -> None:
    """The new version waits for the next merge."""
    foreign(folder_store, "mine", {"n": 1})
    merge_batch(ReplacingStore(folder_store, f"{PREFIX}mine.jsonl", b'{"n":2}', verb="delete"), "d", "b")
    assert column(folder_store, "n") == [1]
    merge_batch(folder_store, "d", "b")
    assert column(folder_store, "n") == [1, 2]
    assert names(folder_store) == {"merged.parquet", "manifest.yaml"}


@pytest.mark.parametrize(
    "body",
    [
        b'{"n":1,"t":"a"}\n{"n":"2","t":b"}\n',
        b'{"n":1,"t":"a"}\n{"n":2.0,"t":""}\n',
        b'{"n":1,"t":"a"}\n{"n":2,"u":"b"}\n',
        b'{"n":1,"t":"a"}\n{"n":2}\n{"m":1}\n\n',
        b'{"n":1,"t":"a"}\n{"_batch":"abcd"}\n',
        b'{"n":9007199254740993}          \n{}\n',
    ],
)
def test_a_chunk_that_is_not_what_its_manifest_says_is_looked_at(folder_store: FolderStore, body: bytes) -> None:
    """Somebody changed it without changing its size: its rows are stored as they are now, or rejected."""
    run = ingest(folder_store, {"n": 1, "t": "a"}, {"n": 2, "t": "b"})
    key = layout.chunk_key(PREFIX, run, 0)
    original = folder_store.get(key)[0]
    body = body.ljust(len(original), b" ")
    assert len(body) >= len(original)
    folder_store.put(key, body[: len(original)] if len(body) > len(original) else body, mode=Overwrite())
    files = files_of(folder_store, PREFIX, [])
    merge_batch(folder_store, "d", "b")
    check(folder_store, PREFIX, files)


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
