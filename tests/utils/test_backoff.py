from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_utils.backoff import Backoff

FULL = b"\x00\x00"
SHORTEST = b"\xff\xff"


def test_waits_double_up_to_the_longest() -> None:
    """Without chance, each wait is twice the one before, until the longest."""
    backoff = Backoff(first=0.5, longest=3.0, source=lambda _: FULL)
    assert [backoff.seconds(failures) for failures in (1, 2, 3, 4, 5, 10_000)] == [0.5, 1.0, 2.0, 3.0, 3.0, 3.0]


def test_chance_takes_off_a_part() -> None:
    """At most the given part is taken off."""
    backoff = Backoff(first=1.0, longest=10.0, spread=0.25, source=lambda _: SHORTEST)
    assert backoff.seconds(1) == pytest.approx(0.75, abs=1e-4)
    assert Backoff(first=1.0, longest=1.0, spread=0, source=lambda _: SHORTEST).seconds(1) == 1.0


@given(st.integers(1, 10**6), st.floats(0.001, 10), st.floats(0.001, 1_000), st.floats(0, 1))
def test_a_wait_is_never_longer_than_allowed(failures: int, first: float, longest: float, spread: float) -> None:
    """Whatever the settings, a wait lies between nothing and the longest."""
    assert 0 <= Backoff(first=first, longest=longest, spread=spread).seconds(failures) <= longest
