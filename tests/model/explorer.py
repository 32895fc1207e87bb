"""An explicit-state checker: every state that can be reached, breadth first, so that a counterexample is shortest.

Shares nothing with the product. A model gives its initial states, its steps (a label and the next state) and its
invariants; states are hashable values.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

State = TypeVar("State", bound=Hashable)


@dataclass(frozen=True)
class Violation(Generic[State]):
    """A state in which an invariant does not hold, and the shortest way there."""

    invariant: str
    state: State
    trace: tuple[str, ...]

    def __str__(self) -> str:
        """The trace, a step a line."""
        return "\n".join(
            [f"{self.invariant} is violated after {len(self.trace)} steps:", *self.trace, repr(self.state)]
        )


@dataclass(frozen=True)
class Report(Generic[State]):
    """What was found in all states that can be reached."""

    states: int
    violation: Violation[State] | None
    labels: frozenset[str]
    """First words of all steps that were taken: an action that never happens proves nothing."""


def explore(
    initial: State,
    steps: Callable[[State], Iterable[tuple[str, State]]],
    invariants: Mapping[str, Callable[[State], bool]],
    *,
    limit: int = 5_000_000,
) -> Report[State]:
    """Visit every reachable state once; stop at the first violation.

    Raises:
        RuntimeError: More than ``limit`` states; the model needs smaller bounds.
    """
    came_from: dict[State, tuple[State, str] | None] = {initial: None}
    queue = deque([initial])
    labels: set[str] = set()
    with _no_collection():
        while queue:
            state = queue.popleft()
            if len(came_from) > limit:
                msg = f"more than {limit} states"
                raise RuntimeError(msg)
            for name, holds in invariants.items():
                if not holds(state):
                    found = Violation(name, state, _trace(came_from, state))
                    return Report(len(came_from), found, _first_words(labels))
            for label, following in steps(state):
                labels.add(label)
                if following not in came_from:
                    came_from[following] = (state, label)
                    queue.append(following)
    return Report(len(came_from), None, _first_words(labels))


@contextmanager
def _no_collection() -> Iterator[None]:
    """No look for cycles: there are none, everything is kept, and looking through it again and again took 40 %."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _first_words(labels: Iterable[str]) -> frozenset[str]:
    return frozenset(label.split()[0] for label in labels)


def _trace(came_from: Mapping[State, tuple[State, str] | None], state: State) -> tuple[str, ...]:
    labels: list[str] = []
    step = came_from[state]
    while step is not None:
        labels.append(step[1])
        step = came_from[step[0]]
    return tuple(reversed(labels))
