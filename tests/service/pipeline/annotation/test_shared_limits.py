"""Limits and budgets of many workers, in virtual time: not passed together, nearly used up, whoever comes and goes."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest

from datalake_service.annotating.limits import Limit
from datalake_service.annotating.policy import CallPolicy
from datalake_service.annotating.usage import Budget
from datalake_service.pipeline.annotation.lease import UNLIMITED
from tests.support.limited_workers import World, end, pass_time
from tests.support.virtual_time import run


@pytest.mark.parametrize(("workers", "most"), [(4, 60), (4, 600), (4, 3_000), (16, 600), (64, 1_000)])
def test_a_limit_on_requests_is_shared_within_five_percent(workers: int, most: int) -> None:
    """All are busy: in no minute more than the limit, in none less than 95 % of it, once all are there."""

    async def main() -> None:
        world = World(CallPolicy(requests=Limit(most), adaptive=False))
        for _ in range(workers):
            world.start(concurrency=200 if most > 1_000 else 40)
            await pass_time(world.dice.random())
        await pass_time(60)
        settled = asyncio.get_running_loop().time()
        await pass_time(180)
        await end(world)
        assert world.most_in_a_window() <= most * 1.05
        assert world.most_in_a_window(settled) <= most
        minutes = [world.used(settled + 60 * minute, settled + 60 * (minute + 1)) for minute in range(3)]
        assert min(minutes) >= most * 0.95, minutes

    run(main())


@pytest.mark.parametrize("seed", range(8))
def test_workers_that_come_and_go_and_die_stay_within_the_limit(seed: int) -> None:
    """Kills, ends, stores that hang for minutes: at most 5 % above it in any minute, whatever the order."""

    async def main() -> None:
        most = 600
        world = World(CallPolicy(requests=Limit(most), adaptive=False), dice=random.Random(seed))
        for _ in range(4):
            world.start()
        for _ in range(40):
            await pass_time(world.dice.expovariate(1 / 15))
            running = [worker for worker in world.workers if not worker.task.done()]
            what = world.dice.random()
            if what < 0.3 or len(running) < 2:
                world.start()
            elif what < 0.5:
                await world.dice.choice(running).die()
            elif what < 0.7:
                world.dice.choice(running).rows = 0
            else:
                worker = world.dice.choice(running)
                worker.hangs = not worker.hangs
        await end(world)
        assert len(world.began) > most
        assert world.most_in_a_window() <= most * 1.05

    run(main())


def test_what_a_dead_worker_held_is_used_again_within_half_a_minute() -> None:
    """Its lease stands for an hour; its part of the limit does not."""

    async def main() -> None:
        world = World(CallPolicy(requests=Limit(600), adaptive=False))
        for _ in range(4):
            world.start()
        await pass_time(60)
        for worker in world.workers[:2]:
            await worker.die()
        await pass_time(30)
        now = asyncio.get_running_loop().time()
        await pass_time(60)
        await end(world)
        assert world.used(now, now + 60) >= 570
        assert world.most_in_a_window() <= 630

    run(main())


def test_a_worker_whose_store_hangs_stops_before_others_take_its_part() -> None:
    """It calls no more once its part may be somebody else's, and goes on when the store answers."""

    async def main() -> None:
        world = World(CallPolicy(requests=Limit(600), adaptive=False))
        first, second = world.start(), world.start()
        await pass_time(60)
        first.hangs = True
        await pass_time(20)
        calls = first.calls
        await pass_time(100)
        assert first.calls == calls
        before, now = second.calls, asyncio.get_running_loop().time()
        await pass_time(60)
        assert second.calls - before >= 570  # it has all of it
        first.hangs = False
        await pass_time(60)
        assert first.calls - calls >= 150
        assert world.most_in_a_window() <= 630
        assert now > 0
        await end(world)

    run(main())


