"""The lease for users: ``async with``, cancelled, and on a server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from datalake_service.catalog.s3_lock import S3Lock
from datalake_service.errors import LeaseLostError
from datalake_service.storage.base import ObjectMeta
from datalake_service.storage.folder import FolderStore
from datalake_utils.clock import ManualClock, SystemClock
from tests.support.faulty_store import FaultyStore
from tests.support.leases import KEY, lease
from tests.support.servers import S3Server, s3_server


def test_async_with_enters_and_tells(store: FolderStore) -> None:
    """The block runs with or without the lease; the lock says which, and is given back in the end."""

    async def fail_inside(lock: S3Lock) -> None:
        async with lock:
            assert lock
            _ = 1 / 0

    async def run() -> None:
        async with S3Lock(store, KEY, ttl_ms=60_000) as first:
            assert first
            async with S3Lock(store, KEY) as second:
                assert not second
                assert second.holder is not None
            assert first, "a lock that was not taken gives nothing back"
            await first.renew()
        assert not first
        third = S3Lock(store, KEY)
        with pytest.raises(ZeroDivisionError):
            await fail_inside(third)
        assert not third
        async with S3Lock(store, KEY) as fourth:
            assert fourth

    asyncio.run(run())


def test_a_cancelled_taker_leaves_the_lease_free(tmp_path: Path) -> None:
    """The request is on its way when its task is cancelled: what it took is given back."""
    entered, go_on = threading.Event(), threading.Event()

    class Slow(FaultyStore):
        def get(self, key: str, *, etag: str | None = None) -> tuple[bytes, ObjectMeta]:
            entered.set()
            go_on.wait()
            return super().get(key, etag=etag)

    slow = Slow(FolderStore(tmp_path, durable=False))

    async def run() -> None:
        task = asyncio.create_task(S3Lock(slow, KEY).acquire())
        await asyncio.to_thread(entered.wait)
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert "put" in {operation.verb for operation in slow.operations}
    assert lease(slow.inner, ManualClock()).acquire()


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """An S3 server."""
    with s3_server() as running:
        yield running


def test_the_same_on_s3(server: S3Server) -> None:
    """Take, refuse, renew, give back, take again."""
    store = server.make_store()
    first, second = lease(store, SystemClock()), lease(store, SystemClock())
    assert first.acquire()
    assert not second.acquire()
    first.renew()
    first.release()
    assert second.acquire()
    with pytest.raises(LeaseLostError):
        first.renew()
