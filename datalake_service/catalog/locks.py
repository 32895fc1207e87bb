"""Leases seen from outside: who holds what, since when and for how long; and taking one away on purpose.

``leases.py`` is the holder's side. All times are by the store's clock, except when the owner says it began.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from datalake_service.catalog import layout
from datalake_service.catalog.claims import Claim, Claims
from datalake_service.catalog.fencing import take_away
from datalake_service.catalog.leases import LeaseRecord, grace, renewal_lead, time_key
from datalake_service.catalog.manifests import format_time
from datalake_service.errors import ObjectNotFoundError, StoreError, StoreUnavailableError
from datalake_service.storage.base import ObjectStore, Overwrite
from datalake_utils.clock import Clock

_NOTHING: Final = timedelta(0)
_READERS: Final = 8
"""Claims read at once."""


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
    worker: str | None = None
    """Which of the workers that share the annotator; ``None``: one that has it for itself."""
    batches: tuple[str, ...] = ()
    """The batches that a shared worker has."""
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
            "worker": self.worker,
            "batches": list(self.batches),
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
    """All locks of the annotators of a dataset that were not given back, and those of workers that share one.

    Costs two listings and one read for each annotator, one small write for each lock (it tells the store's time), and
    if there are shared workers, one read for each batch that was ever shared.
    """
    for annotator in store.list_folders(layout.annotators_prefix(dataset)):
        yield from find_locks_of(store, dataset, annotator)


def find_locks_of(store: ObjectStore, dataset: str, annotator: str) -> list[Lock]:
    """The locks of one annotator that were not given back: its own, or those of the workers that share it."""
    found = [find_lock(store, dataset, annotator)]
    prefix = layout.worker_leases_prefix(dataset, annotator)
    named = (layout.parse_worker_lease(meta.key.removeprefix(prefix)) for meta in store.list(prefix))
    found += [find_lock(store, dataset, annotator, worker) for worker in named if worker is not None]
    locks = [lock for lock in found if lock is not None]
    if all(lock.worker is None for lock in locks):
        return locks
    batches = _claimed(store, dataset, annotator)
    return [replace(lock, batches=tuple(sorted(batches.get(lock.worker or "", ())))) for lock in locks]


def find_lock(store: ObjectStore, dataset: str, annotator: str, worker: str | None = None) -> Lock | None:
    """The lock of an annotator, or of one of its workers; ``None``: there is none, or it was given back."""
    key = lock_key(dataset, annotator, worker)
    try:
        body, meta = store.get(key)
    except ObjectNotFoundError:
        return None
    record, problem = None, None
    try:
        record = LeaseRecord.from_json(body, key=key)
    except StoreError as error:
        problem = str(error)
    if record is not None and record.released:
        return None
    now = store.put(time_key(layout.annotator_lease_key(dataset, annotator)), b"", mode=Overwrite()).last_modified
    return Lock(
        dataset=dataset,
        annotator=annotator,
        worker=worker,
        record=record,
        error=problem,
        written_at=meta.last_modified,
        store_now=now,
        etag=meta.etag,
    )


def _claimed(store: ObjectStore, dataset: str, annotator: str) -> dict[str, list[str]]:
    """The batches that workers claimed and did not give back, by worker. A claim that cannot be read is nobody's."""
    claims = Claims(store, dataset, annotator)
    found: dict[str, list[str]] = {}
    with ThreadPoolExecutor(_READERS, thread_name_prefix="claims") as pool:
        for claim in pool.map(lambda batch: _read(claims, batch), claims.versions()):
            if claim is not None and not claim.record.released:
                found.setdefault(claim.record.worker, []).append(claim.batch)
    return found


def _read(claims: Claims, batch: str) -> Claim | None:
    try:
        return claims.read(batch)
    except StoreUnavailableError:
        raise
    except StoreError:
        return None


def lock_key(dataset: str, annotator: str, worker: str | None) -> str:
    """The key of a lock: of one of the workers that share an annotator, or of the annotator itself (``None``)."""
    if worker is None:
        return layout.annotator_lease_key(dataset, annotator)
    return layout.worker_lease_key(dataset, annotator, worker)


def break_lock(
    store: ObjectStore, lock: Lock, *, clock: Clock | None = None, draw: Callable[[], str] | None = None
) -> None:
    """Give a lock back in its owner's place, if it is still as it was looked at. One conditional write.

    Its owner, if it is alive, notices when it renews: it stops then, and what it stored until then counts. The batches
    of a shared worker are free at once.

    Args:
        store: The lake.
        lock: As it was found.
        clock: Time source.
        draw: Returns a random name of 32 hexadecimal digits.

    Raises:
        PreconditionFailedError: It was renewed or given back since; nothing was changed.
        StoreError: The store failed, or its answer stayed unknown.
    """
    take_away(
        store,
        lock_key(lock.dataset, lock.annotator, lock.worker),
        etag=lock.etag,
        ttl=lock.record.ttl if lock.record is not None else timedelta(seconds=1),
        by="datalake locks break",
        clock=clock,
        draw=draw,
    )
