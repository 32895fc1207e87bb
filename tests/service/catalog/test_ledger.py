"""The ledger: parts never sum up to more than the limit, money is never given away twice, whatever befalls whom."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datalake_service.catalog import layout
from datalake_service.catalog.ledger import LedgerBook, Statement
from datalake_service.catalog.ledger_record import Ledger, Terms, said
from datalake_service.catalog.ledger_rules import allot, period_of, targets, used_up
from datalake_service.errors import (
    OutcomeUnknownError,
    PreconditionFailedError,
    StoreError,
    StoreUnavailableError,
    UsageError,
)
from datalake_service.storage.base import ObjectMeta, Overwrite, PutMode
from datalake_utils.clock import ManualClock
from tests.support.memory_store import MemoryStore

LASTS = 15.0


@given(
    most=st.integers(1, 1_000),
    wants=st.dictionaries(st.text("abcdefgh", min_size=1), st.integers(0, 2_000), min_size=1, max_size=12),
    least=st.integers(1, 400),
)
def test_all_of_a_limit_is_divided_and_nobody_is_short_while_another_has_more(
    most: int, wants: dict[str, int], least: int
) -> None:
    """Max-min fairness, up to one unit; whoever gets a part can use it."""
    parts = allot(most, wants, dict.fromkeys(wants, least))
    assert sum(parts.values()) == most
    assert all(part >= 0 for part in parts.values())
    fed = [name for name, part in parts.items() if part]
    assert len(fed) <= max(1, most // least)
    assert fed == [name for name in wants if name in fed] or least > 1
    for name in fed:
        if parts[name] < wants[name]:  # it is short: nobody has more than it needs and more than this one
            assert all(parts[other] <= max(parts[name] + 1, 1) or parts[other] <= wants[other] for other in fed)
            assert max(parts[other] for other in fed) <= parts[name] + 1 or all(
                parts[other] <= parts[name] + 1 for other in fed if parts[other] > wants[other]
            )


class Network(MemoryStore):
    """Answers get lost, requests as well, and some are applied later."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.faults: Iterator[str] = iter(())
        self.late: list[tuple[str, bytes | Path, PutMode]] = []

    def put(self, key: str, body: bytes | Path, *, mode: PutMode) -> ObjectMeta:
        fault = next(self.faults, "")
        if fault == "refused":
            raise StoreUnavailableError("not now")
        if fault == "late":
            self.late.append((key, body, mode))
            raise OutcomeUnknownError("no answer")
        meta = super().put(key, body, mode=mode)
        if fault == "lost":
            raise OutcomeUnknownError("no answer")
        return meta

    def deliver(self) -> None:
        """What was under way arrives."""
        late, self.late = self.late, []
        for key, body, mode in late:
            try:
                super().put(key, body, mode=mode)
            except StoreError:
                continue


@dataclass
class Worker:
    """One that obeys: it uses what it was told, for as long as it was told, and spends what it may."""

    book: LedgerBook
    clock: ManualClock
    have: int = 0
    until: float = -1.0
    spent: float = 0.0
    allowed: float = 0.0
    dead: bool = False

    @property
    def uses(self) -> int:
        """Units of the limit that it acts on now."""
        return self.have if not self.dead and self.clock.monotonic() < self.until else 0

    def statement(self) -> Statement:
        """As ``pipeline/annotation/shared_limits.py`` makes it."""
        spent = {"calls": self.spent}
        return Statement(have={"requests": self.have}, wants={}, least={}, spent=spent, needs={"calls": 8}, floor={})

    def write(self) -> None:
        """One exchange; what an unknown outcome would allow is not acted on."""
        said, started = self.spent, self.clock.monotonic()
        try:
            ledger = self.book.exchange(self.statement(), seconds=LASTS, gone=())
        except StoreError:
            return
        mine = ledger.members[self.book.worker]
        self.have = min(mine.held["requests"], targets(ledger, self.book.worker)["requests"])
        self.until = started + LASTS
        self.allowed = max(self.allowed, said + mine.reserved["calls"])


