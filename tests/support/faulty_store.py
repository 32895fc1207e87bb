"""A store that fails on request: at which operation, in which way, before or after it took effect.

Deterministic: operations are numbered from 1 in the order in which they start, and a plan says which of them
fail. ``operations`` lists what was asked, so that a test can run once without faults to learn how many
operations there are, and then once for every one of them::

    for number in range(1, len(clean.operations) + 1):
        for fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER):
            store = FaultyStore(inner, {number: fault})
            with contextlib.suppress(Crash):
                run(store)
            run(inner)  # the next process
"""

from __future__ import annotations

import contextlib
import enum
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from datalake_service.errors import DatalakeError, OutcomeUnknownError, StoreUnavailableError
from datalake_service.storage.base import ObjectMeta, ObjectStore, PutMode
from datalake_utils.clock import Clock, ManualClock

_T = TypeVar("_T")
_WRITES = frozenset({"put", "delete", "delete_many"})


class Crash(BaseException):
    """The process died here. Not an ``Exception``, so that no handler of the product mistakes it for an error."""


class Fault(enum.Enum):
    """What happens at an operation."""

    CRASH_BEFORE = "the process dies before it took effect"
    CRASH_AFTER = "the process dies after it took effect, before it knows"
    CRASH_MIDDLE = "the process dies when half of a delete_many took effect; like CRASH_BEFORE for all others"
    UNAVAILABLE = "the store says: not now; nothing took effect"
    LOST = "it took effect, and the answer never came (OutcomeUnknownError for a put)"
    UNKNOWN = "it did not take effect, and no answer came (OutcomeUnknownError for a put)"
    SLOW = "it works after a minute of the clock that was given"


_CRASHES = frozenset({Fault.CRASH_BEFORE, Fault.CRASH_MIDDLE, Fault.CRASH_AFTER})


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of the store."""

    number: int
    """Counted from 1."""
    verb: str
    """Name of the method."""
    key: str
    """Key or prefix; the first of many."""

    @property
    def writes(self) -> bool:
        """Whether it changes anything."""
        return self.verb in _WRITES


Plan = Callable[[Operation], Fault | None]
"""Says what goes wrong with an operation."""


def seeded(seed: int, rate: float, faults: Iterable[Fault] = (Fault.UNAVAILABLE, Fault.LOST, Fault.UNKNOWN)) -> Plan:
    """Plan a fault of a random kind for a share of all operations; the same for the same seed and number."""
    kinds = tuple(faults)

    def plan(operation: Operation) -> Fault | None:
        dice = random.Random(f"{seed}/{operation.number}")
        return dice.choice(kinds) if dice.random() < rate else None

    return plan


def at(verb: str, fault: Fault, *, key: str = "", nth: int = 1) -> Plan:
    """Plan one fault, for the ``nth`` operation of this kind whose key contains ``key``."""
    seen = 0

    def plan(operation: Operation) -> Fault | None:
        nonlocal seen
        if operation.verb == verb and key in operation.key:
            seen += 1
            return fault if seen == nth else None
        return None

    return plan


class FaultyStore:
    """``inner`` with faults. After a crash it is dead: everything asked of it crashes again, as in a dead process."""

    def __init__(
        self, inner: ObjectStore, plan: Plan | Mapping[int, Fault] | None = None, *, clock: Clock | None = None
    ) -> None:
        """Wrap ``inner``; ``plan`` may be a mapping from the number of an operation."""
        self.inner = inner
        self._plan: Plan = plan if callable(plan) else (lambda operation: (plan or {}).get(operation.number))
        self._clock: Clock = clock or ManualClock()
        self._lock = threading.Lock()
        self.operations: list[Operation] = []
        """What was asked, in order, up to the crash."""
        self.dead = False
        """Whether it crashed."""

    @property
    def uri(self) -> str:
        return self.inner.uri

    @property
    def writes(self) -> list[Operation]:
        """The operations that change something."""
        return [operation for operation in self.operations if operation.writes]

    def get(self, key: str, *, etag: str | None = None) -> tuple[bytes, ObjectMeta]:
        return self._do("get", key, lambda: self.inner.get(key, etag=etag))

    def head(self, key: str) -> ObjectMeta:
        return self._do("head", key, lambda: self.inner.head(key))

    def open(self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None) -> BinaryIO:
        return self._do("open", key, lambda: self.inner.open(key, start=start, end=end, etag=etag))

    def put(self, key: str, body: bytes | Path, *, mode: PutMode) -> ObjectMeta:
        return self._do("put", key, lambda: self.inner.put(key, body, mode=mode))

    def delete(self, key: str, *, etag: str | None = None) -> None:
        self._do("delete", key, lambda: self.inner.delete(key, etag=etag))

    def delete_many(self, keys: Iterable[str]) -> None:
        doomed = tuple(keys)
        self._do(
            "delete_many",
            doomed[0] if doomed else "",
            lambda: self.inner.delete_many(doomed),
            half=lambda: self.inner.delete_many(doomed[: len(doomed) // 2]),
        )

    def list(self, prefix: str) -> Iterator[ObjectMeta]:
        return self._do("list", prefix, lambda: iter(tuple(self.inner.list(prefix))))

    def list_folders(self, prefix: str) -> Iterator[str]:
        return self._do("list_folders", prefix, lambda: iter(tuple(self.inner.list_folders(prefix))))

    def _do(self, verb: str, key: str, operation: Callable[[], _T], *, half: Callable[[], object] = lambda: None) -> _T:
        with self._lock:
            if self.dead:
                raise Crash(f"dead before {verb} {key}")
            asked = Operation(len(self.operations) + 1, verb, key)
            self.operations.append(asked)
            fault = self._plan(asked)
            # Dead before anything takes effect, or another thread of this process could act on it.
            self.dead = fault in _CRASHES
        if fault is Fault.UNAVAILABLE:
            raise StoreUnavailableError(f"planned: {asked}")
        if fault is Fault.UNKNOWN:
            raise _no_answer(asked)
        if fault is Fault.SLOW:
            self._clock.sleep(60)
        if fault in _CRASHES:
            raise _crash(asked, {Fault.CRASH_AFTER: operation, Fault.CRASH_MIDDLE: half}.get(fault))
        result = operation()
        if fault is Fault.LOST:
            raise _no_answer(asked)
        return result


def _crash(asked: Operation, took_effect: Callable[[], object] | None) -> Crash:
    """Let it take effect as far as it shall; whether that worked, nobody is left to learn."""
    if took_effect is not None:
        with contextlib.suppress(DatalakeError):
            took_effect()
    return Crash(f"{asked}")


def _no_answer(asked: Operation) -> OutcomeUnknownError | StoreUnavailableError:
    """A lost answer to a put is for the caller to settle; everything else is safe to repeat."""
    kind = OutcomeUnknownError if asked.verb == "put" else StoreUnavailableError
    return kind(f"planned: {asked}")
