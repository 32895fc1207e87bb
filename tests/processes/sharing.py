"""One of several processes that share a limit in real time: ``python -m tests.processes.sharing FOLDER NAME …``."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from datalake_interfaces import DataItem
from datalake_service.annotating.limits import Limit
from datalake_service.annotating.policy import CallPolicy
from datalake_service.pipeline.annotation import shared_limits
from datalake_service.storage.folder import FolderStore
from tests.support.annotations import ListRows, start

BATCHES, ROWS = 40, 1_000
MOST, SECONDS = 240, 3.0
"""The limit: so many calls in any window of so long."""


def began(folder: Path) -> list[float]:
    """When each call of all processes began, by the clock that they have in common."""
    return sorted(float(line) for path in folder.glob("began-*") for line in path.read_text().splitlines())


def most_in_a_window(moments: Sequence[float]) -> int:
    """The largest number of calls that began within any window of the limit."""
    first = most = 0
    for last, moment in enumerate(moments):
        while moments[first] <= moment - SECONDS:
            first += 1
        most = max(most, last - first + 1)
    return most


async def work(folder: Path, name: str, until: float) -> None:
    """Ask as fast as the limit allows."""
    batches = {f"b{batch:02}": [f"r{row}" for row in range(ROWS)] for batch in range(BATCHES)}
    calls = CallPolicy(requests=Limit(MOST, SECONDS), adaptive=False)
    with (folder / f"began-{name}").open("w", encoding="ascii", buffering=1) as log:

        async def function(item: DataItem) -> dict[str, int]:
            log.write(f"{time.monotonic()}\n")
            await asyncio.sleep(0.05)
            return {}

        store = FolderStore(folder / "lake", durable=False)
        working = asyncio.ensure_future(
            start(store, ListRows(batches, block=100), function, shared=True, max_concurrency=24, calls=calls)
        )
        await asyncio.wait({working}, timeout=until - time.monotonic())
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


if __name__ == "__main__":
    shared_limits.PACE = replace(shared_limits.PACE, interval=0.3, starving=0.1)  # type: ignore[misc]  # final for everybody else
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
