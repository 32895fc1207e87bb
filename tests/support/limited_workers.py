"""Workers that share limits and a budget in one lake, in time that a test turns; they may die, hang and come back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from datalake_interfaces import DataItem
from datalake_service.annotating.attempts import Attempts
from datalake_service.annotating.deadlines import Slot
from datalake_service.annotating.policy import CallPolicy
from datalake_service.catalog.leases import LeaseRecord
from datalake_service.catalog.ledger import LedgerBook
from datalake_service.catalog.ledger_record import Ledger
from datalake_service.errors import LimitExceededError, StoreError, StoreUnavailableError, UsageError
from datalake_service.pipeline.annotation.shared_limits import PACE, SharedLimits, terms_of
from tests.support.memory_store import MemoryStore
from tests.support.virtual_time import LoopClock

T = TypeVar("T")


WINDOW = 60.0


COARSE = replace(PACE, look=0.5)
"""Fewer steps for the simulation."""


class PatientClock(LoopClock):
    """Whoever lost a race tries again at once."""

    def sleep(self, seconds: float) -> None:
        pass


@dataclass
class World:
    """Workers on one ledger, and every call that began."""

    policy: CallPolicy
    latency: float = 0.08
    call_seconds: float = 1.0
    tokens: int = 0
    cost: float = 0.0
    began: list[tuple[float, int]] = field(default_factory=list)
    """When, and of how many tokens (1 if tokens do not matter)."""
    inside: int = 0
    most_inside: int = 0
    spent: float = 0.0
    leases: dict[str, LeaseRecord] = field(default_factory=dict)
    dice: random.Random = field(default_factory=lambda: random.Random(1))

    def __post_init__(self) -> None:
        self.store = MemoryStore(PatientClock())
        self.workers: list[Worker] = []

    def start(self, concurrency: int = 20, **more: Any) -> Worker:
        """Another worker begins."""
        worker = Worker(self, f"w{len(self.workers)}", concurrency, **more)
        self.workers.append(worker)
        worker.begin()
        return worker

    def ledger(self) -> Ledger:
        """As it stands."""
        return LedgerBook(self.store, "d", "a", worker="?", terms=terms_of(self.policy, limits_too=True)).read()

    def most_in_a_window(self, since: float = 0.0) -> int:
        """The largest sum of units that began within any window."""
        most = total = first = 0
        began = [one for one in sorted(self.began) if one[0] >= since]
        for moment, amount in began:
            total += amount
            while began[first][0] <= moment - WINDOW:
                total -= began[first][1]
                first += 1
            most = max(most, total)
        return most

    def used(self, since: float, until: float) -> int:
        """Units that began between."""
        return sum(amount for moment, amount in self.began if since <= moment < until)


def is_cancelled() -> bool:
    """Whether the task at hand is asked to end."""
    """Whether the task at hand is asked to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Worker:
    """One process: it asks as fast as it may."""

    def __init__(
        self,
        world: World,
        name: str,
        concurrency: int,
        *,
        policy: CallPolicy | None = None,
        pause: float = 0.0,
        label: str = "",
        rows: int | None = None,
    ) -> None:
        self.world, self.name, self.concurrency = world, name, concurrency
        self.policy = policy or world.policy
        self.pause, self.label, self.rows = pause, label, rows
        self.calls = 0
        self.hangs = False
        self.broken = False
        self.joined: float | None = None
        self.error: Exception | None = None

    def begin(self) -> None:
        """Start its task."""
        lease = LeaseRecord(
            self.name, 0, timedelta(hours=1), "annotate d/a, shared", "host", 1, datetime(2026, 1, 1, tzinfo=UTC)
        )
        self.world.leases[self.name] = lease
        self.task = asyncio.create_task(self._run())

    async def die(self) -> None:
        """As if it was killed: it writes nothing any more, and its lease stands."""
        self.broken = True
        self.task.cancel()
        with suppress(asyncio.CancelledError, StoreError):
            await self.task

    async def interrupt(self) -> None:
        """It ends in order, and says what it spent."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def live(self) -> dict[str, LeaseRecord]:
        """The leases of the others."""
        return {name: record for name, record in self.world.leases.items() if name != self.name}

    async def in_thread(self, function: Callable[[], T]) -> T:
        """A request and its answer take a while."""
        while self.hangs and not is_cancelled():  # noqa: ASYNC110 - until the test says so, or ends
            await asyncio.sleep(1.0)
        world = self.world
        await asyncio.sleep(world.latency * world.dice.random())
        if self.broken:
            raise StoreUnavailableError("the network is gone")
        answer = function()
        await asyncio.sleep(world.latency * world.dice.random())
        return answer

    async def _run(self) -> None:
        clock = PatientClock()
        attempts = Attempts(
            self.policy,
            workers=self.concurrency,
            timeout=None,
            clock=clock,
            estimate_tokens=(lambda _: self.world.tokens) if self.world.tokens else None,
        )
        terms = terms_of(self.policy, limits_too=True)
        book = LedgerBook(self.world.store, "d", "a", worker=self.name, terms=terms, label=self.label, clock=clock)
        limits = SharedLimits(book, attempts, live=self.live, in_thread=self.in_thread, clock=clock, pace=COARSE)
        complete = False
        try:
            await limits.join()
            self.joined = clock.monotonic()
            keeping = asyncio.create_task(limits.keep())
            slots = [asyncio.create_task(self._ask(attempts, clock)) for _ in range(self.concurrency)]
            try:
                await asyncio.gather(*slots)
                complete = True
            finally:
                for task in (keeping, *slots):
                    task.cancel()
                await asyncio.gather(keeping, *slots, return_exceptions=True)
        except (LimitExceededError, UsageError) as error:
            self.error = error
        finally:
            if not self.broken:
                await limits.leave(complete=complete)
                self.world.leases.pop(self.name, None)

    async def _ask(self, attempts: Attempts, clock: LoopClock) -> None:
        world, slot = self.world, Slot()

        async def function(item: DataItem) -> object:
            world.began.append((clock.monotonic(), world.tokens or 1))
            world.inside += 1
            world.most_inside = max(world.most_inside, world.inside)
            self.calls += 1
            try:
                await asyncio.sleep(world.call_seconds * (0.5 + world.dice.random()))
            finally:
                world.inside -= 1
                world.spent += world.cost
                item.spend(cost=world.cost, input_tokens=world.tokens)
            return {}

        call = attempts.around(function, slot)
        while self.rows is None or self.calls < self.rows:
            if self.pause:
                await asyncio.sleep(self.pause * world.dice.random())
            slot.since = clock.monotonic()
            await call(DataItem({}, "r", "b"))


async def pass_time(seconds: float) -> None:
    """Let others work."""
    await asyncio.sleep(seconds)


async def end(world: World) -> None:
    """Kill what still runs."""
    for worker in world.workers:
        if not worker.task.done():
            await worker.die()
