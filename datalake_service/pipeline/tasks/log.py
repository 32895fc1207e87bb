"""What a task's handler logs, kept in the lake: whoever looks at the task later need not have been there.

One object for each task that logged anything, the last lines of all attempts. Logging never fails a task, and what was
logged shortly before a worker was killed is lost.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

from datalake_service.catalog import layout
from datalake_service.catalog.manifests import format_time
from datalake_service.errors import ObjectNotFoundError, StoreError
from datalake_service.pipeline.jobs.engine import HANDLER_LOGGER, TaskJob
from datalake_service.storage.base import ObjectStore, Overwrite
from datalake_utils.clock import Clock

MOST_LINES: Final = 1_000
"""Of one task; the oldest are forgotten."""
LONGEST_LINE: Final = 4_000
"""Characters of a line that are kept."""
STORE_SECONDS: Final = 30.0
"""Lines of a running task are stored no more often."""


class TaskLog(logging.Handler):
    """Collects the log lines of one attempt while its context lasts. Any thread may log."""

    def __init__(self, job: TaskJob, *, clock: Clock) -> None:
        """Collect what the handlers of this process log; one task runs in it at a time."""
        super().__init__(job.log_level)
        self._job = job
        self._clock = clock
        self._lines: deque[dict[str, Any]] = deque(maxlen=MOST_LINES)
        self._new = self._loaded = False
        self._stored_at = clock.monotonic()

    def __enter__(self) -> Self:
        """Begin to listen."""
        logging.getLogger(HANDLER_LOGGER).addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop to listen, and store what there is."""
        logging.getLogger(HANDLER_LOGGER).removeHandler(self)
        if kind is None or issubclass(kind, Exception):
            self._store()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line; called under the handler's lock."""
        moment = datetime.fromtimestamp(record.created, UTC)
        text = self.format(record)[:LONGEST_LINE]
        self._lines.append({"time": format_time(moment), "level": record.levelname, "message": text})
        self._new = True

    def store_now_and_then(self) -> None:
        """Store what is new, if that is long enough ago."""
        if self._new and self._clock.monotonic() - self._stored_at >= STORE_SECONDS:
            self._store()

    def _store(self) -> None:
        if not self._new:
            return
        job = self._job
        with suppress(StoreError):
            if not self._loaded:
                earlier = load_task_log(job.store, job.dataset, job.task)
                with self._held():
                    self._lines = deque((*earlier, *self._lines), maxlen=MOST_LINES)
                self._loaded = True
            with self._held():
                lines, self._new = list(self._lines), False
            body = b"".join(json.dumps(line).encode("ascii") + b"\n" for line in lines)
            job.store.put(layout.task_log_key(job.dataset, job.task), body, mode=Overwrite())
        self._stored_at = self._clock.monotonic()

    def _held(self) -> AbstractContextManager[object]:
        assert self.lock is not None  # logging.Handler makes it
        return self.lock


def load_task_log(store: ObjectStore, dataset: str, task: str) -> list[dict[str, Any]]:
    """The lines that a task has logged, the oldest first: ``time``, ``level``, ``message``.

    Raises:
        StoreError: They cannot be read.
    """
    try:
        body, _ = store.get(layout.task_log_key(dataset, task))
    except ObjectNotFoundError:
        return []
    return list(_lines(body.splitlines()))


def _lines(lines: Iterable[bytes]) -> Iterable[dict[str, Any]]:
    """Those that are ours; a damaged one is left out: a log is not worth an error."""
    for line in lines:
        with suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict):
                yield found
