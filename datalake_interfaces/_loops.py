"""What ``testing`` needs to run methods that may be async."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any


async def settle(answer: object) -> Any:  # noqa: ANN401 - whatever the handler returned
    """What a method returned, awaited if it is async."""
    return await answer if inspect.isawaitable(answer) else answer


async def limited(rows: Iterable[Any] | AsyncIterable[Any], limit: int) -> AsyncIterator[Any]:
    """The first rows."""
    if not isinstance(rows, AsyncIterable):
        for row in islice(rows, limit):
            yield row
        return
    taken = 0
    async for row in rows:
        yield row
        taken += 1
        if taken == limit:
            break
    if isinstance(rows, AsyncGenerator):
        await rows.aclose()


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end, also where an event loop is running already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()
