"""Leases seen from outside: who holds what, since when and for how long; and taking one away on purpose.

``leases.py`` is the holder's side. All times are by the store's clock, except when the owner says it began.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple

from datalake_service.catalog import layout
from datalake_service.catalog.claims import Claim, ClaimsBelow
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


class LockedFor(StrEnum):
    """What a lock is for."""

    ANNOTATOR = "annotator"
    TASKS = "tasks"
    """Of one of the workers that share the tasks of a dataset."""
    PLANNING = "planning"
    MERGING = "merging"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """One lock object that was not given back."""

    key: str
    dataset: str
    locked_for: LockedFor = LockedFor.ANNOTATOR
    annotator: str | None = None
    worker: str | None = None
    """Which of the workers that share the annotator, or the tasks; ``None``: one that has it for itself."""
    claims: tuple[str, ...] = ()
    """The batches, or the tasks, that a shared worker has."""
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
            "for": str(self.locked_for),
            "annotatorName": self.annotator,
            "worker": self.worker,
            "batches": list(self.claims if self.annotator is not None else ()),
            "tasks": list(self.claims if self.annotator is None else ()),
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
    """All locks of a dataset that were not given back: of its tasks, then of its annotators.

    Costs three listings, two requests, and for each annotator two listings and one read; one small write for each lock
    (it tells the store's time), and where workers share something, one read for each claim.
    """
    yield from find_task_locks(store, dataset)
    for annotator in store.list_folders(layout.annotators_prefix(dataset)):
        yield from find_locks_of(store, dataset, annotator)


def find_task_locks(store: ObjectStore, dataset: str) -> list[Lock]:
    """The locks that workers of the tasks did not give back: their own, and who plans, and who merges, for all."""
    prefix = layout.task_workers_prefix(dataset)
    found = [
        _look(store, layout.planning_lease_key(dataset), dataset, locked_for=LockedFor.PLANNING),
        _look(store, layout.merging_lease_key(dataset), dataset, locked_for=LockedFor.MERGING),
    ]
    found += [
        _look(store, prefix + worker.name, dataset, locked_for=LockedFor.TASKS, worker=worker.worker)
        for worker in _workers(store, prefix)
    ]
    return _with_claims([lock for lock in found if lock is not None], store, layout.task_claims_prefix(dataset))


def find_locks_of(store: ObjectStore, dataset: str, annotator: str) -> list[Lock]:
    """The locks of one annotator that were not given back: its own, or those of the workers that share it."""
    prefix = layout.worker_leases_prefix(dataset, annotator)
    found = [find_lock(store, dataset, annotator)]
    found += [find_lock(store, dataset, annotator, worker.worker) for worker in _workers(store, prefix)]
    return _with_claims([lock for lock in found if lock is not None], store, layout.claims_prefix(dataset, annotator))


def find_lock(store: ObjectStore, dataset: str, annotator: str, worker: str | None = None) -> Lock | None:
    """The lock of an annotator, or of one of its workers; ``None``: there is none, or it was given back."""
    if worker is None:
        key = layout.annotator_lease_key(dataset, annotator)
    else:
        key = layout.worker_lease_key(dataset, annotator, worker)
    return _look(store, key, dataset, annotator=annotator, worker=worker)


def _look(
    store: ObjectStore,
    key: str,
    dataset: str,
    *,
    locked_for: LockedFor = LockedFor.ANNOTATOR,
    annotator: str | None = None,
    worker: str | None = None,
) -> Lock | None:
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
    alone = layout.planning_lease_key(dataset) if annotator is None else layout.annotator_lease_key(dataset, annotator)
    return Lock(
        key=key,
        dataset=dataset,
        locked_for=locked_for,
        annotator=annotator,
        worker=worker,
        record=record,
        error=problem,
        written_at=meta.last_modified,
        store_now=store.put(time_key(alone), b"", mode=Overwrite()).last_modified,
        etag=meta.etag,
    )


class _Worker(NamedTuple):
    name: str
    """Of its lease's file."""
    worker: str


def _workers(store: ObjectStore, prefix: str) -> list[_Worker]:
    names = (meta.key.removeprefix(prefix) for meta in store.list(prefix))
    found = ((name, layout.parse_worker_lease(name)) for name in names)
    return [_Worker(name, worker) for name, worker in found if worker is not None]


def _with_claims(locks: list[Lock], store: ObjectStore, prefix: str) -> list[Lock]:
    """Those of workers with what they claimed and did not give back. A claim that cannot be read is nobody's."""
    if all(lock.worker is None for lock in locks):
        return locks
    claims = ClaimsBelow(store, prefix)
    found: dict[str, list[str]] = {}
    with ThreadPoolExecutor(_READERS, thread_name_prefix="claims") as pool:
        for claim in pool.map(lambda name: _read(claims, name), claims.versions()):
            if claim is not None and not claim.record.released:
                found.setdefault(claim.record.worker, []).append(claim.batch)
    return [replace(lock, claims=tuple(sorted(found.get(lock.worker or "", ())))) for lock in locks]


def _read(claims: ClaimsBelow, name: str) -> Claim | None:
    try:
        return claims.read(name)
    except StoreUnavailableError:
        raise
    except StoreError:
        return None


def break_lock(
    store: ObjectStore, lock: Lock, *, clock: Clock | None = None, draw: Callable[[], str] | None = None
) -> None:
    """Give a lock back in its owner's place, if it is still as it was looked at. One conditional write.

    Its owner, if it is alive, notices when it renews: it stops then, and what it stored until then counts. The batches
    or tasks of a shared worker are free at once.

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
        lock.key,
        etag=lock.etag,
        ttl=lock.record.ttl if lock.record is not None else timedelta(seconds=1),
        by="datalake locks break",
        clock=clock,
        draw=draw,
    )
