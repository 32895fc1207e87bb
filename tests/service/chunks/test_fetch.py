from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from datalake_service.chunks.fetch import LineFetcher
from datalake_service.chunks.inventory import Source, take_inventory
from datalake_service.errors import ObjectNotFoundError, PreconditionFailedError, StoreUnavailableError
from datalake_service.storage.base import CreateOnly, ObjectMeta, Overwrite
from datalake_service.storage.folder import FolderStore
from tests.support.faulty_store import Fault, FaultyStore, Plan, at

PREFIX = "d/b/"


class RemoteStore(FaultyStore):
    """A folder that says it is far away; counts what was fetched and not yet used."""

    def __init__(self, inner: FolderStore, plan: Plan | None = None) -> None:
        super().__init__(inner, plan)
        self.threads: set[str] = set()

    @property
    def uri(self) -> str:
        return "s3://bucket/prefix"

    def get(self, key: str, *, etag: str | None = None) -> tuple[bytes, ObjectMeta]:
        self.threads.add(threading.current_thread().name)
        return super().get(key, etag=etag)


@pytest.fixture
def sources(folder_store: FolderStore) -> tuple[Source, ...]:
    """Thirty files: some are empty, some are large, all say who they are."""
    for number in range(30):
        rows = b'{"n":%d}\n' % number * (0 if number % 7 == 3 else 1 + number % 5)
        if number in (4, 29):
            rows += b'{"n":%d,"large":"%s"}\n' % (number, b"x" * (5 << 20))
        folder_store.put(f"{PREFIX}f{number:02d}.jsonl", rows, mode=CreateOnly())
    return take_inventory(folder_store, PREFIX).sources


def seen(fetcher: LineFetcher, sources: tuple[Source, ...]) -> list[tuple[int, int]]:
    """(file, number in the row) of all rows in order."""
    return [(index, row["n"]) for index, lines in fetcher.read(sources) for row in lines.rows]


def test_files_come_in_order_whether_near_or_far(folder_store: FolderStore, sources: tuple[Source, ...]) -> None:
    """Fetching ahead changes nothing but the waiting."""
    near = seen(LineFetcher(folder_store, window_bytes=1 << 20), sources)
    assert near == sorted(near)
    assert {index for index, _ in near} == {number for number in range(30) if number % 7 != 3}
    assert all(index == number for index, number in near)
    remote = RemoteStore(folder_store)
    assert seen(LineFetcher(remote, window_bytes=100, threads=3), sources) == near
    assert remote.threads <= {f"fetch_{number}" for number in range(3)}
    assert remote.threads


def test_what_is_fetched_ahead_is_bounded(folder_store: FolderStore, sources: tuple[Source, ...]) -> None:
    """Not more than the window, and one file, is held before it is asked for."""
    remote = RemoteStore(folder_store)
    small = tuple(source for source in sources if 0 < source.meta.size < 1000)
    largest = max(source.meta.size for source in small)
    reading: Any = LineFetcher(remote, window_bytes=60, threads=4).read(small)
    for _ in range(5):
        used, _ = next(reading)
        ahead = sum(source.meta.size for source in small[used + 1 : len(remote.operations)])
        assert ahead <= 60 + largest
    reading.close()


@pytest.mark.parametrize("far", [False, True])
def test_a_file_that_is_gone_or_replaced_is_noticed(
    folder_store: FolderStore,
    sources: tuple[Source, ...],
    far: bool,
) -> None:
    """The version that was listed is read, or none."""
    store = RemoteStore(folder_store) if far else folder_store
    fetcher = LineFetcher(store, window_bytes=1 << 20)
    for number in (1, 4):  # one that is read as a whole, one that is streamed
        key = sources[number].meta.key
        folder_store.put(key, b'{"n":100}\n' + b" " * (5 << 20 if number == 4 else 0), mode=Overwrite())
        with pytest.raises(PreconditionFailedError):
            seen(fetcher, sources[number:])
        folder_store.delete(key)
        with pytest.raises(ObjectNotFoundError):
            seen(fetcher, sources[number:])


def test_an_error_of_a_thread_is_raised(folder_store: FolderStore, sources: tuple[Source, ...]) -> None:
    """The rows before it were delivered; no thread is left."""
    remote = RemoteStore(folder_store, at("get", Fault.UNAVAILABLE, key="f06"))
    reading = LineFetcher(remote, window_bytes=10, threads=2).read(sources)
    assert [next(reading)[0] for _ in range(5)] == [0, 1, 2, 4, 4]
    with pytest.raises(StoreUnavailableError):
        list(reading)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fetch")]


def test_reading_may_end_early(folder_store: FolderStore, sources: tuple[Source, ...]) -> None:
    """Whoever stops leaves no thread behind."""
    reading: Any = LineFetcher(RemoteStore(folder_store), window_bytes=1 << 20).read(sources)
    next(reading)
    reading.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fetch")]


def test_s3_is_far(s3_store: FolderStore, tmp_path: Path) -> None:
    """Chunks in a bucket are read like those in a folder."""
    for number in range(5):
        s3_store.put(f"{PREFIX}f{number}.jsonl", b'{"n":%d}\n' % number, mode=CreateOnly())
    inventory = take_inventory(s3_store, PREFIX)
    rows = seen(LineFetcher(s3_store, window_bytes=1 << 20), inventory.sources)
    assert sorted(number for _, number in rows) == [0, 1, 2, 3, 4]
