"""Time as a parameter: the real clock, and one that a test turns by hand.

The only module (beside process entry) that touches the real clock; everything else is given a ``Clock``.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Counts on while the machine is suspended, where the system has such a clock: a lease runs out in its sleep, too.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """What time it is, how much of it has passed, and waiting. Thread-safe."""

    def now(self) -> datetime:
        """Return the wall-clock time, aware, in UTC. May jump in either direction."""
        ...

    def now_ns(self) -> int:
        """Return the wall-clock time as nanoseconds since 1970. May jump in either direction."""
        ...

    def monotonic(self) -> float:
        """Return seconds since an arbitrary point. Never goes back; only differences mean something."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return after ``seconds`` (at once if that is not positive)."""
        ...


class SystemClock:
    """The clock of this machine."""

    __slots__ = ()

    def now(self) -> datetime:
        """Return the wall-clock time, aware, in UTC."""
        return datetime.now(UTC)

    def now_ns(self) -> int:
        """Return the wall-clock time as nanoseconds since 1970."""
        return time.time_ns()

    monotonic = staticmethod(partial(time.clock_gettime, _STEADY))
    """Return seconds since an arbitrary point, suspended time included. Asked several times a row, hence no method."""

    def sleep(self, seconds: float) -> None:
        """Block this thread for ``seconds``."""
        if seconds > 0:
            time.sleep(seconds)


class ManualClock:
    """A clock that moves only when told to; ``sleep`` moves it and returns at once.

    For tests and simulations. Wall clock and monotonic clock move together, except for ``jump``, which
    is what a time server or an administrator does to a wall clock.
    """

    __slots__ = ("_lock", "_monotonic_ns", "_wall_ns", "slept")

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        """Stand at ``start`` (aware)."""
        self._lock = threading.Lock()
        self._wall_ns = (start - _EPOCH) // timedelta(microseconds=1) * 1000
        self._monotonic_ns = 0
        self.slept: list[float] = []
        """Every duration that was passed to ``sleep``, in seconds, in order."""

    def now(self) -> datetime:
        """Return the wall-clock time, aware, in UTC (whole microseconds)."""
        return _EPOCH + timedelta(microseconds=self._wall_ns // 1000)

    def now_ns(self) -> int:
        """Return the wall-clock time as nanoseconds since 1970."""
        return self._wall_ns

    def monotonic(self) -> float:
        """Return seconds since this clock was made."""
        return self._monotonic_ns / 1e9

    def sleep(self, seconds: float) -> None:
        """Move on by ``seconds`` without waiting, and note it in ``slept``."""
        with self._lock:
            self.slept.append(seconds)
        self.advance(max(seconds, 0.0))

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` (not negative) pass on both clocks."""
        if seconds < 0:
            raise ValueError("time does not run backwards; use jump() to set the wall clock back")
        step = round(seconds * 1e9)
        with self._lock:
            self._wall_ns += step
            self._monotonic_ns += step

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back by ``seconds``; the monotonic clock does not notice."""
        with self._lock:
            self._wall_ns += round(seconds * 1e9)
