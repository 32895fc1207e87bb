"""How many calls at once: more as long as they go well, fewer when the service is overloaded or slows down.

Additive increase, multiplicative decrease: what TCP does to share a line that nobody knows the width of.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from datalake_service.annotating.limits import first_waiting

FIRST: Final = 16
"""How many at once in the beginning; slow answers alone do not make it fewer."""
_CLOSE: Final = 0.7
"""What is left of the width when the service is overloaded."""
_CLOSE_SLOW: Final = 0.9
"""What is left of it when answers come slowly."""
_SLOW, _VERY_SLOW = 2.0, 3.0
"""Times the best round: it does not open any more; it closes."""
_FORGET: Final = 1.05
"""How much longer the best round seems after each round."""


class Gate:
    """Lets a changing number of calls in. Used on one event loop only."""

    def __init__(self, most: int, *, adaptive: bool = True) -> None:
        """Never let in more than ``most``; begin with fewer if it is ``adaptive``."""
        self._most = most
        self._ceiling = most
        self._adaptive = adaptive
        self._exact = float(min(most, FIRST) if adaptive else most)
        self.width = int(self._exact)
        """How many calls are let in at once."""
        self.inside = 0
        """Calls under way."""
        self._line: deque[asyncio.Future[None]] = deque()
        self._probing = True
        self._closed_at = 0.0
        self._good = 0
        self._round = self._exact
        self._seconds = 0.0
        self._best: float | None = None
        self._slow = False

    @property
    def waiting(self) -> int:
        """Calls in the line."""
        return len(self._line)

    def limit(self, ceiling: int) -> None:
        """Let in so many at most from now on, 0 included; those that are inside stay."""
        self._ceiling = ceiling
        self._widen(self._exact)
        self._let_in()

    def try_enter(self) -> bool:
        """Enter if there is room, and nobody waits."""
        if self.inside < self.width and not self._line:
            self.inside += 1
            return True
        return False

    async def wait(self) -> None:
        """Wait in the line, and enter."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(future)
        self._let_in()
        try:
            await future
        except asyncio.CancelledError:
            if not future.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """Leave; the next one enters."""
        self.inside -= 1
        if self._line:
            self._let_in()

    def went_well(self, seconds: float) -> None:
        """A call that is still inside was answered after so long."""
        if not self._adaptive:
            return
        self._good += 1
        self._seconds += seconds
        if self._good >= self._round:
            self._end_round(full=self.inside >= self.width)
        elif (
            self._probing
            and self.inside >= self.width
            and not self._slow
            and (self._best is None or seconds <= _SLOW * self._best)
        ):
            self._open(1.0)

    def overloaded(self, *, began: float, now: float) -> None:
        """A call that began then was refused because there are too many."""
        if not self._adaptive or began < self._closed_at:
            return  # the one that closed the gate began no later: this says the same once more
        self._close(_CLOSE, now)

    def _end_round(self, *, full: bool) -> None:
        mean = self._seconds / self._good
        self._good, self._seconds = 0, 0.0
        best = mean if self._best is None else min(mean, self._best * _FORGET)
        self._best = best
        self._slow = mean > _SLOW * best
        if mean > _VERY_SLOW * best and self._exact * _CLOSE_SLOW >= FIRST:
            self._close(_CLOSE_SLOW, self._closed_at)
        elif full and not self._slow:
            self._open(1.0)
        self._round = self._exact

    def _widen(self, exact: float) -> None:
        self._exact = exact
        self.width = min(self._ceiling, int(exact))

    def _open(self, more: float) -> None:
        most = float(min(self._most, self._ceiling))
        if self._exact < most:
            self._widen(min(most, self._exact + more))
        self._let_in()

    def _close(self, rest: float, now: float) -> None:
        self._probing = False
        self._closed_at = now
        self._good, self._seconds = 0, 0.0
        self._widen(max(1.0, self._exact * rest))
        self._round = self._exact

    def _let_in(self) -> None:
        while self.inside < self.width and (future := first_waiting(self._line)) is not None:
            self.inside += 1
            future.set_result(None)
