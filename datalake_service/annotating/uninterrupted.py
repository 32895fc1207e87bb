"""Waiting for what must not be left half done: a cancellation takes effect afterwards."""

from __future__ import annotations

import asyncio
from typing import TypeVar

T = TypeVar("T")


async def uninterrupted(future: asyncio.Future[T]) -> T:
    """Return the result of ``future``; if this is cancelled meanwhile, wait all the same and raise that then.

    ``future`` should be no task where ``asyncio.run`` may end: it cancels every task, but not what runs in threads.
    """
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait({future})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled from (None if future.cancelled() else future.exception())
    return future.result()
