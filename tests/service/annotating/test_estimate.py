"""Estimates: the interval holds the truth as often as it says, nearly, also where costs have a long tail."""

from __future__ import annotations

import math
import random

import pytest

from datalake_service.annotating.estimate import estimate_total, student_t


@pytest.mark.parametrize(
    ("confidence", "degrees", "quantile"),
    [(0.95, 9, 2.262157), (0.95, 29, 2.045230), (0.99, 9, 3.249836), (0.9, 99, 1.660391), (0.95, 10**9, 1.959964)],
)
def test_the_quantiles_are_those_of_the_tables(confidence: float, degrees: int, quantile: float) -> None:
    """To two in a thousand."""
    assert student_t(confidence, degrees) == pytest.approx(quantile, rel=2e-3)


@pytest.mark.parametrize(("sigma", "sample", "at_least"), [(0.0, 100, 1.0), (0.3, 20, 0.93), (1.0, 100, 0.90)])
@pytest.mark.parametrize("rows", [100, 5_000])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(
    sigma: float, sample: int, at_least: float, rows: int
) -> None:
    """Log-normal costs, as those of texts are; 600 samples out of them, 95 %."""
    source = random.Random(7)
    held = 0
    for _ in range(600):
        seen = [source.lognormvariate(0, sigma) for _ in range(sample)]
        # The sum of many is nearly normal, with the moments of the distribution.
        mean, variance = math.exp(sigma**2 / 2), (math.exp(sigma**2) - 1) * math.exp(sigma**2)
        truth = rows * mean + math.sqrt(rows * variance) * source.gauss(0, 1)
        told = estimate_total(seen, rows)
        assert told.low is not None
        assert told.high is not None
        held += told.low - 1e-6 <= truth <= told.high + 1e-6
    assert held / 600 >= at_least


def test_few_rows_give_no_interval() -> None:
    """None is better than a wrong one."""
    told = estimate_total([1.0, 3.0], 10)
    assert (told.expected, told.low, told.high) == (20.0, None, None)


def test_no_rows_left_cost_nothing() -> None:
    """Exactly nothing."""
    told = estimate_total([1.0] * 20, 0)
    assert (told.expected, told.low, told.high) == (0.0, 0.0, 0.0)
