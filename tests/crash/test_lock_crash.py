"""Owners of a lease that die at any operation of taking, renewing, giving back and breaking it.

The model keeps every state in which the lock may be: a death leaves two of them, what happens next decides.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.catalog import layout
from datalake_service.catalog.leases import Lease
from datalake_service.catalog.locks import break_lock, find_lock
from datalake_service.errors import LeaseLostError
from datalake_service.storage.folder import FolderStore
from datalake_utils.clock import ManualClock
from tests.crash.deaths import KINDS, examples
from tests.support.faulty_store import Crash, Fault, FaultyStore

TTL = 60.0
GRACE = 1.0 + TTL / 1000
"""How much longer the others wait, by ``docs/design/010-protocol.md``."""
KEY = layout.annotator_lease_key("d", "a")
OWNERS = 3


@dataclass(frozen=True, slots=True)
class Written:
    """What the lock says: who has it since when; nobody, if it was given back or never taken."""

    owner: int | None = None
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """What one owner does, and where it dies, if it does."""

    owner: int
    action: str
    seconds: float
    death: tuple[int, Fault] | None


steps = st.builds(
    Step,
    owner=st.integers(0, OWNERS - 1),
    action=st.sampled_from(["acquire", "acquire", "renew", "release", "break", "pass", "pass"]),
    seconds=st.sampled_from([20.0, 40.0, 59.9, 61.0, 61.1]),
    death=st.integers(0, 2).flatmap(
        lambda one: st.tuples(st.integers(1, 4), st.sampled_from(KINDS)) if one == 0 else st.none()
    ),
)


class World:
    """A lock, processes that want it, and the model of it."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.store = FolderStore(folder, durable=False, clock=self.clock)
        self.names = iter(range(1_000_000))
        self.may_be = {Written()}
        self.until: dict[int, float] = {}
        """By living owner that has it: when that ends."""
        self.broken: set[int] = set()
        """Owners whose lease was broken, and who have not noticed yet: whoever breaks one answers for that."""
        self.processes = [self.process() for _ in range(OWNERS)]

    @property
    def now(self) -> float:
        return self.clock.monotonic()

    def process(self) -> Process:
        """A new process, whose wall clock is wrong."""
        store = FaultyStore(self.store)
        wrong = WrongClock(self.clock, next(self.names) * 333.0)
        return Process(next(self.names), store, Lease(store, KEY, ttl=timedelta(seconds=TTL), clock=wrong))

    def is_free(self, written: Written) -> bool:
        """Whether anybody may take it."""
        return written.owner is None or self.now - written.at > TTL + GRACE

    def is_held_by(self, process: Process) -> bool:
        """Whether a process may act."""
        return self.until.get(process.name, 0.0) > self.now

    def step(self, step: Step) -> None:
        """Let something happen, and compare."""
        if step.action == "pass":
            self.clock.advance(step.seconds)
        else:
            self.act(step)
        holders = [process.name for process in self.processes if process.lease.held]
        assert holders == [process.name for process in self.processes if self.is_held_by(process)]
        assert len(set(holders) - self.broken) <= 1

    def act(self, step: Step) -> None:
        process = self.processes[step.owner]
        process.die_at(step.death)
        before = set(self.may_be)
        mine = {written for written in before if written.owner == process.name}
        now = Written(process.name, self.now)
        try:
            match step.action:
                case "acquire":
                    self.acquire(process, before, now)
                case "renew":
                    self.renew(process, mine, now)
                case "release":
                    held = self.is_held_by(process)
                    process.lease.release()
                    self.until.pop(process.name, None)
                    # One that was lost is not given back: it may stand there until somebody takes it.
                    self.may_be = (before - mine if held else before) | ({Written()} if mine else set())
                case _:
                    lock = find_lock(process.store, "d", "a")
                    assert (lock is not None) == any(written.owner is not None for written in self.known(lock is None))
                    if lock is not None:
                        self.broken.update(self.until)
                        break_lock(process.store, lock, clock=self.clock)
                    self.may_be = {Written()}
        except Crash:
            # It took effect or not; nobody is left to say.
            self.may_be = before | ({now} if step.action in {"acquire", "renew"} else {Written()})
            self.until.pop(process.name, None)
            self.processes[step.owner] = self.process()
        process.die_at(None)

    def known(self, free: bool) -> set[Written]:
        """What the lock may be, now that somebody has looked."""
        self.may_be = {written for written in self.may_be if (written.owner is None) == free}
        assert self.may_be
        return self.may_be

    def acquire(self, process: Process, before: set[Written], now: Written) -> None:
        if self.is_held_by(process):
            assert process.lease.acquire()
            return
        if process.lease.acquire():
            assert any(self.is_free(written) for written in before)
            self.may_be = {now}
            self.broken.discard(process.name)
            self.until[process.name] = self.now + TTL
        else:
            self.may_be = {written for written in before if not self.is_free(written)}
            assert self.may_be

    def renew(self, process: Process, mine: set[Written], now: Written) -> None:
        held = self.is_held_by(process)
        try:
            process.lease.renew()
        except LeaseLostError:
            assert not held or self.may_be - mine
            if held:
                self.may_be -= mine
            self.until.pop(process.name, None)
            return
        assert held
        assert mine
        self.may_be = {now}
        self.until[process.name] = self.now + TTL


class WrongClock:
    """Runs like another, and shows another time."""

    def __init__(self, clock: ManualClock, skew: float) -> None:
        self._clock = clock
        self._skew = timedelta(seconds=skew)
        self.now = lambda: clock.now() + self._skew
        self.now_ns = clock.now_ns
        self.monotonic = clock.monotonic
        self.sleep = clock.sleep


@dataclass
class Process:
    """An owner until it dies."""

    name: int
    store: FaultyStore
    lease: Lease
    dies: dict[int, Fault] = field(default_factory=dict)

    def die_at(self, death: tuple[int, Fault] | None) -> None:
        """Plan a death within the next operations, or none."""
        done = len(self.store.operations)
        self.store._plan = lambda operation: (
            death[1] if death is not None and operation.number == done + death[0] else None
        )


@settings(max_examples=examples(60))
@given(st.lists(steps, min_size=8, max_size=30))
def test_whoever_dies_nobody_acts_twice_and_it_is_free_again(planned: list[Step]) -> None:
    """At most one owner acts, each outcome is one that is possible, and the lock of the dead runs out in time."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        for step in planned:
            world.step(step)
        world.clock.advance(TTL + GRACE + 0.001)
        last = world.process()
        assert last.lease.acquire()
        assert not world.process().lease.acquire()
        last.lease.release()
        assert world.process().lease.acquire()


@settings(max_examples=examples(20))
@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from(KINDS)), min_size=5, max_size=5))
def test_five_that_die_in_a_row_keep_it_for_one_time_limit(planned: list[tuple[int, Fault]]) -> None:
    """Each of them may have taken it; the sixth gets it when the last one's time is over, and not before it may."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        for death in planned:
            world.step(Step(0, "acquire", 0, death))
        world.clock.advance(TTL)
        found = find_lock(world.store, "d", "a")
        assert world.process().lease.acquire() == (found is None)
        world.clock.advance(GRACE + 0.001)
        assert found is None or world.process().lease.acquire()
