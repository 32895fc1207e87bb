"""Merges beside other merges, writers, and people who replace files."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from datalake_service.catalog import layout
from datalake_service.errors import MergeError, OutcomeUnknownError
from datalake_service.pipeline.merging.merge import MAX_ATTEMPTS, merge_batch
from datalake_service.storage.base import ObjectMeta, ObjectStore, Overwrite, PutMode
from datalake_service.storage.folder import FolderStore
from tests.support.faulty_store import Fault, FaultyStore, at
from tests.support.merging import (
    KEY,
    PREFIX,
    File,
    check,
    column,
    files_of,
    foreign,
    ingest,
    names,
    read_record,
    read_rejected,
)


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
