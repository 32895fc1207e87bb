"""How often calls may begin: so many units in any window, spread over it, and one fair line for those who wait.

Nobody polls: a timer is set for the first in the line, and he lets in those behind him who may begin as well.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from datalake_service.errors import UsageError

_SLICES = 1_024
"""Parts of a window in which what began is added up."""
_AT_ONCE = 50
"""That part of a window's units may begin at once."""
_ROUNDING = 1e-9
_LEAST_WAIT = 1e-6
"""Seconds: less may not move a clock at all."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so many units begin within any window."""

    most: int
    """Units: requests, or tokens."""
    per_seconds: float = 60.0
    """The window."""

    def __post_init__(self) -> None:
        """Refuse what lets nothing through.

        Raises:
            UsageError: A number that is not positive.
        """
        if self.most < 1 or not self.per_seconds > 0:
            raise UsageError(
                f"a limit needs at least 1 unit in more than 0 s, not {self.most} in {self.per_seconds:g} s"
            )


class Rate:
    """What began under one limit. Pure: it is told what time it is."""

    def __init__(self, limit: Limit, *, now: float) -> None:
        """Nothing has begun."""
        self._window = limit.per_seconds
        self._slice = limit.per_seconds / _SLICES
        self._filled = now
        self._set(limit.most)
        self._level = self._at_once
        self._log: dict[int, int] = {}
        self._sum = 0

    @property
    def most(self) -> int:
        """Units that may begin within a window."""
        return self._most

    def resize(self, most: int, now: float) -> None:
        """Let another number of units begin from now on, 0 included. What has begun still counts."""
        self._pass_time(now)
        if not self._most:
            self._level = 0.0  # what one worker gets another one had until now
        self._set(most)
        self._level = min(self._level, self._at_once)

    def began(self, now: float) -> int:
        """Units that began within the last window."""
        self._pass_time(now)
        return self._sum

    def _set(self, most: int) -> None:
        self._most = most
        self._per_second = most / self._window
        self._at_once = max(1.0, most / _AT_ONCE)

    def seconds_until(self, amount: int, now: float) -> float:
        """How long until ``amount`` units may begin (more than the limit: when nothing else has); 0: now."""
        self._pass_time(now)
        if not self._most:
            return math.inf
        amount = min(amount, self._most)
        short = min(amount, self._at_once) - self._level
        wait = self._until_logged(self._sum + amount - self._most, now)
        if short > _ROUNDING:
            wait = max(wait, short / self._per_second)
        return max(wait, _LEAST_WAIT) if wait > 0 else 0.0

    def spare(self, now: float) -> tuple[int, float]:
        """How many units may begin, and until when: within one slice, so that they can be taken together, as of now."""
        self._pass_time(now)
        units = min(self._most - self._sum, math.floor(self._level + _ROUNDING))
        return max(0, units), (int(now / self._slice) + 1) * self._slice

    def take(self, amount: int, now: float) -> None:
        """Let ``amount`` units begin; ``seconds_until`` has said 0."""
        self._level -= amount
        self._sum += amount
        part = int(now / self._slice)
        self._log[part] = self._log.get(part, 0) + amount

    def settle(self, began: float, difference: int, now: float) -> None:
        """Correct what began at ``began``: it was ``difference`` units more than was taken, or less."""
        self._pass_time(now)
        self._level = min(self._at_once, self._level - difference)
        part = int(began / self._slice)
        if part not in self._log:  # that window is over
            if difference <= 0:
                return
            part = int(now / self._slice)
            self._log.setdefault(part, 0)
        self._log[part] += difference
        self._sum += difference

    def _pass_time(self, now: float) -> None:
        self._level = min(self._at_once, self._level + (now - self._filled) * self._per_second)
        self._filled = now
        while self._log and self._leaves(first := next(iter(self._log))) <= now:
            self._sum -= self._log.pop(first)

    def _leaves(self, part: int) -> float:
        """When a slice leaves the window, counted from its last moment."""
        return (part + 1) * self._slice + self._window

    def _until_logged(self, excess: int, now: float) -> float:
        if excess <= 0:
            return 0.0
        for part, amount in self._log.items():
            excess -= amount
            if excess <= 0:
                return self._leaves(part) - now
        return self._window  # more was settled than the window allows


Waiter = tuple["asyncio.Future[float]", int]


class _Spare:
    """Units of one limit that were found to be allowed, and may begin without another look."""

    __slots__ = ("_found", "_since", "left", "rate")

    def __init__(self, limit: Limit | None, *, now: float) -> None:
        """Nothing was found yet; without a limit, whatever there is."""
        self.rate = None if limit is None else Rate(limit, now=now)
        self._since = now
        self._found: float = 0
        self.left: float = 0
        """Units that may begin; who lets one begin takes it off."""

    def find(self, now: float) -> float:
        """Look how many may begin, and return until when."""
        if self.rate is None:
            self._found = self.left = math.inf
            return math.inf
        self._since = now
        self._found, until = self.rate.spare(now)
        self.left = self._found
        return until

    def note(self) -> None:
        """Count those that began; no other may."""
        if self.rate is not None and self.left < self._found:
            self.rate.take(int(self._found - self.left), self._since)
        self._found = self.left = 0


