"""One seeded scheduler: actors are threads of which one runs at a time, and time passes only when all of them wait.

A thread gives the baton away only in ``sleep`` and ``Signal.wait``; the store calls ``sleep`` for every request.
Whoever has the earliest time to wake is next, so the durations, drawn from the seed, decide the order. The same seed is
the same run. Threads that are not the scheduler's own (those of a library) act for the one that waits for them.
"""

from __future__ import annotations

import heapq
import itertools
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 1, tzinfo=UTC)
_local = threading.local()


class Crash(BaseException):
    """The process died here. Not an ``Exception``, so that no handler of the product mistakes it for an error."""


@dataclass(eq=False)
class Process:
    """What dies as a whole; a new one is made for each start."""

    name: str
    skew: float
    """Seconds by which its wall clock is wrong."""
    boot: float
    """What its monotonic clock showed at the start."""
    dead: bool = False


@dataclass(eq=False)
class Task:
    """A thread of a process, under the scheduler."""

    scheduler: Scheduler
    process: Process
    name: str
    gate: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    ticket: int = 0
    """Counts its waits, so that a wake-up for an earlier one is recognised."""
    thread: threading.Thread | None = None


def current() -> Task | None:
    """The task of this thread, if it is one."""
    task: Task | None = getattr(_local, "task", None)
    return task


def running() -> Task:
    """The task of this thread, which is one."""
    task = current()
    assert task is not None
    return task


class Scheduler:
    """Runs tasks in the order of their times."""

    def __init__(self, seed: int | str) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.trace: list[str] = []
        """What happened, in order."""
        self.failure: BaseException | None = None
        self.after_step: Callable[[], None] = lambda: None
        """Checks invariants; called whenever somebody wakes."""
        self._heap: list[tuple[float, int, Task | Callable[[], None], int]] = []
        self._order = itertools.count()
        self._main = threading.Semaphore(0)
        self._tasks: list[Task] = []
        self._stopping = False

    def note(self, text: str) -> None:
        """Add to the trace."""
        self.trace.append(f"{self.now:10.3f} {text}")

    def spawn(self, process: Process, name: str, function: Callable[[], None], *, after: float = 0.0) -> Task:
        """Start a thread of a process after some time."""
        task = Task(self, process, name)

        def body() -> None:
            _local.task = task
            task.gate.acquire()
            try:
                if not self._stopping and not process.dead:
                    function()
            except Crash:
                pass
            except BaseException as error:  # noqa: BLE001 - top of a thread: the run fails with it
                self.fail(error)
            self._tasks.remove(task)
            if not self._stopping:
                self._hand_over(None)

        task.thread = threading.Thread(target=body, name=name, daemon=True)
        self._tasks.append(task)
        task.thread.start()
        self._push(after, task)
        return task

    def call_later(self, after: float, function: Callable[[], None]) -> None:
        """Do something after some time, whoever lives then."""
        heapq.heappush(self._heap, (self.now + after, next(self._order), function, 0))

    def fail(self, error: BaseException) -> None:
        """End the run; the first reason counts."""
        self.failure = self.failure or error

    def sleep(self, seconds: float) -> None:
        """Let the others run for so long.

        Raises:
            Crash: The process of this thread died meanwhile.
        """
        task = running()
        self._check(task)
        task.ticket += 1
        self._push(max(seconds, 0.0), task)
        self._wait(task)

    def park(self) -> None:
        """Wait until ``wake``."""
        task = running()
        self._check(task)
        task.ticket += 1
        self._wait(task)

    def wake(self, task: Task) -> None:
        """Let a task that waits go on now, even if it sleeps."""
        self._push(0.0, task)

    @property
    def stopping(self) -> bool:
        """Whether the run is over, and threads only end."""
        return self._stopping

    def drain(self) -> None:
        """Go on until nobody has anything to do, or something failed."""
        if self._heap and self.failure is None:
            self._hand_over(None)
            self._main.acquire()
        if self.failure is not None:
            self.run()

    def run(self) -> None:
        """End all threads.

        Raises:
            BaseException: What failed.
        """
        self._stopping = True
        for task in list(self._tasks):
            task.gate.release()
            assert task.thread is not None
            task.thread.join()
        if self.failure is not None:
            raise self.failure

    def _push(self, after: float, task: Task) -> None:
        heapq.heappush(self._heap, (self.now + after, next(self._order), task, task.ticket))

    def _wait(self, task: Task) -> None:
        self._hand_over(task)
        self._check(task)

    def _check(self, task: Task) -> None:
        if self._stopping or task.process.dead:
            raise Crash(task.name)

    def _hand_over(self, me: Task | None) -> None:
        """Give the baton to whoever is next; ``me`` gets it back later."""
        target = self._next()
        if target is me and me is not None:
            return
        (target.gate if target is not None else self._main).release()
        if me is not None:
            me.gate.acquire()

    def _next(self) -> Task | None:
        while self._heap and self.failure is None:
            time, _, what, ticket = heapq.heappop(self._heap)
            if isinstance(what, Task) and (what.ticket != ticket or what not in self._tasks):
                continue
            self.now = max(self.now, time)
            try:
                if not isinstance(what, Task):
                    what()
                self.after_step()
            except Exception as error:  # noqa: BLE001 - an invariant: the run fails with it
                self.fail(error)
                return None
            if isinstance(what, Task):
                what.ticket += 1
                return what
        return None


class Signal:
    """A ``threading.Event`` under the scheduler."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._set = False
        self._waiting: list[Task] = []

    def set(self) -> None:
        """Wake whoever waits."""
        self._set = True
        for task in self._waiting:
            self._scheduler.wake(task)
        self._waiting.clear()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set; answers whether it is."""
        if not self._set:
            task = running()
            self._waiting.append(task)
            if timeout is None:
                self._scheduler.park()
            else:
                self._scheduler.sleep(timeout)
            if task in self._waiting:
                self._waiting.remove(task)
        return self._set


class Thread:
    """A ``threading.Thread`` of the current process, under the scheduler."""

    def __init__(self, target: Callable[[], None], name: str) -> None:
        self._owner = running()
        self._target, self._name = target, name
        self._done = Signal(self._owner.scheduler)

    def start(self) -> None:
        """Start it."""

        def body() -> None:
            try:
                self._target()
            finally:
                self._done.set()

        self._owner.scheduler.spawn(self._owner.process, f"{self._owner.name}/{self._name}", body)

    def join(self) -> None:
        """Wait for its end."""
        self._done.wait()


class SimClock:
    """The clocks of one process."""

    def __init__(self, scheduler: Scheduler, process: Process) -> None:
        self._scheduler = scheduler
        self._process = process

    def now(self) -> datetime:
        """A wall clock that is wrong by minutes."""
        return START + timedelta(seconds=self._scheduler.now + self._process.skew)

    def now_ns(self) -> int:
        """The same in nanoseconds."""
        return int(self.now().timestamp() * 1e9)

    def monotonic(self) -> float:
        """Seconds since something else in every process."""
        return self._scheduler.now + self._process.boot

    def sleep(self, seconds: float) -> None:
        """Let the others run."""
        self._scheduler.sleep(seconds)
