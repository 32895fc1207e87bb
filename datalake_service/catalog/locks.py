"""Leases seen from outside: who holds what, since when and for how long; and taking one away on purpose.

``leases.py`` is the holder's side. All times are by the store's clock, except when the owner says it began.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from datalake_service.catalog import layout
from datalake_service.catalog.leases import LeaseRecord, grace, renewal_lead, time_key
from datalake_service.catalog.manifests import format_time
from datalake_service.errors import (
    AlreadyExistsError,
    ObjectNotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    StoreError,
    StoreUnavailableError,
)
from datalake_service.storage.base import IfMatch, ObjectMeta, ObjectStore, Overwrite
from datalake_utils.clock import Clock, SystemClock
from datalake_utils.ids import random_hex

_ATTEMPT_DIGITS: Final = 32
_NOTHING: Final = timedelta(0)


class LockStatus(StrEnum):
    """How a lock stands that was not given back."""

    HELD = "HELD"
    EXPIRED = "EXPIRED"
    """Its owner did not renew it: the next who wants it takes it."""
    UNREADABLE = "UNREADABLE"
    """It counts as neither free nor held: a person decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """One lock object that was not given back."""

    dataset: str
    annotator: str
    record: LeaseRecord | None
    """``None``: it cannot be read."""
    error: str | None = None
    """Why it cannot be read."""
    written_at: datetime
    """When it was taken or renewed last."""
    store_now: datetime
    etag: str

    @property
    def expires_in(self) -> timedelta:
        """Until others may take it; negative: they may."""
        if self.record is None:
            return _NOTHING
        return self.record.ttl + grace(self.record.ttl) - (self.store_now - self.written_at)

    @property
    def renewal_in(self) -> timedelta:
        """Until its owner, if it is alive, looks at it again, at the latest."""
        if self.record is None:
            return _NOTHING
        due = self.record.ttl - renewal_lead(self.record.ttl) - (self.store_now - self.written_at)
        return max(due, _NOTHING)

    @property
    def status(self) -> LockStatus:
        """How it stands."""
        if self.record is None:
            return LockStatus.UNREADABLE
        return LockStatus.EXPIRED if self.expires_in < _NOTHING else LockStatus.HELD

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        record = self.record
        return {
            "datasetName": self.dataset,
            "annotatorName": self.annotator,
            "status": str(self.status),
            "owner": None if record is None else record.owner,
            "host": None if record is None else record.host,
            "process": None if record is None else record.pid,
            "acquiredAt": None if record is None else format_time(record.acquired_at),
            "renewedAt": format_time(self.written_at),
            "ageSeconds": round((self.store_now - self.written_at).total_seconds(), 3),
            "expiresInSeconds": None if record is None else round(self.expires_in.total_seconds(), 3),
            "error": self.error,
        }


def find_locks(store: ObjectStore, dataset: str) -> Iterator[Lock]:
    """All locks of the annotators of a dataset that were not given back.

    Costs one listing, one read for each annotator, and one small write for each lock (it tells the store's time).
    """
    for annotator in store.list_folders(layout.annotators_prefix(dataset)):
        lock = find_lock(store, dataset, annotator)
        if lock is not None:
            yield lock


def find_lock(store: ObjectStore, dataset: str, annotator: str) -> Lock | None:
    """The lock of one annotator; ``None``: there is none, or it was given back."""
    key = layout.annotator_lease_key(dataset, annotator)
    try:
        body, meta = store.get(key)
    except ObjectNotFoundError:
        return None
    try:
        record = LeaseRecord.from_json(body, key=key)
    except StoreError as error:
        return _lock(store, dataset, annotator, meta, None, str(error))
    return None if record.released else _lock(store, dataset, annotator, meta, record, None)


def break_lock(
    store: ObjectStore, lock: Lock, *, clock: Clock | None = None, draw: Callable[[], str] | None = None
) -> None:
    """Give a lock back in its owner's place, if it is still as it was looked at. One conditional write.

    Its owner, if it is alive, notices when it renews: it stops then, and what it stored until then counts.

    Args:
        store: The lake.
        lock: As it was found.
        clock: Time source.
        draw: Returns a random name of 32 hexadecimal digits.

    Raises:
        PreconditionFailedError: It was renewed or given back since; nothing was changed.
        StoreError: The store failed, or its answer stayed unknown.
    """
    key = layout.annotator_lease_key(lock.dataset, lock.annotator)
    record = LeaseRecord(
        attempt=draw() if draw is not None else random_hex(_ATTEMPT_DIGITS),
        number=0,
        ttl=lock.record.ttl if lock.record is not None else timedelta(seconds=1),
        owner="datalake locks break",
        host=socket.gethostname(),
        pid=os.getpid(),
        acquired_at=(clock or SystemClock()).now(),
        released=True,
    )
    try:
        store.put(key, record.to_json(), mode=IfMatch(lock.etag))
    except (AlreadyExistsError, PreconditionFailedError, OutcomeUnknownError, StoreUnavailableError) as error:
        if _stands_there(store, key, record):
            return
        if isinstance(error, (OutcomeUnknownError, StoreUnavailableError)):
            raise
        msg = f"the lock {key} was renewed, taken or given back meanwhile; nothing was changed: look again"
        raise PreconditionFailedError(msg) from error


def _stands_there(store: ObjectStore, key: str, record: LeaseRecord) -> bool:
    try:
        return LeaseRecord.from_json(store.get(key)[0], key=key).is_write(record)
    except StoreError:
        return False


def _lock(
    store: ObjectStore, dataset: str, annotator: str, meta: ObjectMeta, record: LeaseRecord | None, error: str | None
) -> Lock:
    now = store.put(time_key(meta.key), b"", mode=Overwrite()).last_modified
    return Lock(
        dataset=dataset,
        annotator=annotator,
        record=record,
        error=error,
        written_at=meta.last_modified,
        store_now=now,
        etag=meta.etag,
    )
