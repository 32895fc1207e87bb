"""How far a run is: totals over its tasks while they run, limits that hold over all of them, what is left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from datalake_service.catalog.tasks import TaskCounts, TaskState, TaskStatus
from datalake_service.handling.policy import OnError
from datalake_service.pipeline.annotation.job import AnnotationReport
from datalake_service.pipeline.jobs.engine import TaskProgress, TaskResult
from datalake_service.pipeline.runs.speed import Speed
from datalake_utils.clock import Clock

_FIRST_ESTIMATE = 0.02
"""The share that has to be done before the rest can be estimated."""


class RunStep(StrEnum):
    """What a run is doing."""

    PLAN = "plan"
    TASKS = "tasks"
    MERGE = "merge"
    ANNOTATE = "annotate"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgress:
    """A moment of a run; shown to people who wait."""

    step: RunStep
    name: str | None = None
    """The batch that is merged, or the annotator that annotates."""
    seconds: float = 0.0
    """Since the step began."""
    tasks_done: int = 0
    tasks_total: int = 0
    counts: TaskCounts = field(default_factory=TaskCounts)
    """What this run read so far."""
    share: float | None = None
    """Of the step, 0 to 1; ``None``: not known."""
    annotation: AnnotationReport | None = None
    speed: float | None = None
    """Rows that an annotator does each second now; ``None``: too early to say."""
    left_seconds: float | None = None
    """How long it will take, by that."""
    budget: Mapping[str, float] = field(default_factory=dict)
    """What it may spend, as in ``config.calls.BudgetConfig``."""

    @property
    def rate(self) -> float | None:
        """Records (or rows) each second; ``None``: too early to say."""
        if self.annotation is not None:
            return self.speed
        return self.counts.records / self.seconds if self.seconds > 0 else None

    @property
    def remaining_seconds(self) -> float | None:
        """How long the step will take from now on; ``None``: too early to say."""
        if self.annotation is not None:
            return self.left_seconds
        if self.share is None or self.share < _FIRST_ESTIMATE:
            return None
        return self.seconds * (1 - self.share) / self.share


Observer = Callable[[RunProgress], None]
"""Told a few times a second how far a run is, by the thread that runs it."""


def gained(before: TaskCounts, after: TaskCounts) -> TaskCounts:
    """What was added to the counts of a task; all of them, if the task began again in between."""
    if after.records < before.records or after.size < before.size:
        return after
    return TaskCounts(
        after.records - before.records,
        after.documents - before.documents,
        after.skips - before.skips,
        after.rejections - before.rejections,
        after.size - before.size,
    )


class AnnotatorWatch:
    """Hears how far an annotator is, and tells an observer how fast it goes and how long it will take."""

    def __init__(
        self, observer: Observer | None, *, shared: bool, budget: Mapping[str, float] | None, clock: Clock
    ) -> None:
        """Begin now. ``shared``: whether others do a part of it."""
        self._observer = observer
        self._shared = shared
        self._budget = budget or {}
        self._clock = clock
        self._began = clock.monotonic()
        self._speed = Speed(self._began)
        self._most = 0

    def __call__(self, name: str, report: AnnotationReport) -> None:
        """Hear one moment."""
        if self._observer is None:
            return
        now = self._clock.monotonic()
        left = report.expected
        done = report.annotated + report.skipped + report.failed
        if self._shared and left is not None:  # by all workers: what there was at most, less what is left
            self._most = max(self._most, left + done)
            done = self._most - left
        self._speed.note(now, done)
        self._observer(
            RunProgress(
                step=RunStep.ANNOTATE,
                name=name,
                seconds=now - self._began,
                annotation=report,
                speed=self._speed.per_second,
                left_seconds=None if left is None else self._speed.seconds_for(left),
                budget=self._budget,
            )
        )


class TaskWatch:
    """Hears what an engine says: keeps totals, tells an observer, and stops everything when a limit is passed."""

    def __init__(
        self,
        before: Mapping[str, TaskState],
        sizes: Mapping[str, int],
        *,
        on_error: OnError,
        stop: threading.Event,
        observer: Observer | None,
        clock: Clock,
        ends: bool = True,
    ) -> None:
        """Watch the tasks ``before``, as they stand when the run begins.

        ``ends``: whether their input does. If not, nobody knows which share of it is read, and limits hold for what
        this run reads, rather than for all that was ever read.
        """
        self._before = {task: state.counts for task, state in before.items()}
        self._now = dict(self._before)
        self._sizes = sizes
        self._ends = ends
        self._on_error = on_error
        self._stop = stop
        self._observer = observer
        self._clock = clock
        self._started = clock.monotonic()
        self._done = 0
        self.limit: str | None = None
        """The limit that was passed."""

    def add(self, before: Mapping[str, TaskState]) -> None:
        """Watch more tasks, as they stand when they are begun."""
        counts = {task: state.counts for task, state in before.items()}
        self._before |= counts
        self._now |= counts

    def __call__(self, event: TaskProgress | TaskResult) -> None:
        """Hear one event."""
        if event.counts.records or isinstance(event, TaskProgress):
            self._now[event.task] = event.counts
        if isinstance(event, TaskResult):
            self._done += event.status not in (TaskStatus.CREATED, TaskStatus.RUNNING)
        self._judge(ended=False)
        if self._observer is not None:
            self._observer(self.progress())

    def end(self) -> TaskCounts:
        """No more events: judge once more, and return what this run read."""
        self._judge(ended=not self._stop.is_set())
        return self._gained()

    def progress(self) -> RunProgress:
        """This moment."""
        return RunProgress(
            step=RunStep.TASKS,
            seconds=self._clock.monotonic() - self._started,
            tasks_done=self._done,
            tasks_total=len(self._before),
            counts=self._gained(),
            share=self._share(),
        )

    def _judge(self, *, ended: bool) -> None:
        if self.limit is not None or self._on_error.policy == "fail":
            return  # under the policy "fail" each task judges for itself
        total = sum(self._now.values(), TaskCounts()) if self._ends else self._gained()
        self.limit = self._on_error.judge(total, ended=ended)
        if self.limit is not None:
            self._stop.set()

    def _gained(self) -> TaskCounts:
        return sum((gained(self._before[task], counts) for task, counts in self._now.items()), TaskCounts())

    def _share(self) -> float | None:
        """By bytes where all sizes are known, else by tasks."""
        if not self._before or not self._ends:
            return None
        total = sum(self._sizes.values())
        if total and self._sizes.keys() == self._before.keys():
            return min(1.0, sum(counts.size for counts in self._now.values()) / total)
        return self._done / len(self._before)
