"""Workers that share one annotator, one that wants it alone, one batch with one row; leases, claims, late requests.

Names are those of ``docs/design/012-shared-annotators.md``. A lease and its expiry are what ``lease_model.py`` shows
them to be; here is what follows from the end of a lease when the taker writes *another* object. Renewals and claims may
be applied late; ``bugs`` switches single rules off.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

TTL = 3
OLD = TTL + 1
"""Ages beyond this make no difference. Time is exact here, so there is no grace."""
ALONE = -1
"""The actor that wants the annotator for itself, as the owner of a lease."""


class LeaseObject(NamedTuple):
    """The content of a lease object, and its age by the store's clock."""

    number: int
    released: bool
    age: int


class Claim(NamedTuple):
    """The content of the claim of the batch."""

    worker: int
    number: int
    released: bool


class Late(NamedTuple):
    """A conditional write on its way: a renewal (``expected`` is a number) or a claim."""

    actor: int
    claim: Claim | None
    expected: int | Claim | None


class Actor(NamedTuple):
    """One process: what it does next, what it knows, how long its lease lasts."""

    phase: str
    left: int = 0
    asked: int = -1  # age of a renewal that is waited for; -1: none
    renewals: int = 1
    seen: Claim | None = None
    mine: Claim | None = None
    claims: int = 0
    finished: bool = False  # what it read of the row
    had: bool = False  # whether the row was stored when the batch became its own
    buffer: bool = False  # it has an answer that is not stored
    dead: frozenset[int] | None = None  # the workers that seemed to be dead, if it looked before it read the claim


class State(NamedTuple):
    """Everything."""

    alone: Actor
    workers: tuple[Actor, ...]
    alone_lease: LeaseObject | None
    leases: tuple[LeaseObject | None, ...]
    claim: Claim | None
    stored: bool
    late: frozenset[Late]
    crashes: int
    wrong: str = ""


WORKING = ("finished", "ask", "flush")
ENDED = ("gone", "dead")


def initial(workers: int = 2, *, alone: bool = False, crashes: int = 3) -> State:
    """Nobody came yet; ``alone``: whether somebody will that wants the annotator for itself."""
    first = Actor("idle" if alone else "gone")
    people = (Actor("idle"),) * workers
    return State(first, people, None, (None,) * workers, None, stored=False, late=frozenset(), crashes=crashes)


def acting(state: State) -> int:
    """How many believe that the row is theirs to ask."""
    return sum(actor.left > 0 and actor.phase in WORKING for actor in (state.alone, *state.workers))


INVARIANTS = {
    "at most one acts on the batch": lambda state: acting(state) <= 1,
    "no row is asked that is stored or in flight": lambda state: not state.wrong,
}


