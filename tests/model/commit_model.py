"""Chunks, merges and clean-up of one batch: writers append, mergers commit and delete, all may die, answers get lost.

A chunk holds one row of the same name. A write is applied now, later or never, and its answer arrives or is lost; a
client repeats an unanswered chunk under the same name. ``bugs`` switches single rules off.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Merged(NamedTuple):
    """The merged object: its version (the attempt), what it contains, its rows, and the side object it names."""

    attempt: int
    contains: frozenset[int]
    rows: tuple[int, ...]


class Commit(NamedTuple):
    """A conditional write of a merged object on its way."""

    merged: Merged
    expected: int  # the attempt it replaces; 0: none


class Merger(NamedTuple):
    """One merge: what it planned with and what is left to do."""

    phase: str  # idle, planned, staged, reading, cleaning
    commit: Commit | None
    delete: frozenset[int]
    side: int


class State(NamedTuple):
    """Everything."""

    merged: Merged | None
    chunks: frozenset[int]
    sides: frozenset[int]
    writers: tuple[str, ...]  # one chunk each: todo, asked, acknowledged, dead
    mergers: tuple[Merger, ...]
    late_chunks: frozenset[int]
    late_commits: frozenset[Commit]
    attempts: int
    crashes: int


IDLE = Merger("idle", None, frozenset(), 0)


def initial(writers: int = 2, mergers: int = 2, crashes: int = 3) -> State:
    """An empty batch."""
    return State(
        None, frozenset(), frozenset(), ("todo",) * writers, (IDLE,) * mergers, frozenset(), frozenset(), 0, crashes
    )


def acknowledged_rows_are_there(state: State) -> bool:
    """Every acknowledged row is in the merged rows or in a chunk."""
    rows = state.merged.rows if state.merged else ()
    return all(
        number in rows or number in state.chunks
        for number, phase in enumerate(state.writers)
        if phase == "acknowledged"
    )


def no_row_twice(state: State) -> bool:
    """What a reader sees holds no row twice."""
    return state.merged is None or len(set(state.merged.rows)) == len(state.merged.rows)


def side_object_exists(state: State) -> bool:
    """What the merged object refers to is there."""
    return state.merged is None or state.merged.attempt in state.sides


INVARIANTS = {
    "acknowledged rows are there": acknowledged_rows_are_there,
    "no row twice": no_row_twice,
    "side object exists": side_object_exists,
}


class CommitModel:
    """The steps, bounded in merge attempts and late requests."""

    def __init__(self, *, attempts: int = 3, late: int = 1, bugs: frozenset[str] = frozenset()) -> None:
        """Bound the state space; see the module for ``bugs``."""
        self.attempts = attempts
        self.late = late
        self.bugs = bugs

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        """All that can happen next."""
        yield from self._late(state)
        for number, phase in enumerate(state.writers):
            yield from self._writer_steps(state, number, phase)
        for number, merger in enumerate(state.mergers):
            yield from self._merger_steps(state, number, merger)
            if merger.phase != "idle" and state.crashes:
                yield f"crash-merger {number}", _merger(state, number, IDLE)._replace(crashes=state.crashes - 1)

    def _late(self, state: State) -> Iterator[tuple[str, State]]:
        for chunk in state.late_chunks:
            rest = state._replace(late_chunks=state.late_chunks - {chunk})
            yield f"late-chunk {chunk}", rest._replace(chunks=state.chunks | {chunk})
            yield f"drop-chunk {chunk}", rest
        for commit in state.late_commits:
            rest = state._replace(late_commits=state.late_commits - {commit})
            yield f"late-commit {commit.merged.attempt}", self._apply(rest, commit)
            yield f"drop-commit {commit.merged.attempt}", rest

    def _writer_steps(self, state: State, number: int, phase: str) -> Iterator[tuple[str, State]]:
        if phase not in ("todo", "asked"):
            return
        stored = state._replace(chunks=state.chunks | {number})
        yield f"put-chunk {number}", _writer(stored, number, "acknowledged")
        yield f"put-chunk-answer-lost {number}", _writer(stored, number, "asked")
        if phase == "asked" and number in state.chunks:
            yield f"chunk-read-back {number}", _writer(state, number, "acknowledged")
        if self._room(state):
            yield (
                f"chunk-delayed {number}",
                _writer(state, number, "asked")._replace(late_chunks=state.late_chunks | {number}),
            )
        if state.crashes:
            yield f"crash-writer {number}", _writer(state, number, "dead")._replace(crashes=state.crashes - 1)

    def _merger_steps(self, state: State, number: int, merger: Merger) -> Iterator[tuple[str, State]]:
        if merger.phase == "idle":
            yield from self._plan(state, number)
        elif merger.phase == "planned":
            staged = state._replace(sides=state.sides | {merger.side})
            yield f"store-sides {number}", _merger(staged, number, merger._replace(phase="staged"))
            if "delete-before-commit" in self.bugs:
                yield from self._delete_one(state, number, merger)
        elif merger.phase == "staged":
            yield from self._commit(state, number, merger)
        elif merger.phase == "reading":
            yield from self._read_back(state, number, merger)
        elif merger.phase == "cleaning":
            yield from self._clean(state, number, merger)

    def _plan(self, state: State, number: int) -> Iterator[tuple[str, State]]:
        old = state.merged or Merged(0, frozenset(), ())
        new = state.chunks - old.contains
        if not new:
            contained = state.chunks & old.contains
            if contained:
                yield f"plan-deletes {number}", _merger(state, number, Merger("cleaning", None, contained, 0))
            return
        if state.attempts == self.attempts:
            return
        attempt = state.attempts + 1
        fresh = sorted(new if "no-collapse" in self.bugs else new - set(old.rows))
        keep = frozenset() if "forget-contains" in self.bugs else old.contains & state.chunks
        commit = Commit(Merged(attempt, keep | new, (*old.rows, *fresh)), old.attempt)
        planned = Merger("planned", commit, keep | new, attempt)
        yield f"plan {number}", _merger(state, number, planned)._replace(attempts=attempt)

    def _commit(self, state: State, number: int, merger: Merger) -> Iterator[tuple[str, State]]:
        commit = merger.commit
        assert commit is not None
        reading = merger._replace(phase="reading")
        if self._matches(state, commit):
            applied = self._apply(state, commit)
            yield f"commit {number}", _merger(applied, number, merger._replace(phase="cleaning"))
            yield f"commit-answer-lost {number}", _merger(applied, number, reading)
        else:
            yield f"commit-refused {number}", _merger(state, number, reading)
        yield f"commit-lost {number}", _merger(state, number, reading)
        if self._room(state):
            yield (
                f"commit-delayed {number}",
                _merger(state, number, reading)._replace(late_commits=state.late_commits | {commit}),
            )

    def _read_back(self, state: State, number: int, merger: Merger) -> Iterator[tuple[str, State]]:
        mine = state.merged is not None and state.merged.attempt == merger.side
        if mine or "assume-committed" in self.bugs:
            yield f"read-back-mine {number}", _merger(state, number, merger._replace(phase="cleaning"))
            return
        after = state
        if "delete-after-doubt" in self.bugs:
            after = state._replace(sides=state.sides - {merger.side})
        yield f"read-back-other {number}", _merger(after, number, IDLE)

    def _clean(self, state: State, number: int, merger: Merger) -> Iterator[tuple[str, State]]:
        """Delete what the confirmed commit contains, then the side object of the version that it replaced."""
        if merger.delete:
            yield from self._delete_one(state, number, merger)
            return
        replaced = {merger.commit.expected} if merger.commit else set()
        if "delete-all-sides" in self.bugs and state.merged is not None:
            replaced = set(state.sides) - {state.merged.attempt}
        yield f"done {number}", _merger(state._replace(sides=state.sides - replaced), number, IDLE)

    @staticmethod
    def _delete_one(state: State, number: int, merger: Merger) -> Iterator[tuple[str, State]]:
        for chunk in merger.delete:
            rest = merger._replace(delete=merger.delete - {chunk})
            yield f"delete {number} {chunk}", _merger(state._replace(chunks=state.chunks - {chunk}), number, rest)

    def _room(self, state: State) -> bool:
        return len(state.late_chunks) + len(state.late_commits) < self.late

    def _matches(self, state: State, commit: Commit) -> bool:
        return "no-condition" in self.bugs or commit.expected == (state.merged.attempt if state.merged else 0)

    def _apply(self, state: State, commit: Commit) -> State:
        return state._replace(merged=commit.merged) if self._matches(state, commit) else state


def _writer(state: State, number: int, phase: str) -> State:
    return state._replace(writers=(*state.writers[:number], phase, *state.writers[number + 1 :]))


def _merger(state: State, number: int, merger: Merger) -> State:
    """The state with one merger changed; mergers are alike, so their order is made to mean nothing."""
    mergers = (*state.mergers[:number], merger, *state.mergers[number + 1 :])
    return state._replace(mergers=tuple(sorted(mergers, key=_order)))


def _order(merger: Merger) -> tuple[str, int, int, list[int]]:
    return merger.phase, merger.side, merger.commit.expected if merger.commit else 0, sorted(merger.delete)
