"""The lease of an annotator: held while rows are asked, looked at when a view is entered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from datetime import timedelta

from datalake_service.annotating.uninterrupted import uninterrupted
from datalake_service.catalog import layout
from datalake_service.catalog.lease_keeper import LeaseKeeper
from datalake_service.catalog.leases import Lease, LeaseRecord
from datalake_service.errors import AnnotationLockError, StoreError
from datalake_service.events import ANNOTATION_LEASE_NOT_RELEASED, emit
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.probe import require_conditions
from datalake_utils.clock import Clock, SystemClock

_ANY = timedelta(hours=1)
"""For a lease that is only looked at."""


class AnnotatorLease:
    """The lease of one annotator of one dataset."""

    def __init__(
        self, store: ObjectStore, dataset: str, annotator: str, *, ttl: timedelta = _ANY, clock: Clock | None = None
    ) -> None:
        """Prepare; nothing is asked of the store."""
        self._store = store
        self._fields = {"dataset": dataset, "annotator": annotator}
        self._name = f"{dataset}/{annotator}"
        key = layout.annotator_lease_key(dataset, annotator)
        self._lease = Lease(store, key, ttl=ttl, owner=f"annotate {self._name}", clock=clock or SystemClock())

    def refuse_if_held(self) -> None:
        """Look whether a live worker holds it; takes nothing.

        Raises:
            AnnotationLockError: One does.
            StoreError: The store failed.
        """
        holder = self._lease.find_holder()
        if holder is not None:
            raise self._refused(holder)

    @asynccontextmanager
    async def held(self, threads: Executor) -> AsyncGenerator[LeaseKeeper, None]:
        """Hold it, and keep it from running out; given back whatever happens. Requests are made in ``threads``.

        Raises:
            AnnotationLockError: A live worker holds it.
            StoreError: The store failed, or ignores conditional writes.
        """
        loop = asyncio.get_running_loop()
        try:
            if not await uninterrupted(loop.run_in_executor(threads, self._take)):
                raise self._refused(self._lease.holder)
            keeper = LeaseKeeper(self._lease)
            keeper.start()
            try:
                yield keeper
            finally:
                await uninterrupted(loop.run_in_executor(threads, keeper.stop))
        finally:
            await uninterrupted(loop.run_in_executor(threads, self._give_back))

    def _take(self) -> bool:
        require_conditions(self._store)
        return self._lease.acquire()

    def _refused(self, holder: LeaseRecord | None) -> AnnotationLockError:
        who = "" if holder is None else f": {holder.in_words()}"
        return AnnotationLockError(
            f"another worker holds the annotator {self._name}{who}; wait for it, or use another annotator name. "
            "If it is dead, its lock runs out by itself"
        )

    def _give_back(self) -> None:
        try:
            self._lease.release()
        except StoreError as error:  # what the run did is not undone by that
            emit(ANNOTATION_LEASE_NOT_RELEASED, level=logging.WARNING, **self._fields, error=str(error))