def test_who_needs_less_leaves_it_to_others() -> None:
    """One worker asks now and then, the other one as fast as it may: together they use the limit."""

    async def main() -> None:
        world = World(CallPolicy(requests=Limit(600), adaptive=False))
        busy, idle = world.start(), world.start(concurrency=1, pause=8.0)
        await pass_time(90)
        before = busy.calls, idle.calls
        await pass_time(60)
        assert busy.calls - before[0] >= 0.9 * 600
        assert idle.calls - before[1] >= 8
        idle.pause, idle_before = 0.0, idle.calls  # now it has much to do
        await pass_time(70)
        assert idle.calls - idle_before >= 40  # one call a second is all it can do
        assert world.most_in_a_window() <= 630
        await end(world)

    run(main())


@pytest.mark.parametrize("workers", [4, 40])
def test_a_limit_on_tokens_is_shared(workers: int) -> None:
    """Calls of 900 tokens, 30,000 a minute: that feeds 33 workers, the others wait for their turn."""

    async def main() -> None:
        world = World(CallPolicy(tokens=Limit(30_000), adaptive=False), tokens=900)
        for _ in range(workers):
            world.start(concurrency=4)
        await pass_time(90)
        settled = asyncio.get_running_loop().time()
        await pass_time(180)
        await end(world)
        assert world.most_in_a_window(settled) <= 30_000 * 1.05
        assert world.used(settled, settled + 180) >= 0.9 * 3 * 30_000

    run(main())


def test_calls_at_once_are_shared() -> None:
    """Never more under way than allowed, and that many when all are busy, whoever comes and goes."""

    async def main() -> None:
        world = World(CallPolicy(at_once=30, adaptive=False))
        for _ in range(3):
            world.start()
            await pass_time(10)
        assert world.inside == 30
        world.workers[0].rows = 0
        await pass_time(20)
        assert world.inside == 30
        world.start()
        await pass_time(20)
        assert all(worker.calls for worker in world.workers)
        assert world.most_inside == 30
        await end(world)

    run(main())


@pytest.mark.parametrize("seed", range(6))
def test_a_budget_is_passed_by_what_is_in_flight_at_most(seed: int) -> None:
    """Four workers, kills, interrupts, new ones: the budget is spent, and more only by calls in flight at each end."""

    async def main() -> None:
        world = World(CallPolicy(budget=Budget(cost=500.0), adaptive=False), cost=0.5, dice=random.Random(seed))
        lost = stopped = 0
        for _ in range(4):
            world.start(concurrency=10)
        while any(not worker.task.done() for worker in world.workers):
            await pass_time(world.dice.expovariate(1 / 4))
            running = [worker for worker in world.workers if not worker.task.done()]
            if running and lost + stopped < 12:
                one = world.dice.choice(running)
                if (lost + stopped) % 2:
                    await one.die()
                    lost += 1
                else:
                    await one.interrupt()
                    stopped += 1
                world.start(concurrency=10)
        ended = [worker for worker in world.workers if not (worker.broken or worker.task.cancelled())]
        assert all("the budget of 500 cost is used up" in str(worker.error) for worker in ended)
        in_flight = 10 * 0.5 * (len(ended) + lost)
        assert world.spent <= 500 + in_flight
        # What the killed had reserved counts as spent: 8 seconds' worth of each, or 16 calls.
        assert world.spent >= 500 - lost * 0.5 * max(16, 8 * 10)

    run(main())


@pytest.mark.parametrize("calls", [1, 7, 100, 1_000])
def test_a_budget_of_calls_is_exact(calls: int) -> None:
    """To the call, with four workers."""

    async def main() -> None:
        world = World(CallPolicy(budget=Budget(calls=calls), adaptive=False))
        for _ in range(4):
            world.start()
        await asyncio.gather(*(worker.task for worker in world.workers))
        assert len(world.began) == calls
        assert world.ledger().account.spent["calls"] == calls
        assert world.ledger().members == {}

    run(main())