class SharedModel:
    """The steps; see the module for ``bugs``."""

    def __init__(self, *, late: int = 1, claims: int = 1, bugs: frozenset[str] = frozenset()) -> None:
        """Bound the requests that are late at a time, and the claims that each worker writes."""
        self.late = late
        self.claims = claims
        self.bugs = bugs

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        """All that can happen next."""
        yield "tick", _tick(state)
        for request in state.late:
            rest = state._replace(late=state.late - {request})
            yield f"late {request.actor}", self._arrive(rest, request)
            yield f"drop {request.actor}", _put(rest, request.actor, asked=-1) if request.claim is None else rest
        for number in (ALONE, *range(len(state.workers))):
            actor = _actor(state, number)
            if actor.phase in ENDED:
                continue
            if actor.phase != "idle":
                yield from self._renew(state, number, actor)
                if state.crashes:
                    yield f"crash {number}", _put(state, number, phase="dead")._replace(crashes=state.crashes - 1)
            steps = self._alone(state, actor) if number == ALONE else self._worker(state, number, actor)
            for label, following in steps:
                yield f"{label} {number}", following

    # Leases ------------------------------------------------------------------------------------------

    def _renew(self, state: State, number: int, actor: Actor) -> Iterator[tuple[str, State]]:
        lease = _lease(state, number)
        if not (actor.left and actor.renewals and actor.asked < 0 and lease):
            return
        if not lease.released:
            renewed = _put(state, number, left=TTL, renewals=0)
            yield f"renew {number}", _set_lease(renewed, number, LeaseObject(lease.number + 1, released=False, age=0))
        if len(state.late) < self.late:
            sent = _put(state, number, asked=0, renewals=0)
            yield f"renew-delayed {number}", sent._replace(late=state.late | {Late(number, None, 0)})

    def _arrive(self, state: State, request: Late) -> State:
        """A late request takes effect if its condition holds; the answer to a renewal reaches its sender."""
        if request.claim is not None:
            return state._replace(claim=request.claim) if state.claim == request.expected else state
        lease, actor = _lease(state, request.actor), _actor(state, request.actor)
        waited, state = actor.asked, _put(state, request.actor, asked=-1)
        if lease is None or lease.released or lease.number != request.expected:
            return state
        state = _set_lease(state, request.actor, LeaseObject(lease.number + 1, released=False, age=0))
        return _put(state, request.actor, left=max(actor.left, TTL - waited)) if waited >= 0 else state

    def _lives(self, lease: LeaseObject | None) -> bool:
        return lease is not None and not lease.released and lease.age <= TTL

    def _take_away(self, state: State, number: int) -> State:
        """Make sure that a lease that has run out cannot be renewed."""
        lease = _lease(state, number)
        if lease is None or lease.released or "no-fence" in self.bugs:
            return state
        return _set_lease(state, number, LeaseObject(lease.number + 1, released=True, age=0))

    # Alone -------------------------------------------------------------------------------------------

    def _alone(self, state: State, actor: Actor) -> Iterator[tuple[str, State]]:
        phase = actor.phase
        if phase == "idle":
            yield (
                "take-lease",
                _set_lease(_put(state, ALONE, phase="look-0", left=TTL), ALONE, LeaseObject(0, released=False, age=0)),
            )
        elif phase.startswith("look-"):
            other = int(phase[5:])
            if other == len(state.workers):
                yield "nobody-shares", _put(state, ALONE, phase="finished", had=state.stored)
            elif self._lives(state.leases[other]):
                yield "refused", _set_lease(_put(state, ALONE, phase="gone", left=0), ALONE, None)
            else:
                yield "look", _put(self._take_away(state, other), ALONE, phase=f"look-{other + 1}")
        else:
            yield from self._work(state, ALONE, actor, after="release")
        if phase == "release":
            yield "release", _set_lease(_put(state, ALONE, phase="gone", left=0), ALONE, None)

    # Shared ------------------------------------------------------------------------------------------

    def _worker(self, state: State, number: int, actor: Actor) -> Iterator[tuple[str, State]]:
        phase = actor.phase
        if phase == "idle":
            yield from self._join(state, number)
        elif phase == "look":
            if self._lives(state.alone_lease):
                yield "refused", _set_lease(_put(state, number, phase="gone", left=0), number, None)
            else:
                yield "look", _put(self._take_away(state, ALONE), number, phase="claim")
        elif phase == "create":  # only if it looked first
            yield "create", self._created(state, number, "claim")
        elif phase in ("claim", "owner", "take"):
            yield from self._claim(state, number, actor)
        elif phase == "give-back":
            released = state.claim == actor.mine and actor.mine is not None
            after = state._replace(claim=actor.mine._replace(released=True)) if released and actor.mine else state
            late = "give-back-first" in self.bugs and actor.buffer
            yield "give-back", _put(after, number, phase="flush" if late else "end", mine=None)
        elif phase == "end":
            yield "end", _set_lease(_put(state, number, phase="gone", left=0), number, None)
        else:
            yield from self._work(state, number, actor, after="give-back")

    def _join(self, state: State, number: int) -> Iterator[tuple[str, State]]:
        if "look-first" not in self.bugs:
            yield "create", self._created(state, number, "look")
        elif not self._lives(state.alone_lease):
            yield "look", _put(state, number, phase="create")

    def _created(self, state: State, number: int, phase: str) -> State:
        lease = LeaseObject(0, released=False, age=0)
        return _set_lease(_put(state, number, phase=phase, left=TTL), number, lease)

    def _claim(self, state: State, number: int, actor: Actor) -> Iterator[tuple[str, State]]:
        if not actor.left or actor.claims == self.claims:
            return
        if actor.phase == "claim":
            if "worker-first" in self.bugs and actor.dead is None:
                dead = frozenset(other for other, lease in enumerate(state.leases) if not self._lives(lease))
                yield "look-at-workers", _put(state, number, dead=dead)
                return
            finished = state.stored and "finished-first" in self.bugs
            free = state.claim is None or state.claim.released or state.claim.worker == number
            read = _put(state, number, phase="take" if free else "owner", seen=state.claim, finished=finished)
            yield "read-claim", read
            return
        if actor.phase == "owner":
            assert actor.seen is not None
            owner = actor.seen.worker
            lives = self._lives(state.leases[owner]) if actor.dead is None else owner not in actor.dead
            if lives:
                yield "wait", _put(state, number, phase="claim", seen=None, dead=None)
            else:
                fenced = self._take_away(state, owner) if actor.dead is None else state
                yield "take-away", _put(fenced, number, phase="take")
            return
        claim = Claim(number, actor.claims + 1, released=False)
        asked = actor._replace(claims=actor.claims + 1, seen=None, dead=None)
        if state.claim == actor.seen or "no-condition" in self.bugs:
            taken = _replace(state, number, asked._replace(phase="finished", mine=claim, had=state.stored))
            yield "claim", taken._replace(claim=claim)
        else:
            yield "claim-refused", _replace(state, number, asked._replace(phase="claim"))
        if len(state.late) < self.late:
            gave_up = _replace(state, number, asked._replace(phase="claim"))
            yield "claim-delayed", gave_up._replace(late=state.late | {Late(number, claim, actor.seen)})

    # Both --------------------------------------------------------------------------------------------

    def _work(self, state: State, number: int, actor: Actor, *, after: str) -> Iterator[tuple[str, State]]:
        """Read what is finished, ask what is not, store the answer."""
        if actor.phase == "finished":
            finished = actor.finished if "finished-first" in self.bugs and number != ALONE else state.stored
            yield "read-finished", _put(state, number, phase=after if finished else "ask", finished=finished)
        elif actor.phase == "ask" and actor.left:
            others = [other for other in (state.alone, *state.workers) if other is not actor]
            in_flight = any(other.buffer and other.left and other.phase not in ENDED for other in others)
            wrong = "stored" if actor.had else "in flight" if in_flight else state.wrong
            early = "give-back-first" in self.bugs and number != ALONE
            yield "ask", _put(state, number, phase=after if early else "flush", buffer=True)._replace(wrong=wrong)
        elif actor.phase == "flush":
            early = "give-back-first" in self.bugs and number != ALONE
            ended = _put(state, number, phase="end" if early else after, buffer=False)
            # What is asked of the store too late may be stored all the same; nobody has to know of it.
            yield "flush", ended._replace(stored=True)


