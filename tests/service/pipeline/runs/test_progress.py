from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from datalake_service.catalog.tasks import TaskCounts, TaskState, TaskStatus
from datalake_service.handling.policy import OnError
from datalake_service.pipeline.annotation.job import AnnotationReport
from datalake_service.pipeline.jobs.engine import TaskProgress, TaskResult
from datalake_service.pipeline.runs.progress import RunProgress, RunStep, TaskWatch, gained
from datalake_utils.clock import ManualClock

BEGUN = TaskCounts(100, 90, 0, 10, 1_000)
NOW = datetime(2026, 11, 20, 13, tzinfo=UTC)


def task(name: str, counts: TaskCounts | None = None) -> TaskState:
    """A task as it stands before the run."""
    return TaskState(id=name, item=name, batch="b", created_at=NOW, counts=counts or TaskCounts())


class Run:
    """A watch over two tasks, one of which an earlier run has begun."""

    def __init__(
        self,
        on_error: OnError | None = None,
        *,
        sizes: dict[str, int] | None = None,
        begun: TaskCounts = BEGUN,
        ends: bool = True,
    ) -> None:
        self.clock = ManualClock()
        self.stop = threading.Event()
        self.heard: list[RunProgress] = []
        before = {"t1": task("t1"), "t2": task("t2", begun)}
        self.watch = TaskWatch(
            before,
            sizes or {},
            on_error=on_error or OnError(),
            stop=self.stop,
            observer=self.heard.append,
            clock=self.clock,
            ends=ends,
        )


def test_nobody_knows_how_much_is_left_of_what_does_not_end() -> None:
    """And limits are about what this run reads: what was rejected last year stops nobody."""
    begun = TaskCounts(100, 0, 0, 100)
    run = Run(OnError(max_errors=3), begun=begun, ends=False)
    run.watch(TaskProgress("t2", begun + TaskCounts(3, 0, 0, 3)))
    run.watch(TaskResult("t1", TaskStatus.COMPLETED, TaskCounts(5, 5)))
    assert [progress.share for progress in run.heard] == [None, None]
    assert not run.stop.is_set()
    run.watch(TaskProgress("t2", begun + TaskCounts(4, 0, 0, 4)))
    assert run.watch.limit == "4 records were rejected; onError.maxErrors allows 3"
    assert run.stop.is_set()


def test_only_what_this_run_read_is_counted() -> None:
    """What the attempts before have read is not progress."""
    run = Run()
    run.watch(TaskProgress("t1", TaskCounts(10, 10, 0, 0, 50)))
    run.watch(TaskProgress("t2", TaskCounts(130, 120, 0, 10, 1_300)))
    run.watch(TaskResult("t2", TaskStatus.COMPLETED, TaskCounts(150, 139, 0, 11, 1_500)))
    assert run.watch.end() == TaskCounts(60, 59, 0, 1, 550)
    assert [(progress.tasks_done, progress.tasks_total) for progress in run.heard] == [(0, 2), (0, 2), (1, 2)]


def test_a_task_that_began_again_counts_from_zero() -> None:
    """Its input changed, or it is a generator."""
    assert gained(TaskCounts(100, 90, 0, 10, 1_000), TaskCounts(40, 40)) == TaskCounts(40, 40)
    assert gained(TaskCounts(100, 90, 0, 10), TaskCounts(120, 105, 4, 11)) == TaskCounts(20, 15, 4, 1)


def test_a_task_that_was_not_begun_loses_nothing() -> None:
    """Its result has no counts; those of the attempts before stay."""
    run = Run()
    run.watch(TaskResult("t2", TaskStatus.CREATED))
    assert run.watch.end() == TaskCounts()


def test_a_share_is_told_by_bytes_where_sizes_are_known() -> None:
    """Tasks differ in size; without sizes they count alike."""
    run = Run(sizes={"t1": 1_000, "t2": 3_000})
    run.watch(TaskProgress("t1", TaskCounts(10, 10, 0, 0, 1_000)))
    assert run.heard[-1].share == 0.5  # 1,000 of t1, and the 1,000 of t2 that were read before
    blind = Run(sizes={"t1": 1_000})
    blind.watch(TaskResult("t1", TaskStatus.COMPLETED, TaskCounts(10, 10, 0, 0, 1_000)))
    assert blind.heard[-1].share == 0.5


def test_the_rest_is_estimated_from_what_is_done() -> None:
    """A quarter took ten seconds: thirty are left."""
    progress = RunProgress(step=RunStep.TASKS, seconds=10.0, share=0.25, counts=TaskCounts(500))
    assert (progress.rate, progress.remaining_seconds) == (50.0, 30.0)
    early = RunProgress(step=RunStep.TASKS, share=0.01)
    assert (early.rate, early.remaining_seconds) == (None, None)
    annotating = RunProgress(step=RunStep.ANNOTATE, seconds=2.0, annotation=AnnotationReport(), speed=2.0)
    assert annotating.rate == 2.0


def test_a_limit_stops_the_run() -> None:
    """The sum over all tasks counts, earlier attempts at them included."""
    run = Run(OnError(max_errors=12))
    run.watch(TaskProgress("t1", TaskCounts(5, 3, 0, 2)))
    assert not run.stop.is_set()
    run.watch(TaskProgress("t1", TaskCounts(6, 3, 0, 3)))
    assert run.stop.is_set()
    assert run.watch.limit == "13 records were rejected; onError.maxErrors allows 12"


@pytest.mark.parametrize(
    ("stopped", "limit"),
    [(False, "1 of 10 records (10.00%) were rejected; onError.maxErrorShare allows 5.00%"), (True, None)],
)
def test_a_share_of_few_records_is_judged_in_the_end_only(*, stopped: bool, limit: str | None) -> None:
    """If there is an end: a run that was stopped is not judged by what little it happened to read."""
    run = Run(OnError(max_error_share=0.05), begun=TaskCounts())
    run.watch(TaskProgress("t1", TaskCounts(10, 9, 0, 1)))
    assert run.watch.limit is None
    if stopped:
        run.stop.set()
    run.watch.end()
    assert run.watch.limit == limit


def test_the_policy_fail_is_no_limit_of_the_run() -> None:
    """Each task judges for itself, and the others go on."""
    run = Run(OnError("fail"))
    run.watch(TaskProgress("t1", TaskCounts(10, 9, 0, 1)))
    run.watch.end()
    assert (run.watch.limit, run.stop.is_set()) == (None, False)
