"""``calls``: attempts, limits and the budget of an annotator."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from datalake_service.config.section import PositiveInt, Section

PositiveNumber = Annotated[float, Field(gt=0)]


class BudgetConfig(Section):
    """What a run may spend. Once anything of it is used up, no call begins, and the run ends with an error."""

    cost: PositiveNumber | None = None
    """Money, in the currency of the prices."""
    tokens: PositiveInt | None = None
    """Tokens sent and answered."""
    calls: PositiveInt | None = None
    """Calls, repetitions included."""
    hours: PositiveNumber | None = None
    """Time since the first call."""


class CallsConfig(Section):
    """How calls are made."""

    max_attempts: PositiveInt = 5
    """Calls for one row, at most: those that fail with what passes by itself are repeated."""
    requests_per_minute: PositiveInt | None = None
    """Calls that begin in any minute, at most."""
    tokens_per_minute: PositiveInt | None = None
    """Tokens of the calls that begin in any minute, at most."""
    adaptive: bool = True
    """Whether fewer calls are made at once, as long as the service is overloaded or slow."""
    budget: BudgetConfig | None = None
    """What each run may spend; default: any amount."""
