"""What a run needs of limits and of a budget that it shares with others, and how it keeps to what it gets.

Joins the parts that stand around a call; knows nothing of where shares come from. Used on one event loop only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from datalake_service.annotating.adaptive import Gate
from datalake_service.annotating.limits import Limiter
from datalake_service.annotating.policy import CallPolicy
from datalake_service.annotating.usage import Meter
from datalake_service.catalog.ledger_record import AT_ONCE, REQUESTS, TOKENS

_SPARE: Final = 1.5
"""Who does not wait wants so much of what it uses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a run uses, and what it could use."""

    have: Mapping[str, int]
    """Parts of limits that it acts on."""
    wants: Mapping[str, int]
    least: Mapping[str, int]
    """What a part needs for one call."""
    spent: Mapping[str, float]
    """In all."""
    per_call: Mapping[str, float]
    """The mean of the calls that ended; empty before the first."""


class Shares:
    """The parts of its limits and of its budget that a run has. Nothing at first."""

    def __init__(self, policy: CallPolicy, *, limits: bool, limiter: Limiter, gate: Gate, meter: Meter) -> None:
        """Let no call begin that needs anything of it; without ``limits``, of the budget only."""
        self._limiter = limiter
        self._gate = gate
        self._meter = meter
        self._most: dict[str, int] = {}
        if limits and policy.requests is not None:
            self._most[REQUESTS] = policy.requests.most
        if limits and policy.tokens is not None:
            self._most[TOKENS] = policy.tokens.most
        if limits and policy.at_once is not None:
            self._most[AT_ONCE] = policy.at_once
        self._asked = False
        self.hold(dict.fromkeys(self._most, 0), until=math.inf)
        meter.allow({} if policy.budget is None else dict.fromkeys(policy.budget.amounts(), 0.0))

    def hold(self, units: Mapping[str, int], *, until: float) -> None:
        """Let calls begin within these parts of limits, and none from ``until`` on, by the run's monotonic clock."""
        self._units = units
        if AT_ONCE in units:
            self._gate.limit(units[AT_ONCE])
        self._limiter.resize(units.get(REQUESTS), units.get(TOKENS), until=until)

    def allow(
        self, amounts: Mapping[str, float], *, over: str | None = None, elsewhere: Mapping[str, float] | None = None
    ) -> None:
        """Let calls begin until so much is spent in all; ``over``: why there will be no more.

        ``elsewhere``: what others have spent of it, for people.
        """
        self._meter.elsewhere = elsewhere or {}
        self._meter.allow(amounts, over=over)

    def have(self) -> dict[str, int]:
        """The parts that it acts on: what it was told to hold; of calls under way those that still are, if more."""
        have = dict(self._units)
        if AT_ONCE in have:
            have[AT_ONCE] = max(have[AT_ONCE], self._gate.inside)
        return have

    @property
    def waits(self) -> bool:
        """Whether calls wait for more of the budget."""
        return self._meter.waiting

    @property
    def starves(self) -> bool:
        """Whether calls wait that nothing but a part of a limit would let begin."""
        stopped = any(not units for units in self._units.values()) or self._limiter.stopped
        return stopped and self._limiter.waiting + self._gate.waiting > 0

    def demand(self, now: float) -> Demand:
        """What it needs; of limits all at first, since nothing is known."""
        meter, asked = self._meter, self._asked
        self._asked = True
        spent = meter.totals(now)
        return Demand(
            have=self.have(),
            wants={name: self._wanted(name, now) if asked else most for name, most in self._most.items()},
            least={TOKENS: self._limiter.largest} if TOKENS in self._most else {},
            spent=spent,
            per_call={kind: amount / meter.ended for kind, amount in spent.items()} if meter.ended else {},
        )

    def _wanted(self, name: str, now: float) -> int:
        """All of a limit if calls wait, else somewhat more than is used."""
        limiter = self._limiter
        if name == AT_ONCE:
            used, waits = self._gate.inside, self._gate.waiting > 0
        else:
            rate = limiter.requests if name == REQUESTS else limiter.tokens
            used, waits = 0 if rate is None else rate.began(now), limiter.waiting > 0
        return self._most[name] if waits else min(self._most[name], math.ceil(_SPARE * used) + 1)
