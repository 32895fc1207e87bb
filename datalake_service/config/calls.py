"""``calls``: attempts, limits and the budget of an annotator. If it is shared, they hold for all workers together."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from datalake_service.config.choice import Choice
from datalake_service.config.section import PositiveInt, Section

PositiveNumber = Annotated[float, Field(gt=0)]


class Per(Choice):
    """What a budget is for."""

    RUN = "run"
    """A run, which goes on when it is started again after it was killed or ended early."""
    DAY = "day"
    """A day, in UTC."""
    MONTH = "month"
    """A month, in UTC."""
    TOTAL = "total"
    """All that is ever done."""


class BudgetConfig(Section):
    """What may be spent. Once anything of it is used up, no call begins, and the run ends with an error.

    It is counted in the lake, for all workers and all starts of the command together.
    """

    cost: PositiveNumber | None = None
    """Money, in the currency of the prices."""
    tokens: PositiveInt | None = None
    """Tokens sent and answered."""
    calls: PositiveInt | None = None
    """Calls, repetitions included."""
    hours: PositiveNumber | None = None
    """Time of each worker since its first call, added up."""
    per: Per = Per.RUN
    """What it is for."""


class CallsConfig(Section):
    """How calls are made."""

    max_attempts: PositiveInt = 5
    """Calls for one row, at most: those that fail with what passes by itself are repeated."""
    requests_per_minute: PositiveInt | None = None
    """Calls that begin in any minute, at most; of all workers that share the annotator."""
    tokens_per_minute: PositiveInt | None = None
    """Tokens of the calls that begin in any minute, at most; of all workers that share the annotator."""
    calls_at_once: PositiveInt | None = None
    """Calls that are under way, at most; of all workers that share the annotator. `maxConcurrency` is for each."""
    adaptive: bool = True
    """Whether fewer calls are made at once, as long as the service is overloaded or slow."""
    budget: BudgetConfig | None = None
    """What may be spent; default: any amount."""
