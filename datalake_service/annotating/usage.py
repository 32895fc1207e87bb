"""What a run has spent, and what it may spend."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from datalake_interfaces.attempts import NOTHING, Usage
from datalake_service.errors import BudgetExceededError, LimitExceededError, UsageError

Per = Literal["run", "day", "month", "total"]
"""What a budget is for."""
KINDS: Final = ("cost", "tokens", "calls", "seconds")
"""What a budget buys, in the order in which it is looked at."""
_SILENT: Final = 100
"""Calls that worked after which it is plain that an annotator does not report what its budget is of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What may be spent by all who annotate; once anything of it is used up, no call begins. ``None``: any amount.

    What was spent is kept in the lake: a run that goes on where another one was killed, or ended early, has what that
    one left.
    """

    cost: float | None = None
    """Money, as annotators report it."""
    tokens: int | None = None
    """Sent and answered."""
    calls: int | None = None
    """Repetitions included."""
    seconds: float | None = None
    """Of each worker since its first call, added up."""
    per: Per = "run"
    """``run``: until a run came to its end, in as many starts as that took; the next one has all of it again. ``day``,
    ``month``: in UTC, by the store's clock. ``total``: once and for all."""

    def __post_init__(self) -> None:
        """Refuse a budget that buys nothing.

        Raises:
            UsageError: A number that is not positive.
        """
        for name, value in self.amounts().items():
            if not value > 0:
                raise UsageError(f"a budget of {value!r} {name} buys nothing: it must be more than 0")
        if self.per not in get_args(Per):
            raise UsageError(f"a budget is per {', '.join(get_args(Per))}, not per {self.per!r}")

    def amounts(self) -> dict[str, float]:
        """What it limits, by kind."""
        return {kind: value for kind in KINDS if (value := getattr(self, kind)) is not None}


@dataclass(frozen=True, slots=True)
class Spent:
    """What a run has spent so far."""

    calls: int = 0
    """Calls that began, repetitions included."""
    repeated: int = 0
    """Those of them that repeated one that had failed."""
    usage: Usage = NOTHING
    """What they reported."""
    seconds: float = 0.0
    """Since the first call."""
    elsewhere: Mapping[str, float] = field(default_factory=dict)
    """What earlier starts and other workers have spent of the budget, by kind, as far as that is known."""

    def amounts(self) -> dict[str, float]:
        """As a budget counts it, by kind."""
        return dict(zip(KINDS, (self.usage.cost, self.usage.tokens, self.calls, self.seconds), strict=True))

    def to_dict(self) -> dict[str, float]:
        """The JSON form."""
        usage = self.usage
        return {
            "calls": self.calls,
            "repeated": self.repeated,
            "inputTokens": usage.input_tokens,
            "outputTokens": usage.output_tokens,
            "cost": usage.cost,
        }

    def in_words(self) -> str:
        """For a progress line: ``12,345 tokens, cost 1.23``; empty if nothing was reported."""
        usage = self.usage
        words = [f"{usage.tokens:,} tokens"] if usage.tokens else []
        if usage.cost:
            words.append(f"cost {usage.cost:.{2 if usage.cost >= 1 else 4}f}")
        return ", ".join(words)


