"""Workers that share one big batch: each takes some of its parts, and what holds for batches holds for parts."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_interfaces import DataItem
from datalake_service.catalog import layout
from datalake_service.catalog.claims import Claims
from datalake_service.catalog.parts import Part
from datalake_service.config.filters import BooleanFilter
from datalake_service.pipeline.annotation import output as annotation_output
from datalake_service.pipeline.annotation import rows_to_ask
from datalake_service.pipeline.annotation.annotate import annotate
from datalake_service.pipeline.annotation.job import AnnotationJob, AnnotationOptions, AnnotationReport
from datalake_service.pipeline.annotation.lease import WorkerLease
from datalake_service.pipeline.merging.merge import merge_annotator
from datalake_service.pipeline.views.plan import ViewRequest
from datalake_service.pipeline.views.views import DatasetView
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.folder import FolderStore
from tests.support.annotations import ANNOTATOR, DATASET, Asked, ListRows, chunk_rows, ids, run, start
from tests.support.lake import put_rows
from tests.support.remote import RemoteStore


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that wait look again soon."""
    monkeypatch.setattr(rows_to_ask, "_LOOK_AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(annotation_output, "_GIVE_BACK_SECONDS", 0.05)


def one_big(rows: int = 200, *, part_rows: int = 15) -> ListRows:
    """One batch in parts."""
    return ListRows({"b1": ids(rows)}, part_rows=part_rows)


def together(store: ObjectStore, rows: ListRows, asked: list[Asked], **options: Any) -> list[AnnotationReport]:
    """One worker for each function, at once."""

    async def main() -> list[AnnotationReport]:
        return await asyncio.gather(*(start(store, rows, one, shared=True, **options) for one in asked))

    return asyncio.run(main())


def test_workers_divide_one_batch(any_store: ObjectStore) -> None:
    """On a folder and on S3: every row once, every worker does a part, reports add up, each part is read once."""
    rows = one_big()
    asked = [Asked() for _ in range(3)]
    reports = together(any_store, rows, asked, chunk_size=7)
    assert sorted(name for one in asked for name in one.ids) == ids(200)
    assert sum(report.annotated for report in reports) == 200
    assert all(report.annotated for report in reports)
    for report in reports:
        assert (report.annotated + report.already_done, report.remaining, report.batches_left) == (200, 0, 0)
    assert Counter(row["id"] for row in chunk_rows(any_store)) == dict.fromkeys(ids(200), 1)
    assert sorted(rows.read_batches) == sorted(part.name for part in rows.parts("b1"))


@pytest.mark.parametrize("merged", [False, True])
def test_rows_that_failed_are_asked_by_the_next_run(folder_store: FolderStore, *, merged: bool) -> None:
    """Once for all workers together, whichever part they are in."""
    bad = set(ids(200)[::9])

    def rule(item: DataItem) -> object:
        if item.id in bad:
            raise ValueError("no")
        return {"n": 1}

    asked: list[Asked] = []
    for _ in range(2):
        asked = [Asked(rule), Asked(rule)]
        reports = together(folder_store, one_big(), asked)
        assert sum(report.failed for report in reports) == len(bad)
        assert {report.remaining for report in reports} == {len(bad)}
        assert {report.annotated + report.already_done for report in reports} == {200 - len(bad)}
        if merged:
            merge_annotator(folder_store, DATASET, ANNOTATOR)
    assert sorted(asked[0].ids + asked[1].ids) == sorted(bad)


def test_a_merge_of_annotations_in_the_middle_hides_nothing(folder_store: FolderStore) -> None:
    """Finished rows are remembered for the next part of the batch; that is true in spite of merges."""

    def rule(item: DataItem) -> object:
        if item.id.endswith("3"):
            merge_annotator(folder_store, DATASET, ANNOTATOR)
        return {"n": 1}

    run(folder_store, ListRows({"b1": ids(200)[::7]}), Asked())
    asked = [Asked(rule), Asked(rule)]
    together(folder_store, one_big(), asked, chunk_size=4)
    assert sorted(asked[0].ids + asked[1].ids) == sorted(set(ids(200)) - set(ids(200)[::7]))


def test_what_a_dead_worker_left_of_its_part_is_done_by_others(folder_store: FolderStore) -> None:
    """What it had stored is not asked again."""
    rows = one_big(60, part_rows=20)
    lease = WorkerLease(folder_store, DATASET, ANNOTATOR, ttl=timedelta(milliseconds=1))
    lease.take()
    assert Claims(folder_store, DATASET, ANNOTATOR, worker=lease.worker).take("b1/1", over=None) is not None
    asked = [Asked(), Asked()]

    async def main() -> None:
        working = asyncio.gather(*(start(folder_store, rows, one, shared=True) for one in asked))
        await asyncio.sleep(0)
        await working

    asyncio.run(main())
    assert sorted(asked[0].ids + asked[1].ids) == ids(60)
    claim = Claims(folder_store, DATASET, ANNOTATOR).read("b1/1")
    assert claim is not None
    assert claim.record.released


def test_a_worker_that_knows_more_rows_agrees_about_the_parts(folder_store: FolderStore) -> None:
    """A merge added rows between the beginnings of two workers: all rows are asked once."""
    fewer, more = one_big(100), one_big(170)
    asked = [Asked(), Asked()]

    async def main() -> list[AnnotationReport]:
        pairs = zip((fewer, more), asked, strict=True)
        return await asyncio.gather(*(start(folder_store, rows, one, shared=True) for rows, one in pairs))

    asyncio.run(main())
    assert sorted(asked[0].ids + asked[1].ids) == ids(170)


# Real rows -----------------------------------------------------------------------------------------------------


@dataclass
class Lake:
    """A dataset with one batch of 3,000 rows in many row groups."""

    store: ObjectStore
    rows: list[str] = field(default_factory=lambda: ids(3_000))

    def __post_init__(self) -> None:
        """Write it."""
        rows = [{"id": name, "text": f"text {name}", "even": number % 2 == 0} for number, name in enumerate(self.rows)]
        put_rows(self.store, DATASET, "b1", rows, group_rows=350)

    def view(self, **request: Any) -> DatasetView:
        """A view of it."""
        return DatasetView(self.store, ViewRequest(dataset=DATASET, base_columns=("text",), **request))


@pytest.mark.parametrize(
    "request_", [{}, {"filter": BooleanFilter(field="even", value=True)}, {"fraction": 0.3}], ids=str
)
def test_parts_of_a_view_are_the_view(any_store: ObjectStore, request_: dict[str, Any]) -> None:
    """Filtered and sampled or not, with rows left out or not: all parts together are the batch, in its order."""
    with Lake(any_store).view(**request_) as view:
        parts = view.parts("b1")
        assert [part.number for part in parts] == [0, 1, 2]
        for leave_out in ((), ids(3_000)[500:2_000], ids(3_000)):
            counts: list[int] = []
            whole = [item.id for block in view.read("b1", leave_out=leave_out) for item in block]
            by_parts = [
                item.id
                for part in parts
                for block in view.read("b1", leave_out=leave_out, part=part, left_out=counts.append)
                for item in block
            ]
            assert by_parts == whole
            assert sum(counts) == len(leave_out)


def test_workers_share_a_real_batch_that_is_half_done(folder_store: FolderStore) -> None:
    """Rows are decided one by one in every part; the next run finds nothing to do."""
    lake = Lake(folder_store)
    job = AnnotationJob(DATASET, ANNOTATOR, ["b1"])

    async def work(asked: Asked, **request: Any) -> AnnotationReport:
        with lake.view(**request) as view:
            return await annotate(
                folder_store, job, rows=view, function=asked, options=AnnotationOptions(shared=True, chunk_size=50)
            )

    first = Asked()
    asyncio.run(work(first, fraction=0.5))
    merge_annotator(folder_store, DATASET, ANNOTATOR)
    asked = [Asked() for _ in range(2)]

    async def both() -> list[AnnotationReport]:
        return await asyncio.gather(*(work(one) for one in asked))

    reports = asyncio.run(both())
    assert sorted(first.ids + asked[0].ids + asked[1].ids) == lake.rows
    assert {report.annotated + report.already_done for report in reports} == {3_000}
    again = Asked()
    assert asyncio.run(work(again)).already_done == 3_000
    assert again.ids == []


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_any_range_of_rows_with_any_left_out(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Against a list: whatever the row groups, the range, the ids that are left out and the filter."""
    count = data.draw(st.integers(0, 40), label="rows")
    rows = [{"id": f"r{number}", "text": "t", "even": number % 2 == 0} for number in range(count)]
    store = FolderStore(tmp_path_factory.mktemp("lake"), durable=False)
    put_rows(store, DATASET, "b1", rows, group_rows=data.draw(st.integers(1, 12), label="group"))
    first = data.draw(st.integers(0, 45), label="first")
    end = data.draw(st.one_of(st.none(), st.integers(first, 50)), label="end")
    names = [str(row["id"]) for row in rows]
    leave_out = data.draw(st.lists(st.sampled_from([*names, "stranger"]), unique=True), label="left out")
    even = data.draw(st.booleans(), label="filter")
    chosen = BooleanFilter(field="even", value=True) if even else None
    counts: list[int] = []
    with DatasetView(store, ViewRequest(dataset=DATASET, base_columns=("text",), filter=chosen)) as view:
        part = Part("b1", 1, first, end)
        blocks = view.read("b1", leave_out=leave_out, part=part, left_out=counts.append)
        found = [item.id for block in blocks for item in block]
    expected = [name for name in names[first:end] if name not in leave_out]
    assert found == [name for name in expected if not even or int(name[1:]) % 2 == 0]
    assert sum(counts) == len(names[first:end]) - len(expected)


def test_row_groups_beside_the_part_are_not_fetched(folder_store: FolderStore) -> None:
    """Of a store across a network: a part of a third of the rows costs about a third of their bytes."""
    noise = random.Random(1)
    rows = [{"id": f"r{number:05d}", "text": noise.randbytes(2_000).hex()} for number in range(6_000)]
    put_rows(folder_store, DATASET, "b1", rows, group_rows=250)
    remote = RemoteStore(folder_store)
    with DatasetView(remote, ViewRequest(dataset=DATASET, base_columns=("text",))) as view:
        sizes = []
        for part in (Part("b1"), Part("b1", 1, 2_000, 4_000)):
            remote.read.clear()
            assert sum(len(block) for block in view.read("b1", part=part)) == (6_000 if part.end is None else 2_000)
            sizes.append(sum(size for _, size in remote.read))
    assert sizes[1] < 0.4 * sizes[0]


def test_claims_of_parts_are_listed_and_checked(folder_store: FolderStore) -> None:
    """They lie where ``fsck`` and ``locks list`` look for claims."""
    run(folder_store, one_big(40), Asked(), shared=True)
    keys = [meta.key for meta in folder_store.list(layout.claims_prefix(DATASET, ANNOTATOR))]
    assert sorted(keys) == sorted(layout.claim_key(DATASET, ANNOTATOR, name) for name in ("b1", "b1/1", "b1/2"))
