"""Records to a service that takes them in batches, refuses some, and asks to come again: what all services share.

A ``Carrier`` knows one service: how much fits into a request, and what an answer means for each record. Everything
else is here: batches, threads, repetition, order, bounds. See ``docs/design/014-destinations.md``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Final, Protocol

from datalake_service.errors import StoreError, StoreUnavailableError
from datalake_utils.backoff import Backoff
from datalake_utils.clock import Clock

PATIENCE_SECONDS: Final = 300.0
"""A batch of which nothing was accepted for so long fails the task."""
MOST_BYTES: Final = 32 << 20
"""Bytes of records that wait for an answer, unless a single one is larger."""
_BACKOFF: Final = Backoff(first=0.1, longest=5.0)


@dataclass(frozen=True, slots=True)
class Limits:
    """What fits into one request."""

    records: int
    size: int
    """Bytes, in whatever way the service counts them; the carrier measures its records in the same way."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """One record, packed for its service."""

    content: Any
    """What the carrier sends."""
    size: int
    lane: str | None = None
    """Records of one lane are delivered one after the other, in their order; ``None``: in no order."""
    tag: Any = None
    """What the sender wants to know it by, if it is refused."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The service has the record."""


@dataclass(frozen=True, slots=True)
class Again:
    """The service does not have it, or nobody knows; sending it again may help."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The service will never take this record."""

    message: str


Answer = Accepted | Again | Refused
ACCEPTED: Final = Accepted()


class ContentError(StoreError):
    """The service refused a whole request because of some record in it; the message is the service's."""

    kind = "content"


class Carrier(Protocol):
    """One service. Called by several threads at once."""

    @property
    def limits(self) -> Limits:
        """What fits into one request."""
        ...

    def send(self, parcels: Sequence[Parcel]) -> Sequence[Answer]:
        """Send one request with all ``parcels``, which fit; answer for each.

        Raises:
            StoreUnavailableError: The service did not answer, or asks everybody to slow down.
            ContentError: Some record is at fault, and the service does not say which.
            StoreError: Nothing can be sent: no permission, no such queue.
        """
        ...


@dataclass(slots=True)
class _Ready:
    """Parcels that may be sent now."""

    parcels: deque[Parcel] = field(default_factory=deque)
    size: int = 0

    def append(self, parcel: Parcel) -> None:
        self.parcels.append(parcel)
        self.size += parcel.size

    def take(self, limits: Limits) -> list[Parcel]:
        """As many as fit into a request, at least one."""
        taken: list[Parcel] = []
        room = limits.size
        while self.parcels and len(taken) < limits.records and (not taken or self.parcels[0].size <= room):
            parcel = self.parcels.popleft()
            room -= parcel.size
            self.size -= parcel.size
            taken.append(parcel)
        return taken


