"""One run of tasks on Spark: jobs submitted, looked after in the lake, blamed, stopped.

Spark assigns tasks to machines and tries again what failed; here stands what it cannot know: what is finished while its
job still runs, which task killed a worker, whose turn it is. One thread for each Spark job under way, and the caller's.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pickle import loads
from queue import Empty, SimpleQueue
from typing import Final

from datalake_service.catalog.stops import request_run_stop
from datalake_service.catalog.task_changes import TaskChanges
from datalake_service.catalog.tasks import TaskStatus, load_task
from datalake_service.engines.messages import Ended, Refused
from datalake_service.engines.parcels import code_of, make_folders, pack
from datalake_service.engines.scheduler import log_here, signals_told
from datalake_service.engines.spark_session import SparkConnection, SparkFailedError
from datalake_service.engines.spark_tasks import Order, Outcome, run_parcels
from datalake_service.errors import DatalakeError, StoreError, UsageError
from datalake_service.pipeline.jobs.engine import TaskJob, TaskProgress, TaskResult
from datalake_service.pipeline.tasks.task import give_up_task, result_of
from datalake_utils.clock import SystemClock
from datalake_utils.ids import random_hex

LOOK_SECONDS = 2.0
"""How often the lake is looked at for what is finished; less often if looking takes long."""
_LOOK_SHARE: Final = 20
_TICK_SECONDS: Final = 0.2
_ROUNDS: Final = 8
"""Parts of a Spark job for each of its cores: so even that none waits long for the last one, so few that they cost
little."""
_FAILURES: Final = 3
"""So many jobs in a row that failed without a task to blame: the cluster does not work."""
_RUN_DIGITS: Final = 12
_CLOCK: Final = SystemClock()


@dataclass(frozen=True, slots=True)
class _Submission:
    """One job of Spark's."""

    tag: str
    parts: tuple[tuple[TaskJob, ...], ...]


@dataclass(frozen=True, slots=True)
class _Done:
    submission: _Submission
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class _Failed:
    submission: _Submission
    error: SparkFailedError | UsageError


@dataclass(frozen=True, slots=True)
class _Interrupt:
    """A signal came."""


_Event = _Done | _Failed | _Interrupt


