"""What all rows will cost, by what some have cost: totals with an interval. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

LEAST_ROWS: Final = 10
"""Rows of a sample below which no interval is told."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A total of all rows that are left."""

    expected: float
    low: float | None
    """The end of the interval, with the confidence that was asked for; ``None``: too few rows to say."""
    high: float | None
    """Its other end."""


def estimate_total(sample: Sequence[float], rows: int, *, confidence: float = 0.95) -> Estimate:
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
