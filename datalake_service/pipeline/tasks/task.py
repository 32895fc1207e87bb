"""One task: read, handle, store, checkpoint, until its input ends or something stops it.

The order of writes is what makes it safe: rows, then rejections, then the task's object; then the source may forget.
See ``docs/design/008-tasks.md`` and ``013-sources.md``. Knows neither how records are read
(``feeds/feeds.py``), nor where rows go (``sinks/sinks.py``), nor which process it runs in.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any

from datalake_service.catalog.rejections import Rejection
from datalake_service.catalog.tasks import (
    TRANSITIONS,
    TaskCounts,
    TaskEvent,
    TaskState,
    TaskStatus,
    load_task,
    move,
    reset,
    save_task,
)
from datalake_service.errors import HandlerLoadError, PreconditionFailedError, RowError, StoreError
from datalake_service.pipeline.feeds.feed import Feed, Idle, InputChangedError, InputFailedError
from datalake_service.pipeline.feeds.feeds import make_feed
from datalake_service.pipeline.jobs.engine import TaskJob, TaskProgress, TaskResult
from datalake_service.pipeline.sinks.sink import Sink
from datalake_service.pipeline.sinks.sinks import make_sink
from datalake_service.pipeline.tasks.log import TaskLog
from datalake_service.pipeline.tasks.rejections import rejection_files
from datalake_service.pipeline.tasks.stopping import TaskStops
from datalake_utils.clock import Clock

CHECKPOINT_SECONDS = 2.0
"""A sealed chunk is followed by a checkpoint if the last one is older than this: a kill repeats little, and a fast task
pays little."""
LONGEST_SECONDS = 30.0
"""However slow the handler is, a checkpoint is made after this time, with a chunk as small as it is."""
LOOK_SECONDS = 0.05
"""How often the task looks up from its records: is it to stop, does somebody want to know how far it is?"""
SLICE_SECONDS = 0.2
"""How long a task that waits for its source does not look up."""
_VERSIONS = 3
"""How many versions of an input are begun with before a task gives up on one that keeps changing."""

Report = Callable[[TaskProgress], None]


class _TakenOverError(Exception):
    """Another worker owns the task now. What this one has stored since its checkpoint, that one produces again."""


@dataclass(frozen=True, slots=True)
class _Ending:
    """How the reading came to its end."""

    event: TaskEvent
    error: str | None = None
    moves: bool = True
    """Whether position and counts of the feed hold; if not, those of the last checkpoint do."""


def run_task(job: TaskJob, *, stop: Callable[[], bool], report: Report, clock: Clock) -> TaskResult:
    """Run a task from its last checkpoint to its end; it may be called again after any crash.

    Args:
        job: The task; its object exists.
        stop: Asked now and then; once it says yes, what there is becomes durable and the task is STOPPED.
        report: Told now and then how far the task is.
        clock: Time source.

    Raises:
        HandlerLoadError: The handler cannot be loaded; nothing was read or changed.
    """
    began = clock.monotonic()
    return replace(_run(job, stop, report, clock), seconds=round(clock.monotonic() - began, 3))


def _run(job: TaskJob, stop: Callable[[], bool], report: Report, clock: Clock) -> TaskResult:
    try:
        with TaskLog(job, clock=clock) as log:
            attempt = _Attempt(job, stop, report, log, clock)
            for _ in range(_VERSIONS):
                try:
                    return attempt.run()
                except InputChangedError:
                    attempt.forget()
            return attempt.fail(f"{job.source} changed {_VERSIONS} times while it was being read")
    except _TakenOverError:
        return TaskResult(job.task, TaskStatus.RUNNING, error="another worker has taken the task over")
    except StoreError as error:
        return _fail_if_possible(job, str(error), clock)


def give_up_task(job: TaskJob, reason: str, *, worker: str, clock: Clock) -> TaskResult:
    """Mark a task as failed that its worker cannot mark any more; its checkpoint stays.

    Raises:
        StoreError: The lake cannot be written.
    """
    stored = load_task(job.store, job.dataset, job.task)
    state = stored.state
    if (state.status, TaskEvent.FAIL) not in TRANSITIONS or state.worker not in (None, worker):
        return result_of(state)
    failed = move(state, TaskEvent.FAIL, error=reason, finished_at=clock.now())
    return result_of(save_task(job.store, job.dataset, failed, etag=stored.etag).state)


def result_of(state: TaskState) -> TaskResult:
    """What a task's object says, as a result."""
    return TaskResult(state.id, state.status, state.counts, state.error, state.notes)


def worker_name(pid: int | None = None) -> str:
    """How a worker process calls itself in the tasks that it has: host and process."""
    return f"{socket.gethostname()}:{os.getpid() if pid is None else pid}"


def _fail_if_possible(job: TaskJob, reason: str, clock: Clock) -> TaskResult:
    """After an error of the store: perhaps it is well enough again to keep the reason."""
    try:
        return give_up_task(job, reason, worker=worker_name(), clock=clock)
    except StoreError:
        return TaskResult(job.task, TaskStatus.FAILED, error=reason)


