"""Annotating: every selected row is asked until it has an answer, and the next run knows."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from datalake_interfaces import DataItem, SkipDoc
from datalake_service.catalog import layout
from datalake_service.catalog.manifests import RunManifest
from datalake_service.pipeline.annotation.job import AnnotationReport
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.folder import FolderStore
from tests.support.annotations import (
    ANNOTATOR,
    BATCH,
    DATASET,
    Asked,
    ListRows,
    chunk_rows,
    ids,
    merge_by_hand,
    one_batch,
    run,
    statuses,
)


def test_every_row_is_asked_once_and_stored(any_store: ObjectStore) -> None:
    """On a folder and on S3: the report counts them, the chunks hold them, the manifest is complete."""
    asked = Asked()
    report = run(any_store, one_batch(), asked, chunk_size=30)
    assert (report.annotated, report.skipped, report.failed, report.already_done, report.remaining) == (100, 0, 0, 0, 0)
    assert sorted(asked.ids) == ids(100)
    rows = chunk_rows(any_store)
    assert statuses(rows) == dict.fromkeys(ids(100), "done")
    assert {row["_batch"] for row in rows} == {BATCH}
    assert {row["length"] for row in rows} == {len("text of r0000")}
    assert report.run is not None
    key = layout.run_manifest_key(layout.annotator_temp_prefix(DATASET, ANNOTATOR), report.run)
    manifest = RunManifest.from_json(any_store.get(key)[0], key=key)
    assert (manifest.kind, manifest.completed, manifest.rows) == ("annotation", True, 100)
    assert [chunk.rows for chunk in manifest.chunks] == [30, 30, 30, 10]


def test_a_row_says_when_it_was_annotated(folder_store: FolderStore) -> None:
    """In UTC, in the form of the lake."""
    before = datetime.now(UTC)
    run(folder_store, one_batch(1), Asked())
    (row,) = chunk_rows(folder_store)
    moment = datetime.fromisoformat(row["_annotated_at"])
    assert before - timedelta(seconds=1) <= moment <= datetime.now(UTC)
    assert set(row) == {"id", "_batch", "_status", "_annotated_at", "_seconds", "length"}


def test_running_again_asks_nothing_and_writes_nothing(folder_store: FolderStore, tmp_path: Path) -> None:
    """Done rows are known from chunks, then from the merged object; a run with nothing to do leaves no trace."""
    run(folder_store, one_batch(), Asked())
    before = {meta.key for meta in folder_store.list("")}
    for _ in range(2):
        again = Asked()
        report = run(folder_store, one_batch(), again)
        assert again.ids == []
        assert (report.annotated, report.already_done, report.run) == (0, 100, None)
        assert {meta.key for meta in folder_store.list("")} <= before | {layout.annotator_lease_key(DATASET, ANNOTATOR)}
        merge_by_hand(folder_store, tmp_path)
        before = {meta.key for meta in folder_store.list("")}


def test_a_plain_function_runs_in_threads(folder_store: FolderStore) -> None:
    """Eight at once, and never on the thread of the event loop."""
    meeting, seen = threading.Barrier(8), set()

    def function(item: DataItem) -> dict[str, Any]:
        seen.add(threading.current_thread())
        meeting.wait(30)  # passes only if eight calls are in it at the same time
        return {"n": item.id}

    assert run(folder_store, one_batch(80), function, max_concurrency=8).annotated == 80
    assert len(seen) == 8
    assert threading.main_thread() not in seen


def test_concurrency_is_what_was_asked_for(folder_store: FolderStore) -> None:
    """Never more calls at once, and as many as that if there is enough to do."""
    now = most = 0

    async def function(item: DataItem) -> dict[str, Any]:
        nonlocal now, most
        now += 1
        most = max(most, now)
        for _ in range(5):
            await asyncio.sleep(0)
        now -= 1
        return {}

    run(folder_store, one_batch(200, block=200), function, max_concurrency=10)
    assert most == 10


def test_every_way_to_write_an_async_function_works(folder_store: FolderStore) -> None:
    """A coroutine function, a bound method, an object with an async call, a lambda around one."""

    class Holder:
        async def method(self, item: DataItem) -> dict[str, Any]:
            return {"n": 1}

    async def function(item: DataItem) -> dict[str, Any]:
        return {"n": 1}

    wrapped = lambda item: function(item)  # noqa: E731, PLW0108 - a plain function that makes a coroutine
    for number, way in enumerate([function, Holder().method, Asked(), wrapped]):
        report = run(folder_store, one_batch(20), way, annotator=f"way-{number}")
        assert (report.annotated, report.failed) == (20, 0)


def test_memory_holds_a_few_blocks_only(folder_store: FolderStore) -> None:
    """The reader is never more than a few blocks ahead of the rows that were asked."""
    handed_out = most = answered = 0

    class Counting(ListRows):
        def read(self, batch: str, **how: Any) -> Any:
            nonlocal handed_out
            for block in super().read(batch, **how):
                handed_out += len(block)
                yield block

    async def function(item: DataItem) -> dict[str, Any]:
        nonlocal most, answered
        most = max(most, handed_out - answered)
        await asyncio.sleep(0)
        answered += 1
        return {}

    run(folder_store, Counting({BATCH: ids(2_000)}, block=50), function, max_concurrency=4)
    assert most <= 50 * 5


def test_a_widened_selection_pays_for_the_new_rows_only(folder_store: FolderStore, tmp_path: Path) -> None:
    """1 %, then 10 %, then all: each row is asked once, with and without a merge between."""
    paid: list[str] = []
    for count in (3, 30, 300):
        asked = Asked()
        report = run(folder_store, ListRows({BATCH: ids(300)[:count]}), asked)
        paid += asked.ids
        assert report.annotated == count - report.already_done
        if count == 30:
            merge_by_hand(folder_store, tmp_path)
    assert sorted(paid) == ids(300)


def test_a_new_batch_pays_for_itself(folder_store: FolderStore) -> None:
    """Equal ids in two batches are two rows."""
    first, second = Asked(), Asked()
    run(folder_store, ListRows({"b1": ids(50)}), first)
    report = run(folder_store, ListRows({"b1": ids(50), "b10": ids(50)}), second)
    assert (report.already_done, report.annotated) == (50, 50)
    assert sorted(second.ids) == ids(50)
    assert {row["_batch"] for row in chunk_rows(folder_store)} == {"b1", "b10"}


def test_failed_rows_and_only_those_are_asked_again(folder_store: FolderStore, tmp_path: Path) -> None:
    """Before and after a merge; a row that fails again stays failed."""
    bad = set(ids(100)[::10])

    def rule(item: DataItem) -> object:
        if item.id in bad:
            raise ValueError("no")
        return {"n": 1}

    report = run(folder_store, one_batch(), Asked(rule))
    assert (report.annotated, report.failed, report.remaining) == (90, 10, 10)
    again = Asked(rule)
    assert run(folder_store, one_batch(), again).failed == 10
    assert set(again.ids) == bad
    merge_by_hand(folder_store, tmp_path)
    last = Asked()
    report = run(folder_store, one_batch(), last)
    assert (report.annotated, report.failed, report.already_done) == (10, 0, 90)
    assert set(last.ids) == bad


def test_a_skipped_row_is_not_asked_again(folder_store: FolderStore, tmp_path: Path) -> None:
    """A tombstone: asked, decided, kept with its reason."""
    report = run(folder_store, one_batch(10), Asked(lambda item: SkipDoc(skip_message="too short")))
    assert (report.skipped, report.remaining) == (10, 0)
    assert [row["_metadata"] for row in chunk_rows(folder_store)] == [{"skip_message": "too short"}] * 10
    for _ in range(2):
        again = Asked()
        assert run(folder_store, one_batch(10), again).already_done == 10
        assert again.ids == []
        merge_by_hand(folder_store, tmp_path)


def test_batches_are_limited_by_those_with_work(folder_store: FolderStore) -> None:
    """A batch in which everything is done does not count, so that one batch at a time gets through all."""
    rows = ListRows({f"b{number}": ids(5, f"b{number}-") for number in range(4)})
    seen = []
    for _ in range(5):
        asked = Asked()
        report = run(folder_store, rows, asked, max_batches=1)
        seen.append((len(asked.ids), report.batches, report.batches_left))
    assert seen == [(5, 1, 3), (5, 1, 2), (5, 1, 1), (5, 1, 0), (0, 0, 0)]


@pytest.mark.parametrize("batches", [{}, {BATCH: []}])
def test_nothing_to_annotate_is_no_error(folder_store: FolderStore, batches: dict[str, list[str]]) -> None:
    """No batch, or no row."""
    assert run(folder_store, ListRows(batches), Asked()) == AnnotationReport(expected=0)


def test_a_damaged_line_of_a_chunk_costs_its_row_only(folder_store: FolderStore) -> None:
    """Whatever it was, its row is asked again."""
    run(folder_store, one_batch(10), Asked())
    prefix = layout.annotator_temp_prefix(DATASET, ANNOTATOR)
    (key,) = [meta.key for meta in folder_store.list(prefix) if meta.key.endswith(".jsonl")]
    path = folder_store.root / key
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b'{"id": \xff}\n', b"[1]\n", b'{"_status": "done"}\n', *lines[2:]]))
    again = Asked()
    run(folder_store, one_batch(10), again)
    assert again.ids == [ids(10)[1]]
