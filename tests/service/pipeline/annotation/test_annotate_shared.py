"""Workers that share one annotator: every batch by one of them, every row once, the dead taken over."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from datalake_interfaces import DataItem, SkipDoc
from datalake_service.catalog import layout
from datalake_service.catalog.claims import Claim, Claims
from datalake_service.catalog.leases import Lease, LeaseRecord
from datalake_service.errors import AnnotationLockError, LeaseLostError, StoreUnavailableError
from datalake_service.events import ANNOTATION_BATCH_TAKEN_OVER, ANNOTATION_CLAIM_NOT_RELEASED, ANNOTATION_WAITING
from datalake_service.pipeline.annotation import output as annotation_output
from datalake_service.pipeline.annotation import rows_to_ask
from datalake_service.pipeline.annotation.job import AnnotationReport
from datalake_service.pipeline.annotation.lease import AnnotatorLease, WorkerLease
from datalake_service.pipeline.merging.merge import merge_annotator
from datalake_service.storage.base import ObjectStore
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

WORKERS = layout.worker_leases_prefix(DATASET, ANNOTATOR)
CLAIMS = layout.claims_prefix(DATASET, ANNOTATOR)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that wait look again soon."""
    monkeypatch.setattr(rows_to_ask, "_LOOK_AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(annotation_output, "_GIVE_BACK_SECONDS", 0.05)


def many(batches: int = 12, rows: int = 20) -> ListRows:
    """Some batches with equal ids."""
    return ListRows({f"b{number}": ids(rows) for number in range(batches)})


def together(store: ObjectStore, rows: ListRows, asked: list[Asked], **options: Any) -> list[AnnotationReport]:
    """One worker for each function, at once."""

    async def main() -> list[AnnotationReport]:
        return await asyncio.gather(*(start(store, rows, one, shared=True, **options) for one in asked))

    return asyncio.run(main())


def live_workers(store: ObjectStore) -> list[str]:
    """The keys of their leases."""
    return [meta.key for meta in store.list(WORKERS)]


def claim_of(store: ObjectStore, batch: str) -> Claim:
    """The claim of a batch, which there is."""
    claim = Claims(store, DATASET, ANNOTATOR).read(batch)
    assert claim is not None
    return claim


def test_workers_divide_the_batches(any_store: ObjectStore) -> None:
    """On a folder and on S3: every row is asked once by all together, every worker does a part, all see the end."""
    rows = many()
    asked = [Asked() for _ in range(3)]
    reports = together(any_store, rows, asked, chunk_size=7)
    assert sorted(name for one in asked for name in one.ids) == sorted(12 * ids(20))
    assert sum(report.annotated for report in reports) == 240
    assert all(report.annotated for report in reports)
    for report in reports:
        assert (report.annotated + report.already_done, report.remaining, report.batches_left) == (240, 0, 0)
    assert sum(report.batches for report in reports) == 12
    assert Counter((row["_batch"], row["id"]) for row in chunk_rows(any_store)) == Counter(
        {(batch, name): 1 for batch, names in rows.batches.items() for name in names}
    )
    assert live_workers(any_store) == []


def test_nobody_reads_what_another_one_went_through(folder_store: FolderStore) -> None:
    """Each batch is read by one worker only: the others believe what its claim says."""
    readers = [many(), many()]

    async def main() -> None:
        await asyncio.gather(*(start(folder_store, one, Asked(), shared=True) for one in readers))

    asyncio.run(main())
    assert sorted(readers[0].read_batches + readers[1].read_batches) == sorted(readers[0].batches)


def test_another_selection_is_another_job(folder_store: FolderStore) -> None:
    """A worker that selects more rows goes through all batches itself; no row is asked twice."""
    some, more = ListRows({"b1": ids(10), "b2": ids(10)}), ListRows({"b1": ids(30), "b2": ids(30)})
    asked = [Asked(), Asked()]

    async def main() -> list[AnnotationReport]:
        pairs = zip((some, more), asked, strict=True)
        return await asyncio.gather(*(start(folder_store, rows, one, shared=True) for rows, one in pairs))

    asyncio.run(main())
    assert sorted(asked[0].ids + asked[1].ids) == sorted(2 * ids(30))
    assert sorted(more.read_batches) == ["b1", "b2"]


@pytest.mark.parametrize("merged", [False, True])
def test_the_next_run_asks_what_failed(folder_store: FolderStore, *, merged: bool) -> None:
    """Once for all workers together; what is done is found in chunks and merged objects, not in claims."""
    bad = set(ids(20)[::4])

    def rule(item: DataItem) -> object:
        if item.id in bad:
            raise ValueError("no")
        return SkipDoc() if item.id.endswith("1") else {"n": 1}

    asked: list[Asked] = []
    for _ in range(2):
        asked = [Asked(rule), Asked(rule)]
        reports = together(folder_store, many(), asked)
        assert sum(report.failed for report in reports) == 12 * len(bad)
        assert {report.remaining for report in reports} == {12 * len(bad)}
        assert {report.annotated + report.skipped + report.already_done for report in reports} == {240 - 12 * len(bad)}
        if merged:
            merge_annotator(folder_store, DATASET, ANNOTATOR)
    assert sorted(asked[0].ids + asked[1].ids) == sorted(12 * list(bad))


def test_annotations_that_a_person_removed_are_made_again(folder_store: FolderStore) -> None:
    """A claim of an earlier run is not believed."""
    run(folder_store, many(3), Asked(), shared=True)
    for meta in list(folder_store.list(layout.annotator_temp_prefix(DATASET, ANNOTATOR))):
        folder_store.delete(meta.key)
    asked = Asked()
    assert run(folder_store, many(3), asked, shared=True).annotated == 60


def test_a_merge_in_the_middle_hides_nothing(folder_store: FolderStore) -> None:
    """Clean-up while two workers work, again and again: no row is asked twice, none is lost."""

    def rule(item: DataItem) -> object:
        if item.id == "r0003":
            merge_annotator(folder_store, DATASET, ANNOTATOR)
        return {"n": 1}

    asked = [Asked(rule), Asked(rule)]
    together(folder_store, many(6), asked, chunk_size=4)
    assert sorted(asked[0].ids + asked[1].ids) == sorted(6 * ids(20))
    merge_annotator(folder_store, DATASET, ANNOTATOR)
    again = Asked()
    report = run(folder_store, many(6), again, shared=True)
    assert (again.ids, report.already_done) == ([], 120)


def test_batches_are_worked_on_up_to_the_limit(folder_store: FolderStore) -> None:
    """``max_batches`` counts those of the worker; the others are left."""
    report = run(folder_store, many(5), Asked(), shared=True, max_batches=2)
    assert (report.annotated, report.batches, report.batches_left) == (40, 2, 3)
    report = run(folder_store, many(5), Asked(), shared=True, max_batches=2)
    assert (report.annotated, report.batches) == (40, 2)


def test_small_batches_are_stored_together(folder_store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of one row is not a chunk of one row."""
    monkeypatch.setattr(annotation_output, "_GIVE_BACK_SECONDS", 3_600)
    run(folder_store, many(60, rows=1), Asked(), shared=True)
    chunks = [meta for meta in folder_store.list(f"{DATASET}/") if "_chunk_" in meta.key]
    assert len(chunks) == 1
    assert all(claim_of(folder_store, f"b{number}").record.seen is not None for number in range(60))


# Alone and shared ----------------------------------------------------------------------------------------------


async def hanging(item: DataItem) -> dict[str, Any]:
    """A call that never answers."""
    await asyncio.Event().wait()
    return {}


@pytest.mark.parametrize("first_shares", [False, True])
def test_alone_and_shared_exclude_each_other(folder_store: FolderStore, *, first_shares: bool) -> None:
    """Whoever comes second is told who is there, when it enters a view and when it begins; nothing is asked."""

    async def main() -> None:
        first = asyncio.create_task(start(folder_store, many(), hanging, shared=first_shares))
        await until(
            lambda: any("_chunk_" in meta.key or "manifest" in meta.key for meta in folder_store.list(DATASET + "/"))
        )
        rows, asked = many(), Asked()
        what = "a worker shares" if first_shares else "another worker holds"
        with pytest.raises(AnnotationLockError, match=rf"{what} the annotator posts/lang: annotate posts/lang.* on "):
            await start(folder_store, rows, asked, shared=not first_shares)
        assert (rows.read_batches, asked.ids) == ([], [])
        other = AnnotatorLease if first_shares else WorkerLease
        with pytest.raises(AnnotationLockError):
            other(folder_store, DATASET, ANNOTATOR).refuse_if_held()
        if first_shares:
            WorkerLease(folder_store, DATASET, ANNOTATOR).refuse_if_held()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert (await start(folder_store, many(), asked, shared=not first_shares)).annotated == 240

    asyncio.run(main())


@pytest.mark.parametrize("shared_first", [False, True])
def test_both_at_once_never_both_work(folder_store: FolderStore, *, shared_first: bool) -> None:
    """One of them works, or none; every row that was asked was asked once."""
    asked = [Asked(), Asked()]

    async def main() -> list[object]:
        both = [
            start(folder_store, many(), one, shared=shared)
            for one, shared in zip(asked, (shared_first, not shared_first), strict=True)
        ]
        return list(await asyncio.gather(*both, return_exceptions=True))

    outcomes = asyncio.run(main())
    assert sum(isinstance(one, AnnotationLockError) for one in outcomes) >= 1
    assert sum(isinstance(one, AnnotationReport) for one in outcomes) <= 1
    assert max(Counter(asked[0].ids + asked[1].ids).values(), default=12) == 12


# Deaths --------------------------------------------------------------------------------------------------------


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


# Cost ----------------------------------------------------------------------------------------------------------


def test_requests_for_each_batch_are_few(folder_store: FolderStore) -> None:
    """Two for a claim, besides those of the rows; one more if it was claimed before."""
    counting = FaultyStore(folder_store)
    run(counting, many(30), Asked(), shared=True)
    verbs = Counter(operation.verb for operation in counting.operations if operation.key.startswith(CLAIMS))
    assert verbs == {"list": 1, "put": 60}
    again = FaultyStore(folder_store)
    run(again, many(30), Asked(), shared=True)
    verbs = Counter(operation.verb for operation in again.operations if operation.key.startswith(CLAIMS))
    assert verbs == {"list": 1, "get": 30, "put": 60}
    chunks = [operation for operation in again.operations if operation.verb == "list" and "/.temp/" in operation.key]
    assert len(chunks) == 1


def test_one_worker_among_others_costs_a_lease(folder_store: FolderStore) -> None:
    """Two requests to take it, one to look for the other kind, one for limits, one to give it back."""
    shared, alone = FaultyStore(folder_store), FaultyStore(folder_store)
    run(shared, many(0), Asked(), shared=True)
    asked = [
        (operation.verb, operation.key.rpartition("/")[2][-5:])
        for operation in shared.operations
        # Besides: one for the generation (two the first time), and the report of all workers.
        if not operation.key.endswith(("/generations.json", "/whole.json")) and "/tallies/" not in operation.key
    ]
    assert [verb for verb, _ in asked if verb != "list"] == ["get", "put", "get", "get", "delete"]
    run(alone, many(0), Asked())
    keys = [
        operation.verb for operation in alone.operations if not operation.key.endswith(("/.temp/", "/generations.json"))
    ]
    assert keys == ["get", "put", "list", "put"]


def test_names_of_workers_are_used_once(tmp_path: Path) -> None:
    """A second worker of one name would be refused, not let in."""
    store = FolderStore(tmp_path, durable=False)
    first, second = (WorkerLease(store, DATASET, ANNOTATOR, draw=lambda: "a" * 32) for _ in range(2))
    first.take()
    with pytest.raises(AnnotationLockError):
        second.take()
    assert Lease(store, layout.worker_lease_key(DATASET, ANNOTATOR, "a" * 32), ttl=timedelta(hours=1)).find_holder()