@dataclass
class World:
    """Workers that come, write, spend, stop for minutes and die."""

    most: int
    budget: float
    clock: ManualClock = field(default_factory=ManualClock)
    workers: list[Worker] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = Network(self.clock)
        self.terms = Terms(limits={"requests": (self.most, 60.0)}, budget={"calls": self.budget})

    def come(self) -> None:
        """Another worker."""
        name = f"w{len(self.workers)}"
        book = LedgerBook(self.store, "d", "a", worker=name, terms=self.terms, clock=self.clock)
        self.workers.append(Worker(book, self.clock))

    def check(self) -> None:
        """What must always hold."""
        ledger = self.ledger()
        assert sum(worker.uses for worker in self.workers) <= self.most
        assert sum(member.held["requests"] for member in ledger.members.values()) <= self.most
        assert sum(worker.spent for worker in self.workers) <= self.budget
        reserved = sum(member.reserved["calls"] for member in ledger.members.values())
        assert ledger.account.spent.get("calls", 0) + reserved <= self.budget

    def ledger(self) -> Ledger:
        """As it stands."""
        return LedgerBook(self.store, "d", "a", worker="?", terms=self.terms, clock=self.clock).read()


STEPS = st.one_of(
    st.tuples(st.just("come"), st.just(0)),
    st.tuples(st.sampled_from(["write", "spend", "die", "leave", "interrupted"]), st.integers(0, 5)),
    st.tuples(st.just("wait"), st.integers(1, 40)),
    st.tuples(st.just("deliver"), st.just(0)),
)


@given(
    most=st.integers(1, 40),
    budget=st.integers(1, 200),
    steps=st.lists(STEPS, max_size=60),
    faults=st.lists(st.sampled_from(["", "", "", "refused", "late", "lost"]), max_size=60),
)
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
def test_no_order_of_events_gives_anything_away_twice(
    most: int, budget: int, steps: list[tuple[str, int]], faults: list[str]
) -> None:
    """Answers that are lost, writes that arrive late, workers that are suspended, die, or were taken for dead."""
    world = World(most, budget)
    world.come()
    world.store.faults = iter(faults)
    for step, number in steps:
        if step == "come":
            world.come()
        elif step == "wait":
            world.clock.advance(number)
        elif step == "deliver":
            world.store.deliver()
        else:
            _act(world, world.workers[number % len(world.workers)], step, number)
        world.check()


def _act(world: World, worker: Worker, step: str, number: int) -> None:
    if worker.dead:
        return
    worker.dead = step in {"die", "leave"}
    if step == "leave":
        with suppress(StoreError):
            worker.book.leave(worker.statement(), complete=False)
    elif step == "spend":
        worker.spent = min(worker.spent + number + 1, max(worker.allowed, worker.spent))
    elif step == "interrupted":
        _interrupt(world, worker)
    elif step == "write":
        worker.write()


def _interrupt(world: World, worker: Worker) -> None:
    """Another worker writes between its read and its write."""
    others = [one for one in world.workers if one is not worker and not one.dead]
    book: Any = worker.book
    read = book._read

    def slow() -> tuple[Ledger, str | None]:
        answer: tuple[Ledger, str | None] = read()
        book._read = read
        if others:
            others[0].write()
        return answer

    book._read = slow
    worker.write()


def test_what_was_spent_is_counted_once_when_answers_are_lost() -> None:
    """Each of three ways in which a write can go wrong, then one that works."""
    for faults in (["late"], ["lost"], ["refused"], ["late", "lost", "refused", "late"]):
        world = World(10, 1_000)
        world.come()
        [worker] = world.workers
        worker.write()
        world.store.faults = iter(faults)
        for _ in range(len(faults) + 1):
            worker.spent += 3
            worker.write()
            world.store.deliver()
        worker.write()
        assert world.ledger().account.spent["calls"] == worker.spent


def test_the_reservation_of_the_dead_counts_as_spent_and_once() -> None:
    """Also if the worker was only suspended, and wakes up."""
    world = World(10, 1_000)
    world.come()
    world.come()
    sleeper, other = world.workers
    sleeper.write()
    other.write()
    reserved = world.ledger().members["w0"].reserved["calls"]
    sleeper.spent = sleeper.allowed - 1
    world.clock.advance(LASTS + 1)
    assert sleeper.uses == 0
    other.write()
    assert set(world.ledger().members) == {"w1"}
    assert world.ledger().account.spent["calls"] == reserved
    sleeper.write()
    assert set(world.ledger().members) == {"w0", "w1"}
    assert world.ledger().account.spent["calls"] == reserved
    sleeper.spent += 1
    sleeper.write()
    assert world.ledger().account.spent["calls"] == reserved + 1