def _actor(state: State, number: int) -> Actor:
    return state.alone if number == ALONE else state.workers[number]


def _replace(state: State, number: int, actor: Actor) -> State:
    if number == ALONE:
        return state._replace(alone=actor)
    return state._replace(workers=(*state.workers[:number], actor, *state.workers[number + 1 :]))


def _put(state: State, number: int, **changes: Any) -> State:
    """The state with some fields of one actor changed; what an actor that has ended knew means nothing."""
    actor = _actor(state, number)._replace(**changes)
    if actor.phase in ENDED:
        actor = Actor(actor.phase, asked=actor.asked, renewals=0)
    return _replace(state, number, actor)


def _lease(state: State, number: int) -> LeaseObject | None:
    return state.alone_lease if number == ALONE else state.leases[number]


def _set_lease(state: State, number: int, lease: LeaseObject | None) -> State:
    if number == ALONE:
        return state._replace(alone_lease=lease)
    return state._replace(leases=(*state.leases[:number], lease, *state.leases[number + 1 :]))


def _tick(state: State) -> State:
    """One unit of time passes, for all."""
    return state._replace(
        alone=_older(state.alone),
        workers=tuple(map(_older, state.workers)),
        alone_lease=_aged(state.alone_lease),
        leases=tuple(map(_aged, state.leases)),
    )


def _older(actor: Actor) -> Actor:
    asked = min(TTL, actor.asked + 1) if actor.asked >= 0 else -1
    return actor._replace(left=max(0, actor.left - 1), asked=asked)


def _aged(lease: LeaseObject | None) -> LeaseObject | None:
    return lease._replace(age=min(OLD, lease.age + 1)) if lease else None
