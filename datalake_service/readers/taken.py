"""The messages that a task has taken from a queue, kept from others until they are deleted or given back.

A thread of its own extends their visibility, so that neither a slow handler nor a slow store lets them come again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

from datalake_service.errors import StoreError
from datalake_service.readers.queues import Message, Queue
from datalake_utils.clock import Clock

_RENEWED_AT: float = 0.5
"""The part of the visibility that may pass before it is extended."""
_LOOKS_EACH: float = 0.1
"""The part of the visibility between two looks of the thread."""


class TakenMessages:
    """Receipts of deliveries by message id. The task's thread takes and deletes; another one extends."""

    def __init__(self, queue: Queue, *, clock: Clock) -> None:
        """Keep messages of ``queue``; the thread starts with the first one."""
        self._queue = queue
        self._clock = clock
        self._lock = threading.Lock()
        self._receipts: dict[str, str] = {}
        self._extended: dict[str, float] = {}  # when, by message id
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self.since = 0.0
        """When there was none the last time: seconds of the clock."""

    def __len__(self) -> int:
        """How many there are."""
        return len(self._receipts)

    def take(self, messages: Iterable[Message], *, at: float) -> None:
        """Keep what was received by a request that was sent at ``at``."""
        with self._lock:
            if not self._receipts:
                self.since = at
            for message in messages:
                self._receipts[message.id] = message.receipt  # of a message that came twice: the later one
                self._extended[message.id] = at
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep, name="visibility", daemon=True)
            self._thread.start()

    def receipts(self, messages: Iterable[str]) -> dict[str, str]:
        """The receipts of those of ``messages`` that are held."""
        with self._lock:
            return {message: self._receipts[message] for message in messages if message in self._receipts}

    def drop(self, messages: Iterable[str]) -> None:
        """Keep them no longer: they are deleted, or others have them."""
        with self._lock:
            for message in messages:
                self._receipts.pop(message, None)
                self._extended.pop(message, None)

    def give_back(self) -> None:
        """Let others have what is still held, as soon as they ask; end the thread. Never raises."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        left, self._receipts = self._receipts, {}
        try:
            self._queue.extend(left, seconds=0)
        except StoreError:
            return  # they come again by themselves when their time is over

    def _keep(self) -> None:
        while not self._end.wait(self._queue.visibility * _LOOKS_EACH):
            self.extend_old()

    def extend_old(self) -> None:
        """Extend those whose time is half over. What cannot be extended comes again, and is no loss."""
        now = self._clock.monotonic()
        due = now - self._queue.visibility * _RENEWED_AT
        with self._lock:
            old: Mapping[str, str] = {
                message: self._receipts[message] for message, at in self._extended.items() if at <= due
            }
        if not old:
            return
        try:
            self._queue.extend(old, seconds=self._queue.visibility)
        except StoreError:
            return
        with self._lock:
            for message in old:
                if message in self._extended:
                    self._extended[message] = now
