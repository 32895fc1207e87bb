"""Who blocks the event loop is named, once; who does not is left alone, whatever happens to the process."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections import UserDict
from collections.abc import Awaitable, Callable
from types import FrameType

import pytest

from datalake_service.annotating import blocked_loop
from datalake_service.annotating.blocked_loop import Blocked, LoopWatch, is_runnable, users_frame
from tests.support.repository import ROOT


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks come soon."""
    monkeypatch.setattr(blocked_loop, "_LOOK", 0.02)
    monkeypatch.setattr(blocked_loop, "_SAMPLE", 0.02)


TOLD = threading.Event()
"""Set once something was told: what blocks goes on until then, so that a busy machine has time to look."""
PATIENCE = 20.0


def watched(work: Callable[[], Awaitable[None]], *, blocked_seconds: float = 0.15) -> list[Blocked]:
    """What is told while ``work`` runs on a loop that gives signs of life."""
    found: list[Blocked] = []
    TOLD.clear()

    def tell(blocked: Blocked) -> None:
        found.append(blocked)
        TOLD.set()

    async def beat(watch: LoopWatch) -> None:
        while True:
            watch.beat()
            await asyncio.sleep(0.01)

    async def main() -> None:
        with LoopWatch(tell, monotonic=time.monotonic, blocked_seconds=blocked_seconds) as watch:
            beating = asyncio.create_task(beat(watch))
            await work()
            beating.cancel()

    asyncio.run(main())
    return found


def waits_without_await() -> None:
    """As a library would that knows no event loop."""
    time.sleep(0.5)
    until = time.monotonic() + PATIENCE
    while not TOLD.is_set() and time.monotonic() < until:
        time.sleep(0.5)


def computes() -> None:
    """Keeps a processor busy, in Python."""
    begin = time.thread_time()  # however long that takes on a machine with much to do
    while time.thread_time() < begin + 0.4 or (not TOLD.is_set() and time.thread_time() < begin + PATIENCE):
        pass


def computes_in_c() -> None:
    """Keeps the interpreter for itself, so that nobody can look but between two turns."""
    for _ in range(3):
        re.match(r"(a+)+$", "a" * 23 + "b")


@pytest.mark.parametrize("function", [waits_without_await, computes])
def test_a_function_that_blocks_is_named_once(function: Callable[[], None]) -> None:
    """However often it does; the innermost function of the user's is the one to mend."""

    async def work() -> None:
        for _ in range(2):
            function()
            await asyncio.sleep(0.05)

    (blocked,) = watched(work)
    assert blocked.function == f"{__name__}.{function.__name__}"
    assert blocked.where.startswith(f"{__file__}:")
    assert blocked.seconds >= 0.1


def test_a_function_that_keeps_the_interpreter_for_itself_is_named() -> None:
    """The watch could not look meanwhile; it knows by the processor time of the loop's thread."""

    async def work() -> None:
        computes_in_c()

    assert [one.function for one in watched(work)] == [f"{__name__}.computes_in_c"]


def test_functions_that_wait_as_they_should_are_not_named() -> None:
    """Nor the loop itself, while there is nothing to do."""

    async def work() -> None:
        await asyncio.sleep(0.4)

    assert watched(work) == []


def test_a_loop_that_waits_for_a_processor_is_not_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with too much to do, functions take long without being at fault."""
    monkeypatch.setattr(blocked_loop, "is_runnable", lambda _native_id: True)

    async def work() -> None:
        time.sleep(0.5)  # noqa: ASYNC251 - uses no processor, as if it could not have one

    assert watched(work) == []


def test_who_can_run_is_known() -> None:
    """This thread runs; one that does not exist does not."""
    if sys.platform == "linux":
        assert is_runnable(threading.get_native_id())
    assert not is_runnable(2**22 + 1)


def test_frames_of_libraries_are_passed_over() -> None:
    """The user's function is named that called them, also if it is called by ours."""
    found: list[FrameType | None] = []

    class Looks(UserDict[str, int]):
        def __missing__(self, key: str) -> int:
            found.append(users_frame(sys._getframe()))
            return 0

    def mine() -> None:
        found.append(users_frame(sys._getframe()))
        assert Looks()["x"] == 0
        json.dumps({"a": object()}, default=lambda _: found.append(users_frame(sys._getframe())))

    mine()
    assert [frame.f_code.co_name for frame in found if frame is not None] == ["mine", "__missing__", "<lambda>"]
    assert users_frame(None) is None


def test_who_runs_the_loop_is_not_at_fault() -> None:
    """Between two calls the loop is at work itself: whoever started it only waits for it."""
    found: list[FrameType | None] = []

    class Looks(asyncio.Event):
        def is_set(self) -> bool:
            found.append(users_frame(sys._getframe(1)))
            return True

    async def main() -> None:
        asyncio.get_running_loop().call_soon(Looks().is_set)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert found == [None]


SUSPENDED = """
import asyncio, sys, time
from datalake_service.annotating.blocked_loop import LoopWatch

async def main():
    told = lambda blocked: print("blocked", flush=True)
    with LoopWatch(told, monotonic=time.monotonic, blocked_seconds=0.5) as watch:
        async def user():
            while True:
                await asyncio.sleep(0.01)
                watch.beat()

        task = asyncio.create_task(user())
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        task.cancel()

asyncio.run(main())
"""


def test_a_process_that_was_suspended_blames_nobody() -> None:
    """A laptop that slept, a machine that was moved: nobody is at fault."""
    process = subprocess.Popen(
        [sys.executable, "-c", SUSPENDED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGSTOP)
    time.sleep(1.2)
    process.send_signal(signal.SIGCONT)
    time.sleep(0.5)
    out, _ = process.communicate("\n", timeout=30)
    assert (out, process.returncode) == ("", 0)
