"""Deadlines without a timer per row: never early, soon after, and fair when the event loop was held up."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from datalake_service.annotating.deadlines import Deadlines, Slot
from datalake_utils.clock import ManualClock


class FakeTask:
    """Counts cancellations as a task does."""

    def __init__(self) -> None:
        self.requests = 0

    def cancel(self) -> bool:
        self.requests += 1
        return True

    def uncancel(self) -> int:
        self.requests -= 1
        return self.requests

    def cancelling(self) -> int:
        return self.requests


def slot_since(clock: ManualClock) -> tuple[Slot, FakeTask]:
    """A worker whose call begins now."""
    task: Any = FakeTask()
    slot = Slot(task=task, since=clock.monotonic())
    return slot, task


def started_clock() -> ManualClock:
    """A clock that does not stand at zero, which means: in no call."""
    clock = ManualClock()
    clock.advance(1)
    return clock


@given(timeout=st.floats(0.01, 1_000), steps=st.lists(st.floats(0.001, 1), min_size=1, max_size=50))
def test_no_call_is_cancelled_early(timeout: float, steps: list[float]) -> None:
    """Whenever the sweeps come."""
    clock = started_clock()
    deadlines = Deadlines(timeout, monotonic=clock.monotonic)
    slot, task = slot_since(clock)
    began = clock.monotonic()
    for share in steps:
        clock.advance(share * deadlines.interval)
        deadlines.sweep([slot])
        assert task.requests == 0 or clock.monotonic() - began >= timeout
        if task.requests:
            return


def test_a_late_call_is_cancelled_and_forgotten() -> None:
    """Within an interval after its time; afterwards the task looks as if nothing had happened."""
    clock = started_clock()
    deadlines = Deadlines(10, monotonic=clock.monotonic)
    slot, task = slot_since(clock)
    while not task.requests:
        clock.advance(deadlines.interval)
        deadlines.sweep([slot])
    assert clock.monotonic() <= 1 + 10 + deadlines.interval
    assert not slot.cancelled_from_outside()
    assert slot.end_call()
    assert task.requests == 0
    assert not slot.end_call()


def test_a_call_that_ignores_it_is_cancelled_again() -> None:
    """After another time-out, and all of it is taken back."""
    clock = started_clock()
    deadlines = Deadlines(0.2, monotonic=clock.monotonic)
    slot, task = slot_since(clock)
    while task.requests < 3:
        clock.advance(deadlines.interval)
        deadlines.sweep([slot])
    assert slot.end_call()
    assert task.requests == 0


def test_a_cancellation_from_outside_is_told_apart() -> None:
    """Also when both come."""
    clock = started_clock()
    deadlines = Deadlines(0.2, monotonic=clock.monotonic)
    slot, task = slot_since(clock)
    while not slot.late:
        clock.advance(deadlines.interval)
        deadlines.sweep([slot])
    task.cancel()
    assert slot.cancelled_from_outside()
    slot.end_call()
    assert slot.cancelled_from_outside()


def test_idle_workers_are_left_alone() -> None:
    """A worker that waits for rows is in no call."""
    clock = started_clock()
    deadlines = Deadlines(0.2, monotonic=clock.monotonic)
    slot, task = slot_since(clock)
    slot.end_call()
    for _ in range(100):
        clock.advance(deadlines.interval)
        deadlines.sweep([slot])
    assert task.requests == 0


def test_a_held_up_loop_is_no_reason() -> None:
    """The first sweep after a long pause cancels nothing: answers that arrived meanwhile come first. The next does."""
    clock = started_clock()
    deadlines = Deadlines(1, monotonic=clock.monotonic)
    slot, task = slot_since(clock)
    clock.advance(60)
    deadlines.sweep([slot])
    assert task.requests == 0
    clock.advance(60)
    deadlines.sweep([slot])
    assert task.requests == 1


def test_a_real_task_can_be_cancelled_and_go_on() -> None:
    """What the fake stands for."""

    async def main() -> None:
        slot = Slot()
        deadlines = Deadlines(0.01, monotonic=asyncio.get_running_loop().time)

        async def worker() -> str:
            slot.task = asyncio.current_task()
            slot.since = asyncio.get_running_loop().time()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                assert not slot.cancelled_from_outside()
                assert slot.end_call()
            async with asyncio.timeout(30):
                await asyncio.sleep(0)
            return "went on"

        task = asyncio.create_task(worker())
        while not task.done():
            await asyncio.sleep(deadlines.interval)
            deadlines.sweep([slot])
        assert task.result() == "went on"

    asyncio.run(main())
