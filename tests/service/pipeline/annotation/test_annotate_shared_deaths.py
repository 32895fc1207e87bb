"""Workers that share an annotator, and die, hang or lose their lease."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from datalake_interfaces import DataItem
from datalake_service.catalog.claims import Claims
from datalake_service.catalog.leases import LeaseRecord
from datalake_service.errors import LeaseLostError, StoreUnavailableError
from datalake_service.events import ANNOTATION_BATCH_TAKEN_OVER, ANNOTATION_CLAIM_NOT_RELEASED, ANNOTATION_WAITING
from datalake_service.pipeline.annotation.lease import AnnotatorLease, WorkerLease
from datalake_service.storage.folder import FolderStore
from tests.support.annotations import (
    ANNOTATOR,
    DATASET,
    Asked,
    ListRows,
    ReadError,
    chunk_rows,
    events,
    ids,
    run,
    start,
    statuses,
    until,
)
from tests.support.faulty_store import Fault, FaultyStore, at
from tests.support.shared_workers import CLAIMS, claim_of, live_workers, many

pytestmark = pytest.mark.usefixtures("impatient")


def dead_worker(store: FolderStore, batch: str, *, ttl: timedelta = timedelta(milliseconds=1)) -> WorkerLease:
    """A worker that died when it had claimed a batch."""
    lease = WorkerLease(store, DATASET, ANNOTATOR, ttl=ttl)
    lease.take()
    assert Claims(store, DATASET, ANNOTATOR, worker=lease.worker).take(batch, over=None) is not None
    return lease


def test_a_dead_worker_is_taken_over_after_its_lease(
    folder_store: FolderStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The others wait for it, say so, and then do what it left."""
    caplog.set_level("INFO", "datalake")
    dead = dead_worker(folder_store, "b1")
    report = run(folder_store, many(3), Asked(), shared=True)
    assert (report.annotated, report.batches_left) == (60, 0)
    (waiting,) = events(caplog, ANNOTATION_WAITING)
    assert waiting["batches"] == 1
    (taken,) = events(caplog, ANNOTATION_BATCH_TAKEN_OVER)
    assert (taken["batch"], taken["worker"]) == ("b1", dead.worker)
    assert live_workers(folder_store) == []


def test_a_renewal_that_comes_late_does_not_revive_a_dead_worker(folder_store: FolderStore) -> None:
    """Its lease was taken away before its batch was."""
    dead = dead_worker(folder_store, "b1")
    lease = dead._lease
    run(folder_store, many(1), Asked(), shared=True)
    run(folder_store, many(3), Asked(), shared=True)
    lease._deadline += 3_600  # as if the answer to a renewal were still to come
    with pytest.raises(LeaseLostError):
        lease.renew()


def test_who_works_alone_takes_away_the_leases_of_the_dead(folder_store: FolderStore) -> None:
    """They have run out; renewals that come late find nothing to renew."""
    dead = dead_worker(folder_store, "b1")
    asyncio.run(asyncio.sleep(1.1))
    AnnotatorLease(folder_store, DATASET, ANNOTATOR).refuse_if_held()
    assert len(live_workers(folder_store)) == 1  # whoever only looks changes nothing
    assert run(folder_store, many(3), Asked()).annotated == 60
    assert live_workers(folder_store) == []
    dead._lease._deadline += 3_600
    with pytest.raises(LeaseLostError):
        dead._lease.renew()


def test_what_the_dead_one_stored_is_not_asked_again(folder_store: FolderStore) -> None:
    """Rows of its batch that are in chunks are found although they came after the first look at the chunks."""
    rows = many(3)
    asked = Asked()

    async def main() -> None:
        first_asked = Asked(lambda item: {"n": 1})

        async def slow(item: DataItem) -> object:
            if len(first_asked.ids) >= 10:
                await asyncio.Event().wait()
            return await first_asked(item)

        first = asyncio.create_task(
            start(folder_store, ListRows({"b1": ids(20)}), slow, shared=True, chunk_size=1, max_concurrency=1)
        )
        await until(lambda: any(meta.key.startswith(CLAIMS) for meta in folder_store.list(DATASET + "/")))
        second = asyncio.create_task(start(folder_store, rows, asked, shared=True))
        await until(lambda: len(first_asked.ids) == 10 and len(asked.ids) == 40)
        await until(lambda: len([row for row in chunk_rows(folder_store) if row["_batch"] == "b1"]) == 10)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert (await second).annotated == 50
        assert sorted(first_asked.ids + asked.ids) == sorted(3 * ids(20))

    asyncio.run(main())


