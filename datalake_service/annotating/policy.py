"""How calls are made: attempts, limits, how many at once, and what may be spent. Values only.

``requests``, ``tokens``, ``at_once`` and ``budget`` hold for all workers that share an annotator, together.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tenacity import RetryCallState, Retrying
from tenacity.wait import wait_base, wait_exponential, wait_random_exponential

from datalake_service.annotating.limits import Limit
from datalake_service.annotating.usage import Budget
from datalake_service.errors import UsageError


def _usual_wait() -> wait_base:
    """Up to half a second after the first attempt, doubled up to a minute; half of each wait is at random."""
    return wait_exponential(multiplier=0.25, max=30) + wait_random_exponential(multiplier=0.25, max=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPolicy:
    """What a run does around each call of an annotator."""

    max_attempts: int = 5
    """Calls for one row, at most; 1: none is repeated."""
    repeat_share: float = 1.0
    """Calls of the run that repeat one, as a share of the rows begun, besides the first hundred."""
    wait: wait_base = field(default_factory=_usual_wait)
    """How long to wait where the service does not say: any strategy of tenacity that counts attempts."""
    requests: Limit | None = None
    """How often a call begins."""
    tokens: Limit | None = None
    """How many tokens the calls have that begin."""
    at_once: int | None = None
    """How many calls are under way at once, if that is fewer than rows are worked on."""
    adaptive: bool = True
    """Whether fewer calls are made at once than there are workers, as long as the service is slow or overloaded."""
    budget: Budget | None = None
    """What may be spent."""

    def __post_init__(self) -> None:
        """Refuse numbers that cannot work.

        Raises:
            UsageError: One of them.
        """
        if self.max_attempts < 1:
            raise UsageError(f"max_attempts must be at least 1, not {self.max_attempts!r}")
        if self.at_once is not None and self.at_once < 1:
            raise UsageError(f"at_once must be at least 1, not {self.at_once!r}")
        if not self.repeat_share >= 0:
            raise UsageError(f"repeat_share must be at least 0, not {self.repeat_share!r}")

    def seconds_after(self, attempt: int) -> float:
        """How long to wait after that attempt (from 1) before the next one, where the service does not say."""
        state = RetryCallState(Retrying(), None, (), {})
        state.attempt_number = attempt
        return self.wait(state)
