"""What a worker does, wherever it is: takes tasks one after the other, runs them, tells how it goes.

Knows nothing of how messages travel: over a process's pipes (``worker.py``), by calls of an actor (``ray_actor.py``).
"""

from __future__ import annotations

import logging
import pickle
import threading
import traceback
from collections.abc import Callable
from queue import SimpleQueue
from typing import Self

from datalake_service.engines.messages import (
    Broken,
    Ended,
    FromParent,
    FromWorker,
    Logged,
    Progress,
    Refused,
    Run,
    Stop,
    Yield,
)
from datalake_service.errors import UsageError
from datalake_service.pipeline.jobs.engine import HANDLER_LOGGER, TaskJob, TaskProgress
from datalake_service.pipeline.tasks.task import run_task
from datalake_utils.clock import SystemClock

_PROGRESS_SECONDS = 0.25

Send = Callable[[FromWorker], None]


class HandlerLines(logging.Handler):
    """What handlers log while its context lasts, on its way to whoever started the task. Any thread may log."""

    def __init__(self, send: Callable[[Logged], None], *, task: str = "", level: str = "WARNING") -> None:
        """Tell ``send`` each line, as one of ``task``; several threads may call it at once."""
        super().__init__()
        self._tell = send
        self.task = task
        logging.getLogger(HANDLER_LOGGER).setLevel(level)

    def emit(self, record: logging.LogRecord) -> None:
        """Send a line."""
        self._tell(Logged(record.name, record.levelno, self.format(record), self.task))

    def __enter__(self) -> Self:
        """Listen from now on, in the place of everybody else."""
        logger = logging.getLogger(HANDLER_LOGGER)
        logger.addHandler(self)
        logger.propagate = False
        return self

    def __exit__(self, *_: object) -> None:
        """Listen no longer."""
        logging.getLogger(HANDLER_LOGGER).removeHandler(self)


class TaskLoop:
    """Runs the tasks of one worker. ``hear`` may be called by any thread, ``send`` is called by any."""

    def __init__(self, send: Send, *, unpack: Callable[[bytes], TaskJob] = pickle.loads) -> None:
        """Tell ``send`` what happens; ``unpack`` makes a job of what came, and may raise ``UsageError``."""
        self._send = send
        self._unpack = unpack
        self._messages: SimpleQueue[FromParent] = SimpleQueue()
        self._stop, self._turn_over = threading.Event(), threading.Event()
        self._lines = HandlerLines(send)

    def hear(self, message: FromParent) -> None:
        """Take a message of the parent's."""
        if isinstance(message, Stop):
            self._stop.set()
        elif isinstance(message, Yield):
            self._turn_over.set()
        else:
            self._messages.put(message)

    def run(self) -> bool:
        """Run tasks until there are no more; returns whether it went well. Never raises."""
        try:
            with self._lines:
                while isinstance(message := self._messages.get(), Run):
                    self._turn_over.clear()  # what was said about the task before comes before this message
                    self._send(self._run(message.job))
        except KeyboardInterrupt:  # the user's: those of a terminal do not come here
            self._send(Broken("the handler raised KeyboardInterrupt"))
            return False
        except Exception as error:  # noqa: BLE001 - top of the process
            traceback.print_exc()
            self._send(Broken(f"{type(error).__name__}: {error}"))
            return False
        return True

    def _run(self, packed: bytes) -> Ended | Refused:
        clock = SystemClock()
        last = clock.monotonic()

        def report(progress: TaskProgress) -> None:
            nonlocal last
            if clock.monotonic() - last >= _PROGRESS_SECONDS:
                self._send(Progress(progress))
                last = clock.monotonic()

        def stop() -> bool:
            return self._stop.is_set() or self._turn_over.is_set()

        try:
            job = self._unpack(packed)
            logging.getLogger(HANDLER_LOGGER).setLevel(job.log_level)
            self._lines.task = job.task
            return Ended(run_task(job, stop=stop, report=report, clock=clock))
        except UsageError as error:
            return Refused(error)
