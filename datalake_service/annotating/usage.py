"""What a run has spent, and what it may spend."""

from __future__ import annotations

from dataclasses import dataclass

from datalake_interfaces.attempts import NOTHING, Usage
from datalake_service.errors import BudgetExceededError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a run may spend; once anything of it is used up, no call begins. ``None``: any amount."""

    cost: float | None = None
    """Money, as annotators report it."""
    tokens: int | None = None
    """Sent and answered."""
    calls: int | None = None
    """Repetitions included."""
    seconds: float | None = None
    """Since the first call."""

    def __post_init__(self) -> None:
        """Refuse a budget that buys nothing.

        Raises:
            UsageError: A number that is not positive.
        """
        for name in ("cost", "tokens", "calls", "seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"a budget of {value!r} {name} buys nothing: it must be more than 0")


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
    in_calls: float = 0.0
    """Seconds of all calls that ended, added up."""

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
    """Adds up what calls spend, and says when it is enough."""

    def __init__(self, budget: Budget | None = None) -> None:
        """Nothing is spent."""
        self._budget = budget
        self._first: float | None = None
        self._last = 0.0
        self._usage = NOTHING
        self.calls = 0
        """Calls that began."""
        self.repeated = 0
        """Those of them that repeated one that had failed."""
        self.ended = 0
        """Calls that ended, well or not."""
        self._in_calls = 0.0

    def begin(self, now: float, *, repeats: bool) -> None:
        """Count a call that begins now.

        Raises:
            BudgetExceededError: The budget is used up; it must not begin.
        """
        if self._first is None:
            self._first = now
        if self._budget is not None:
            self._judge(self._budget, now)
        self.calls += 1
        self.repeated += repeats

    def end(self, began: float, now: float) -> None:
        """Count a call that ended."""
        self.ended += 1
        self._in_calls += now - began
        self._last = now

    def spend(self, usage: Usage) -> None:
        """Add what a call has reported."""
        self._usage += usage

    @property
    def tokens_per_call(self) -> int:
        """The mean of the calls that ended; 0 before the first."""
        return self._usage.tokens // self.ended if self.ended else 0

    def spent(self) -> Spent:
        """What is spent by now."""
        passed = 0.0 if self._first is None else max(0.0, self._last - self._first)
        return Spent(self.calls, self.repeated, self._usage, passed, self._in_calls)

    def _judge(self, budget: Budget, now: float) -> None:
        usage, began = self._usage, self._first or now
        for what, spent, most in (
            ("cost", usage.cost, budget.cost),
            ("tokens", usage.tokens, budget.tokens),
            ("calls", self.calls, budget.calls),
            ("seconds", now - began, budget.seconds),
        ):
            if most is not None and spent >= most:
                raise BudgetExceededError(
                    f"the budget of {most:g} {what} is used up; for the rows that are left, run again with another one"
                )
