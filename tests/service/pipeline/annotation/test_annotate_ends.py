"""How a run ends: whatever ends it, the answers that were given are stored."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Any

import pytest

from datalake_interfaces import DataItem
from datalake_service.annotating.policy import CallPolicy
from datalake_service.catalog import layout
from datalake_service.chunks import writer
from datalake_service.errors import LimitExceededError, StoreError
from datalake_service.pipeline.annotation.annotate import annotate
from datalake_service.pipeline.annotation.job import AnnotationJob, AnnotationReport
from datalake_service.storage.folder import FolderStore
from tests.support.annotations import (
    ANNOTATOR,
    BATCH,
    DATASET,
    Asked,
    ReadError,
    chunk_rows,
    ids,
    one_batch,
    raising,
    run,
    start,
    statuses,
    until,
)
from tests.support.faulty_store import Fault, FaultyStore, at


def test_a_failing_query_is_raised_and_answers_are_kept(folder_store: FolderStore) -> None:
    """Never a hang, never done: rows before the error are annotated, the error is the reader's own."""
    rows, asked = one_batch(500, fail_after=70), Asked()
    with pytest.raises(ReadError):
        run(folder_store, rows, asked, max_concurrency=8)
    assert len(asked.ids) == 70
    assert statuses(chunk_rows(folder_store)).keys() == set(asked.ids)
    assert rows.closed == 1
    assert run(folder_store, one_batch(500), Asked()).annotated == 430


def test_a_query_that_fails_at_once_is_raised(folder_store: FolderStore) -> None:
    """Nothing was asked; the annotator is free again."""
    with pytest.raises(ReadError):
        run(folder_store, one_batch(5, fail_after=0), Asked())
    assert run(folder_store, one_batch(5), Asked()).annotated == 5


def test_cancelling_keeps_what_was_answered(folder_store: FolderStore) -> None:
    """Answers in the buffer are stored, calls in flight are cancelled, the lease is given back at once."""
    answered: list[str] = []
    entered: list[str] = []
    cancelled: list[str] = []

    async def function(item: DataItem) -> dict[str, Any]:
        if item.id >= "r0050":
            entered.append(item.id)
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.append(item.id)
        answered.append(item.id)
        return {}

    async def main() -> None:
        task = asyncio.create_task(start(folder_store, one_batch(100), function, max_concurrency=4))
        await until(lambda: len(entered) == 4)
        for _ in range(3):  # an impatient user
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert sorted(cancelled) == entered
    assert statuses(chunk_rows(folder_store)).keys() == set(answered)
    assert run(folder_store, one_batch(100), Asked()).annotated == 50


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_the_middle_keeps_what_was_answered(
    folder_store: FolderStore, error: type[BaseException]
) -> None:
    """It leaves the event loop; asyncio cancels everything; the answers so far are stored."""
    asked = Asked(lambda item: raising(error())(item) if item.id == "r0050" else {})
    with pytest.raises(error):
        run(folder_store, one_batch(100), asked, max_concurrency=4)
    stored = statuses(chunk_rows(folder_store)).keys()
    assert set(ids(46)) <= stored <= set(asked.ids)
    assert run(folder_store, one_batch(100), Asked()).already_done == len(stored)


async def stubborn() -> None:
    """Ignore every cancellation."""
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


