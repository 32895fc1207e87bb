"""Plain functions in processes of their own, one for each worker: for code that computes, and for code that may crash.

A process that dies fails the call that it was in, and is replaced. One that is too late is killed.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from threading import Lock, Thread
from typing import TYPE_CHECKING, Final

from datalake_interfaces.annotators import Annotator, DataItem
from datalake_service.annotating.batches import RowBatch
from datalake_service.annotating.calls import ElsewhereError, ThreadCaller, failure_of, is_async
from datalake_service.annotating.deadlines import Slot
from datalake_service.annotating.process_worker import MOST_BYTES, Asked, Opened, Recipe, Told, serve
from datalake_service.annotating.results import ANSWER, Failure
from datalake_service.errors import HandlerLoadError, LimitExceededError

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

_END_SECONDS: Final = 5.0
"""How long a process that is no longer needed may take to close its annotator."""
_DEATHS: Final = 3
"""Processes, for each worker, that may die with no call between that worked."""
_WAKE: Final = DataItem({}, "", "")
"""Asks for nothing but a process."""


class WorkerDiedError(ConnectionError):
    """The process of a call died: the same call may work in another one."""


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Processes:
    """The processes of one annotator, and a caller for each worker. Callers are used on the event loop."""

    def __init__(self, name: str, recipe: Recipe, *, workers: int, clock: Callable[[], float]) -> None:
        """Start nothing yet; at most ``workers`` processes, and no more than there are processors.

        Args:
            name: Of the annotator or the function, for messages.
            recipe: Makes it there.
            workers: Calls at once, at most.
            clock: The monotonic clock by which deadlines are counted.

        Raises:
            HandlerLoadError: It cannot be sent to another process.
        """
        self.name = name
        try:
            self._recipe = pickle.dumps(recipe)
        except Exception as error:
            raise HandlerLoadError(
                f"{self.name} cannot run in another process: {failure_of(error).in_words()}; it has to be found by its "
                "name in a module, and what it holds has to be picklable before open()"
            ) from error
        self.workers = min(workers, processors())
        """How many processes there are."""
        self.monotonic = clock
        self._ready: list[_Process] = []
        self._all: set[_Process] = set()
        self._lock = Lock()
        self._deaths = 0
        self._closed = False
        self.error: LimitExceededError | None = None
        """Why the run has to end, once too many processes die."""

    def open(self) -> None:
        """Start all processes, and wait until each has opened its annotator.

        Raises:
            HandlerLoadError: One of them could not be opened.
        """
        with ThreadPoolExecutor(self.workers, thread_name_prefix="start") as pool:
            started = [pool.submit(self.start) for _ in range(self.workers)]
        self._ready = [future.result() for future in started]

    def start(self) -> _Process:
        """One more process, opened.

        Raises:
            HandlerLoadError: It could not be.
        """
        process = _Process(self._recipe)
        with self._lock:
            self._all = {one for one in self._all if one.is_alive} | {process}
            if self._closed:
                process.kill()
        failure = process.opened()
        if failure is not None:
            self.forget(process)
            raise HandlerLoadError(f"{self.name} could not be opened in another process: {failure}")
        return process

    def take(self) -> _Process:
        """A process that is ready, else a new one.

        Raises:
            WorkerDiedError: It could not be opened.
        """
        with self._lock:
            if self._ready:
                return self._ready.pop()
        try:
            return self.start()
        except HandlerLoadError as error:
            self.died(str(error))
            raise WorkerDiedError(str(error)) from error

    def caller(self, slot: Slot) -> Caller:
        """A caller for one more worker."""
        return Caller(self, slot)

    def worked(self) -> None:
        """A call was answered, well or not."""
        self._deaths = 0

    def died(self, how: str) -> None:
        """A process died by itself. Those that die after the run was told to end are not counted."""
        with self._lock:
            self._deaths += 1
            if self._deaths >= _DEATHS * self.workers and self.error is None:
                self.error = LimitExceededError(
                    f"the processes of the annotator die, {self._deaths} one after the other: {how}"
                )

    def forget(self, process: _Process) -> None:
        """End a process, whatever it does."""
        process.kill()

    def close(self) -> None:
        """Let every process close its annotator; those that take too long are killed. May be called again."""
        with self._lock:
            self._closed = True
            processes, self._all, self._ready = list(self._all), set(), []
        for process in processes:
            process.hang_up()
        for process in processes:
            process.end()


class Caller:
    """Makes the calls of one worker, in one process after the other."""

    def __init__(self, processes: Processes, slot: Slot) -> None:
        """Take no process yet."""
        self._processes = processes
        self._slot = slot
        self._process: _Process | None = None
        self._in_thread = ThreadCaller(self._ask, self)

    def __call__(self, item: DataItem, /) -> Awaitable[object]:
        """Return what the function answered; raise what it raised. Cancelling kills the process."""
        return self._in_thread(item) if self._process is not None else self._with_new_process(item)

    async def _with_new_process(self, item: DataItem) -> object:
        """The row's time does not run while a process is started."""
        monotonic, slot = self._processes.monotonic, self._slot
        used = monotonic() - slot.since
        slot.since = 0.0
        try:
            await self._in_thread(_WAKE)
        finally:
            slot.since = monotonic() - used
        return await self._in_thread(item)

    def give_up(self, thread: Thread) -> None:
        """Nobody waits for the call in ``thread`` any more: end it, with its process."""
        del thread
        process, self._process = self._process, None
        if process is not None:
            self._processes.forget(process)

    def _ask(self, item: DataItem) -> object:
        """Runs in the worker's thread."""
        if item is _WAKE:
            self._process = self._processes.take()
            return None
        process = self._process
        if process is None:
            raise WorkerDiedError("the process was ended")
        try:
            told = process.ask(item)
        except WorkerDiedError as error:
            if self._process is process:  # else it was killed, being late
                self._process = None
                self._processes.died(str(error))
            self._processes.forget(process)
            raise
        self._processes.worked()
        if told.error is not None:
            raise told.error
        return told.answer


