"""What all rows will cost, by what some have cost: totals with an interval. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

LEAST_ROWS: Final = 10
"""Rows of a sample below which no interval is told."""
CONFIDENCE: Final = 0.95
"""How often an interval holds the truth, nearly."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A total of all rows that are left."""

    expected: float
    low: float | None
    """The end of the interval, with the confidence that was asked for; ``None``: too few rows to say."""
    high: float | None
    """Its other end."""

    def to_dict(self) -> dict[str, float | None]:
        """The JSON form."""
        return {"expected": self.expected, "low": self.low, "high": self.high}

    def over(self, divisor: float) -> Estimate:
        """The same in another unit, of which one is ``divisor`` of these."""
        return Estimate(
            self.expected / divisor,
            None if self.low is None else self.low / divisor,
            None if self.high is None else self.high / divisor,
        )


@dataclass(frozen=True, slots=True)
class SampledRow:
    """What one row of the sample took."""

    seconds: float
    calls: int = 1
    tokens: int = 0
    cost: float = 0.0
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast calls can be made."""

    at_once: int
    """Rows worked on at a time."""
    calls_per_second: float | None = None
    """``None``: no limit."""
    tokens_per_second: float | None = None
    """``None``: no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What the rows that are left will take."""

    sampled: int
    """Rows that it is based on."""
    rows: int
    """Rows that are left."""
    cost: Estimate
    tokens: Estimate
    calls: Estimate
    seconds: Estimate
    """For one worker."""
    limited_by: str
    """What decides how long it takes: ``concurrency``, ``requests`` or ``tokens``."""
    failed_share: Estimate

    def to_dict(self) -> dict[str, object]:
        """The JSON form."""
        return {
            "sampled": self.sampled,
            "rows": self.rows,
            "confidence": CONFIDENCE,
            "cost": self.cost.to_dict(),
            "tokens": self.tokens.to_dict(),
            "calls": self.calls.to_dict(),
            "seconds": self.seconds.to_dict(),
            "limitedBy": self.limited_by,
            "failedShare": self.failed_share.to_dict(),
        }


def predict(sample: Sequence[SampledRow], rows: int, pace: Pace) -> Prediction:
    """What ``rows`` rows will take that are like those of the sample, which has at least one."""
    calls = estimate_total([row.calls for row in sample], rows)
    tokens = estimate_total([row.tokens for row in sample], rows)
    ways = {"concurrency": estimate_total([row.seconds for row in sample], rows).over(pace.at_once)}
    if pace.calls_per_second is not None:
        ways["requests"] = calls.over(pace.calls_per_second)
    if pace.tokens_per_second is not None:
        ways["tokens"] = tokens.over(pace.tokens_per_second)
    limited_by = max(ways, key=lambda way: ways[way].expected)
    return Prediction(
        sampled=len(sample),
        rows=rows,
        cost=estimate_total([row.cost for row in sample], rows),
        tokens=tokens,
        calls=calls,
        seconds=_slowest(list(ways.values())),
        limited_by=limited_by,
        failed_share=estimate_share(sum(row.failed for row in sample), len(sample)),
    )


def _slowest(ways: Sequence[Estimate]) -> Estimate:
    lows = [way.low for way in ways if way.low is not None]
    highs = [way.high for way in ways if way.high is not None]
    expected = max(way.expected for way in ways)
    return Estimate(expected, max(lows) if lows else None, max(highs) if highs else None)


def estimate_share(hits: int, count: int, *, confidence: float = CONFIDENCE) -> Estimate:
    """A share of all rows, by that of a sample: Wilson's interval, which is right for shares near 0 and 1, too."""
    if count == 0:
        raise ValueError("an estimate needs at least one row")
    share = hits / count
    if count < LEAST_ROWS:
        return Estimate(share, None, None)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return Estimate(share, max(0.0, middle - half), min(1.0, middle + half))


def estimate_total(sample: Sequence[float], rows: int, *, confidence: float = CONFIDENCE) -> Estimate:
    """The total over ``rows`` rows that are left, by a random sample of rows like them.

    Johnson's modified *t*: costs of texts have a long tail on the right, which shifts the interval to the right.
    """
    count = len(sample)
    if count == 0:
        raise ValueError("an estimate needs at least one row")
    mean = math.fsum(sample) / count
    if count < LEAST_ROWS:
        return Estimate(mean * rows, None, None)
    variance = math.fsum((value - mean) ** 2 for value in sample) / (count - 1)
    third = math.fsum((value - mean) ** 3 for value in sample) / count
    shift = third / (6 * variance * count) if variance > 0 else 0.0
    half = student_t(confidence, count - 1) * math.sqrt(variance / count)
    # The total of the other rows varies by itself as well, besides what is not known of the mean.
    half *= math.sqrt(1 + count / rows) if rows > 0 else 0.0
    return Estimate(mean * rows, max(0.0, (mean + shift - half) * rows), max(0.0, (mean + shift + half) * rows))


def student_t(confidence: float, degrees: int) -> float:
    """The two-sided quantile of Student's *t*, by its expansion around the normal one: to 0.2 % from 9 degrees on."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return math.fsum(term / degrees**power for power, term in enumerate(terms))