class SparkRun:
    """Runs jobs to their end. Made for one run, used by one thread."""

    def __init__(
        self,
        spark: SparkConnection,
        *,
        on_event: Callable[[TaskProgress | TaskResult], None],
        stop: threading.Event,
        more: Callable[[TaskResult], Sequence[TaskJob]] | None,
    ) -> None:
        """Tell ``on_event`` what happens."""
        self._spark = spark
        self._on_event = on_event
        self._stop = stop
        self._more = more
        self._id = f"run-{random_hex(_RUN_DIGITS)}"
        self._events: SimpleQueue[_Event] = SimpleQueue()
        self._waiting: list[TaskJob] = []
        self._running: dict[str, TaskJob] = {}
        self._under_way: dict[str, threading.Thread] = {}
        self._results: dict[str, TaskResult] = {}
        self._paused: dict[str, TaskResult] = {}
        """How far those tasks are that wait for another turn."""
        self._deaths: Counter[str] = Counter()
        self._failures = 0
        self._submitted = 0
        self._interrupted = False

    def until_all_ended(self, jobs: Sequence[TaskJob], *, max_deaths: int, turn_seconds: float) -> list[TaskResult]:
        """Run jobs, and those that become possible; see ``Engine.run``."""
        self._waiting = list(jobs)
        self._look = _Look(jobs[0])
        told = False
        with signals_told(lambda: self._events.put(_Interrupt())):  # documented to be safe in a signal handler
            try:
                while self._under_way or (self._waiting and not self._stop.is_set()):
                    if self._waiting and not self._stop.is_set():
                        self._submit(turn_seconds)
                    self._take(self._next(), max_deaths)
                    if self._stop.is_set() and not told:
                        told = self._tell_stop(jobs[0])
            finally:
                for tag in self._under_way:
                    self._spark.cancel(tag)
                for thread in self._under_way.values():
                    thread.join()
        left = [self._paused.get(job.task, TaskResult(job.task, TaskStatus.CREATED)) for job in self._waiting]
        return [*self._results.values(), *left]

    def _take(self, event: _Event | None, max_deaths: int) -> None:
        match event:
            case _Done(submission, outcomes):
                self._done(submission, outcomes)
            case _Failed(submission, error):
                self._failed(submission, error, max_deaths)
            case _Interrupt():
                if self._interrupted:
                    raise KeyboardInterrupt
                self._interrupted = True
                self._stop.set()
            case None:
                for news in self._look.news(self._running):
                    self._hear(news)

    def _submit(self, turn_seconds: float) -> None:
        """Make a job of Spark's of all that waits."""
        jobs, self._waiting = self._waiting, []
        make_folders(jobs)
        order = Order(self._id, turn_seconds, code_of(jobs))
        parts = _dealt(jobs, self._spark.slots() * _ROUNDS)
        self._submitted += 1
        submission = _Submission(f"{self._id}-{self._submitted}", parts)
        self._running |= {job.task: job for job in jobs}
        thread = threading.Thread(target=self._wait_for, args=(submission, order), name="spark job", daemon=True)
        self._under_way[submission.tag] = thread
        thread.start()

    def _wait_for(self, submission: _Submission, order: Order) -> None:
        parcels = [[pack(job) for job in part] for part in submission.parts]
        try:
            packed = self._spark.run(parcels, partial(run_parcels, order=order), tag=submission.tag)
            outcomes = tuple(loads(outcome) for outcome in packed)  # noqa: S301 - our own worker packed it
            self._events.put(_Done(submission, outcomes))
        except (SparkFailedError, UsageError) as error:
            self._events.put(_Failed(submission, error))

    def _next(self) -> _Event | None:
        try:
            return self._events.get(timeout=_TICK_SECONDS)
        except Empty:
            return None

    def _done(self, submission: _Submission, outcomes: Sequence[Outcome]) -> None:
        self._under_way.pop(submission.tag).join()
        self._failures = 0
        for outcome in outcomes:
            for line in outcome.lines:
                log_here(line)
        for outcome in outcomes:
            match outcome.ended:
                case Refused(error):
                    raise error
                case Ended(result) if outcome.turn_over and not self._stop.is_set():
                    self._paused[result.task] = result
                    self._waiting.append(self._running.pop(result.task))
                case Ended(result):
                    self._hear(result)
        for part in submission.parts:
            self._running = {task: job for task, job in self._running.items() if job not in part}

    def _failed(self, submission: _Submission, error: SparkFailedError | UsageError, max_deaths: int) -> None:
        """Find out who is to blame, and let the others go on."""
        self._under_way.pop(submission.tag).join()
        if isinstance(error, UsageError):
            raise error
        unfinished = [[job for job in part if job.task not in self._results] for part in submission.parts]
        blamed = None
        if error.partition is not None and error.partition < len(unfinished):
            blamed = _running_one(unfinished[error.partition])
        self._failures = 0 if blamed is not None else self._failures + 1
        if self._failures >= _FAILURES:
            raise UsageError(f"computeEngine: the jobs of Spark fail: {error}")
        if blamed is not None:
            self._deaths[blamed.task] += error.times
        for job in (job for part in unfinished for job in part):
            self._running.pop(job.task, None)
            if self._stop.is_set():
                self._hear(TaskResult(job.task, TaskStatus.RUNNING, error=str(error)))
            elif self._deaths[job.task] >= max_deaths:
                self._hear(_given_up(job, f"{error}; that happened {self._deaths[job.task]} times"))
            else:
                self._waiting.append(job)

    def _hear(self, news: TaskProgress | TaskResult) -> None:
        """Tell what happened, each end of a task once."""
        if isinstance(news, TaskResult):
            if news.task in self._results:
                return
            self._results[news.task] = news
        self._on_event(news)
        if isinstance(news, TaskResult) and self._more is not None and not self._stop.is_set():
            self._waiting.extend(self._more(news))

    def _tell_stop(self, job: TaskJob) -> bool:
        """Ask the tasks to end; returns whether that is written."""
        try:
            request_run_stop(job.store, job.dataset, self._id, now=_CLOCK.now())
        except StoreError:
            return False
        return True


class _Look:
    """Looks at the tasks' objects now and then."""

    def __init__(self, job: TaskJob) -> None:
        """Remember what they are before anything runs; all jobs of a run are of one dataset."""
        self._changes = TaskChanges(job.store, job.dataset)
        self._changes.pass_over()
        self._next = _CLOCK.monotonic() + LOOK_SECONDS

    def news(self, running: Collection[str]) -> list[TaskProgress | TaskResult]:
        """What has changed among ``running`` since the last look, if it is time for one."""
        began = _CLOCK.monotonic()
        if began < self._next:
            return []
        found: list[TaskProgress | TaskResult] = []
        with suppress(DatalakeError):
            for task, state in self._changes.look().items():
                if task not in running:
                    continue
                if state.status is TaskStatus.RUNNING:
                    found.append(TaskProgress(task, state.counts))
                elif state.status in {TaskStatus.COMPLETED, TaskStatus.FAILED}:
                    found.append(result_of(state))
        ended = _CLOCK.monotonic()
        self._next = ended + max(LOOK_SECONDS, _LOOK_SHARE * (ended - began))
        return found


def _dealt(jobs: Sequence[TaskJob], most: int) -> tuple[tuple[TaskJob, ...], ...]:
    """Jobs in as many parts as there may be, one by one: what is large may stand together in a manifest."""
    count = min(len(jobs), most)
    return tuple(tuple(jobs[number::count]) for number in range(count))


def _running_one(jobs: Sequence[TaskJob]) -> TaskJob | None:
    """The task that had begun and not ended: tasks of one part run one after the other."""
    for job in jobs:
        with suppress(StoreError):
            if load_task(job.store, job.dataset, job.task).state.status is TaskStatus.RUNNING:
                return job
    return None


def _given_up(job: TaskJob, reason: str) -> TaskResult:
    try:
        worker = load_task(job.store, job.dataset, job.task).state.worker or ""
        return give_up_task(job, reason, worker=worker, clock=_CLOCK)
    except DatalakeError as error:
        return TaskResult(job.task, TaskStatus.FAILED, error=f"{reason}; and that could not be written: {error}")
