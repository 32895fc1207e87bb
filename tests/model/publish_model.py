"""Conditional writes on a store without conditions: the mutex, staged bodies, and completions that come late.

Writers replace one object. Each reads a version, stages its own, discards what others staged, compares, and asks for
its completion, which is applied now, later or never, as long as its upload is there. The mutex may be lost at any
moment: its holder notices only where the product looks. ``bugs`` switches single rules off.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple


class Writer(NamedTuple):
    """One write."""

    phase: str
    expected: int  # the version that it read
    listed: frozenset[int]  # uploads of others that it has yet to discard
    seen: int  # the version that it looked at in the end
    held: bool  # whether it holds the mutex, as it would find out if it looked
    result: str  # what it reports: applied, not applied, unknown; dead


class State(NamedTuple):
    """Everything."""

    version: int  # 0, or the writer that wrote it, counted from 1
    uploads: frozenset[int]
    late: frozenset[int]  # completions on their way
    lock: int  # who has the mutex by the server; 0: nobody
    writers: tuple[Writer, ...]
    applied: frozenset[int]
    overwritten: bool  # a version was replaced by a writer that had read another one
    crashes: int


def initial(writers: int = 2, crashes: int = 1) -> State:
    """Nobody has begun."""
    idle = Writer("idle", 0, frozenset(), 0, held=False, result="")
    return State(0, frozenset(), frozenset(), 0, (idle,) * writers, frozenset(), overwritten=False, crashes=crashes)


INVARIANTS = {
    "nothing is overwritten unseen": lambda state: not state.overwritten,
    "what is reported as applied is": lambda state: all(
        number in state.applied for number, writer in enumerate(state.writers, 1) if writer.result == "applied"
    ),
    "what is reported as not applied never is": lambda state: all(
        number not in state.applied for number, writer in enumerate(state.writers, 1) if writer.result == "not"
    ),
}


class PublishModel:
    """The steps."""

    def __init__(self, *, early: bool = True, bugs: frozenset[str] = frozenset()) -> None:
        """``early``: bodies may be staged before the mutex is taken, as files are."""
        self.early = early
        self.bugs = bugs

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        """Everything that can happen next."""
        for number in state.late:
            arrived = state._replace(late=state.late - {number})
            yield f"drop {number}", arrived
            if number in state.uploads:
                yield f"late {number}", _applied(arrived, number)
        for number, writer in enumerate(state.writers, 1):
            if state.lock == number:
                yield f"expire {number}", _set(state._replace(lock=0), number, writer._replace(held=False))
            if not writer.result:
                if state.crashes and writer.phase != "idle":
                    dead = _set(state._replace(crashes=state.crashes - 1), number, writer._replace(result="dead"))
                    yield f"crash {number}", dead
                yield from self._of_writer(state, number, writer)

    def _of_writer(  # noqa: C901, PLR0912, PLR0915 - one case for each phase
        self, state: State, number: int, writer: Writer
    ) -> Iterator[tuple[str, State]]:
        def then(phase: str, changed: State = state, **fields: Any) -> State:
            return _set(changed, number, writer._replace(phase=phase, **fields))

        def end(result: str, changed: State = state) -> State:
            """Discard what was staged, give the mutex back; after an unknown outcome, keep both."""
            if result == "unknown":
                return then("end", changed, result=result)
            uploads = changed.uploads - {number}
            lock = 0 if changed.lock == number else changed.lock
            return then("end", changed._replace(uploads=uploads, lock=lock), result=result, held=False)

        mine = state.uploads | {number}
        match writer.phase:
            case "idle":
                yield f"read {number}", then("ready", expected=state.version)
            case "ready":
                if self.early:
                    yield f"stage-early {number}", then("waiting", state._replace(uploads=mine))
                if not state.lock:
                    yield f"lock {number}", then("locked", state._replace(lock=number), held=True)
            case "waiting" if not state.lock:
                yield f"lock {number}", then("checking", state._replace(lock=number), held=True)
            case "checking":
                lost = state.version != writer.expected
                yield f"check {number}", end("not") if lost else then("staged")
            case "locked":
                if state.version != writer.expected:
                    yield f"check {number}", end("not")
                else:
                    yield f"stage {number}", then("staged", state._replace(uploads=mine))
            case "staged":
                others = frozenset() if "no-discard" in self.bugs else state.uploads - {number}
                first = "compare" if "compare-first" in self.bugs else "discard"
                yield f"list {number}", then(first, listed=others)
            case "discard" if writer.listed:
                for other in writer.listed:
                    gone = state._replace(uploads=state.uploads - {other})
                    yield f"discard {number}", then("discard", gone, listed=writer.listed - {other})
            case "discard":
                yield f"discarded {number}", then("time" if "compare-first" in self.bugs else "compare")
            case "compare":
                following = "discard" if "compare-first" in self.bugs else "time"
                same = state.version == writer.expected
                yield f"compare {number}", then(following) if same else end("not")
            case "time":
                in_time = writer.held or "no-look-at-the-time" in self.bugs
                yield f"time {number}", then("publish") if in_time else end("not")
            case "publish" if number in state.uploads:
                yield f"complete {number}", then("answered", _applied(state, number))
                yield f"answer-lost {number}", then("doubt", _applied(state, number))
                yield f"request-lost {number}", then("doubt")
                yield f"delayed {number}", then("doubt", state._replace(late=state.late | {number}))
            case "publish":
                yield f"refused {number}", then("refused")
            case "answered":
                yield f"report {number}", end("applied" if writer.held else "unknown")
            case "doubt":
                yield f"unreachable {number}", end("unknown")
                if number in state.uploads or "assume-discarded" in self.bugs:
                    yield f"take-back {number}", end("not", state._replace(uploads=state.uploads - {number}))
                else:
                    yield f"look {number}", then("looked", seen=state.version)
            case "refused":
                yield f"look {number}", then("looked-refused", seen=state.version)
            case "looked" | "looked-refused":
                held = writer.held or "ignore-the-time" in self.bugs
                if held and writer.seen != writer.expected:
                    yield f"report-changed {number}", end("applied")
                elif held and writer.phase == "looked-refused":
                    yield f"report-refused {number}", end("not")
                else:
                    yield f"report-unknown {number}", end("unknown")


def _set(state: State, number: int, writer: Writer) -> State:
    writers = list(state.writers)
    writers[number - 1] = writer
    return state._replace(writers=tuple(writers))


def _applied(state: State, number: int) -> State:
    return state._replace(
        version=number,
        uploads=state.uploads - {number},
        applied=state.applied | {number},
        overwritten=state.overwritten or state.version != state.writers[number - 1].expected,
    )
