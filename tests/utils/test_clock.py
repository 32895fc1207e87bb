from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from datalake_utils.clock import Clock, ManualClock, SystemClock


def test_the_system_clock_is_that_of_the_machine() -> None:
    """All four readings agree with the machine's, and the monotonic one does not go back."""
    clock: Clock = SystemClock()
    before = datetime.now(UTC)
    wall, nanoseconds, first = clock.now(), clock.now_ns(), clock.monotonic()
    clock.sleep(0)
    clock.sleep(-1)
    after = datetime.now(UTC)
    assert before <= wall <= after
    assert wall.utcoffset() == timedelta(0)
    assert before.timestamp() - 1 <= nanoseconds / 1e9 <= after.timestamp() + 1
    assert clock.monotonic() >= first


def test_a_manual_clock_stands_still() -> None:
    """Nothing moves a manual clock but those who turn it."""
    start = datetime(2027, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    clock: Clock = ManualClock(start)
    assert clock.now() == clock.now() == start
    assert clock.monotonic() == 0
    assert clock.now_ns() == int(start.timestamp()) * 10**9 + 678_000


def test_sleeping_moves_a_manual_clock() -> None:
    """Sleep returns at once, both clocks have moved, and what was asked is noted."""
    clock = ManualClock()
    start = clock.now()
    clock.sleep(1.5)
    clock.sleep(-3)
    assert clock.now() - start == timedelta(seconds=1.5)
    assert clock.monotonic() == 1.5
    assert clock.slept == [1.5, -3]


def test_a_wall_clock_can_be_set() -> None:
    """A jump moves the wall clock, in either direction, and not the monotonic one."""
    clock = ManualClock()
    start = clock.now()
    clock.advance(10)
    clock.jump(-60)
    assert clock.now() - start == timedelta(seconds=-50)
    assert clock.monotonic() == 10


def test_time_does_not_run_backwards() -> None:
    """Advancing by a negative time is a mistake of the test."""
    with pytest.raises(ValueError, match="jump"):
        ManualClock().advance(-1)
