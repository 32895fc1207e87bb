"""The server of the mutex for tests: in a thread of this process, on 127.0.0.1, on a free port."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from datalake_service.mutex.server import MutexServer
from datalake_utils.clock import Clock, SystemClock


@contextmanager
def mutex_server(
    *, token: str | None = None, quiet: timedelta | None = timedelta(0), port: int = 0, clock: Clock | None = None
) -> Iterator[str]:
    """Run a server during the block; yields its base URL. It grants at once unless ``quiet`` says otherwise."""
    server = MutexServer(port=port, token=token, quiet=quiet, clock=clock or SystemClock())
    urls: list[str] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with server.listening() as url:
            urls.append(url)
            ready.set()
            await stop.wait()

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        finally:
            loop.close()
            ready.set()

    thread = threading.Thread(target=run, name="mutex-server", daemon=True)
    thread.start()
    ready.wait()
    try:
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
