"""A worker's place among those that share the tasks of a dataset: its lease, who else lives, what is done by one.

``docs/design/022-workers.md`` has the rules. Knows nothing of tasks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from hashlib import blake2b
from logging import WARNING
from types import TracebackType
from typing import Final, Self

from datalake_service import events
from datalake_service.catalog import layout
from datalake_service.catalog.claims import ClaimsBelow
from datalake_service.catalog.fencing import WorkersBelow, is_gone, take_from_dead
from datalake_service.catalog.lease_keeper import LeaseKeeper
from datalake_service.catalog.leases import Lease, LeaseRecord, time_key
from datalake_service.config.dataset import DatasetConfig
from datalake_service.errors import ConfigError, LeaseLostError, ObjectNotFoundError, StoreError
from datalake_service.storage.base import ObjectStore
from datalake_utils.backoff import Backoff
from datalake_utils.clock import Clock
from datalake_utils.ids import random_hex

_WORKER_DIGITS: Final = 32
_FILE: Final = "dataset file "
_LOOK: Final = Backoff(first=0.2, longest=2.0)
"""How often somebody who waits for another one's planning or merging looks."""


def digest_of(config: DatasetConfig) -> str:
    """Names the content of a dataset file, wherever it is."""
    text = json.dumps(dict(config.document), sort_keys=True)
    return blake2b(text.encode(), digest_size=6).hexdigest()


class WorkerPlace:
    """Holds a worker's lease while its context lasts; a ``Company``."""

    def __init__(self, store: ObjectStore, config: DatasetConfig, *, ttl: timedelta, clock: Clock) -> None:
        """Prepare; nothing is asked of the store."""
        self._store = store
        self._dataset = config.dataset_name
        self._ttl = ttl
        self._clock = clock
        self._name = random_hex(_WORKER_DIGITS)
        self._digest = digest_of(config)
        self._key = layout.task_worker_key(self._dataset, self._name)
        self._owner = f"worker of {self._dataset}, {_FILE}{self._digest}"
        self._lease = Lease(store, self._key, ttl=ttl, owner=self._owner, clock=clock)
        self._keeper = LeaseKeeper(self._lease)
        self._workers = WorkersBelow(
            store,
            layout.task_workers_prefix(self._dataset),
            time_key=time_key(layout.planning_lease_key(self._dataset)),
            clock=clock,
            gone=is_gone,
        )
        self.claims = ClaimsBelow(store, layout.task_claims_prefix(self._dataset), worker=self._name)
        """Those of tasks, as this worker writes them."""
        self.began: Mapping[str, str] = {}
        """The versions of the claims when this worker began."""

    @property
    def worker(self) -> str:
        """The name of this worker, used once."""
        return self._name

    @property
    def longest_look(self) -> float:
        """Seconds between two looks at what others do, at most: a fraction of what a dead one can keep them waiting."""
        return self._ttl.total_seconds() / 4

    def live(self) -> Mapping[str, LeaseRecord]:
        """The other workers that may act; no other one that had a lease can.

        Raises:
            StoreError: The store failed, or a lease cannot be read.
        """
        return self._workers.live(but=self._name)

    def must_stop(self) -> LeaseLostError | None:
        """The reason why work has to end now, if it has to. Asks nobody."""
        return self._keeper.must_stop()

    def __enter__(self) -> Self:
        """Take the lease, then look at the others.

        Raises:
            ConfigError: Somebody works on the dataset with another dataset file.
            LeaseLostError: An earlier request of ours came so late that it is in the way.
            StoreError: The store failed.
        """
        try:
            if not self._lease.acquire():
                raise LeaseLostError(
                    f"the lease {self._key} stands there already, which is nobody's but ours; start again"
                )
            self._refuse_another_file()
            self.began = dict(self.claims.versions())
        except BaseException:
            self._give_back()
            raise
        self._keeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lease back: what was claimed under it is free."""
        self._keeper.stop()
        self._give_back()

    @contextmanager
    def planning(self) -> Iterator[None]:
        """Plan alone; or wait until somebody else has done it, then read what that one planned."""
        lease = self._lease_of(layout.planning_lease_key(self._dataset))
        waits = 0
        waited_for: str | None = None
        while not self._was_given_back(layout.planning_lease_key(self._dataset), waited_for):
            if self._take(lease, layout.planning_lease_key(self._dataset)):
                with _kept(lease):
                    yield
                return
            waited_for = waited_for or (lease.holder.attempt if lease.holder is not None else None)
            waits += 1
            self._clock.sleep(_LOOK.seconds(waits))
        yield

    @contextmanager
    def merging(self) -> Iterator[None]:
        """Merge alone; wait as long as another one does."""
        key = layout.merging_lease_key(self._dataset)
        lease, waits = self._lease_of(key), 0
        while not self._take(lease, key):
            waits += 1
            self._clock.sleep(_LOOK.seconds(waits))
        with _kept(lease):
            yield

    def _lease_of(self, key: str) -> Lease:
        return Lease(self._store, key, ttl=self._ttl, owner=self._owner, clock=self._clock)

    def _take(self, lease: Lease, key: str) -> bool:
        take_from_dead(self._store, [key])
        return lease.acquire()

    def _was_given_back(self, key: str, attempt: str | None) -> bool:
        """Whether the holder of an attempt has done its work; a lease that was taken away bears another name."""
        if attempt is None:
            return False
        try:
            record = LeaseRecord.from_json(self._store.get(key)[0], key=key)
        except ObjectNotFoundError:
            return False
        return record.released and record.attempt == attempt

    def _refuse_another_file(self) -> None:
        for record in self.live().values():
            digest = record.owner.rpartition(_FILE)[2]
            if digest != self._digest:
                raise ConfigError(
                    f"dataset {self._dataset!r}: a worker with another dataset file works on it: {record.in_words()}. "
                    "All workers need the same file: end those first (datalake datasets stop), or give this file "
                    "another datasetName"
                )

    def _give_back(self) -> None:
        """Remove the lease: nobody else ever writes under its name."""
        try:
            self._store.delete(self._key)
        except StoreError as error:
            events.emit(events.WORKER_LEASE_NOT_RELEASED, level=WARNING, dataset=self._dataset, error=str(error))


@contextmanager
def _kept(lease: Lease) -> Iterator[None]:
    """Keep a lease while something is done that is safe without it; then give it back."""
    keeper = LeaseKeeper(lease)
    keeper.start()
    try:
        yield
    finally:
        keeper.stop()
        with suppress(StoreError):  # it runs out
            lease.release()
