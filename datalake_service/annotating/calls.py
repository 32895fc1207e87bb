"""Calls of the user's annotate function: async on the event loop, plain in threads; every exception becomes a value.

One of the places where ``except Exception`` is right: nothing that user code raises may harm another row.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from threading import Thread
from typing import Protocol

from datalake_interfaces.annotators import DataItem
from datalake_service.annotating.deadlines import Slot
from datalake_service.annotating.results import Failure
from datalake_service.errors import LimitExceededError

AnnotateFunction = Callable[[DataItem], object]
"""Plain or async; answers an Annotation, a dict, a SkipDoc or an ErrorDoc."""

_SPARE_THREADS = 64
"""How many calls that were given up may hang in threads before the run ends, at the least."""


class ElsewhereError(Exception):
    """What an exception of user code in another process was, where it could not come along itself."""

    def __init__(self, failure: Failure, status: int | None = None, after_seconds: float | None = None) -> None:
        """Say what it was, and by an HTTP status, as client libraries do, what it is worth."""
        super().__init__(failure, status, after_seconds)
        self.failure = failure
        self.status_code = status
        self.headers = {} if after_seconds is None else {"retry-after": str(after_seconds)}

    def __str__(self) -> str:
        """What it said."""
        return self.failure.in_words()

    def __repr__(self) -> str:
        """The same, as an exception."""
        return f"{type(self).__name__}({str(self)!r})"


def is_async(function: AnnotateFunction) -> bool:
    """Whether a call of ``function`` only makes a coroutine."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - how, not whether


def failure_of(error: BaseException) -> Failure:
    """An exception of user code as a value."""
    if isinstance(error, ElsewhereError):
        return error.failure
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - user code as well: the exception's own __str__
        message = "(the exception could not be turned into text)"
    return Failure(type(error).__name__, message)


class Caller(Protocol):
    """Calls the annotate function for one worker, which makes one call at a time."""

    def __call__(self, item: DataItem, /) -> Awaitable[object]:
        """Return what the function answered; raise what it raised."""
        ...


class Threads:
    """Makes a caller for each worker of a plain function: each has a thread of its own.

    A thread cannot be stopped. When its worker stops waiting, the call is given up: the thread ends when the
    function returns, its answer is dropped, and the worker goes on with a new thread.
    """

    def __init__(self, function: AnnotateFunction, *, workers: int) -> None:
        """Call ``function`` for up to ``workers`` workers."""
        self._function = function
        self._given_up: set[Thread] = set()
        self._most = max(_SPARE_THREADS, 4 * workers)
        self.error: LimitExceededError | None = None
        """Why the run has to end, once too many calls hang."""

    def caller(self, slot: Slot) -> ThreadCaller:
        """A caller for one more worker."""
        del slot
        return ThreadCaller(self._function, self)

    def give_up(self, thread: Thread) -> None:
        """Note that ``thread`` may hang."""
        self._given_up = {one for one in self._given_up if one.is_alive()}
        self._given_up.add(thread)
        if len(self._given_up) > self._most:
            msg = (
                f"more than {self._most} calls of the annotator hang beyond the timeout and cannot be stopped from "
                "outside: make it async, or give what it waits for a timeout of its own"
            )
            self.error = LimitExceededError(msg)


_Job = tuple[DataItem, "asyncio.Future[tuple[object, BaseException | None]]"]


def threads_for(function: AnnotateFunction, *, workers: int) -> Threads | None:
    """Threads for a plain function; an async one needs none."""
    return None if is_async(function) else Threads(function, workers=workers)


class Deserted(Protocol):
    """Told of threads that nobody waits for any more."""

    def give_up(self, thread: Thread) -> None:
        """Note that ``thread`` may hang."""
        ...


class ThreadCaller:
    """Calls a plain function in one thread after the other."""

    def __init__(self, function: AnnotateFunction, threads: Deserted) -> None:
        """Start no thread yet."""
        self._function = function
        self._threads = threads
        self._thread: Thread | None = None
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()

    async def __call__(self, item: DataItem, /) -> object:
        """Return what the function answered; raise what it raised. Cancelling gives the call up."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[tuple[object, BaseException | None]] = loop.create_future()
        thread = self._thread or self._start(loop)
        self._jobs.put((item, done))
        try:
            answer, error = await done
        except asyncio.CancelledError:
            self.close()
            self._threads.give_up(thread)
            raise
        if error is not None:
            raise error
        # For instance a lambda around an async function.
        return await answer if inspect.isawaitable(answer) else answer

    def close(self) -> None:
        """Let the thread end after the call it is in."""
        self._jobs.put(None)
        self._thread, self._jobs = None, SimpleQueue()

    def _start(self, loop: asyncio.AbstractEventLoop) -> Thread:
        context = contextvars.copy_context()
        arguments = (_serve, self._function, self._jobs, loop)
        self._thread = Thread(target=context.run, args=arguments, name="annotate", daemon=True)
        self._thread.start()
        return self._thread


def _serve(function: AnnotateFunction, jobs: SimpleQueue[_Job | None], loop: asyncio.AbstractEventLoop) -> None:
    while (job := jobs.get()) is not None:
        item, done = job
        answer, error = None, None
        try:
            answer = function(item)
        except BaseException as raised:  # noqa: BLE001 - it is raised again where the call is awaited
            error = raised
        try:
            loop.call_soon_threadsafe(_settle, done, answer, error)
        except RuntimeError:  # the event loop is closed: nobody waits any more
            return
        del job, item, done, answer, error


def _settle(
    done: asyncio.Future[tuple[object, BaseException | None]], answer: object, error: BaseException | None
) -> None:
    if not done.done():
        done.set_result((answer, error))