def test_a_worker_whose_lease_was_taken_away_stops(folder_store: FolderStore) -> None:
    """Another one finishes its batches; nothing is lost."""

    async def function(item: DataItem) -> dict[str, Any]:
        if item.id == "r0010":
            (key,) = live_workers(folder_store)
            folder_store.delete(key)
        if item.id >= "r0010":
            await asyncio.Event().wait()
        return {}

    with pytest.raises(LeaseLostError, match="taken over"):
        run(folder_store, many(1), function, max_concurrency=4, lock_ttl_ms=1_000, shared=True)
    assert run(folder_store, many(1), Asked(), shared=True).remaining == 0
    assert statuses(chunk_rows(folder_store)) == dict.fromkeys(ids(20), "done")


def test_waiting_ends_when_the_lease_is_lost_or_the_user_cancels(folder_store: FolderStore) -> None:
    """A worker that has nothing to do holds a lease all the same."""
    dead_worker(folder_store, "b0", ttl=timedelta(hours=1))

    async def main() -> None:
        waiting = asyncio.create_task(start(folder_store, many(1), Asked(), shared=True))
        await until(lambda: len(live_workers(folder_store)) == 2)
        await asyncio.sleep(0.1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert len(live_workers(folder_store)) == 1
        waiting = asyncio.create_task(start(folder_store, many(1), Asked(), shared=True, lock_ttl_ms=500))
        await until(lambda: len(live_workers(folder_store)) == 2)
        for key in live_workers(folder_store):
            if not LeaseRecord.from_json(folder_store.get(key)[0], key=key).ttl > timedelta(minutes=1):
                folder_store.delete(key)
        with pytest.raises(LeaseLostError):
            await waiting

    asyncio.run(main())


def test_a_failing_worker_frees_its_batches(folder_store: FolderStore) -> None:
    """At once: its end removes its lease."""
    with pytest.raises(ReadError):
        run(folder_store, ListRows({"b0": ids(50)}, fail_after=30), Asked(), shared=True)
    assert live_workers(folder_store) == []
    assert not claim_of(folder_store, "b0").record.released
    asked = Asked()
    report = run(folder_store, ListRows({"b0": ids(50)}), asked, shared=True)
    assert report.annotated + report.already_done == 50
    assert statuses(chunk_rows(folder_store)) == dict.fromkeys(ids(50), "done")


def test_a_chunk_that_could_not_be_stored_leaves_its_batches(folder_store: FolderStore) -> None:
    """Whatever was answered: no claim says that a batch was seen whose answers are not stored."""

    async def slow(item: DataItem) -> dict[str, int]:
        await asyncio.sleep(0.005)
        return {"n": 1}

    for number in range(1, 4):
        faulty = FaultyStore(folder_store, at("put", Fault.UNAVAILABLE, key="_chunk_", nth=number))
        rows = ListRows({f"{number}-{batch}": ids(2) for batch in range(12)})
        with pytest.raises(StoreUnavailableError):
            run(faulty, rows, slow, shared=True, chunk_size=2, max_concurrency=1)
        stored = Counter(row["_batch"] for row in chunk_rows(folder_store))
        for batch in rows.batches:
            claim = Claims(folder_store, DATASET, ANNOTATOR).read(batch)
            assert claim is None or claim.record.seen is None or stored[batch] == 2


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.UNKNOWN, Fault.UNAVAILABLE])
def test_a_batch_that_cannot_be_given_back_harms_nobody(
    folder_store: FolderStore, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    """A lost answer is settled by reading back; another failure is told, and tried again by who waits."""
    faulty = FaultyStore(folder_store, at("put", fault, key=CLAIMS, nth=2))
    run(faulty, ListRows({"b0": []}), Asked(), shared=True)
    assert len(events(caplog, ANNOTATION_CLAIM_NOT_RELEASED)) == (fault is not Fault.LOST)
    assert claim_of(folder_store, "b0").record.released == (fault is Fault.LOST)
    waiting = FaultyStore(folder_store, at("put", fault, key=CLAIMS, nth=2))
    dead_worker(folder_store, "b1")
    run(waiting, ListRows({"b0": [], "b1": ids(3)}), Asked(), shared=True)
    assert all(claim_of(folder_store, batch).record.seen is not None for batch in ("b0", "b1"))


def test_a_claim_that_was_written_late_is_no_deadlock(folder_store: FolderStore) -> None:
    """A worker that finds its own name takes the batch."""
    faulty = FaultyStore(folder_store)
    late: list[bool] = []

    class Late(FaultyStore):
        def put(self, key: str, body: Any, *, mode: Any) -> Any:
            if key.startswith(CLAIMS) and not late:
                late.append(True)
                super().put(key, body, mode=mode)  # an earlier sending, of which the client knows nothing
            return super().put(key, body, mode=mode)

    report = run(Late(faulty), many(2), Asked(), shared=True)
    assert report.annotated == 40
