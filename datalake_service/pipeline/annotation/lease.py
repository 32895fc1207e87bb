"""The lease of an annotator: held while rows are asked, looked at when a view is entered.

Alone, or as one of many workers that share the annotator: each kind keeps the other out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from datetime import timedelta

from datalake_service.annotating.uninterrupted import uninterrupted
from datalake_service.catalog import layout
from datalake_service.catalog.fencing import Workers, find_live
from datalake_service.catalog.lease_keeper import LeaseKeeper
from datalake_service.catalog.leases import Lease, LeaseRecord, shortest_ttl
from datalake_service.errors import AnnotationLockError, LeaseLostError, StoreError, UsageError
from datalake_service.events import ANNOTATION_LEASE_NOT_RELEASED, emit
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.probe import require_conditions
from datalake_utils.clock import Clock, SystemClock
from datalake_utils.ids import random_hex
from datalake_utils.units import format_duration

_ANY = timedelta(hours=1)
"""For a lease that is only looked at."""
_WORKER_DIGITS = 32
UNLIMITED = ", no limits"
"""How the lease of a shared worker says whose it is, if that has neither limits nor a budget: others look for it."""
_BY = ", by "
"""Behind it, in the lease of a shared worker, stands who makes its annotations."""


class HeldLease(ABC):
    """What a worker holds on an annotator. One use."""

    def __init__(self, store: ObjectStore, dataset: str, annotator: str, lease: Lease) -> None:
        """Prepare; nothing is asked of the store."""
        self._store = store
        self._dataset = dataset
        self._annotator = annotator
        self._name = f"{dataset}/{annotator}"
        self._lease = lease

    @abstractmethod
    def refuse_if_held(self) -> None:
        """Look whether a live worker keeps this one out; takes nothing.

        Raises:
            AnnotationLockError: One does.
            StoreError: The store failed.
        """

    @abstractmethod
    def take(self) -> None:
        """Take it, then look whether a live worker of the other kind is there: both look after they wrote.

        Raises:
            AnnotationLockError: A live worker keeps this one out; call ``give_back``, as in any case.
            StoreError: The store failed, or ignores conditional writes.
        """

    @abstractmethod
    def give_back(self) -> None:
        """Give it back, if it was taken. Raises nothing: what was done is not undone by that."""

    def keeper(self) -> LeaseKeeper:
        """What keeps it from running out; not started."""
        return LeaseKeeper(self._lease)

    @asynccontextmanager
    async def held(self, threads: Executor) -> AsyncGenerator[LeaseKeeper, None]:
        """Hold it, and keep it from running out; given back whatever happens. Requests are made in ``threads``.

        Raises:
            AnnotationLockError: A live worker keeps this one out.
            UsageError: It would run out before it can be renewed.
            StoreError: The store failed, or ignores conditional writes.
        """
        loop = asyncio.get_running_loop()
        try:
            await uninterrupted(loop.run_in_executor(threads, self.take))
            await uninterrupted(loop.run_in_executor(threads, self._refuse_if_too_short))
            keeper = self.keeper()
            keeper.start()
            try:
                yield keeper
            finally:
                await uninterrupted(loop.run_in_executor(threads, keeper.stop))
        finally:
            await uninterrupted(loop.run_in_executor(threads, self.give_back))

    def _refuse_if_too_short(self) -> None:
        lease = self._lease
        if shortest_ttl(lease.took) <= lease.ttl:
            return
        if lease.held:
            with contextlib.suppress(LeaseLostError):
                lease.renew()  # the first request of a process takes longer
            if shortest_ttl(lease.took) <= lease.ttl:
                return
        least = shortest_ttl(lease.took) // timedelta(milliseconds=1)
        raise UsageError(
            f"lock_ttl_ms={lease.ttl // timedelta(milliseconds=1)} is too short here: the lock of {self._name} would "
            f"run out before it could be renewed, which takes {format_duration(lease.took)}; give at least {least}"
        )

    def _refused(self, holder: LeaseRecord | None, *, what: str = "another worker holds") -> AnnotationLockError:
        who = "" if holder is None else f": {holder.in_words()}"
        return AnnotationLockError(
            f"{what} the annotator {self._name}{who}; wait for it, or use another annotator name. If its process is "
            f"dead, break its lock: datalake locks break --datasetName {self._dataset} --annotator {self._annotator}"
        )

    def _not_given_back(self, error: StoreError) -> None:
        fields = {"dataset": self._dataset, "annotator": self._annotator}
        emit(ANNOTATION_LEASE_NOT_RELEASED, level=logging.WARNING, **fields, error=str(error))


class AnnotatorLease(HeldLease):
    """The lease of a worker that has an annotator for itself."""

    def __init__(
        self,
        store: ObjectStore,
        dataset: str,
        annotator: str,
        *,
        ttl: timedelta = _ANY,
        clock: Clock | None = None,
        draw: Callable[[], str] | None = None,
    ) -> None:
        """Prepare; nothing is asked of the store. ``draw`` returns 32 random hexadecimal digits."""
        key = layout.annotator_lease_key(dataset, annotator)
        owner = f"annotate {dataset}/{annotator}"
        clock = clock or SystemClock()
        super().__init__(store, dataset, annotator, Lease(store, key, ttl=ttl, owner=owner, clock=clock, draw=draw))
        self._workers = Workers(store, dataset, annotator, clock=clock)

    def refuse_if_held(self) -> None:
        """Look whether a live worker keeps this one out, alone or shared; takes nothing."""
        holder = self._lease.find_holder()
        if holder is not None:
            raise self._refused(holder)
        self._refuse_if_shared(self._workers.live(look_only=True))

    def take(self) -> None:
        """Take it, then look for shared workers."""
        require_conditions(self._store)
        if not self._lease.acquire():
            raise self._refused(self._lease.holder)
        self._refuse_if_shared(self._workers.live())

    def give_back(self) -> None:
        """Mark it as given back."""
        try:
            self._lease.release()
        except StoreError as error:
            self._not_given_back(error)

    def _refuse_if_shared(self, live: dict[str, LeaseRecord]) -> None:
        if live:
            how_many = f"{len(live)} workers share" if len(live) > 1 else "a worker shares"
            raise self._refused(min(live.values(), key=lambda one: one.acquired_at), what=how_many)


class WorkerLease(HeldLease):
    """The lease of one of the workers that share an annotator: as long as it lasts, the batches it claimed are its."""

    def __init__(
        self,
        store: ObjectStore,
        dataset: str,
        annotator: str,
        *,
        ttl: timedelta = _ANY,
        clock: Clock | None = None,
        draw: Callable[[], str] | None = None,
        limited: bool = False,
        maker: str | None = None,
    ) -> None:
        """Prepare; nothing is asked of the store. ``draw`` returns 32 random hexadecimal digits.

        ``limited`` says whether this worker has limits or a budget, which all who share the annotator have together;
        ``maker`` who makes its annotations: those who share it must all be the same.
        """
        self.worker = draw() if draw is not None else random_hex(_WORKER_DIGITS)
        """The name of the worker, used once."""
        self._key = layout.worker_lease_key(dataset, annotator, self.worker)
        self._asked = False
        self._clock = clock or SystemClock()
        self._maker = maker
        made_by = "" if maker is None else f"{_BY}{maker}"
        owner = f"annotate {dataset}/{annotator}, shared{made_by}{'' if limited else UNLIMITED}"
        super().__init__(
            store, dataset, annotator, Lease(store, self._key, ttl=ttl, owner=owner, clock=self._clock, draw=draw)
        )

    def refuse_if_held(self) -> None:
        """Look whether a live worker has the annotator for itself; takes nothing."""
        key = layout.annotator_lease_key(self._dataset, self._annotator)
        holder = Lease(self._store, key, ttl=_ANY, clock=self._clock).find_holder()
        if holder is not None:
            raise self._refused(holder)

    def take(self) -> None:
        """Take it, then look for a worker that has the annotator for itself."""
        require_conditions(self._store)
        self._asked = True
        if not self._lease.acquire():
            raise self._refused(self._lease.holder)
        holder = find_live(self._store, layout.annotator_lease_key(self._dataset, self._annotator), clock=self._clock)
        if holder is not None:
            raise self._refused(holder)
        if self._maker is not None:
            self._refuse_others(self.live())

    def live(self) -> dict[str, LeaseRecord]:
        """The other workers that may act; changes nothing.

        Raises:
            StoreError: The store failed, or a lease cannot be read.
        """
        workers = Workers(self._store, self._dataset, self._annotator, clock=self._clock)
        return workers.live(but=self.worker, look_only=True)

    def _refuse_others(self, live: dict[str, LeaseRecord]) -> None:
        """Who makes which row would be chance. Both look after their leases can be seen, so both may be refused."""
        for record in live.values():
            made_by = record.owner.removesuffix(UNLIMITED).partition(_BY)[2]
            if made_by and made_by != self._maker:
                raise AnnotationLockError(
                    f"the annotator {self._name} is shared by workers with other code: they have {made_by}, this one "
                    f"has {self._maker}; wait for them to end, or use another annotator name ({record.in_words()})"
                )

    def give_back(self) -> None:
        """Remove it: nobody else ever writes under its name, and all claims that name it are free then."""
        if not self._asked:
            return
        try:
            self._store.delete(self._key)
        except StoreError as error:
            self._not_given_back(error)
