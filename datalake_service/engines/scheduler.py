"""The scheduler of engines whose workers are told what to do: slots, turns, deaths, stopping.

Each slot is a thread that owns at most one worker: it takes the next job, listens to its worker, and replaces a worker
that died. The thread that called ``run_in_slots`` hears of it through one queue. Knows neither what a task does nor
what a worker is: a process of this machine (``process.py``), an actor of a cluster (``ray_worker.py``).
"""

from __future__ import annotations

import logging
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Protocol

from datalake_service.catalog.tasks import TaskStatus
from datalake_service.engines.messages import (
    Broken,
    Ended,
    FromParent,
    FromWorker,
    Leave,
    Logged,
    Progress,
    Refused,
    Run,
    Stop,
    Yield,
)
from datalake_service.errors import DatalakeError, UsageError
from datalake_service.events import FIELDS
from datalake_service.pipeline.jobs.engine import TaskJob, TaskProgress, TaskResult
from datalake_service.pipeline.jobs.job_queue import GivenJobs, JobQueue
from datalake_service.pipeline.tasks.task import give_up_task
from datalake_utils.clock import SystemClock

MAX_DEATHS = 3
"""A task during which this many workers died is given up."""
_MAX_LOSSES = 50
"""So many machines may be lost under one task: more than bad luck explains."""
TURN_SECONDS = 10.0
"""So long a task that does not end by itself may work while others wait for a worker."""
_TICK_SECONDS = 0.2
"""How soon a ``stop`` that was set elsewhere is seen."""
_CLOCK = SystemClock()


class WorkerDiedError(Exception):
    """A worker ended although nobody had asked it to. Never leaves this package."""

    def __init__(self, message: str, *, lost: bool = False) -> None:
        """Say why; ``lost``: its machine went, and no task is to blame."""
        super().__init__(message)
        self.lost = lost


class Worker(Protocol):
    """Runs one task after the other. One thread receives; any thread may send, and kill."""

    @property
    def name(self) -> str:
        """How it calls itself in the tasks that it has."""
        ...

    def send(self, message: FromParent) -> None:
        """Send a message. That the worker is dead shows in ``receive``."""
        ...

    def receive(self) -> FromWorker:
        """Block for the next message.

        Raises:
            WorkerDiedError: There will be none; the text says why.
        """
        ...

    def kill(self) -> None:
        """End it at once, whatever it does."""
        ...

    def close(self) -> None:
        """Let go of it, dead or alive."""
        ...


@dataclass(frozen=True, slots=True)
class Rules:
    """How slots treat their workers."""

    new_worker: Callable[[], Worker]
    """Starts one; may raise ``WorkerDiedError``, and ``UsageError`` if there will never be one."""
    pack: Callable[[TaskJob], bytes] = pickle.dumps
    """What of a job is sent."""
    max_deaths: int = MAX_DEATHS
    turn_seconds: float = TURN_SECONDS