def test_a_budget_of_time_is_of_all_workers_together() -> None:
    """Four workers use up an hour in a quarter of one."""

    async def main() -> None:
        world = World(CallPolicy(budget=Budget(seconds=3_600), adaptive=False), call_seconds=10)
        began = asyncio.get_running_loop().time()
        for _ in range(4):
            world.start(concurrency=1)
        await asyncio.gather(*(worker.task for worker in world.workers))
        assert asyncio.get_running_loop().time() - began == pytest.approx(900, rel=0.05)

    run(main())


def test_a_budget_goes_on_after_a_kill_and_begins_anew_after_an_end() -> None:
    """A run is over when one of its workers saw it through."""

    async def main() -> None:
        world = World(CallPolicy(budget=Budget(cost=100.0), adaptive=False), cost=1.0)
        first = world.start(concurrency=4)
        await pass_time(10)
        await first.die()
        world.leases.clear()
        spent = world.spent
        assert 20 < spent < 60
        second = world.start(concurrency=4)
        await second.task
        assert "used up" in str(second.error)
        assert 60 <= world.spent <= 104
        third = world.start(concurrency=4)
        await third.task
        assert "used up" in str(third.error)
        assert third.calls == 0
        larger = CallPolicy(budget=Budget(cost=130.0), adaptive=False)
        fourth = world.start(concurrency=4, policy=larger, rows=10)
        await fourth.task
        assert (fourth.error, fourth.calls >= 10) == (None, True)
        fifth = world.start(concurrency=4, rows=60)
        await fifth.task
        assert (fifth.error, fifth.calls >= 60) == (None, True)

    run(main())


def test_another_version_has_a_budget_of_its_own() -> None:
    """Its label says so; going back begins anew as well, since nobody else is there."""

    async def main() -> None:
        world = World(CallPolicy(budget=Budget(calls=10), adaptive=False))
        for label, calls in (("v1", 10), ("v1", 0), ("v2", 10), ("v2", 0)):
            worker = world.start(label=label)
            await worker.task
            assert (worker.calls, worker.error is not None) == (calls, True)

    run(main())


def test_a_budget_for_a_day_begins_anew_at_midnight_of_the_store() -> None:
    """In the middle of a run; clocks of machines are not asked."""

    async def main() -> None:
        world = World(CallPolicy(budget=Budget(calls=50, per="day"), adaptive=False), call_seconds=600)
        worker = world.start(concurrency=1)
        await pass_time(86_400)
        # 144 calls of ten minutes: it begins at 00:16:40, has 50 of the first day, and the run is over then
        await worker.task
        assert worker.calls == 50
        assert "run again later" in str(worker.error)
        again = world.start(concurrency=1, rows=5)
        await again.task
        assert (again.calls, again.error) == (5, None)

    run(main())


def test_workers_with_other_limits_are_refused_while_others_live() -> None:
    """Whoever comes second is told what the others have; after their end it may."""

    async def main() -> None:
        world = World(CallPolicy(requests=Limit(600), adaptive=False))
        first = world.start()
        await pass_time(10)
        other = CallPolicy(requests=Limit(1_200), budget=Budget(cost=5))
        second = world.start(policy=other)
        await pass_time(10)
        assert second.task.done()
        assert str(second.error).startswith("other workers of this annotator (such as process ")
        assert "work with 600 requests in 60 s, this one has 1,200 requests in 60 s and a budget of 5 cost" in str(
            second.error
        )
        await first.die()  # its lease stands for an hour
        third = world.start(policy=other)
        await pass_time(30)
        assert third.calls > 0
        world.leases["x"] = replace(world.leases[third.name], owner=f"annotate d/a, shared{UNLIMITED}")
        fourth = world.start(policy=other)
        await pass_time(10)
        assert "have no limits" in str(fourth.error)
        await end(world)

    run(main())
