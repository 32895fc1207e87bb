"""Tasks that nobody can end hold up neither an event loop nor Python."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import asyncio
from datalake_service.annotating.abandoned import abandon

async def stubborn():
    while True:
        try:
            await asyncio.sleep(3600)
        except BaseException:
            pass

async def main():
    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    task.cancel()
    abandon(task)

asyncio.run(main())
print("ended")
"""


def test_a_process_ends_although_a_task_catches_everything() -> None:
    """Its cancellation, and what it is told when Python ends; nothing is printed about it."""
    ended = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ended\n", "")
