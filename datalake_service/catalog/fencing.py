"""Who lives: leases that others hold, and making sure that nobody acts any more under one that has run out.

The holder's side is ``leases.py``. A lease that is replaced by its taker needs nothing of this; one whose end lets
somebody write another object does. See ``docs/design/012-shared-annotators.md``, rule 2.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from datalake_service.catalog import layout
from datalake_service.catalog.leases import LeaseRecord, has_expired, time_key
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

_ATTEMPT_DIGITS = 32
_ROUNDS = 4
"""How often a lease that is renewed under our eyes is looked at again; then it lives."""
_EXPIRED = "lease that ran out"


def take_away(
    store: ObjectStore,
    key: str,
    *,
    etag: str,
    ttl: timedelta,
    by: str,
    clock: Clock | None = None,
    draw: Callable[[], str] | None = None,
) -> None:
    """Give a lease back in its owner's place, if it is still the version ``etag``. One conditional write.

    From then on no renewal of its owner can succeed. If it is alive, it notices when it renews.

    Args:
        store: The lake.
        key: Of the lease.
        etag: As it was looked at.
        ttl: Of the lease.
        by: Who does it, in words.
        clock: Time source.
        draw: Returns a random name of 32 hexadecimal digits.

    Raises:
        PreconditionFailedError: It was renewed, taken, given back or removed since; nothing was changed.
        StoreError: The store failed, or its answer stayed unknown.
    """
    record = LeaseRecord(
        attempt=draw()
        if draw is not None
        else random_hex(_ATTEMPT_DIGITS),  # never the owner's: it would know it again
        number=0,
        ttl=ttl,
        owner=by,
        host=socket.gethostname(),
        pid=os.getpid(),
        acquired_at=(clock or SystemClock()).now(),
        released=True,
    )
    try:
        store.put(key, record.to_json(), mode=IfMatch(etag))
    except (AlreadyExistsError, PreconditionFailedError, OutcomeUnknownError, StoreUnavailableError) as error:
        if _stands_there(store, key, record):
            return
        if isinstance(error, (OutcomeUnknownError, StoreUnavailableError)):
            raise
        msg = f"the lock {key} was renewed, taken or given back meanwhile; nothing was changed: look again"
        raise PreconditionFailedError(msg) from error


def find_live(
    store: ObjectStore, key: str, *, clock: Clock | None = None, draw: Callable[[], str] | None = None
) -> LeaseRecord | None:
    """Who may act under a lease; ``None``: nobody can any more, until somebody takes it.

    Raises:
        StoreError: The store failed, or the lease cannot be read.
    """
    record: LeaseRecord | None = None
    for _ in range(_ROUNDS):
        try:
            body, meta = store.get(key)
        except ObjectNotFoundError:
            return None
        record = LeaseRecord.from_json(body, key=key)
        if record.released:
            return None
        now = store.put(time_key(key), b"", mode=Overwrite()).last_modified
        if not has_expired(record, written=meta.last_modified, store_now=now):
            return record.seen(written=meta.last_modified, store_now=now)
        try:
            take_away(store, key, etag=meta.etag, ttl=record.ttl, by=_EXPIRED, clock=clock, draw=draw)
        except PreconditionFailedError:
            continue
        return None
    return record


def take_from_dead(store: ObjectStore, keys: Iterable[str]) -> None:
    """Take away the leases that belong to processes of this machine that do not exist any more.

    Should that be wrong (two machines of one name), the owner finds its lease gone when it renews it, and stops.

    Raises:
        StoreError: A lease cannot be read or written.
    """
    for key in keys:
        try:
            body, meta = store.get(key)
            record = LeaseRecord.from_json(body, key=key)
            if not record.released and is_gone(record.host, record.pid):
                take_away(store, key, etag=meta.etag, ttl=record.ttl, by="its process is gone")
        except (ObjectNotFoundError, PreconditionFailedError):
            continue  # nobody holds it, or somebody else does by now


def is_gone(host: str, pid: int) -> bool:
    """Whether a process is one of this machine, and does not exist any more. Of other machines nobody can tell."""
    if host != socket.gethostname():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


class WorkersBelow:
    """The workers with leases below one prefix. Remembers leases: one that was not renewed is not read again."""

    def __init__(
        self,
        store: ObjectStore,
        prefix: str,
        *,
        time_key: str,
        clock: Clock | None = None,
        draw: Callable[[], str] | None = None,
        gone: Callable[[str, int], bool] | None = None,
    ) -> None:
        """Prepare; nothing is asked of the store.

        Args:
            store: The lake.
            prefix: Of the leases.
            time_key: Is overwritten to learn the store's time.
            clock: Time source.
            draw: Returns a random name of 32 hexadecimal digits.
            gone: Knows of a host and a process whether it exists no more, as ``is_gone``: then nobody waits for the
                end of its lease.
        """
        self._store = store
        self._prefix = prefix
        self._gone = gone or (lambda _host, _pid: False)
        self._time_key = time_key
        self._clock = clock
        self._draw = draw
        self._read: dict[str, LeaseRecord] = {}
        """By ETag, which a lease never has twice."""

    def live(self, *, but: str | None = None, look_only: bool = False) -> dict[str, LeaseRecord]:
        """The leases of the workers that may act, by worker, ``but`` for one. No other worker that it saw can.

        Whoever had a lease when this was called is in the answer. One listing; if there are others, one small write
        (it tells the store's time) and one read for each lease that is new or was renewed.

        Args:
            but: This worker is not asked for.
            look_only: Change nothing: leases that ran out are left out, but not taken away. For messages.

        Raises:
            StoreError: The store failed, or a lease cannot be read.
        """
        found: dict[str, tuple[ObjectMeta, LeaseRecord]] = {}
        for meta in self._store.list(self._prefix):
            worker = layout.parse_worker_lease(meta.key.removeprefix(self._prefix))
            if worker is not None and worker != but and (one := self._look(meta)) is not None:
                found[worker] = one
        self._read = {meta.etag: record for meta, record in found.values()}
        if not found:
            return {}
        now = self._store.put(self._time_key, b"", mode=Overwrite()).last_modified
        return {
            worker: record.seen(written=meta.last_modified, store_now=now)
            for worker, (meta, record) in found.items()
            if self._lives(meta, record, now, look_only=look_only)
        }

    def _look(self, listed: ObjectMeta) -> tuple[ObjectMeta, LeaseRecord] | None:
        known = self._read.get(listed.etag)
        if known is not None:
            return listed, known
        try:
            body, meta = self._store.get(listed.key)
        except ObjectNotFoundError:  # given back since the listing
            return None
        return meta, LeaseRecord.from_json(body, key=meta.key)

    def _lives(self, meta: ObjectMeta, record: LeaseRecord, now: datetime, *, look_only: bool) -> bool:
        expired = has_expired(record, written=meta.last_modified, store_now=now)
        if not record.released and not expired and not self._gone(record.host, record.pid):
            return True
        if look_only:
            return False
        if not record.released:
            try:
                take_away(
                    self._store,
                    meta.key,
                    etag=meta.etag,
                    ttl=record.ttl,
                    by=_EXPIRED if expired else "its process is gone",
                    clock=self._clock,
                    draw=self._draw,
                )
            except PreconditionFailedError:
                return True  # renewed, or gone: the next look knows
        # Its name was used once: nobody can write it again under a condition that still holds.
        with contextlib.suppress(StoreError):
            self._store.delete(meta.key)
        return False


class Workers(WorkersBelow):
    """The workers that share one annotator."""

    def __init__(
        self,
        store: ObjectStore,
        dataset: str,
        annotator: str,
        *,
        clock: Clock | None = None,
        draw: Callable[[], str] | None = None,
        gone: Callable[[str, int], bool] | None = None,
    ) -> None:
        """Prepare; nothing is asked of the store. Arguments as those of ``WorkersBelow``."""
        super().__init__(
            store,
            layout.worker_leases_prefix(dataset, annotator),
            time_key=time_key(layout.annotator_lease_key(dataset, annotator)),
            clock=clock,
            draw=draw,
            gone=gone,
        )


def _stands_there(store: ObjectStore, key: str, record: LeaseRecord) -> bool:
    try:
        return LeaseRecord.from_json(store.get(key)[0], key=key).is_write(record)
    except StoreError:
        return False
