"""Batch annotators in whole runs: what is stored of each row, whatever becomes of the calls."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from tenacity.wait import wait_random_exponential

from datalake_interfaces import (
    BatchAnnotator,
    BatchAnswers,
    DataItem,
    ErrorDoc,
    GiveUpError,
    HandlerContext,
    SkipDoc,
    TryLaterError,
    spend_together,
)
from datalake_service.annotating.limits import Limit
from datalake_service.annotating.policy import CallPolicy
from datalake_service.annotating.usage import Budget
from datalake_service.errors import BudgetExceededError, HandlerLoadError, LimitExceededError
from datalake_service.storage.folder import FolderStore
from tests.support.annotations import ListRows, ReadError, chunk_rows, ids, one_batch, run, statuses

QUICK = wait_random_exponential(multiplier=0.001, max=0.01)

Answer = Callable[[Sequence[DataItem]], BatchAnswers]


class Batches(BatchAnnotator):
    """Answers by a function, and keeps what it was asked."""

    max_batch_size = 8

    def __init__(self, answer: Answer | None = None, **sizes: Any) -> None:
        self._answer = answer or (lambda items: [{"n": len(items)} for _ in items])
        self.calls: list[list[str]] = []
        self.begins: list[float] = []
        self.opened = self.closed = 0
        self._lock = threading.Lock()
        for name, value in sizes.items():
            setattr(self, name, value)

    @property
    def asked(self) -> Counter[str]:
        return Counter(name for call in self.calls for name in call)

    def open(self, context: HandlerContext) -> None:
        self.opened += 1

    def close(self) -> None:
        self.closed += 1

    def annotate_batch(self, items: Sequence[DataItem]) -> BatchAnswers | Awaitable[BatchAnswers]:
        with self._lock:
            self.calls.append([item.id for item in items])
            self.begins.append(time.monotonic())
        return self._answer(items)


class AsyncBatches(Batches):
    """The same on the event loop."""

    async def annotate_batch(self, items: Sequence[DataItem]) -> BatchAnswers:
        await asyncio.sleep(0)
        return super().annotate_batch(items)  # type: ignore[return-value]  # it is plain


both = pytest.mark.parametrize("kind", [Batches, AsyncBatches])


@both
def test_rows_are_asked_in_batches_and_stored_one_by_one(folder_store: FolderStore, kind: type[Batches]) -> None:
    """Full batches, and one at the end that is not; opened and closed once."""
    annotator = kind()
    report = run(folder_store, one_batch(), annotator, max_concurrency=1)
    assert (report.annotated, report.failed, report.remaining) == (100, 0, 0)
    assert [len(call) for call in annotator.calls] == [8] * 12 + [4]
    assert Counter(row["n"] for row in chunk_rows(folder_store)) == {8: 96, 4: 4}
    assert set(annotator.asked.values()) == {1}
    assert (annotator.opened, annotator.closed) == (1, 1)


@both
def test_each_row_has_an_answer_of_its_own(folder_store: FolderStore, kind: type[Batches]) -> None:
    """Columns, skips, failures and exceptions beside each other; nobody is harmed by a neighbour."""

    def answer(items: Sequence[DataItem]) -> BatchAnswers:
        answers: BatchAnswers = [SkipDoc(), ErrorDoc(error_message="no"), ValueError("bad row"), {"_no": 1}, {"n": 1}]
        return [answers[int(item.id[1:]) % 5] for item in items]

    report = run(folder_store, one_batch(), kind(answer))
    assert (report.annotated, report.skipped, report.failed) == (20, 20, 60)
    errors = Counter(row.get("_error") for row in chunk_rows(folder_store))
    assert errors["no"] == errors["ValueError: bad row"] == 20


@both
def test_a_bad_row_is_found_by_halving(folder_store: FolderStore, kind: type[Batches]) -> None:
    """Of a call that raises, only the row that is at fault fails; what it costs is logarithmic."""

    def answer(items: Sequence[DataItem]) -> BatchAnswers:
        if any(item.id in {"r0003", "r0050"} for item in items):
            raise ValueError("somebody here is bad")
        return [{"n": 1} for _ in items]

    annotator = kind(answer)
    report = run(folder_store, one_batch(), annotator)
    assert (report.annotated, report.failed) == (98, 2)
    found = statuses(chunk_rows(folder_store))
    assert {name for name, status in found.items() if status == "failed"} == {"r0003", "r0050"}
    assert len(annotator.calls) <= 13 + 2 * 2 * 3
    assert max(annotator.asked.values()) == 4


def test_an_annotator_may_refuse_to_be_halved(folder_store: FolderStore) -> None:
    """Then all rows of the call have failed, after one call."""

    def answer(items: Sequence[DataItem]) -> BatchAnswers:
        raise GiveUpError("all or nothing")

    annotator = Batches(answer, split_failed=False)
    report = run(folder_store, one_batch(), annotator)
    assert (report.annotated, report.failed, len(annotator.calls)) == (0, 100, 13)


def test_without_a_policy_a_busy_service_fails_its_rows(folder_store: FolderStore) -> None:
    """One attempt for each row, as for any annotator; nothing is halved, since no row is at fault."""

    def answer(items: Sequence[DataItem]) -> BatchAnswers:
        raise TryLaterError("busy")

    annotator = Batches(answer)
    report = run(folder_store, one_batch(), annotator)
    assert (report.failed, len(annotator.calls)) == (100, 13)


@both
def test_rows_that_may_work_later_come_back_in_other_batches(folder_store: FolderStore, kind: type[Batches]) -> None:
    """Only those that failed are asked again; the others are stored."""
    attempts: dict[str, list[int]] = {}

    def answer(items: Sequence[DataItem]) -> BatchAnswers:
        for item in items:
            attempts.setdefault(item.id, []).append(item.attempt)
        odd = [item for item in items if int(item.id[1:]) % 3 == 0 and item.attempt < 3]
        return [TryLaterError("later") if item in odd else {"attempt": item.attempt} for item in items]

    annotator = kind(answer)
    report = run(folder_store, one_batch(), annotator, calls=CallPolicy(wait=QUICK))
    assert (report.annotated, report.failed) == (100, 0)
    assert all(tries == ([1, 2, 3] if int(name[1:]) % 3 == 0 else [1]) for name, tries in attempts.items())


@both
def test_a_call_that_may_work_later_is_made_again(folder_store: FolderStore, kind: type[Batches]) -> None:
    """With all of its rows; attempts are counted for each of them, calls for the budget."""
    failed: set[str] = set()

    def answer(items: Sequence[DataItem]) -> BatchAnswers:
        spend_together(items, cost=1.0)
        if items[0].id not in failed:
            failed.add(items[0].id)
            raise TryLaterError("busy")
        return [{"attempt": item.attempt} for item in items]

    annotator = kind(answer)
    report = run(folder_store, one_batch(), annotator, calls=CallPolicy(wait=QUICK))
    assert (report.annotated, report.failed) == (100, 0)
    assert set(annotator.asked.values()) == {2}
    assert report.spent is not None
    assert (report.spent.calls, report.spent.repeated) == (26, 13)
    assert report.spent.usage.cost == pytest.approx(26.0)


def test_no_row_is_asked_more_often_than_it_may(folder_store: FolderStore) -> None:
    """A row that never works fails after its attempts, whoever it shares calls with."""

    def answer(items: Sequence[DataItem]) -> BatchAnswers:
        return [TryLaterError("never") if item.id == "r0001" else {"n": 1} for item in items]

    annotator = Batches(answer)
    report = run(folder_store, one_batch(), annotator, calls=CallPolicy(wait=QUICK, max_attempts=4))
    assert (report.annotated, report.failed, annotator.asked["r0001"]) == (99, 1, 4)
    (failed,) = [row for row in chunk_rows(folder_store) if row["_status"] == "failed"]
    assert failed["_error"] == "TryLaterError: never (4 attempts)"


@both
def test_a_wrong_number_of_answers_fails_the_rows_of_the_call(folder_store: FolderStore, kind: type[Batches]) -> None:
    """Which answer is whose, nobody can know; they are not asked again."""
    annotator = kind(lambda items: [{"n": 1}] * (len(items) - 1))
    report = run(folder_store, one_batch(), annotator, calls=CallPolicy(wait=QUICK))
    assert (report.annotated, report.failed, len(annotator.calls)) == (0, 100, 13)
    messages = {row["_error"] for row in chunk_rows(folder_store)}
    assert "annotate_batch answered 7 for 8 rows; answer one for each row, in their order" in messages


def test_a_limit_counts_calls_and_not_rows(folder_store: FolderStore) -> None:
    """Thirteen calls of eight rows are within a limit of fifteen at once."""
    policy = CallPolicy(requests=Limit(750, 3_600.0))  # fifteen may begin at once, then one in five seconds
    report = run(folder_store, one_batch(), Batches(), calls=policy)
    assert report.annotated == 100
    assert report.spent is not None
    assert report.spent.calls == 13


def test_a_budget_of_calls_ends_the_run_between_calls(folder_store: FolderStore) -> None:
    """What was answered is stored, what was not asked has not failed, and the next run asks the rest."""
    annotator = Batches()
    with pytest.raises(BudgetExceededError, match="budget of 5 calls"):
        run(folder_store, one_batch(), annotator, calls=CallPolicy(budget=Budget(calls=5)), max_concurrency=3)
    assert len(annotator.calls) == 5
    assert Counter(statuses(chunk_rows(folder_store)).values()) == {"done": 40}
    run(folder_store, one_batch(), annotator)
    assert set(annotator.asked.values()) == {1}
    assert len(annotator.asked) == 100


def test_tokens_are_estimated_for_the_whole_call(folder_store: FolderStore) -> None:
    """``estimate_tokens`` is asked for each row, and added up."""

    class Estimates(Batches):
        def estimate_tokens(self, item: DataItem) -> int:
            return 10

    def answer(items: Sequence[DataItem]) -> BatchAnswers:
        spend_together(items, input_tokens=10 * len(items))
        return [{"n": 1} for _ in items]

    policy = CallPolicy(tokens=Limit(80_000), budget=Budget(tokens=400))
    with pytest.raises(BudgetExceededError, match="400 tokens"):
        run(folder_store, one_batch(), Estimates(answer), calls=policy, max_concurrency=1)
    assert Counter(statuses(chunk_rows(folder_store)).values()) == {"done": 40}


@both
def test_a_call_that_is_too_late_fails_its_rows_alone(folder_store: FolderStore, kind: type[Batches]) -> None:
    """The deadline is that of each row; other calls go on, in threads as on the event loop."""
    let_go = threading.Event()

    def answer(items: Sequence[DataItem]) -> BatchAnswers:
        if kind is Batches and any(item.id == "r0002" for item in items):
            let_go.wait(20)
        return [{"n": 1} for _ in items]

    class Hangs(kind):  # type: ignore[misc, valid-type]  # one of the two
        if kind is AsyncBatches:

            async def annotate_batch(self, items: Sequence[DataItem]) -> BatchAnswers:
                if any(item.id == "r0002" for item in items):
                    await asyncio.sleep(3_600)
                return self._answer(items)  # type: ignore[no-any-return]  # of one of the two

    try:
        report = run(folder_store, one_batch(), Hangs(answer), timeout_seconds=0.3)
    finally:
        let_go.set()
    assert (report.annotated, report.failed) == (92, 8)
    errors = {row["_error"] for row in chunk_rows(folder_store) if row["_status"] == "failed"}
    assert errors == {"no answer within 0.3 s"}


def test_sizes_that_cannot_be_end_the_run_before_any_call(folder_store: FolderStore) -> None:
    """One line that says which."""
    annotator = Batches(max_batch_size=0)
    with pytest.raises(HandlerLoadError, match=r"Batches\.max_batch_size must be a whole number"):
        run(folder_store, one_batch(), annotator)
    assert annotator.calls == []
    assert annotator.closed == annotator.opened


def test_too_many_failures_end_the_run(folder_store: FolderStore) -> None:
    """Limits on failures count rows."""
    annotator = Batches(lambda items: [ErrorDoc(error_message="no") for _ in items])
    with pytest.raises(LimitExceededError):
        run(folder_store, one_batch(), annotator, max_errors=10, max_concurrency=1)
    assert len(annotator.calls) <= 3


def test_rows_before_an_error_of_the_reader_are_asked(folder_store: FolderStore) -> None:
    """It is raised, and never taken for the end."""
    rows = ListRows({"b1": ids(100)}, fail_after=50)
    annotator = Batches()
    with pytest.raises(ReadError):
        run(folder_store, rows, annotator)
    assert len(statuses(chunk_rows(folder_store))) == 49  # blocks of seven
