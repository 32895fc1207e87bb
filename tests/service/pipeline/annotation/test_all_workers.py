"""The report of all workers together: who writes it, what is in it, what becomes of it when workers die."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from datalake_interfaces import DataItem, SkipDoc
from datalake_service.annotating.policy import CallPolicy
from datalake_service.catalog import layout
from datalake_service.catalog.tallies import Tallies, Tally, Whole, WorkerTally
from datalake_service.errors import LimitExceededError
from datalake_service.events import ANNOTATION_TALLY_NOT_STORED
from datalake_service.pipeline.annotation import output as annotation_output
from datalake_service.pipeline.annotation import rows_to_ask
from datalake_service.pipeline.annotation.job import AnnotationReport
from datalake_service.pipeline.upkeep.fsck import check_dataset
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.folder import FolderStore
from tests.support.annotations import ANNOTATOR, DATASET, Asked, ListRows, events, ids, run, start
from tests.support.faulty_store import Fault, FaultyStore, at

NOW = datetime(2026, 11, 21, tzinfo=UTC)
TALLIES = layout.tallies_prefix(DATASET, ANNOTATOR)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that wait look again soon."""
    monkeypatch.setattr(rows_to_ask, "_LOOK_AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(annotation_output, "_GIVE_BACK_SECONDS", 0.05)


def many() -> ListRows:
    """Some batches with equal ids."""
    return ListRows({f"b{number}": ids(20) for number in range(6)})


def rule(item: DataItem) -> object:
    """Some are skipped, some fail, all cost something."""
    item.spend(input_tokens=3, output_tokens=1, cost=0.5)
    if item.id.endswith("7"):
        raise ValueError("no")
    return SkipDoc() if item.id.endswith("1") else {"n": 1}


def together(store: ObjectStore, count: int, **options: Any) -> list[AnnotationReport]:
    """So many workers at once."""

    async def main() -> list[AnnotationReport]:
        asked = [Asked(rule) for _ in range(count)]
        shared = {"shared": True, "calls": CallPolicy(max_attempts=1), **options}
        return await asyncio.gather(*(start(store, many(), one, **shared) for one in asked))

    return asyncio.run(main())


def wholes(reports: list[AnnotationReport]) -> list[Whole]:
    """The reports of all workers among them."""
    return [report.whole for report in reports if report.whole is not None]


def test_one_worker_reports_the_whole(any_store: ObjectStore) -> None:
    """On a folder and on S3: the sum of all, and durable; nothing else is left of the tallies."""
    reports = together(any_store, 3)
    (whole,) = wholes(reports)
    assert (whole.tally.annotated, whole.tally.skipped, whole.tally.failed) == (96, 12, 12)
    assert (whole.tally.calls, whole.tally.input_tokens, whole.tally.output_tokens) == (120, 360, 120)
    assert whole.tally.cost == pytest.approx(60)
    assert (len(whole.workers), whole.lost, whole.errors) == (3, 0, ())
    assert Tallies(any_store, DATASET, ANNOTATOR).whole() == whole
    assert list(any_store.list(TALLIES)) == []
    assert sum(report.annotated for report in reports) == 96


def test_who_works_alone_reports_itself_only(folder_store: FolderStore) -> None:
    """And writes nothing for others."""
    assert run(folder_store, many(), Asked(rule)).whole is None
    assert Tallies(folder_store, DATASET, ANNOTATOR).whole() is None


def test_each_time_the_last_one_ends_is_a_whole_of_its_own(folder_store: FolderStore) -> None:
    """What was reported is not reported again; what was spent is known if nobody counts calls, too."""
    together(folder_store, 2)
    (again,) = wholes(together(folder_store, 2, calls=None))
    assert (again.number, again.tally.annotated, again.tally.failed) == (2, 0, 12)
    assert (again.tally.calls, again.tally.cost) == (12, 6)


def test_what_the_dead_did_is_in_it(folder_store: FolderStore) -> None:
    """As far as they could tell."""
    dead = WorkerTally(worker="d" * 32, where="there", tally=Tally(annotated=5, cost=1.5))
    Tallies(folder_store, DATASET, ANNOTATOR).write(dead)
    (whole,) = wholes(together(folder_store, 1))
    assert (whole.tally.annotated, whole.lost, len(whole.workers)) == (101, 1, 2)
    assert "1 of them lost" in whole.in_words()


def test_an_early_end_is_in_it(folder_store: FolderStore) -> None:
    """With its reason, once for all workers that have it."""
    with pytest.raises(LimitExceededError):
        together(folder_store, 1, max_errors=2)
    whole = Tallies(folder_store, DATASET, ANNOTATOR).whole()
    assert whole is not None
    assert len(whole.errors) == 1
    assert "rows failed in the annotator" in whole.errors[0]
    assert whole.lost == 0


def test_tallies_that_cannot_be_written_fail_nothing(
    folder_store: FolderStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The run goes on, and says so."""
    store = FaultyStore(folder_store, at("put", Fault.UNAVAILABLE, key=TALLIES))
    report = run(store, many(), Asked(rule), shared=True)
    assert report.annotated == 96
    assert events(caplog, ANNOTATION_TALLY_NOT_STORED)


def test_two_last_ones_never_count_twice(folder_store: FolderStore) -> None:
    """Both saw that nobody is left: one of them reports. What the first could not remove does not count again."""
    tallies = Tallies(folder_store, DATASET, ANNOTATOR)
    for name in ("a" * 32, "b" * 32):
        tallies.write(WorkerTally(worker=name, where="there", tally=Tally(annotated=5), ended=True))
    kept = [folder_store.get(meta.key) for meta in folder_store.list(TALLIES)]
    assert (first := tallies.add_up(by="a" * 32, now=NOW, anybody=lambda: False)) is not None
    assert first.tally.annotated == 10
    assert tallies.add_up(by="b" * 32, now=NOW, anybody=lambda: False) is None
    for name, (data, _) in zip(("a" * 32, "b" * 32), kept, strict=True):
        tallies.write(WorkerTally.from_json(data, key=name))
    assert tallies.add_up(by="b" * 32, now=NOW, anybody=lambda: False) is None
    assert tallies.whole() == first
    assert list(folder_store.list(TALLIES)) == []


def test_a_worker_that_begins_while_others_are_added_up_counts_when_it_ends(folder_store: FolderStore) -> None:
    """Its tally, which says nothing yet, is neither counted nor removed: its name would never count again."""
    tallies = Tallies(folder_store, DATASET, ANNOTATOR)
    tallies.write(WorkerTally(worker="a" * 32, where="there", tally=Tally(annotated=5), ended=True))

    def nobody_yet() -> bool:
        tallies.write(WorkerTally(worker="b" * 32, where="there"))
        return False

    assert (first := tallies.add_up(by="a" * 32, now=NOW, anybody=nobody_yet)) is not None
    assert (first.tally.annotated, first.workers, first.lost) == (5, ("a" * 32,), 0)
    tallies.write(WorkerTally(worker="b" * 32, where="there", tally=Tally(annotated=7), ended=True))
    assert tallies.add_up(by="c" * 32, now=NOW, anybody=lambda: True) is None
    assert (second := tallies.add_up(by="b" * 32, now=NOW, anybody=lambda: False)) is not None
    assert (second.tally.annotated, second.workers) == (7, ("b" * 32,))


def test_fsck_knows_them(folder_store: FolderStore) -> None:
    """They are no leftovers; one that cannot be read is a finding."""
    together(folder_store, 1)
    Tallies(folder_store, DATASET, ANNOTATOR).write(WorkerTally(worker="a" * 32, where="there"))
    findings = [one for one in check_dataset(folder_store, DATASET) if "/.shared/" in one.key]
    assert findings == []