class _Process:
    """One process as its parent sees it. One thread asks; any may kill it."""

    def __init__(self, recipe: bytes) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(target=serve, args=(theirs, recipe), name="annotate")
        # An interrupt of the terminal must not meet it before it can ignore it: blocked signals are inherited.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()

    def opened(self) -> str | None:
        """Wait until it is open; why it is not."""
        try:
            opened = self._receive(self._pipe)
        except WorkerDiedError as error:
            return f"{error} (a script needs `if __name__ == '__main__':` around what it does)"
        return opened.failure if isinstance(opened, Opened) else "it answered something else"

    def ask(self, item: DataItem) -> Told:
        rows = item.rows if isinstance(item, RowBatch) else [item]
        asked = pickle.dumps(
            Asked([_sendable(row) for row in rows], isinstance(item, RowBatch)), pickle.HIGHEST_PROTOCOL
        )
        if len(asked) > MOST_BYTES:
            failure = Failure(ANSWER, f"the rows have {len(asked):,} bytes; a process gets at most {MOST_BYTES:,}")
            return Told(None, ElsewhereError(failure), ())
        try:
            self._pipe.send_bytes(asked)
        except OSError:
            raise self._death() from None
        told = self._receive(self._pipe)
        if not isinstance(told, Told):
            return Told(None, ElsewhereError(Failure(ANSWER, str(told))), ())
        for row, usage in zip(rows, told.usage, strict=True):
            row.usage = usage
        return told

    def hang_up(self) -> None:
        """Close the pipe, upon which the process ends when it has nothing to do."""
        self._pipe.close()

    def end(self) -> None:
        """Wait for its end, after ``hang_up``."""
        self._process.join(_END_SECONDS)
        self._process.kill()
        self._process.join()

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.is_alive()

    def kill(self) -> None:
        """End it at once; does not wait for that."""
        self._process.kill()

    def _receive(self, pipe: Connection) -> object:
        try:
            data = pipe.recv_bytes()
        except (EOFError, OSError):
            raise self._death() from None
        try:
            return pickle.loads(data)  # noqa: S301 - from our own child
        except Exception as error:  # noqa: BLE001 - the user's classes
            return f"the answer cannot be read here: {failure_of(error).in_words()}"

    def _death(self) -> WorkerDiedError:
        self._process.join(_END_SECONDS)
        code = self._process.exitcode
        if code is None:
            return WorkerDiedError("the process of the annotator closed its pipe")
        if code >= 0:
            return WorkerDiedError(f"the process of the annotator ended with status {code}")
        name = signal.Signals(-code).name if -code in signal.valid_signals() else "unknown"
        often = "; often that means: out of memory" if -code == signal.SIGKILL else ""
        return WorkerDiedError(f"the process of the annotator was killed by signal {-code} ({name}){often}")


def _sendable(row: DataItem) -> DataItem:
    """A row that can be pickled: its data is JSON, the error before it may be anything."""
    error = None if row.error is None else ElsewhereError(failure_of(row.error))
    return DataItem(dict(row.data), row.id, row.batch, attempt=row.attempt, error=error, usage=row.usage)


def same(made: object) -> object:
    """What makes a thing that came along."""
    return made


def is_plain(made: object) -> bool:
    """Whether nothing of it that would be called is async."""
    if not isinstance(made, Annotator):
        return not is_async(made)  # type: ignore[arg-type]  # asked of any function
    methods = (getattr(made, name, None) for name in ("open", "annotate", "annotate_batch", "close"))
    return not any(is_async(method) for method in methods if method is not None)
