"""How long to wait before trying again: exponentially longer, and not all at the same moment."""

from __future__ import annotations

from dataclasses import dataclass

from datalake_utils.ids import SYSTEM, RandomSource

_STEPS = 1 << 16


@dataclass(frozen=True, slots=True)
class Backoff:
    """A growing wait. Each is shortened by a random part, so that many who failed together come back apart."""

    first: float
    """Seconds after the first failure, before they are shortened."""
    longest: float
    """Seconds that no wait exceeds."""
    factor: float = 2.0
    """How much longer each wait is than the one before."""
    spread: float = 0.5
    """The largest part of a wait that is taken off, from 0 (none) to 1."""
    source: RandomSource = SYSTEM
    """Of the random part."""

    def seconds(self, failures: int) -> float:
        """Return how long to wait after that many failures in a row (at least 1)."""
        exponent = min(failures - 1, 1_000)  # beyond this, a float overflows
        full = min(self.first * self.factor**exponent, self.longest)
        chance = int.from_bytes(self.source(2), "big") / _STEPS
        return full * (1 - self.spread * chance)