@dataclass(frozen=True, slots=True)
class _Interrupt:
    """A signal came."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    """No task can run."""

    error: Exception


@dataclass(frozen=True, slots=True)
class _SlotEnded:
    """A slot has nothing more to do."""


_Event = TaskProgress | TaskResult | _Interrupt | _Refusal | _SlotEnded


def run_in_slots(
    jobs: Sequence[TaskJob] | JobQueue,
    *,
    slots: int,
    rules: Rules,
    on_event: Callable[[TaskProgress | TaskResult], None],
    stop: threading.Event,
    more: Callable[[TaskResult], Sequence[TaskJob]] | None = None,
    tick: Callable[[], None] | None = None,
) -> list[TaskResult]:
    """Run every job to its end, with at most so many workers; see ``Engine.run``.

    ``tick`` is called a few times a second by the thread that called this.
    """
    events: SimpleQueue[_Event] = SimpleQueue()
    queue = GivenJobs(jobs) if isinstance(jobs, Sequence) else jobs
    paused: dict[str, TaskResult] = {}

    def new_slot() -> _Slot:
        return _Slot(queue, events, stop, rules, paused)

    watch = _Watch(queue, events, stop, on_event, more, tick or (lambda: None))
    with signals_told(lambda: events.put(_Interrupt())):  # documented to be safe in a signal handler
        try:
            results = watch.until_all_ended(new_slot, most=slots)
        except BaseException:
            stop.set()  # nobody waits for another job
            raise
        finally:  # also after an error in on_event
            for slot in watch.slots:
                slot.kill()
            for slot in watch.slots:
                slot.join()
    results += [paused.get(job.task, TaskResult(job.task, TaskStatus.CREATED)) for job in queue.rest()]
    return results


class _Watch:
    """The calling thread: hears of everything, decides on stopping."""

    def __init__(
        self,
        queue: JobQueue,
        events: SimpleQueue[_Event],
        stop: threading.Event,
        on_event: Callable[[TaskProgress | TaskResult], None],
        more: Callable[[TaskResult], Sequence[TaskJob]] | None,
        tick: Callable[[], None],
    ) -> None:
        self.slots: list[_Slot] = []
        self._queue = queue
        self._events = events
        self._stop = stop
        self._on_event = on_event
        self._more = more
        self._tick = tick
        self._told = False

    def until_all_ended(self, new_slot: Callable[[], _Slot], *, most: int) -> list[TaskResult]:
        """Keep up to ``most`` slots at work while there are jobs; returns when the last one has ended."""
        results: list[TaskResult] = []
        refusal: Exception | None = None
        running = interrupts = 0
        while running or (len(self._queue) and not self._stop.is_set()):
            running += self._start(new_slot, room=most - running)
            self._tick()
            match self._next():
                case TaskProgress() as progress:
                    self._on_event(progress)
                case TaskResult() as result:
                    results.append(result)
                    self._heard(result)
                case _Refusal(error):
                    refusal = refusal or error
                    self._stop.set()
                case _Interrupt():
                    interrupts += 1
                    self._stop.set()
                    if interrupts > 1:
                        raise KeyboardInterrupt
                case _SlotEnded():
                    running -= 1
                case None:
                    pass
            self._tell()
        if refusal is not None:
            raise refusal
        return results

    def _start(self, new_slot: Callable[[], _Slot], *, room: int) -> int:
        """Start slots for jobs that wait; returns how many."""
        wanted = 0 if self._stop.is_set() else min(room, len(self._queue))
        for _ in range(wanted):
            self.slots.append(new_slot())
            self.slots[-1].start()
        return wanted

    def _heard(self, result: TaskResult) -> None:
        self._on_event(result)
        if self._more is not None and not self._stop.is_set():
            self._queue.add(self._more(result))

    def _next(self) -> _Event | None:
        try:
            return self._events.get(timeout=_TICK_SECONDS)
        except Empty:
            return None

    def _tell(self) -> None:
        """Pass a stop on to the workers, once."""
        if self._stop.is_set() and not self._told:
            self._told = True
            for slot in self.slots:
                slot.stop_worker()


class _Slot(threading.Thread):
    """Runs one job after the other, each in its worker."""

    def __init__(
        self,
        queue: JobQueue,
        events: SimpleQueue[_Event],
        stop: threading.Event,
        rules: Rules,
        paused: dict[str, TaskResult],
    ) -> None:
        super().__init__(daemon=True, name="slot")
        self._queue = queue
        self._events = events
        self._stopping = stop
        self._rules = rules
        self._paused = paused
        """How far those tasks are that wait for another turn, of all slots."""
        self._guard = threading.Lock()
        self._worker: Worker | None = None
        self._killed = False

    def run(self) -> None:
        try:
            while not self._stopping.is_set():
                job = self._queue.take()
                if job is None:
                    break
                ended = self._run_job(job)
                if ended is not None:
                    self._events.put(ended)
        except Exception as error:  # noqa: BLE001 - the top of a thread: who waits is told, and raises it
            self._events.put(_Refusal(error))
        finally:
            self._part_with_worker()
            self._events.put(_SlotEnded())

    def stop_worker(self) -> None:
        """Ask the worker to end its task in order."""
        with self._guard:
            if self._worker is not None:
                self._worker.send(Stop())

    def kill(self) -> None:
        """End the worker at once; the slot ends with it."""
        with self._guard:
            self._killed = True
            if self._worker is not None:
                self._worker.kill()

    def _run_job(self, job: TaskJob) -> TaskResult | _Refusal | None:
        """Run a job to its end; ``None``: its turn is over, and it waits for another one."""
        deaths = losses = 0
        while True:
            try:
                return self._attempt(job)
            except WorkerDiedError as error:
                name = self._part_with_worker()
                losses += error.lost
                deaths += not error.lost
                if self._killed or self._stopping.is_set():
                    return TaskResult(job.task, TaskStatus.RUNNING, error=str(error))
                if deaths >= self._rules.max_deaths or losses >= _MAX_LOSSES:
                    return _give_up(job, f"{error}; so did {deaths + losses - 1} more that tried", name)
            except UsageError as error:  # no worker can be had
                return _Refusal(error)

    def _attempt(self, job: TaskJob) -> TaskResult | _Refusal | None:
        worker = self._have_worker()
        worker.send(Run(self._rules.pack(job)))
        turn_ends = _CLOCK.monotonic() + self._rules.turn_seconds
        told = False
        while True:
            match worker.receive():
                case Progress(progress):
                    self._events.put(progress)
                    over = job.input.endless and not told and _CLOCK.monotonic() >= turn_ends
                    if over and self._queue.others_wait():
                        told = True
                        worker.send(Yield())
                case Ended(result) if told and result.status is TaskStatus.STOPPED and not self._stopping.is_set():
                    # Should somebody have asked for the stop, the task ends at once when it is its turn again.
                    self._paused[job.task] = result
                    self._queue.put_back(job)
                    return None
                case Logged() as logged:
                    log_here(logged)
                case Ended(result):
                    return result
                case Refused(error):
                    return _Refusal(error)
                case Broken(reason):
                    raise WorkerDiedError(f"the worker process failed: {reason}")

    def _have_worker(self) -> Worker:
        if self._worker is None:
            worker = self._rules.new_worker()
            with self._guard:
                self._worker = worker
            if self._killed:
                worker.kill()
            elif self._stopping.is_set():  # it was set while there was nobody to tell
                worker.send(Stop())
        return self._worker

    def _part_with_worker(self) -> str | None:
        """Let the worker go, dead or alive; returns its name."""
        with self._guard:
            worker, self._worker = self._worker, None
        if worker is None:
            return None
        worker.send(Leave())
        worker.close()
        return worker.name


def log_here(logged: Logged) -> None:
    """Log what a handler logged in its worker, as if it had happened here; its level was judged there."""
    fields = {"name": logged.logger, "levelno": logged.level, "levelname": logging.getLevelName(logged.level)}
    record = logging.makeLogRecord({**fields, "msg": logged.text, FIELDS: {"task": logged.task}})
    logging.getLogger(logged.logger).handle(record)


def _give_up(job: TaskJob, reason: str, worker: str | None) -> TaskResult:
    try:
        return give_up_task(job, reason, worker=worker or "", clock=SystemClock())
    except DatalakeError as error:
        return TaskResult(job.task, TaskStatus.FAILED, error=f"{reason}; and that could not be written: {error}")


@contextmanager
def signals_told(tell: Callable[[], None]) -> Iterator[None]:
    """While tasks run, an interrupt or a request to terminate is told, and does nothing else.

    Only where the default behaviour is in place and this is the main thread: somebody else's handler stays.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ignored = {number for number, handler in before.items() if handler is signal.SIG_IGN}

    def note(number: int, _frame: FrameType | None) -> None:
        # An ignored interrupt stays ignored, but a request to terminate may be handed on to its handler.
        if number not in ignored:
            tell()

    replaced = (signal.default_int_handler, signal.SIG_DFL, signal.SIG_IGN)
    ours = [number for number, handler in before.items() if handler in replaced]
    for number in ours:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])