def test_a_call_that_ignores_its_cancellation_holds_up_nobody(
    folder_store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is left to itself after a few seconds, by ``asyncio.run`` as well."""
    monkeypatch.setattr("datalake_service.pipeline.annotation.run._CANCEL", 0.05)

    async def main() -> None:
        entered = asyncio.Event()

        async def function(item: DataItem) -> dict[str, Any]:
            entered.set()
            await stubborn()
            return {}

        task = asyncio.create_task(start(folder_store, one_batch(5), function))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


@pytest.mark.parametrize("calls", [None, CallPolicy(at_once=2)])
def test_a_run_ends_when_only_calls_that_ignore_their_cancellation_are_left(
    folder_store: FolderStore, monkeypatch: pytest.MonkeyPatch, calls: CallPolicy | None
) -> None:
    """All other rows are answered first, as long as a worker is free; the error says what to change."""
    monkeypatch.setattr("datalake_service.pipeline.annotation.run._CANCEL", 0.05)
    asked: list[str] = []

    async def function(item: DataItem) -> dict[str, Any]:
        asked.append(item.id)
        if item.id in {"r0003", "r0005"}:
            await stubborn()
        return {}

    with pytest.raises(LimitExceededError, match=r"2 calls .* let asyncio\.CancelledError pass"):
        run(folder_store, one_batch(20), function, timeout_seconds=0.05, max_concurrency=4, calls=calls)
    answered = {name for name in asked if name not in {"r0003", "r0005"}}
    assert statuses(chunk_rows(folder_store)).keys() == answered
    assert calls is not None or answered == {name for name in ids(20) if name not in {"r0003", "r0005"}}


def test_a_chunk_that_cannot_be_stored_is_raised(folder_store: FolderStore) -> None:
    """The run ends with the store's error; every other answer is stored, and only the lost ones are asked again."""
    faulty = FaultyStore(folder_store, at("put", Fault.UNAVAILABLE, key="_chunk_00003"))
    asked = Asked()
    with pytest.raises(StoreError):
        run(faulty, one_batch(500), asked, chunk_size=10)
    stored = statuses(chunk_rows(folder_store)).keys()
    assert len(set(asked.ids) - stored) == 10
    again = Asked()
    run(folder_store, one_batch(500), again)
    assert sorted([*stored, *again.ids]) == ids(500)


def test_a_slow_store_slows_the_asking(folder_store: FolderStore) -> None:
    """While chunks are on their way no more than a few results pile up, and none is lost."""
    gate, waiting = threading.Event(), threading.Semaphore(0)

    class Slow(FaultyStore):
        def put(self, key: str, body: Any, *, mode: Any) -> Any:
            if "_chunk_" in key:
                waiting.release()
                gate.wait()
            return super().put(key, body, mode=mode)

    asked = Asked(lambda item: {"what": object()} if item.id == "r0090" else {"n": 1})

    async def main() -> AnnotationReport:
        task = asyncio.create_task(start(Slow(folder_store), one_batch(1_000), asked, chunk_size=10, max_concurrency=8))
        try:
            await asyncio.to_thread(lambda: [waiting.acquire() for _ in range(writer._UPLOADS)])
            for _ in range(1_000):
                await asyncio.sleep(0)
            assert len(asked.ids) <= 10 * writer._UPLOADS + 8 + 8
        finally:
            gate.set()
        return await task

    report = asyncio.run(main())
    assert (report.annotated, report.failed) == (999, 1)
    assert len(statuses(chunk_rows(folder_store))) == 1_000


def test_results_are_stored_by_age(folder_store: FolderStore) -> None:
    """A slow annotator's few results don't wait for a full chunk."""

    async def main() -> None:
        go_on = asyncio.Event()

        async def function(item: DataItem) -> dict[str, Any]:
            if item.id != "r0000":
                await go_on.wait()
            return {}

        rows = one_batch(2)
        task = asyncio.create_task(start(folder_store, rows, function, max_chunk_seconds=0.01, max_concurrency=1))
        await until(lambda: bool(chunk_rows(folder_store)))
        assert [row["id"] for row in chunk_rows(folder_store)] == ["r0000"]
        go_on.set()
        assert (await task).annotated == 2

    asyncio.run(main())


def test_results_are_stored_by_size(folder_store: FolderStore) -> None:
    """Large results make small chunks."""
    run(folder_store, one_batch(20), Asked(lambda item: {"text": "x" * 1_000}), max_chunk_bytes=4_000)
    prefix = layout.annotator_temp_prefix(DATASET, ANNOTATOR)
    sizes = [meta.size for meta in folder_store.list(prefix) if meta.key.endswith(".jsonl")]
    assert len(sizes) >= 4
    assert max(sizes) < 6_000


def test_progress_is_told_and_ends_with_the_report(folder_store: FolderStore) -> None:
    """The last thing that is told is what is returned."""
    told: list[AnnotationReport] = []
    job = AnnotationJob(DATASET, ANNOTATOR, [BATCH])
    report = asyncio.run(annotate(folder_store, job, rows=one_batch(), function=Asked(), progress=told.append))
    assert told[-1] == report
