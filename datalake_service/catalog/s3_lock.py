"""A lease for programs that have an event loop."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from types import TracebackType
from typing import Self

from datalake_service.catalog.leases import Lease, LeaseRecord
from datalake_service.errors import StoreError
from datalake_service.storage.base import ObjectStore
from datalake_utils.clock import Clock


class S3Lock:
    """A lease for ``async with``: ``async with S3Lock(store, key, ttl_ms=60_000) as lock: if lock: ...``.

    The block is entered whether or not the lease was taken: ask ``bool(lock)``, then and while working. It is not
    renewed by itself. Requests run in threads, so the event loop never waits.
    """

    def __init__(
        self,
        store: ObjectStore,
        key: str,
        *,
        ttl_ms: int = 3_600_000,
        owner: str = "datalake",
        clock: Clock | None = None,
    ) -> None:
        """Prepare; nothing is written."""
        self._lease = Lease(store, key, ttl=timedelta(milliseconds=ttl_ms), owner=owner, clock=clock)

    def __bool__(self) -> bool:
        """Whether the lease is held now."""
        return self._lease.held

    @property
    def holder(self) -> LeaseRecord | None:
        """Who held it when ``acquire`` last failed."""
        return self._lease.holder

    async def acquire(self) -> bool:
        """Take the lease if it is free, given back or expired; see ``Lease.acquire``."""
        taking = asyncio.ensure_future(asyncio.to_thread(self._lease.acquire))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:  # a request cannot be called back: wait for it, and undo it
            with contextlib.suppress(StoreError):
                if await taking:
                    await asyncio.to_thread(self._lease.release)
            raise

    async def renew(self) -> None:
        """Move the deadline to a full time limit from now; see ``Lease.renew``."""
        await asyncio.to_thread(self._lease.renew)

    async def release(self) -> None:
        """Give the lease back if it is still ours; see ``Lease.release``."""
        await asyncio.to_thread(self._lease.release)

    async def __aenter__(self) -> Self:
        """Try to take the lease."""
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lease back."""
        await self.release()
