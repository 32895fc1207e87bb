"""The lease of an annotation run, and the life of an Annotator."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from datalake_interfaces import Annotator, DataItem, HandlerContext
from datalake_service.catalog import layout
from datalake_service.catalog.leases import Lease
from datalake_service.errors import AnnotationLockError, HandlerLoadError, LeaseLostError, UsageError
from datalake_service.events import ANNOTATION_CLOSE_FAILED, ANNOTATION_LEASE_NOT_RELEASED
from datalake_service.pipeline.annotation.lease import AnnotatorLease
from datalake_service.storage.base import ObjectMeta, PutMode
from datalake_service.storage.folder import FolderStore
from datalake_utils.clock import ManualClock
from tests.cli.commands import datalake
from tests.support.annotations import (
    ANNOTATOR,
    DATASET,
    Asked,
    ReadError,
    chunk_rows,
    events,
    ids,
    one_batch,
    run,
    start,
    statuses,
    until,
)
from tests.support.faulty_store import Fault, FaultyStore, at

KEY = layout.annotator_lease_key(DATASET, ANNOTATOR)


def test_a_second_worker_is_refused_at_once(folder_store: FolderStore) -> None:
    """It reads nothing and asks nothing; another annotator, or the same one later, is free."""

    async def main() -> None:
        go_on = asyncio.Event()

        async def function(item: DataItem) -> dict[str, Any]:
            await go_on.wait()
            return {}

        first = asyncio.create_task(start(folder_store, one_batch(10), function))
        await until(lambda: KEY in {meta.key for meta in folder_store.list(f"{DATASET}/")})
        rows, asked = one_batch(10), Asked()
        with pytest.raises(AnnotationLockError, match=r"annotate posts/lang on .* wait for it"):
            await start(folder_store, rows, asked)
        assert (rows.read_batches, asked.ids) == ([], [])
        with pytest.raises(AnnotationLockError):
            AnnotatorLease(folder_store, DATASET, ANNOTATOR).refuse_if_held()
        assert (await start(folder_store, one_batch(10), Asked(), annotator="other")).annotated == 10
        go_on.set()
        assert (await first).annotated == 10
        AnnotatorLease(folder_store, DATASET, ANNOTATOR).refuse_if_held()
        assert (await start(folder_store, one_batch(10), Asked())).already_done == 10

    asyncio.run(main())


def test_a_lost_lease_stops_the_work(folder_store: FolderStore) -> None:
    """Somebody broke the lock: no more rows are asked, the calls in flight are cancelled, nothing hangs."""
    asked: list[str] = []

    async def function(item: DataItem) -> dict[str, Any]:
        asked.append(item.id)
        if item.id >= "r0010":
            if item.id == "r0010":
                folder_store.delete(KEY)
            await asyncio.Event().wait()
        return {}

    with pytest.raises(LeaseLostError, match="taken over"):
        run(folder_store, one_batch(100), function, max_concurrency=4, lock_ttl_ms=1_000)
    assert len(asked) == 14


def test_work_stops_before_a_lease_that_cannot_be_renewed_runs_out(folder_store: FolderStore) -> None:
    """The store refuses every renewal: finished rows are stored while the lease is still held."""
    faulty = FaultyStore(folder_store)
    faulty._plan = lambda operation: Fault.UNAVAILABLE if operation.key == KEY and len(faulty.writes) > 2 else None

    async def function(item: DataItem) -> dict[str, Any]:
        if item.id >= "r0010":
            await asyncio.Event().wait()
        return {}

    with pytest.raises(LeaseLostError, match="could not be renewed in time"):
        run(faulty, one_batch(100), function, max_concurrency=4, lock_ttl_ms=3_000)
    assert statuses(chunk_rows(folder_store)) == dict.fromkeys(ids(10), "done")


def test_a_long_run_renews_its_lease(folder_store: FolderStore) -> None:
    """Work goes on over several times the limit, even while user code blocks the event loop."""
    other = Lease(folder_store, KEY, ttl=timedelta(seconds=1))
    numbers: set[int] = set()

    async def function(item: DataItem) -> dict[str, Any]:
        while len(numbers) < 5:  # not one await: the loop is blocked until the lease was renewed that often
            assert not other.acquire()
            assert other.holder is not None
            numbers.add(other.holder.number)
        return {}

    assert run(folder_store, one_batch(3), function, max_concurrency=1, lock_ttl_ms=1_000).annotated == 3


class Slow(FaultyStore):
    """Its lock takes a while to be written, the first so many times."""

    def __init__(self, inner: FolderStore, times: int) -> None:
        super().__init__(inner)
        self.times = times

    def put(self, key: str, body: bytes | Path, *, mode: PutMode) -> ObjectMeta:
        if key == KEY and self.times > 0:
            self.times -= 1
            time.sleep(0.5)
        return super().put(key, body, mode=mode)


def test_a_time_limit_that_is_over_before_it_can_be_renewed_is_refused(folder_store: FolderStore) -> None:
    """With the least that works here; nothing is asked, and the lock is free."""
    asked, said = Asked(), ""
    for limit in (1, 1_000):
        with pytest.raises(
            UsageError, match=rf"^lock_ttl_ms={limit} is too short here: .* give at least \d+$"
        ) as refused:
            run(Slow(folder_store, 9), one_batch(3), asked, lock_ttl_ms=limit)
        said = str(refused.value)
    assert asked.ids == []
    least = int(said.rpartition(" ")[2])
    assert 1_500 <= least < 30_000
    assert run(Slow(folder_store, 9), one_batch(3), asked, lock_ttl_ms=2 * least).annotated == 3


def test_a_slow_first_request_refuses_nothing(folder_store: FolderStore) -> None:
    """Connections have to be opened: a second look decides."""
    assert run(Slow(folder_store, 1), one_batch(3), Asked(), lock_ttl_ms=1_400).annotated == 3


def test_who_is_kept_out_learns_for_how_long_and_what_to_do(tmp_path: Path) -> None:
    """By the store's clock; the command that is named takes the lock away."""
    store_clock = ManualClock()
    store = FolderStore(tmp_path / "lake", durable=False, clock=store_clock)
    assert Lease(store, KEY, ttl=timedelta(hours=1), owner="annotate posts/lang", clock=ManualClock()).acquire()
    store_clock.advance(14 * 60)
    with pytest.raises(AnnotationLockError) as refused:
        AnnotatorLease(store, DATASET, ANNOTATOR).refuse_if_held()
    said = str(refused.value)
    assert f"annotate posts/lang on {socket.gethostname()} (process {os.getpid()}), since 2026" in said
    assert "renewed 14m ago, runs out in 46m" in said
    assert "\n" not in said
    command = said.partition("break its lock: datalake ")[2].split()
    assert datalake(*command, "--yes", "--uri", str(tmp_path / "lake"), cwd=tmp_path).status == 0
    AnnotatorLease(store, DATASET, ANNOTATOR).refuse_if_held()


