"""A watch over the event loop: who does not let the other calls go on, and for how long.

An async annotator that waits without ``await`` (``requests``, ``time.sleep``, a long computation) stops all calls, not
only its own. The loop gives a sign of life several times a second; a thread that misses it looks at what the loop's
thread is doing and names the function, once. Costs nothing for each row.
"""

from __future__ import annotations

import itertools
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final, Self

BLOCKED_SECONDS: Final = 1.0
"""How long the loop may give no sign of life."""
_LOOK: Final = 0.25
"""Seconds between two looks."""
_SAMPLE: Final = 0.1
"""Seconds between two looks at a loop that seems to be blocked."""
_OVERSLEPT: Final = 0.5
"""A look that comes so much too late says that the watch could not look, either."""
_OURS: Final = tuple(
    str(Path(__file__).resolve().parents[2] / name)
    for name in ("datalake_interfaces", "datalake_service", "datalake_utils")
)
_LIBRARY: Final = tuple(
    {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")} | {"<frozen"}
)
_LOOP: Final = str(Path(sysconfig.get_path("stdlib")) / "asyncio")
_RUNS: Final = frozenset({"_run_once", "run_forever", "run_until_complete", "run"})
"""Functions of it that call everything on the loop. Who called them waits for the loop, and does not block it."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """A function that keeps the event loop from its work."""

    function: str
    """``module.Class.function``."""
    where: str
    """File and line."""
    seconds: float
    """How long it did when it was found; it may go on."""


class LoopWatch:
    """Watches the loop of the thread that makes it, between ``with`` and its end."""

    def __init__(
        self,
        tell: Callable[[Blocked], None],
        *,
        monotonic: Callable[[], float],
        blocked_seconds: float = BLOCKED_SECONDS,
    ) -> None:
        """``tell`` is called in the thread that watches, once for each function."""
        self._tell = tell
        self._monotonic = monotonic
        self._most = blocked_seconds
        self._alive = monotonic()
        self._loop = threading.current_thread()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="loop-watch", daemon=True)
        self._told: set[str] = set()

    def beat(self) -> None:
        """A sign of life, from the loop."""
        self._alive = self._monotonic()

    def __enter__(self) -> Self:
        """Begin."""
        self.beat()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        looked, alive, processor = self._monotonic(), self._alive, self._processor_seconds()
        since = alive
        while not self._end.wait(_LOOK):
            now, slept = self._monotonic(), self._monotonic() - looked
            looked = now
            if self._alive != alive:
                since = alive = self._alive
                processor = self._processor_seconds()
                continue
            computes = self._processor_seconds() - processor > self._most
            if slept > _LOOK + _OVERSLEPT and not computes:
                since = now  # the whole process stood still, or the machine has too much to do: nobody is at fault
            if now - since > self._most:
                self._look(alive, since, computes=computes)

    def _look(self, alive: float, since: float, *, computes: bool) -> None:
        """Name the function: of a thread that computes at once, of one that waits if it still does after a moment."""
        frame = users_frame(self._frame())
        if frame is None or self._alive != alive:  # it went on since: whoever is there by now is not at fault
            return
        if not computes:
            if self._end.wait(_SAMPLE) or users_frame(self._frame()) is not frame or self._alive != alive:
                return
            if is_runnable(self._loop.native_id):  # it waits for a processor
                return
        name = f"{frame.f_globals.get('__name__', '?')}.{frame.f_code.co_qualname}"
        if name not in self._told:
            self._told.add(name)
            where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
            self._tell(Blocked(name, where, round(self._monotonic() - since, 1)))

    def _frame(self) -> FrameType | None:
        return sys._current_frames().get(self._loop.ident or 0)  # noqa: SLF001 - the documented way for debuggers

    def _processor_seconds(self) -> float:
        """What the loop's thread has computed; 0 where the system does not say."""
        if not hasattr(time, "pthread_getcpuclockid") or self._loop.ident is None:
            return 0.0
        return time.clock_gettime(time.pthread_getcpuclockid(self._loop.ident))


def users_frame(frame: FrameType | None) -> FrameType | None:
    """The innermost function that is neither ours nor a library's; if all are, the one that ours called."""
    found = list(itertools.takewhile(lambda one: not _runs_the_loop(one), _outwards(frame)))
    for one in found:
        if not one.f_code.co_filename.startswith((*_OURS, *_LIBRARY)):
            return one
    for inner, outer in itertools.pairwise(found):
        if outer.f_code.co_filename.startswith(_OURS):
            return None if inner.f_code.co_filename.startswith(_LOOP) else inner
    return None


def _runs_the_loop(frame: FrameType) -> bool:
    return frame.f_code.co_name in _RUNS and frame.f_code.co_filename.startswith(_LOOP)


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def is_runnable(native_id: int | None) -> bool:
    """Whether a thread could go on if it had a processor; false where the system does not say."""
    try:
        status = Path(f"/proc/self/task/{native_id}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[:1] == ["R"]
