"""The gate: as wide as the service can take, found by trying."""

from __future__ import annotations

import asyncio
from collections import Counter

from datalake_service.annotating.adaptive import FIRST, Gate
from tests.support.virtual_time import LoopClock, run


class Service:
    """Takes ``room`` calls at once; refuses more, or queues them."""

    def __init__(self, room: int, *, queues: bool) -> None:
        self.room, self.queues = room, queues
        self.inside = 0
        self.seen: Counter[str] = Counter()
        self.slots = asyncio.Semaphore(room)

    async def call(self) -> bool:
        if self.queues:
            async with self.slots:
                await asyncio.sleep(0.1)
            return True
        if self.inside >= self.room:
            await asyncio.sleep(0.01)
            return False
        self.inside += 1
        await asyncio.sleep(0.1)
        self.inside -= 1
        return True


async def use(gate: Gate, service: Service, *, workers: int, seconds: float) -> list[int]:
    """Call as often as the gate lets one; returns the widths seen, ten a second."""
    clock = LoopClock()
    end = clock.monotonic() + seconds

    async def worker() -> None:
        while clock.monotonic() < end:
            if not gate.try_enter():
                await gate.wait()
            began = clock.monotonic()
            good = await service.call()
            now = clock.monotonic()
            service.seen["good" if good else "refused"] += 1
            if good:
                gate.went_well(now - began)
            else:
                gate.overloaded(began=began, now=now)
            gate.leave()

    widths: list[int] = []

    async def watch() -> None:
        while clock.monotonic() < end:
            widths.append(gate.width)
            await asyncio.sleep(0.1)

    await asyncio.gather(watch(), *(worker() for _ in range(workers)))
    return widths


def test_it_opens_to_the_number_of_workers_when_nothing_is_wrong() -> None:
    """Quickly: it doubles with each round."""
    gate = Gate(400)
    widths = run(use(gate, Service(10_000, queues=False), workers=400, seconds=3))
    assert widths[0] == FIRST
    assert widths[15] == 400


def test_it_stays_near_what_the_service_takes() -> None:
    """Refusals close it, good calls open it again: most calls are taken, and most of the room is used."""
    service = Service(40, queues=False)
    widths = run(use(Gate(400), service, workers=400, seconds=60))
    steady = widths[100:]
    assert max(steady) <= 60
    assert min(steady) >= 20
    assert service.seen["refused"] < 0.1 * service.seen["good"]
    assert service.seen["good"] > 0.75 * 60 * 10 * 40


def test_it_does_not_open_when_answers_only_queue() -> None:
    """A service that answers later and later is full, even if it never says so."""
    widths = run(use(Gate(1_000), Service(50, queues=True), workers=1_000, seconds=30))
    assert max(widths) < 400
    assert 40 <= widths[-1] < 250


def test_answers_that_differ_do_not_shut_it() -> None:
    """A round of answers from a cache, then slow ones: it stays as wide as it began, and opens again."""
    gate = Gate(64)
    widths = []
    for number in range(6_000):
        while gate.try_enter():
            pass
        gate.went_well(0.001 if number < 50 else 2.0)
        widths.append(gate.width)
        gate.leave()
    assert min(widths) >= FIRST
    assert widths[-1] == 64


def test_refusals_of_one_moment_close_it_once() -> None:
    """All calls that began before it closed say the same."""
    gate = Gate(100, adaptive=True)
    before = gate.width
    for _ in range(10):
        gate.overloaded(began=1.0, now=2.0)
    assert gate.width == int(before * 0.7)
    for _ in range(50):
        gate.overloaded(began=3.0 + _, now=3.5 + _)
    assert gate.width == 1


def test_a_gate_that_is_not_adaptive_keeps_its_width() -> None:
    """All workers call, whatever the service says."""
    gate = Gate(64, adaptive=False)
    gate.overloaded(began=1.0, now=2.0)
    gate.went_well(100.0)
    assert gate.width == 64


def test_a_caller_that_gives_up_takes_no_place() -> None:
    """Neither before nor after it is let in."""

    async def measure() -> int:
        gate = Gate(1)
        assert gate.try_enter()
        waiting = [asyncio.create_task(gate.wait()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        gate.leave()  # lets in the second
        waiting[1].cancel()
        await asyncio.wait(waiting)
        assert not waiting[2].cancelled()
        return gate.inside

    assert run(measure()) == 1
