"""A lease on conditional writes: one holder at a time, for a limited time. See ``docs/design/006-annotation.md``.

The lock object is written with create-if-absent or replace-if-ETag and never deleted: giving it back marks it. What
it says is decided by pure functions of ``LeaseRecord``; ``Lease`` does the requests, ``S3Lock`` in ``s3_lock.py`` for
those who have an event loop. Knows nothing of what the lease protects.
"""

from __future__ import annotations

import json
import math
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from datalake_service.catalog.manifests import check_format, format_time, parse_time
from datalake_service.errors import (
    AlreadyExistsError,
    LeaseLostError,
    ObjectNotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    StoreError,
    StoreUnavailableError,
)
from datalake_service.storage.base import CreateOnly, IfMatch, ObjectMeta, ObjectStore, Overwrite, PutMode
from datalake_utils.clock import Clock, SystemClock
from datalake_utils.ids import random_hex
from datalake_utils.units import format_duration

LEASE_FORMAT = 1
"""Version of the lock object; readers refuse a higher one."""

_ATTEMPT_DIGITS = 32
_ROUNDS = 4
"""How often a taker looks again after another one was faster; then the lease counts as held."""
_DOUBTFUL = (AlreadyExistsError, PreconditionFailedError, OutcomeUnknownError, StoreUnavailableError)
"""After these a write may be in place all the same: read it back and compare."""


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """What the lock object says. All but ``attempt``, ``number``, ``ttl`` and ``released`` is for people."""

    attempt: str
    """Random; names one acquisition."""
    number: int
    """Counts the writes of one acquisition, so that each of them can be recognised when it is read back."""
    ttl: timedelta
    """How long the lease lasts after each write, by the store's clock."""
    owner: str
    """What holds it, in words."""
    host: str
    pid: int
    acquired_at: datetime
    """By the owner's wall clock; nothing is decided from it."""
    released: bool = False
    """Given back: anybody may take it."""
    renewed_ago: timedelta | None = field(default=None, compare=False)
    """How long ago it was written, by the store's clock; set when somebody looked, never stored."""

    def to_json(self) -> bytes:
        """Write the record."""
        document = {
            "format": LEASE_FORMAT,
            "attempt": self.attempt,
            "number": self.number,
            "ttlMs": self.ttl // timedelta(milliseconds=1),
            "owner": self.owner,
            "host": self.host,
            "pid": self.pid,
            "acquiredAt": format_time(self.acquired_at),
            "released": self.released,
        }
        return json.dumps(document, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes, *, key: str) -> LeaseRecord:
        """Read a record; ``key`` names it in errors.

        Raises:
            StoreError: Not a record, or of a newer format. It counts as neither free nor held: a person decides.
        """
        try:
            document = json.loads(data)
            check_format(document["format"], key=key)
            return cls(
                attempt=document["attempt"],
                number=document["number"],
                ttl=timedelta(milliseconds=document["ttlMs"]),
                owner=document["owner"],
                host=document["host"],
                pid=document["pid"],
                acquired_at=parse_time(document["acquiredAt"]),
                released=document["released"],
            )
        except (KeyError, TypeError, ValueError) as error:
            msg = f"{key} is not a lock ({type(error).__name__}: {error}); if nobody works here, remove it by hand"
            raise StoreError(msg) from error

    def is_write(self, other: LeaseRecord) -> bool:
        """Whether both are the same write, not only of the same owner."""
        return (self.attempt, self.number) == (other.attempt, other.number)

    def seen(self, *, written: datetime, store_now: datetime) -> LeaseRecord:
        """The same, with its age; both times are by the store's clock."""
        return replace(self, renewed_ago=max(store_now - written, timedelta(0)))

    def in_words(self) -> str:
        """Who holds it, for a message; with its age and its end, if they are known."""
        words = f"{self.owner} on {self.host} (process {self.pid}), since {format_time(self.acquired_at)}"
        if self.renewed_ago is None:
            return words
        left = max(self.ttl + grace(self.ttl) - self.renewed_ago, timedelta(0))
        return f"{words}, renewed {_in_words(self.renewed_ago)} ago, runs out in {_in_words(left)} unless it is renewed"


def _in_words(duration: timedelta) -> str:
    return format_duration(duration.total_seconds())


def grace(ttl: timedelta) -> timedelta:
    """How much longer than its ``ttl`` a lease is honoured by others.

    One second because stores give times in whole seconds, a thousandth because no two clocks run alike.
    """
    return timedelta(seconds=1) + ttl / 1000


def has_expired(record: LeaseRecord, *, written: datetime, store_now: datetime) -> bool:
    """Whether anybody may take the lease over; both times are by the store's clock."""
    return store_now - written > record.ttl + grace(record.ttl)


def renewal_lead(ttl: timedelta) -> timedelta:
    """How long before the deadline renewal starts: a minute, or half of a short ``ttl``."""
    return min(timedelta(seconds=60), ttl / 2)


def stopping_lead(ttl: timedelta) -> timedelta:
    """How long before the deadline work has to stop if the lease could not be renewed; results are stored in it."""
    return min(timedelta(seconds=15), ttl / 6)


def shortest_ttl(renewal: float) -> timedelta:
    """The shortest time limit that can be kept up where a renewal takes so many seconds, in tenths of a second.

    Renewal starts half of it before the deadline and has to be over a sixth before it.
    """
    return timedelta(seconds=max(math.ceil(renewal * 30), 1) / 10)


def time_key(key: str) -> str:
    """The object that takers overwrite to learn the store's time; its content means nothing."""
    return f"{key}.time"


@dataclass(frozen=True, slots=True)
class _Found:
    record: LeaseRecord
    meta: ObjectMeta


