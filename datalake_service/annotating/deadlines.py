"""Which calls are late: one look at all workers now and then, instead of a timer for each row.

``asyncio.timeout`` costs about five microseconds a row; noting a start time costs a tenth of one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Slot:
    """One worker and the call that it is in."""

    task: asyncio.Task[None] | None = None
    since: float = 0.0
    """When the call began, by the monotonic clock; zero: in no call."""
    late: int = 0
    """How often the call was cancelled for being late."""

    def cancelled_from_outside(self) -> bool:
        """Whether a ``CancelledError`` in the worker means that the worker has to end."""
        return self.task is not None and self.task.cancelling() > self.late

    def end_call(self) -> bool:
        """Forget the call; returns whether it was late. The task is as if it had never been cancelled for that."""
        self.since = 0.0
        late, self.late = self.late, 0
        if self.task is not None:
            for _ in range(late):
                self.task.uncancel()
        return late > 0


class Deadlines:
    """Cancels calls that take longer than ``timeout`` seconds, never earlier, up to one ``interval`` later."""

    def __init__(self, timeout: float, *, monotonic: Callable[[], float]) -> None:
        """Watch no worker yet."""
        self._timeout = timeout
        self._monotonic = monotonic
        self._last_sweep = monotonic()
        self._excused = False

    @property
    def interval(self) -> float:
        """Seconds between two calls of ``sweep``."""
        return min(0.25, max(0.01, self._timeout / 20))

    def sweep(self, slots: list[Slot]) -> None:
        """Cancel what is late.

        A sweep that comes late itself does nothing, once: somebody held up the event loop, and answers that
        arrived meanwhile have not been handed over yet.
        """
        now = self._monotonic()
        last, self._last_sweep = self._last_sweep, now
        if now - last > 4 * self.interval and not self._excused:
            self._excused = True
            return
        self._excused = False
        for slot in slots:
            if slot.since and now - slot.since >= self._timeout and slot.task is not None:
                slot.since = now  # cancelled again after another timeout if it goes on all the same
                slot.late += 1
                slot.task.cancel()