class Delivery:
    """Delivers parcels; each is accepted or refused once, or an error is raised, now and for ever. One thread calls it.

    Guarantee: after ``flush`` returned, the service has every parcel that was added, or it is in ``refused()``.
    """

    def __init__(
        self,
        carrier: Carrier,
        *,
        clock: Clock,
        senders: int = 4,
        backoff: Backoff = _BACKOFF,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """Send with up to ``senders`` requests at a time."""
        self._carrier = carrier
        self._clock = clock
        self._senders = senders
        self._backoff = backoff
        self._patience = patience
        self._limits = carrier.limits
        self._most = self._limits.records * (senders + 1)
        self._ready = _Ready()
        self._lanes: dict[str, deque[Parcel]] = {}  # busy lanes, each with those that wait behind the one on its way
        self._running: dict[Future[list[tuple[Parcel, str]]], list[Parcel]] = {}
        self._refused: list[tuple[Any, str]] = []
        self._waiting_bytes = 0
        self._pool: ThreadPoolExecutor | None = None
        self._given_up = Event()
        self._failure: BaseException | None = None
        self.waiting = 0
        """Parcels that were added and are not answered for."""
        self.accepted = 0
        """Parcels that the service has."""

    @property
    def saturated(self) -> bool:
        """Whether so much waits that the caller should ``wait_for_room``."""
        return self.waiting >= self._most or self._waiting_bytes >= MOST_BYTES

    def add(self, parcel: Parcel) -> None:
        """Take a parcel; a full batch goes on its way.

        Raises:
            StoreError: The service failed for an earlier batch.
        """
        self._check()
        self.waiting += 1
        self._waiting_bytes += parcel.size
        if parcel.lane is not None:
            behind = self._lanes.get(parcel.lane)
            if behind is not None:
                behind.append(parcel)
                return
            self._lanes[parcel.lane] = deque()
        self._ready.append(parcel)
        if len(self._ready.parcels) >= self._limits.records or self._ready.size >= self._limits.size:
            self._collect(block=False)
            self._send(partial=False)

    def wait_for_room(self) -> None:
        """Block while too much waits.

        Raises:
            StoreError: The service failed.
        """
        self._check()
        while self.saturated:
            self._send(partial=not self._running)
            self._collect(block=True)

    def flush(self) -> None:
        """Send everything and block until it is answered.

        Raises:
            StoreError: The service failed; what is not answered for has to be added again, to another delivery.
        """
        self._check()
        while self.waiting:
            self._send(partial=True)
            self._collect(block=True)

    def refused(self) -> list[tuple[Any, str]]:
        """Tag and message of the parcels refused since this was asked last."""
        refused, self._refused = self._refused, []
        return refused

    def close(self) -> None:
        """Give up what is not answered, and free the threads. Call ``flush`` before."""
        self._given_up.set()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _check(self) -> None:
        """After a failure nothing goes any more: its records are nobody's."""
        if self._failure is not None:
            raise self._failure

    def _send(self, *, partial: bool) -> None:
        """Put batches on their way: full ones, or whatever there is."""
        ready, limits = self._ready, self._limits
        while ready.parcels and len(self._running) < self._senders:
            if not partial and len(ready.parcels) < limits.records and ready.size < limits.size:
                return
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._senders, thread_name_prefix="deliver")
            batch = ready.take(limits)
            self._running[self._pool.submit(self._deliver, batch)] = batch

    def _collect(self, *, block: bool) -> None:
        """Take in what was answered; the first failure is raised here, after the others were taken in."""
        if block and self._running:
            wait(self._running, return_when=FIRST_COMPLETED)
        for future in [future for future in self._running if future.done()]:
            batch = self._running.pop(future)
            failed = future.exception()
            if failed is not None:
                self._failure = self._failure or failed
            else:
                self._settle(batch, future.result())
        self._check()

    def _settle(self, batch: list[Parcel], refused: list[tuple[Parcel, str]]) -> None:
        self.waiting -= len(batch)
        self.accepted += len(batch) - len(refused)
        self._refused += [(parcel.tag, message) for parcel, message in refused]
        for parcel in batch:
            self._waiting_bytes -= parcel.size
            if parcel.lane is not None:
                behind = self._lanes[parcel.lane]
                if behind:
                    self._ready.append(behind.popleft())
                else:
                    del self._lanes[parcel.lane]

    def _deliver(self, batch: Sequence[Parcel]) -> list[tuple[Parcel, str]]:
        """Send until every parcel is accepted or refused; returns those that were refused. On a sender's thread."""
        pending, refused = list(batch), list[tuple[Parcel, str]]()
        failures, since = 0, self._clock.monotonic()
        while True:
            answers = self._ask(pending)
            if answers is None:  # somebody in here is at fault
                half = len(pending) // 2
                return refused + self._deliver(pending[:half]) + self._deliver(pending[half:])
            left = [parcel for parcel, answer in zip(pending, answers, strict=True) if isinstance(answer, Again)]
            refused += [
                (parcel, answer.message)
                for parcel, answer in zip(pending, answers, strict=True)
                if isinstance(answer, Refused)
            ]
            if not left:
                return refused
            failures += 1
            if len(left) < len(pending):  # some went through: wait less, and start to count the patience again
                failures, since = max(1, failures // 2), self._clock.monotonic()
            pending = left
            if self._given_up.is_set() or self._clock.monotonic() - since >= self._patience:
                reason = next(answer.reason for answer in answers if isinstance(answer, Again))
                raise StoreUnavailableError(f"{reason} (given up after {self._patience:.0f} s without success)")
            self._clock.sleep(self._backoff.seconds(failures))

    def _ask(self, parcels: Sequence[Parcel]) -> Sequence[Answer] | None:
        """One request; ``None``: it has to be divided."""
        try:
            return self._carrier.send(parcels)
        except StoreUnavailableError as error:
            return [Again(str(error))] * len(parcels)
        except ContentError as error:
            return [Refused(str(error))] if len(parcels) == 1 else None
