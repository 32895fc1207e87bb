"""The short lock for ``async with``; the same shape as ``S3Lock``."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from datetime import timedelta
from types import TracebackType
from typing import Self

from datalake_service.errors import StoreError
from datalake_service.mutex.client import Mutex, MutexHolder
from datalake_utils.clock import Clock


class WSSMutex:
    """A lock of a minute at most: ``async with WSSMutex("wss://host", "name") as lock: if lock: ...``.

    It needs ``datalake mutex serve`` and nothing of the store. The block is entered whether or not the lock was taken:
    ask ``bool(lock)``, then and while working. It is not renewed by itself. Requests run in threads, so the event loop
    never waits, and every one of them has a time limit.
    """

    def __init__(
        self,
        base_url: str,
        name: str,
        *,
        ttl_ms: int = 10_000,
        wait_ms: int = 10_000,
        owner: str = "datalake",
        token: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Prepare; nothing is sent.

        Args:
            base_url: The server, ``ws://host:port`` or ``wss://host``.
            name: Which lock; any text.
            ttl_ms: How long it lasts unless it is renewed, 60,000 at most.
            wait_ms: How long ``acquire`` waits for somebody else to give it back; 0 asks once.
            owner: What holds it, in words, for others that wait.
            token: What the server wants to be shown, if it was given one.
            clock: Measures time.

        Raises:
            ConfigError: The address cannot be that of a mutex.
            ValueError: A time limit or the name cannot be one.
        """
        if wait_ms < 0:
            raise ValueError(f"a time to wait cannot be negative: {wait_ms}")
        self._wait = timedelta(milliseconds=wait_ms)
        self._mutex = Mutex(base_url, name, ttl=timedelta(milliseconds=ttl_ms), owner=owner, token=token, clock=clock)

    def __bool__(self) -> bool:
        """Whether the lock is held now."""
        return self._mutex.held

    @property
    def holder(self) -> MutexHolder | None:
        """Who held it when ``acquire`` last failed."""
        return self._mutex.holder

    async def acquire(self) -> bool:
        """Take the lock, if it becomes free in time; see ``Mutex.acquire``."""
        interrupted = threading.Event()
        work = asyncio.to_thread(self._mutex.acquire, wait=self._wait, interrupted=interrupted)
        taking = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:  # a request cannot be called back: wait for it, and undo it
            interrupted.set()
            with contextlib.suppress(StoreError):
                if await taking:
                    await asyncio.to_thread(self._mutex.release)
            raise

    async def renew(self) -> None:
        """Move the deadline to a full time limit from now; see ``Mutex.renew``."""
        await asyncio.to_thread(self._mutex.renew)

    async def release(self) -> None:
        """Give the lock back if it is still ours; see ``Mutex.release``."""
        await asyncio.to_thread(self._mutex.release)

    async def __aenter__(self) -> Self:
        """Try to take the lock."""
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lock back."""
        await self.release()
