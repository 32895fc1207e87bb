"""The lease: owners that take, renew and give back one lock object, over a network that loses and delays answers.

Time is discrete and the same for all (the store's clock and monotonic clocks agree up to the grace); states hold ages
and remainders only, so that histories which differ in nothing that matters are one state. A request is sent, takes
effect at the server now, later or never, and its answer arrives or is lost. ``bugs`` switches single rules off, to show
that the invariant needs them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

TTL = 3
GRACE = 1


OLD = TTL + GRACE + 1
"""Ages beyond this make no difference."""


class Lock(NamedTuple):
    """The content of the lock object: which write it is, and whether it gives the lease back."""

    owner: int
    attempt: int
    number: int
    released: bool


class Request(NamedTuple):
    """A conditional write on its way: it takes effect only while the lock is ``expected``."""

    lock: Lock
    expected: Lock | None


class Owner(NamedTuple):
    """One worker: what it knows and what it is waiting for."""

    phase: str  # idle, looked, asked, reading, holding
    attempt: int
    number: int
    seen: Lock | None
    asked: int  # age of the request that is waited for
    left: int  # time to the deadline


class State(NamedTuple):
    """Everything."""

    lock: Lock | None
    age: int  # of the lock object, by the store's clock
    owners: tuple[Owner, ...]
    late: frozenset[Request]
    crashes: int


IDLE = Owner("idle", 0, 0, None, 0, 0)


def initial(owners: int = 2, crashes: int = 3) -> State:
    """Nobody holds it, nothing is on its way."""
    return State(None, 0, (IDLE,) * owners, frozenset(), crashes)


def acting(state: State) -> list[int]:
    """The owners that believe that they hold the lease."""
    return [number for number, owner in enumerate(state.owners) if owner.left > 0]


def at_most_one_acts(state: State) -> bool:
    """The invariant."""
    return len(acting(state)) <= 1


class LeaseModel:
    """The steps, bounded in time, acquisitions and late requests."""

    def __init__(self, *, attempts: int = 2, late: int = 1, bugs: frozenset[str] = frozenset()) -> None:
        """Bound the state space; see the module for ``bugs``."""
        self.attempts = attempts
        self.late = late
        self.bugs = bugs

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        """All that can happen next."""
        yield "tick", _tick(state)
        for request in state.late:
            rest = state._replace(late=state.late - {request})
            yield f"late-write {request.lock.owner}", _effect(rest, request)
            yield f"drop {request.lock.owner}", rest
        for number, owner in enumerate(state.owners):
            yield from self._owner_steps(state, number, owner)

    def _owner_steps(self, state: State, number: int, owner: Owner) -> Iterator[tuple[str, State]]:
        if owner.phase == "idle" and owner.attempt < self.attempts and self._is_free(state, number):
            looked = Owner("looked", owner.attempt + 1, 0, state.lock, 0, 0)
            yield f"look {number}", _with(state, number, looked)
        elif owner.phase == "looked":
            yield from self._ask(state, number, owner._replace(asked=0), released=False)
        elif owner.phase == "reading":
            yield from self._read_back(state, number, owner)
        elif owner.phase == "holding":
            yield from self._holding(state, number, owner)
        if owner.phase != "idle" and state.crashes:
            yield f"crash {number}", _with(state, number, _idle(owner))._replace(crashes=state.crashes - 1)

    def _is_free(self, state: State, number: int) -> bool:
        if state.lock is None or state.lock.released:
            return True
        if "own-clock" in self.bugs and number == 1:  # this machine's clock is ahead of the store's
            return state.age + 3 > TTL + GRACE
        if "short-expiry" in self.bugs:
            return state.age >= TTL - 1
        return state.age > TTL + GRACE

    def _ask(self, state: State, number: int, owner: Owner, *, released: bool) -> Iterator[tuple[str, State]]:
        """Send a write: it takes effect or not, now or later, and is answered or not."""
        expected = state.lock if "no-condition" in self.bugs else owner.seen
        request = Request(Lock(number, owner.attempt, owner.number, released), expected)
        # Whoever gives the lease back stops acting first, and does not care what became of it.
        waiting = _idle(owner) if released else owner._replace(phase="reading", left=owner.left)
        if state.lock == request.expected:
            applied = _effect(state, request)
            answered = _idle(owner) if released else self._take(owner, request.lock)
            yield f"write {number}", _with(applied, number, answered)
            yield f"write-answer-lost {number}", _with(applied, number, waiting)
        else:
            yield f"refused {number}", _with(state, number, waiting)
        yield f"lost {number}", _with(state, number, waiting)
        if len(state.late) < self.late:
            yield f"delayed {number}", _with(state, number, waiting)._replace(late=state.late | {request})

    def _take(self, owner: Owner, lock: Lock) -> Owner:
        age = 0 if "deadline-after-answer" in self.bugs else owner.asked
        return owner._replace(phase="holding", seen=lock, asked=0, left=max(0, TTL - age))

    def _read_back(self, state: State, number: int, owner: Owner) -> Iterator[tuple[str, State]]:
        """Settle a doubtful answer: our very write stands there, or we don't have it."""
        mine = Lock(number, owner.attempt, owner.number, released=False)
        if state.lock == mine or "assume-won" in self.bugs:
            yield f"read-back-mine {number}", _with(state, number, self._take(owner, mine))
        else:
            yield f"read-back-other {number}", _with(state, number, _idle(owner))

    def _holding(self, state: State, number: int, owner: Owner) -> Iterator[tuple[str, State]]:
        if owner.left == 0:
            yield f"ran-out {number}", _with(state, number, _idle(owner))
            return
        asking = owner._replace(number=owner.number + 1, asked=0)
        if owner.number < 1:  # one renewal is enough to show what renewals do
            for label, following in self._ask(state, number, asking, released=False):
                yield f"renew-{label}", following
        for label, following in self._ask(state, number, asking, released=True):
            yield f"release-{label}", following


def _idle(owner: Owner) -> Owner:
    return Owner("idle", owner.attempt, 0, None, 0, 0)


def _tick(state: State) -> State:
    """One unit of time passes, for all."""
    owners = tuple(map(_older, state.owners))
    return State(state.lock, min(OLD, state.age + 1) if state.lock else 0, owners, state.late, state.crashes)


def _older(owner: Owner) -> Owner:
    phase, attempt, number, seen, asked, left = owner  # nine tenths of a search are spent in making states
    waits = phase == "reading" and asked < TTL
    if not left and not waits and (not asked or phase == "reading"):
        return owner
    asked = 0 if phase != "reading" else asked + waits
    return Owner(phase, attempt, number, seen, asked, left - 1 if left else 0)


def _effect(state: State, request: Request) -> State:
    """The state after a request reached the server."""
    return state if state.lock != request.expected else state._replace(lock=request.lock, age=0)


def _with(state: State, number: int, owner: Owner) -> State:
    owners = (*state.owners[:number], owner, *state.owners[number + 1 :])
    return State(state.lock, state.age, owners, state.late, state.crashes)
