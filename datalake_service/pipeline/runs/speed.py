"""How fast something goes, and when it will be over: over a window that grows with the time it took so far. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final

_LEAST_WINDOW: Final = 15.0
"""Seconds."""
_OF_ALL: Final = 0.25
"""The window as a share of the time since the beginning: what takes days is not told anew every minute."""
_BETWEEN: Final = 0.5
"""Seconds between two points that are kept, at the least."""
_POINTS: Final = 256
"""How many of them; then every other one is dropped."""
_FIRST: Final = 2.0
"""Seconds before anything is told."""
_TOLERANCE: Final = 0.1
"""Times that differ by less from what was told before go on counting down."""


class Speed:
    """The speed of a count that grows."""

    def __init__(self, now: float) -> None:
        """Nothing is done."""
        self._points: deque[tuple[float, float]] = deque([(now, 0.0)])
        self._began = now
        self._now = now
        self._done = 0.0
        self._told: tuple[float, float] | None = None

    def note(self, now: float, done: float) -> None:
        """So much is done by now; less than before begins anew."""
        if done < self._done:
            self._points.clear()
            self._told = None
        self._now, self._done = now, done
        if not self._points or now - self._points[-1][0] >= _BETWEEN:
            self._points.append((now, done))
        if len(self._points) > _POINTS:
            self._points = deque(point for number, point in enumerate(self._points) if number % 2 == 0)

    @property
    def per_second(self) -> float | None:
        """How much is done in a second; ``None``: too early to say."""
        window = max(_LEAST_WINDOW, _OF_ALL * (self._now - self._began))
        then, done = next(
            (point for point in reversed(self._points) if point[0] <= self._now - window), self._points[0]
        )
        if self._now - then < _FIRST:
            return None
        return (self._done - done) / (self._now - then)

    def seconds_for(self, rest: float) -> float | None:
        """How long the rest will take; ``None``: nobody can say."""
        speed = self.per_second
        if not speed:
            self._told = None
            return None
        seconds = rest / speed
        if self._told is not None:
            counted = self._told[1] - (self._now - self._told[0])
            if abs(seconds - counted) <= _TOLERANCE * max(seconds, 1.0):
                return max(0.0, counted)
        self._told = self._now, seconds
        return seconds
