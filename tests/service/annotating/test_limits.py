"""Limits: never passed in any window, nearly used up, one fair line."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.annotating.limits import Limit, Limiter, Rate
from datalake_service.errors import UsageError
from datalake_utils.clock import ManualClock
from tests.support.virtual_time import LoopClock, run

WINDOW = 60.0


def most_in_a_window(began: Sequence[tuple[float, int]], window: float) -> int:
    """The largest sum of units that began within any half-open window."""
    most = total = first = 0
    for moment, amount in began:
        total += amount
        while began[first][0] <= moment - window:
            total -= began[first][1]
            first += 1
        most = max(most, total)
    return most


@given(
    most=st.integers(1, 500),
    window=st.sampled_from([1.0, 7.5, 60.0]),
    steps=st.lists(st.tuples(st.integers(1, 40), st.floats(0, 5)), min_size=1, max_size=200),
)
@settings(max_examples=50, deadline=None)
def test_a_rate_is_never_passed_in_any_window(most: int, window: float, steps: list[tuple[int, float]]) -> None:
    """Whatever comes when, in whatever amounts."""
    now = 12.3
    rate = Rate(Limit(most, window), now=now)
    began = []
    for amount, pause in steps:
        units = min(amount, most)
        now += pause
        for _ in range(100):
            wait = rate.seconds_until(units, now)
            if wait <= 0:
                break
            now += wait
        else:
            pytest.fail("it waits for ever")
        rate.take(units, now)
        began.append((now, units))
    assert most_in_a_window(began, window) <= most


@given(most=st.integers(1, 400), actual=st.lists(st.integers(0, 50), min_size=1, max_size=150))
@settings(max_examples=50, deadline=None)
def test_what_was_estimated_too_high_is_given_back_and_no_window_is_passed(most: int, actual: list[int]) -> None:
    """Estimates that are upper bounds: the units that were used stay below the limit in every window."""
    now, estimate = 0.0, min(50, most)
    rate = Rate(Limit(most, WINDOW), now=now)
    began = []
    for used in actual:
        for _ in range(100):
            wait = rate.seconds_until(estimate, now)
            if wait <= 0:
                break
            now += wait
        rate.take(estimate, now)
        began.append((now, min(used, estimate)))
        rate.settle(now, min(used, estimate) - estimate, now + 0.5)
        now += 0.5
    assert most_in_a_window(began, WINDOW) <= most


@given(
    requests=st.integers(1, 2_000),
    tokens=st.integers(1, 5_000),
    window=st.sampled_from([0.05, 7.5, 60.0]),
    calls=st.lists(st.tuples(st.integers(0, 60), st.floats(0, 0.5), st.floats(0, 1.5)), min_size=1, max_size=150),
)
@settings(max_examples=50, deadline=None)
def test_calls_that_begin_without_a_look_pass_no_window(
    requests: int, tokens: int, window: float, calls: list[tuple[int, float, float]]
) -> None:
    """Two limits, calls in bursts, what they used settled at any time: neither limit is passed, nor what is known."""
    clock = ManualClock()
    clock.advance(12.3)
    limiter = Limiter(requests=Limit(requests, window), tokens=Limit(tokens, window), monotonic=clock.monotonic)
    began: list[tuple[float, int]] = []
    for amount, pause, used in calls:
        for _ in range(3):
            moment = limiter.try_begin(min(amount, tokens))
            if moment is None:
                break
            actual = int(used * min(amount, tokens)) if used <= 1 else min(amount, tokens)
            limiter.settle(moment, min(amount, tokens), actual)
            began.append((moment, actual))
        clock.advance(pause * window / 10)
    if not began:
        return
    assert most_in_a_window([(moment, 1) for moment, _ in began], window) <= requests
    assert most_in_a_window(began, window) <= tokens
    assert limiter.requests is not None
    known = limiter.requests.began(clock.monotonic())
    assert known >= sum(moment > clock.monotonic() - window for moment, _ in began)


@pytest.mark.parametrize("most", [1, 3, 60, 500, 6_000])
def test_a_limit_is_nearly_used_up(most: int) -> None:
    """With calls enough, each of ten minutes begins at least 95 % of what is allowed, and not in one burst."""

    async def measure() -> list[float]:
        clock = LoopClock()
        limiter = Limiter(requests=Limit(most), tokens=None, monotonic=clock.monotonic)
        begins: list[float] = []
        end = clock.monotonic() + 10 * WINDOW

        async def caller() -> None:
            while clock.monotonic() < end:
                began = limiter.try_begin(0)
                begins.append(await limiter.wait(0) if began is None else began)

        await asyncio.gather(*(caller() for _ in range(4)))
        return [moment for moment in begins if moment < end]

    begins = run(measure())
    assert most_in_a_window([(moment, 1) for moment in begins], WINDOW) <= most
    assert len(begins) >= 10 * most * 0.95 - 1
    assert sum(moment < begins[0] + 1.0 for moment in begins) <= most / 50 + most / 60 + 2


def test_waiting_calls_begin_in_the_order_in_which_they_came() -> None:
    """First come, first served, and a call that gives up is passed over."""

    async def measure() -> list[int]:
        limiter = Limiter(requests=Limit(1, 1.0), tokens=None, monotonic=LoopClock().monotonic)
        order: list[int] = []

        async def caller(number: int) -> None:
            await limiter.wait(0)
            order.append(number)

        tasks = [asyncio.create_task(caller(number)) for number in range(6)]
        await asyncio.sleep(0.5)
        tasks[2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return order

    assert run(measure()) == [0, 1, 3, 4, 5]


def test_what_a_cancelled_call_took_is_given_back() -> None:
    """A call that was let in and cancelled in the same moment has not begun."""

    async def measure() -> float:
        clock = LoopClock()
        limiter = Limiter(requests=Limit(2, 100.0), tokens=Limit(10, 100.0), monotonic=clock.monotonic)
        limiter.pause(5)
        task = asyncio.create_task(limiter.wait(10))
        await asyncio.sleep(0)
        assert limiter._timer is not None
        limiter._timer.cancel()
        await asyncio.sleep(6)
        limiter._serve()  # it is let in, and cancelled before it goes on
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        before = clock.monotonic()
        await limiter.wait(10)
        return clock.monotonic() - before

    assert run(measure()) < 1.0


def test_a_pause_holds_for_all_and_is_not_shortened() -> None:
    """The longest pause that was asked for counts."""

    async def measure() -> list[float]:
        clock = LoopClock()
        limiter = Limiter(requests=None, tokens=None, monotonic=clock.monotonic)
        start = clock.monotonic()
        limiter.pause(5)
        waits = [asyncio.create_task(limiter.wait(0)) for _ in range(3)]
        await asyncio.sleep(1)
        limiter.pause(20)
        limiter.pause(2)
        return [began - start for began in await asyncio.gather(*waits)]

    assert run(measure()) == pytest.approx([21.0, 21.0, 21.0])


@pytest.mark.parametrize(("most", "seconds"), [(0, 60.0), (-1, 60.0), (5, 0.0), (5, float("nan"))])
def test_a_limit_that_lets_nothing_through_is_refused(most: int, seconds: float) -> None:
    """It would wait for ever."""
    with pytest.raises(UsageError, match="at least 1 unit"):
        Limit(most, seconds)