class Limiter:
    """The limits of a run on requests and tokens, and its pauses. Used on one event loop only.

    A look at the limits costs more than most of what else is done for a call. So it is for as many calls as may begin
    within one slice of the window; these are counted together before anybody looks again.
    """

    def __init__(
        self,
        *,
        requests: Limit | None,
        tokens: Limit | None,
        monotonic: Callable[[], float],
    ) -> None:
        """Nothing has begun; ``None``: no limit."""
        self._until = math.inf
        self._largest = 1
        now = monotonic()
        self._requests = _Spare(requests, now=now)
        self._tokens = _Spare(tokens, now=now)
        self._spare_until = -math.inf
        self._monotonic = monotonic
        self._paused_until = now
        self._line: deque[Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def largest(self) -> int:
        """The most tokens that a call was to have."""
        return self._largest

    @property
    def requests(self) -> Rate | None:
        """What began, if calls are limited."""
        self._note()
        return self._requests.rate

    @property
    def tokens(self) -> Rate | None:
        """Their tokens, if those are limited."""
        self._note()
        return self._tokens.rate

    def resize(self, requests: int | None, tokens: int | None, *, until: float) -> None:
        """Change the limits, for calls that begin before ``until``; ``None``: not that one."""
        now = self._monotonic()
        for rate, most in ((self.requests, requests), (self.tokens, tokens)):
            if rate is not None and most is not None:
                rate.resize(most, now)
        self._until = until
        self._serve()

    @property
    def waiting(self) -> int:
        """Calls in the line."""
        return len(self._line)

    @property
    def stopped(self) -> bool:
        """Whether nothing begins any more unless ``resize`` says otherwise."""
        return self._monotonic() >= self._until

    def try_begin(self, tokens: int) -> float | None:
        """Begin a call of so many tokens if it may begin now.

        Returns when it began, ``None`` if it has to ``wait``.
        """
        now = self._monotonic()
        if tokens > self._largest:  # noqa: PLR1730 - max takes three times as long
            self._largest = tokens
        calls, units = self._requests, self._tokens
        if now < self._spare_until and calls.left and tokens <= units.left:
            calls.left -= 1
            units.left -= tokens
            return now
        if self._line or self._seconds_until(tokens, now) > 0:
            return None
        self._take(tokens, now)
        self._spare_until = min(calls.find(now), units.find(now), self._until)
        return now

    async def wait(self, tokens: int) -> float:
        """Wait in the line, and begin a call; returns when it began."""
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._line.append((future, tokens))
        self._serve()
        try:
            return await future
        except asyncio.CancelledError:
            if not future.cancelled():  # it may begin, and will not
                self.undo(future.result(), tokens)
            raise
        finally:
            if future.cancelled():
                self._serve()

    def settle(self, began: float, taken: int, tokens: int) -> None:
        """Correct the tokens of a call that took ``taken`` and used ``tokens``."""
        if tokens != taken and (rate := self.tokens) is not None:
            rate.settle(began, tokens - taken, self._monotonic())

    def pause(self, seconds: float) -> None:
        """Let no call begin for so long; a longer pause that is under way goes on."""
        self._note()
        self._paused_until = max(self._paused_until, self._monotonic() + seconds)

    def _note(self) -> None:
        """Count the calls that began without a look at the limits; the next one looks."""
        self._spare_until = -math.inf
        self._requests.note()
        self._tokens.note()

    def _seconds_until(self, tokens: int, now: float) -> float:
        self._note()
        if now >= self._until:
            return math.inf
        wait = self._paused_until - now
        if self._requests.rate is not None:
            wait = max(wait, self._requests.rate.seconds_until(1, now))
        if self._tokens.rate is not None:
            wait = max(wait, self._tokens.rate.seconds_until(tokens, now))
        return wait

    def _take(self, tokens: int, now: float) -> float:
        if self._requests.rate is not None:
            self._requests.rate.take(1, now)
        if self._tokens.rate is not None:
            self._tokens.rate.take(tokens, now)
        return now

    def undo(self, began: float, tokens: int) -> None:
        """Take back the beginning of a call that was not made."""
        now = self._monotonic()
        for rate, units in ((self.requests, 1), (self.tokens, tokens)):
            if rate is not None:
                rate.settle(began, -units, now)
        self._serve()

    def _serve(self) -> None:
        """Let in everybody who may begin, in order; wake up again for the first who may not."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._line:
            future, tokens = self._line[0]
            if future.done():  # its caller has gone
                self._line.popleft()
                continue
            now = self._monotonic()
            wait = self._seconds_until(tokens, now)
            if wait == math.inf:
                return  # until the limits change
            if wait > 0:
                self._timer = asyncio.get_running_loop().call_later(max(wait, _LEAST_WAIT), self._serve)
                return
            self._line.popleft()
            future.set_result(self._take(tokens, now))


def first_waiting(line: deque[asyncio.Future[None]]) -> asyncio.Future[None] | None:
    """Take the first out of a line whose caller still waits."""
    while line:
        future = line.popleft()
        if not future.done():
            return future
    return None
