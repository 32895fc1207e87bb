"""An hour of a page that is left open, in seconds: the clock is turned, and requests are counted."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from pathlib import Path

from datalake_service.pipeline.live.lake import LiveLake
from datalake_service.storage.base import ObjectStore
from datalake_service.viewer.events import Pace, Watcher
from datalake_utils.clock import ManualClock
from tests.support.remote import RemoteStore

HOUR = 3_600.0


def requests_in_an_hour(behind: ObjectStore, pace: Pace, *, max_age: float, dataset: str | None) -> Counter[str]:
    """What the store was asked in an hour after the first look, while nothing changed, and how often it was looked at.

    ``dataset`` is the one whose page is open; ``None``: the lake's page.
    """
    store, clock = RemoteStore(behind), ManualClock()
    began = clock.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        lake = LiveLake(store, Path(folder), max_age=max_age, clock=clock)

        async def listen() -> Counter[str]:
            over = asyncio.Event()
            counted: Counter[str] = Counter()

            async def waiting(hurry: asyncio.Event, seconds: float) -> None:
                if not counted:
                    store.requests.clear()  # what the first look asked is asked once
                    counted["looks"] = 1 - watcher.looks
                clock.advance(seconds)
                if clock.monotonic() - began >= HOUR:
                    over.set()
                    await hurry.wait()

            watcher = Watcher(lake, pace, waiting=waiting)
            stream = watcher.listen(dataset, None)
            await anext(stream)
            await over.wait()
            counted["looks"] += watcher.looks - 1
            await stream.aclose()
            watcher.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            return counted + store.requests

        return asyncio.run(listen())