def test_what_is_left_in_the_last_digit_is_nothing() -> None:
    """Or calls would wait for it, and nobody say that the budget is used up."""
    clock = ManualClock()
    book = LedgerBook(MemoryStore(clock), "d", "a", worker="w", terms=Terms(budget={"cost": 0.1}), clock=clock)
    said = Statement(have={}, wants={}, least={}, spent={"cost": 0.0}, needs={}, floor={"cost": 1.0})
    assert book.exchange(said, seconds=LASTS).members["w"].reserved == {"cost": 0.1}
    ledger = book.exchange(replace(said, spent={"cost": math.nextafter(0.1, 0)}), seconds=LASTS)
    assert ledger.members["w"].reserved == {"cost": 0.0}
    assert used_up(ledger, "w") == "cost"


def test_who_was_taken_for_dead_has_nothing_left() -> None:
    """It comes back, and does not insist on what others have by now."""
    world = World(10, 1_000)
    world.come()
    world.come()
    sleeper, other = world.workers
    sleeper.write()
    other.write()
    assert (sleeper.have, other.have) == (10, 0)
    world.clock.advance(LASTS + 1)
    other.write()
    assert other.have == 10
    sleeper.write()
    assert sleeper.have == 0
    world.check()


def test_a_wall_clock_that_jumps_changes_nothing() -> None:
    """Of the worker or of the store: who lives is seen by watching, not by times."""
    world = World(10, 1_000)
    world.come()
    world.come()
    for worker in world.workers * 3:
        worker.write()
    held = {name: member.held for name, member in world.ledger().members.items()}
    for jump in (7_200, -100_000, 86_400):
        world.clock.jump(jump)
        for worker in world.workers:
            worker.write()
        assert {name: member.held for name, member in world.ledger().members.items()} == held
        world.check()


def test_a_day_is_one_of_the_store() -> None:
    """And a run has none."""
    now = ManualClock().now()
    assert [period_of(per, now) for per in ("run", "day", "month", "total")] == ["", "2026-01-01", "2026-01", ""]


def test_other_terms_are_refused_and_nothing_is_written() -> None:
    """The message says what both have."""
    world = World(10, 1_000)
    world.come()
    world.workers[0].write()
    before = world.ledger()
    other = LedgerBook(world.store, "d", "a", worker="x", terms=Terms(budget={"cost": 5}), clock=world.clock)
    with pytest.raises(UsageError, match=r"with 10 requests in 60 s and a budget of 1000 calls for each run, this one"):
        other.exchange(world.workers[0].statement(), seconds=LASTS, gone=())
    assert world.ledger() == before
    assert other.may_wait
    world.workers[0].write()
    with pytest.raises(UsageError):
        other.exchange(world.workers[0].statement(), seconds=LASTS, gone=())
    assert not other.may_wait  # it was seen writing


def test_a_ledger_comes_back_as_it_was_and_nonsense_is_refused() -> None:
    """A newer format, and what is no ledger."""
    world = World(10, 1_000)
    world.come()
    world.workers[0].write()
    ledger = world.ledger()
    assert Ledger.from_json(ledger.to_json(), key="k") == ledger
    key = layout.ledger_key("d", "a")
    for body in (b"{", b"[]", b'{"format": 1}', ledger.to_json().replace(b'"format": 1', b'"format": 2')):
        world.store.put(key, body, mode=Overwrite())
        with pytest.raises(StoreError, match="ledger"):
            world.ledger()


def test_a_write_that_loses_again_and_again_is_an_error() -> None:
    """After thirty rounds; nothing was written."""

    class Busy(MemoryStore):
        def put(self, key: str, body: bytes | Path, *, mode: PutMode) -> ObjectMeta:
            raise PreconditionFailedError("another one was faster")

    clock = ManualClock()
    book = LedgerBook(Busy(clock), "d", "a", worker="w", terms=Terms(budget={"calls": 5}), clock=clock)
    with pytest.raises(StoreUnavailableError, match="30 writes in a row"):
        book.exchange(Statement(have={}, wants={}, least={}, spent={}, needs={}, floor={}), seconds=LASTS, gone=())
    assert len(clock.slept) == 30


def test_time_is_told_in_hours_as_it_was_given() -> None:
    """Nobody recognises 144,000 seconds as the 40 hours of the file."""
    assert Terms(budget={"seconds": 144_000.0}).in_words() == "a budget of 40 hours for each run"
    assert (said("seconds", 7.2), said("cost", 20.0)) == ("0.002 hours", "20 cost")
