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
from datalake_service.catalog.leases import Lease
from datalake_service.errors import AnnotationLockError
from datalake_service.pipeline.annotation import output as annotation_output
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
    chunk_rows,
    ids,
    run,
    start,
    until,
)
from tests.support.faulty_store import FaultyStore
from tests.support.shared_workers import CLAIMS, claim_of, live_workers, many, together

pytestmark = pytest.mark.usefixtures("impatient")


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