class Meter:
    """Adds up what calls spend, and says when it is enough. Used on one event loop only."""

    def __init__(self, budget: Budget | None = None) -> None:
        """Nothing is spent."""
        self._budget = {} if budget is None else budget.amounts()
        self._shared = False
        self._over: str | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._first: float | None = None
        self._last = 0.0
        self._usage = NOTHING
        self._reports = False
        self._set(self._budget)
        self.calls = 0
        """Calls that began."""
        self.repeated = 0
        """Those of them that repeated one that had failed."""
        self.ended = 0
        """Calls that ended, well or not."""
        self.tokens_per_call = 0
        """The mean of those, as of the last that reported any."""
        self.answered = 0
        """Calls that ended well."""
        self.elsewhere: Mapping[str, float] = {}
        """See ``Spent``."""

    def try_begin(self, now: float) -> bool:
        """Count a call that begins now and is no repetition, if it is plain that it may; if not, look closer.

        What a call reports is compared with the budget when it ends: between two reports only calls and seconds grow.
        """
        if self.calls < self._plain_calls and now < self._plain_until:
            self.calls += 1
            return True
        return False

    def begin(self, now: float, *, repeats: bool) -> None:
        """Count a call that begins now.

        Raises:
            BudgetExceededError: The budget is used up; it must not begin.
            LimitExceededError: The budget is of something that the annotator does not report.
        """
        if self._first is None:
            self._first = now
            self._look()
        if self.answered >= _SILENT and (kind := self._unreported()) is not None:
            raise LimitExceededError(
                f"the annotator has reported no {kind} in {self.answered} calls, so a budget of {self._budget[kind]:g} "
                f"{kind} cannot be kept: report it with item.spend(...), 0 if it is free, or limit calls or hours"
            )
        if self._shared:
            if self._over is not None:
                raise BudgetExceededError(self._over)
        elif not self._within(now):
            raise BudgetExceededError(self._used_up(now))
        self.calls += 1
        self.repeated += repeats

    def end(self, now: float) -> None:
        """Count a call that ended."""
        self.ended += 1
        self._last = now

    def spend(self, usage: Usage) -> None:
        """Add what a call has reported."""
        self._reports = True
        self._usage += usage
        self.tokens_per_call = self._usage.tokens // max(1, self.ended)
        self._look()

    def spent(self) -> Spent:
        """What is spent by now."""
        passed = 0.0 if self._first is None else max(0.0, self._last - self._first)
        return Spent(self.calls, self.repeated, self._usage, passed, self.elsewhere)

    # A budget that is shared ---------------------------------------------------------------------------

    def allow(self, allowed: Mapping[str, float], *, over: str | None = None) -> None:
        """Let calls begin until so much is spent in all; ``over``: why there will be no more."""
        self._shared, self._over = True, over
        self._set(allowed)
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def may_begin(self, now: float) -> bool:
        """Whether to ``begin``; if not, wait for ``more``."""
        return not self._shared or self._within(now) or self._over is not None

    @property
    def waiting(self) -> bool:
        """Whether calls wait for more."""
        return bool(self._waiting)

    async def more(self) -> None:
        """Wait until something else is allowed."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def totals(self, now: float) -> dict[str, float]:
        """What is spent since the first call, by kind."""
        usage = self._usage
        seconds = 0.0 if self._first is None else now - self._first
        return dict(zip(KINDS, (usage.cost, usage.tokens, self.calls, seconds), strict=True))

    def _set(self, most: Mapping[str, float]) -> None:
        self._bounded = bool(most)
        self._cost, self._tokens, self._calls, self._seconds = (most.get(kind, math.inf) for kind in KINDS)
        self._look()

    def _look(self) -> None:
        """Find how many calls may begin, and until when, if none of them reports anything."""
        first, usage = self._first, self._usage
        enough = self._over is not None or usage.cost >= self._cost or usage.tokens >= self._tokens
        self._plain_calls = 0.0 if enough else self._calls if self._unreported() is None else min(self._calls, _SILENT)
        self._plain_until = -math.inf if first is None else first + self._seconds

    def _unreported(self) -> str | None:
        """A kind that there is a budget of and of which nothing was reported, unless that was all that was reported."""
        spent = {"cost": self._usage.cost, "tokens": self._usage.tokens}
        if self._reports and not any(spent.values()):
            return None  # it says that its calls are free
        return next((kind for kind in self._budget if spent.get(kind) == 0), None)

    def _within(self, now: float) -> bool:
        """Whether nothing is used up."""
        if not self._bounded:
            return True
        usage, first = self._usage, self._first
        return (
            self.calls < self._calls
            and usage.cost < self._cost
            and usage.input_tokens + usage.output_tokens < self._tokens
            and (0.0 if first is None else now - first) < self._seconds
        )

    def _used_up(self, now: float) -> str:
        totals = self.totals(now)
        kind = next(kind for kind, most in self._budget.items() if totals[kind] >= most)
        return (
            f"the budget of {self._budget[kind]:g} {kind} is used up; for the rows that are left, run again with "
            "another one"
        )