class Lease:
    """The requests behind a lease. One thread at a time may ``acquire``, ``renew`` or ``release``; any may look.

    Guarantee: while ``held`` is true, no other ``Lease`` on the same key and store is, provided that the store
    honours conditional writes and that this machine's monotonic clock and the store's clock run at the same rate
    within a thousandth.
    """

    def __init__(
        self,
        store: ObjectStore,
        key: str,
        *,
        ttl: timedelta,
        owner: str = "datalake",
        clock: Clock | None = None,
        draw: Callable[[], str] | None = None,
    ) -> None:
        """Prepare; nothing is written. ``draw`` returns the random name of an acquisition."""
        if ttl <= timedelta(0):
            msg = f"the time limit of a lease must be positive, not {ttl}"
            raise ValueError(msg)
        self._store = store
        self._key = key
        self._ttl = ttl
        self.owner = owner
        """What holds it, in words."""
        self._clock = clock or SystemClock()
        self._draw = draw or (lambda: random_hex(_ATTEMPT_DIGITS))
        self._mine: _Found | None = None
        self._deadline = 0.0
        self._renewal: tuple[LeaseRecord, float] | None = None
        self.holder: LeaseRecord | None = None
        """Who held it when ``acquire`` last failed."""
        self.took = 0.0
        """How many seconds it took to take or to renew it the last time."""

    @property
    def ttl(self) -> timedelta:
        """How long the lease lasts after each write."""
        return self._ttl

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; zero or less: not held, or not any more."""
        return self._deadline - self._clock.monotonic() if self._mine is not None else 0.0

    @property
    def held(self) -> bool:
        """Whether this object holds the lease, as far as it can know without asking the store."""
        return self.remaining > 0

    def acquire(self) -> bool:
        """Take the lease if it is free, given back or expired; returns whether it was taken.

        Raises:
            StoreError: The store failed, or its answer stayed unknown. A lease that was taken after all is not
                held by anybody and expires by itself.
        """
        if self.held:
            return True
        for _ in range(_ROUNDS):
            found = self._look()
            self.holder = None if found is None else self._holder(found)
            if self.holder is not None:
                return False
            started = self._clock.monotonic()
            record = LeaseRecord(
                self._draw(), 0, self._ttl, self.owner, socket.gethostname(), os.getpid(), self._clock.now()
            )
            meta = self._write(record, CreateOnly() if found is None else IfMatch(found.meta.etag))
            if meta is not None:
                self._take(_Found(record, meta), started)
                return True
            self.holder = None if found is None else found.record
        return False

    def find_holder(self) -> LeaseRecord | None:
        """Who holds the lease now; ``None``: it could be taken. Takes nothing.

        Raises:
            StoreError: The store failed.
        """
        found = self._look()
        return None if found is None else self._holder(found)

    def renew(self) -> None:
        """Move the deadline to a full ``ttl`` from now.

        Raises:
            LeaseLostError: Somebody else has it, or it ran out.
            StoreError: The store failed. The lease is held until its old deadline; ``renew`` may be called again.
        """
        mine = self._mine
        if mine is None or not self.held:
            self._mine = None
            msg = f"the lease {self._key} ran out before it could be renewed; start again, finished rows are safe"
            raise LeaseLostError(msg)
        if self._renewal is None:
            # Also the deadline of every repetition: an earlier attempt may be the one that took effect.
            self._renewal = replace(mine.record, number=mine.record.number + 1), self._clock.monotonic()
        record, started = self._renewal
        meta = self._write(record, IfMatch(mine.meta.etag))
        if meta is None:
            self._mine = None
            msg = f"the lease {self._key} was taken over by somebody else; start again, finished rows are safe"
            raise LeaseLostError(msg)
        self._take(_Found(record, meta), started)

    def release(self) -> None:
        """Give the lease back at once, if it is still ours; else do nothing.

        Raises:
            StoreError: The store failed; the lease expires by itself.
        """
        mine, self._mine = self._mine, None
        pending, self._renewal = self._renewal, None
        if mine is None:
            return
        newest = mine.record if pending is None else pending[0]
        record = replace(mine.record, number=newest.number + 1, released=True)
        if self._write(record, IfMatch(mine.meta.etag)) is None and pending is not None:
            # A renewal whose answer was lost may stand there: it is ours as well.
            found = self._look()
            if found is not None and found.record.is_write(pending[0]):
                self._write(record, IfMatch(found.meta.etag))

    def _take(self, mine: _Found, started: float) -> None:
        self._mine, self._renewal, self.holder = mine, None, None
        self.took = self._clock.monotonic() - started
        self._deadline = started + self._ttl.total_seconds()

    def _holder(self, found: _Found) -> LeaseRecord | None:
        if found.record.released:
            return None
        # No clock of ours is compared: the store says when the lock was written, and what time it is now.
        now = self._store.put(time_key(self._key), b"", mode=Overwrite()).last_modified
        written = found.meta.last_modified
        if has_expired(found.record, written=written, store_now=now):
            return None
        return found.record.seen(written=written, store_now=now)

    def _look(self) -> _Found | None:
        try:
            data, meta = self._store.get(self._key)
        except ObjectNotFoundError:
            return None
        return _Found(LeaseRecord.from_json(data, key=self._key), meta)

    def _write(self, record: LeaseRecord, mode: PutMode) -> ObjectMeta | None:
        """Write the lock; ``None``: another write stands there. A doubtful answer is settled by reading back."""
        try:
            return self._store.put(self._key, record.to_json(), mode=mode)
        except _DOUBTFUL as error:
            found = self._look()
            if found is not None and found.record.is_write(record):
                return found.meta
            if isinstance(error, (AlreadyExistsError, PreconditionFailedError)):
                return None
            raise