def _told(rejection: Rejection) -> str:
    """Why a task failed at its first rejection."""
    where = "" if rejection.start_offset is None else f" at {rejection.start_offset}"
    return f"{rejection.message} ({rejection.source}{where}; onError.policy is 'fail')"


class _Attempt:
    """One worker's work on one task, from taking it to ending it."""

    def __init__(self, job: TaskJob, stop: Callable[[], bool], report: Report, log: TaskLog, clock: Clock) -> None:
        self._job = job
        self._stop = stop
        self._report = report
        self._log = log
        self._clock = clock
        self._stored = load_task(job.store, job.dataset, job.task)
        self._stops = TaskStops(job.store, job.dataset, job.task, since=job.stops, clock=clock)
        self._rejections = rejection_files(job)
        self._sink: Sink | None = None
        self._base = self._stored.state.counts
        self._notes = self._stored.state.notes
        self._kept_counts = TaskCounts()  # of this attempt, at the last checkpoint
        self._look_at = self._saved_at = 0.0  # 0: at the next record
        self._seam_wanted = False

    def run(self) -> TaskResult:
        """Take the task, read its input, end it."""
        if self._stored.state.status is TaskStatus.COMPLETED and self._job.input.ends:
            return result_of(self._stored.state)
        feed = make_feed(self._job, clock=self._clock)
        with ExitStack() as stack:
            stack.callback(feed.let_go)
            stack.callback(self._abandon_sink)
            stack.callback(feed.close)
            self._take(feed)
            sink = self._sink = make_sink(self._job, clock=self._clock)
            ending = self._settled(feed, sink, self._drive(feed, sink))
            self._keep(feed, sink, ending)
        if ending.event is TaskEvent.COMPLETE:
            self._remove_leftovers()
        return result_of(self._stored.state)

    def forget(self) -> None:
        """Begin at the beginning: the input is another one now."""
        self._save(reset(self._stored.state))
        self._rejections = rejection_files(self._job)
        self._base = self._stored.state.counts
        self._notes = self._stored.state.notes

    def fail(self, reason: str) -> TaskResult:
        """End the task without reading."""
        self._save(move(self._stored.state, TaskEvent.FAIL, error=reason, finished_at=self._clock.now()))
        return result_of(self._stored.state)

    def _take(self, feed: Feed) -> None:
        if not feed.resumes and self._stored.state.status is not TaskStatus.CREATED:
            self.forget()
        state = self._stored.state
        now, attempt = self._clock.now(), state.attempt + 1
        changes = {"attempt": attempt, "worker": worker_name(), "error": None, "started_at": now, "finished_at": None}
        self._save(move(state, TaskEvent.START, **changes))
        self._look_at = self._saved_at = self._clock.monotonic()

    def _drive(self, feed: Feed, sink: Sink) -> _Ending:
        """Read until something ends it. What was read before that is good, and kept by the caller."""
        state = self._stored.state
        try:
            feed.open(checkpoint=state.checkpoint, version=state.input)
            for outcome in feed.outcomes():
                if type(outcome) is dict:
                    rejection = self._write(feed, sink, outcome)
                elif type(outcome) is Idle:
                    if (ending := self._idle(feed, sink, outcome.seconds)) is not None:
                        return ending
                    continue
                else:
                    rejection = outcome if isinstance(outcome, Rejection) else None
                if rejection is not None and (ending := self._reject(feed, rejection)) is not None:
                    return ending
                now = self._clock.monotonic()
                if now >= self._look_at and (ending := self._look(feed, sink, now)) is not None:
                    return ending
        except (InputFailedError, HandlerLoadError) as error:
            return _Ending(TaskEvent.FAIL, str(error))
        return _Ending(TaskEvent.COMPLETE)

    def _write(self, feed: Feed, sink: Sink, row: dict[str, Any]) -> Rejection | None:
        """Hand a row to its destination; returns the rejection of one that cannot be stored."""
        try:
            sink.add(row, feed.origin() if sink.needs_origins else None)
        except RowError as error:
            return feed.reject_row(row, str(error))
        if sink.saturated:
            sink.wait_for_room()
        if self._seam_wanted and sink.rows_buffered == 0:
            self._look_at = 0.0
        return None

    def _idle(self, feed: Feed, sink: Sink, seconds: float) -> _Ending | None:
        """Wait for the source, looking up all the while; returns how that ends the task, if it does."""
        until = self._clock.monotonic() + seconds
        while True:
            now = self._clock.monotonic()
            if (ending := self._look(feed, sink, now)) is not None or now >= until:
                return ending
            self._clock.sleep(min(until - now, SLICE_SECONDS))

    def _reject(self, feed: Feed, rejection: Rejection) -> _Ending | None:
        """Keep a rejection; returns how that ends the task, if it does."""
        self._rejections.add(rejection)
        if self._rejections.pressing:
            self._look_at = 0.0  # now, rather than in a moment
        policy = self._job.on_error
        if policy.policy == "fail":
            # Not part of what is done: the next attempt meets the record again, perhaps with a better handler.
            feed.take_back()
            return _Ending(TaskEvent.FAIL, _told(rejection))
        reason = policy.judge(self._judged(feed), ended=False)
        return None if reason is None else _Ending(TaskEvent.FAIL, reason)

    def _look(self, feed: Feed, sink: Sink, now: float) -> _Ending | None:
        """Look up from the records: report, make a checkpoint that is due; returns how that ends the task, if so."""
        if not feed.at_rest:
            return None
        self._look_at = now + LOOK_SECONDS
        self._report(TaskProgress(self._job.task, self._base + feed.counts()))
        age = now - self._saved_at
        at_a_seam = age >= CHECKPOINT_SECONDS and sink.rows_buffered == 0
        if at_a_seam or age >= LONGEST_SECONDS or self._rejections.pressing or feed.pressing:
            if self._is_behind(feed):
                sink.flush()
                if (ending := self._take_refusals(feed, sink)) is not None:
                    return ending
                self._keep(feed, sink, _Ending(TaskEvent.CHECKPOINT))
            else:
                feed.kept()  # perhaps it has not been able to tell its source
            self._saved_at, age = self._clock.monotonic(), 0.0
        self._seam_wanted = age >= CHECKPOINT_SECONDS
        return _Ending(TaskEvent.STOP) if self._stop() or self._stops.asked(now) else None

    def _judged(self, feed: Feed) -> TaskCounts:
        """The counts that limits are about: of an input that does not end, what this attempt read."""
        source = self._job.input
        return self._base + feed.counts() if source.ends and not source.endless else feed.counts()

    def _is_behind(self, feed: Feed) -> bool:
        """Whether a checkpoint would say anything new: a source that is waited for has nothing to be kept."""
        state = self._stored.state
        return (feed.position, feed.version) != (state.checkpoint, state.input) or feed.counts() != self._kept_counts

    def _settled(self, feed: Feed, sink: Sink, ending: _Ending) -> _Ending:
        """Make every row durable, or learn that it was refused; the handler is closed before."""
        feed.close()
        self._sink = None
        sink.close()
        return self._take_refusals(feed, sink) or ending

    def _take_refusals(self, feed: Feed, sink: Sink) -> _Ending | None:
        """Make rejections of rows that were refused, skips of those left out; returns how that ends the task, if so."""
        refusals = sink.refused()
        for refusal in refusals:
            if refusal.kind is None:
                feed.leave_out()
                continue
            self._rejections.add(rejection := replace(feed.reject(refusal), kind=refusal.kind))
            if self._job.on_error.policy == "fail":
                # The records behind it may be accepted already, and are written again by the next attempt.
                return _Ending(TaskEvent.FAIL, _told(rejection), moves=False)
        reason = self._job.on_error.judge(self._judged(feed), ended=False) if refusals else None
        return None if reason is None else _Ending(TaskEvent.FAIL, reason)

    def _keep(self, feed: Feed, sink: Sink, ending: _Ending) -> None:
        """Write where to go on. Every row that the feed yielded is durable already; its rejections become so here."""
        state = self._stored.state
        number = state.rejection_files
        following = self._rejections.store(number)
        ended = ending.event is not TaskEvent.CHECKPOINT
        moves = ending.moves
        # A rejection that was taken back lies in a file that does not count: the next attempt writes it again.
        counted = following if moves and not feed.took_back else number
        self._save(
            move(
                state,
                ending.event,
                run=sink.run or state.run,
                input=feed.version if moves else state.input,
                checkpoint=feed.position if moves else state.checkpoint,
                rejection_files=counted,
                rejection_files_ever=max(state.rejection_files_ever, following),
                counts=self._base + feed.counts() if moves else state.counts,
                notes=tuple(dict.fromkeys((*self._notes, *feed.notes))),
                error=ending.error,
                finished_at=self._clock.now() if ended else None,
            )
        )
        if moves:
            self._kept_counts = feed.counts()
            feed.kept()
        self._log.store_now_and_then()

    def _save(self, state: TaskState) -> None:
        try:
            self._stored = save_task(self._job.store, self._job.dataset, state, etag=self._stored.etag)
        except PreconditionFailedError as error:
            raise _TakenOverError from error

    def _abandon_sink(self) -> None:
        """Let go of the sink after an error; what cannot be stored is produced again by the next attempt."""
        sink, self._sink = self._sink, None
        if sink is not None:
            with suppress(StoreError):
                sink.close()

    def _remove_leftovers(self) -> None:
        """Delete rejection files of attempts that do not count; if that fails they are only too many."""
        state = self._stored.state
        if state.attempt > 1:
            with suppress(StoreError):
                self._rejections.remove(state.rejection_files, state.rejection_files_ever + 1)