def test_a_lease_that_cannot_be_given_back_fails_nothing(
    folder_store: FolderStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The results are stored; the lease runs out by itself; the log says so."""
    faulty = FaultyStore(folder_store, at("put", Fault.UNAVAILABLE, key=KEY, nth=2))
    assert run(faulty, one_batch(5), Asked()).annotated == 5
    (told,) = events(caplog, ANNOTATION_LEASE_NOT_RELEASED)
    assert (told["dataset"], told["annotator"]) == (DATASET, ANNOTATOR)


# Annotator classes ---------------------------------------------------------------------------------------------


class Recording(Annotator):
    """Notes what is called."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def open(self, context: HandlerContext) -> None:
        self.calls.append(f"open {context.dataset}")

    def annotate(self, item: DataItem) -> Any:
        return {"opened": bool(self.calls)}

    def close(self) -> None:
        self.calls.append("close")


class AsyncRecording(Recording):
    """The same, async, on one loop."""

    async def open(self, context: HandlerContext) -> None:  # type: ignore[override]  # may be async as well
        self.loop = asyncio.get_running_loop()
        super().open(context)

    async def annotate(self, item: DataItem) -> Any:
        assert self.loop is asyncio.get_running_loop()
        return super().annotate(item)

    async def close(self) -> None:  # type: ignore[override]  # as open
        assert self.loop is asyncio.get_running_loop()
        super().close()


@pytest.mark.parametrize("kind", [Recording, AsyncRecording])
def test_an_annotator_is_opened_and_closed_once(folder_store: FolderStore, kind: type[Recording]) -> None:
    """Before the first row and after the last; not at all if there is nothing to ask."""
    annotator = kind()
    assert run(folder_store, one_batch(50), annotator).annotated == 50
    assert annotator.calls == ["open posts", "close"]
    assert all(row["opened"] for row in chunk_rows(folder_store))
    idle = kind()
    run(folder_store, one_batch(50), idle)
    assert idle.calls == []


@pytest.mark.parametrize("kind", [Recording, AsyncRecording])
def test_an_annotator_is_closed_when_the_run_fails(folder_store: FolderStore, kind: type[Recording]) -> None:
    """Whatever ends it."""
    annotator = kind()
    with pytest.raises(ReadError):
        run(folder_store, one_batch(50, fail_after=20), annotator)
    assert annotator.calls == ["open posts", "close"]


def test_an_annotator_that_cannot_open_is_an_error(folder_store: FolderStore) -> None:
    """No row is asked; it is not closed, because it was never open."""

    class Broken(Recording):
        def open(self, context: HandlerContext) -> None:
            raise RuntimeError("no model")

    annotator = Broken()
    with pytest.raises(HandlerLoadError, match=r"open\(\) of the annotator Broken failed: RuntimeError: no model"):
        run(folder_store, one_batch(), annotator)
    assert annotator.calls == []
    assert chunk_rows(folder_store) == []


def test_an_annotator_that_cannot_close_is_logged(folder_store: FolderStore, caplog: pytest.LogCaptureFixture) -> None:
    """Its results are stored, which is what counts."""

    class Broken(Recording):
        def close(self) -> None:
            raise RuntimeError("secret")

    assert run(folder_store, one_batch(5), Broken()).annotated == 5
    (told,) = events(caplog, ANNOTATION_CLOSE_FAILED)
    assert (told["dataset"], told["annotator"], told["failure"]) == (DATASET, ANNOTATOR, "RuntimeError")
    assert "secret" not in caplog.text + str(told)
