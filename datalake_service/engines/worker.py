"""The worker process: takes tasks from its parent, one after the other, and runs them.

Started as a fresh interpreter (never forked), so that user code can crash, leak or print without harm to the others.
Its standard input brings messages, its standard output takes them; whatever is printed goes to standard error.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from queue import SimpleQueue

from datalake_service.engines.messages import (
    Broken,
    Ended,
    FromParent,
    FromWorker,
    Hello,
    Logged,
    Progress,
    Refused,
    Run,
    Stop,
    Yield,
)
from datalake_service.errors import UsageError
from datalake_service.pipeline.engine import HANDLER_LOGGER, TaskJob, TaskProgress
from datalake_service.pipeline.task import run_task
from datalake_utils.clock import SystemClock

_ORPHANED = 3
"""Exit status of a worker whose parent is gone."""
_PROGRESS_SECONDS = 0.25


class _Parent(logging.Handler):
    """The way to the parent; also where the log lines of handlers go. Any thread may use it."""

    def __init__(self, outbound: Connection) -> None:
        super().__init__()
        self._outbound = outbound
        self._sending = threading.Lock()
        self.task = ""

    def send(self, message: FromWorker) -> None:
        with self._sending:
            self._outbound.send(message)

    def emit(self, record: logging.LogRecord) -> None:
        self.send(Logged(record.name, record.levelno, self.format(record), self.task))


def main() -> None:
    """Run tasks until the parent says that there are no more."""
    # The terminal's interrupt is the parent's to hear; it asks for an orderly stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    inbound, outbound = _take_pipes()
    hello: Hello = inbound.recv()
    sys.path[:] = hello.search_path
    parent = _Parent(outbound)
    logger = logging.getLogger(HANDLER_LOGGER)
    logger.addHandler(parent)
    logger.propagate = False
    messages: SimpleQueue[FromParent] = SimpleQueue()
    stop, turn_over = threading.Event(), threading.Event()
    threading.Thread(target=_listen, args=(inbound, messages, stop, turn_over), daemon=True, name="parent").start()
    try:
        while isinstance(message := messages.get(), Run):
            turn_over.clear()  # what was said about the task before comes before this message
            job: TaskJob = pickle.loads(message.job)  # noqa: S301 - our own parent wrote it
            logger.setLevel(job.log_level)
            parent.task = job.task
            parent.send(_run(job, parent, lambda: stop.is_set() or turn_over.is_set()))
    except Exception as error:  # noqa: BLE001 - top of the process
        traceback.print_exc()
        parent.send(Broken(f"{type(error).__name__}: {error}"))
        sys.exit(1)


def _run(job: TaskJob, parent: _Parent, stop: Callable[[], bool]) -> Ended | Refused:
    clock = SystemClock()
    last = clock.monotonic()

    def report(progress: TaskProgress) -> None:
        nonlocal last
        if clock.monotonic() - last >= _PROGRESS_SECONDS:
            parent.send(Progress(progress))
            last = clock.monotonic()

    try:
        return Ended(run_task(job, stop=stop, report=report, clock=clock))
    except UsageError as error:
        return Refused(error)


def _take_pipes() -> tuple[Connection, Connection]:
    """Move both pipes out of the reach of user code: it reads nothing, and prints to the standard error stream."""
    inbound, outbound = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return Connection(inbound, writable=False), Connection(outbound, readable=False)


def _listen(
    inbound: Connection, messages: SimpleQueue[FromParent], stop: threading.Event, turn_over: threading.Event
) -> None:
    """Hand on what the parent says. Without a parent nobody may go on: another run may have the task already."""
    try:
        while True:
            message: FromParent = inbound.recv()
            if isinstance(message, Stop):
                stop.set()
            elif isinstance(message, Yield):
                turn_over.set()
            else:
                messages.put(message)
    except (EOFError, OSError):
        os._exit(_ORPHANED)
