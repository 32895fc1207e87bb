"""The worker process: takes tasks from its parent, one after the other, and runs them.

Started as a fresh interpreter (never forked), so that user code can crash, leak or print without harm to the others.
Its standard input brings messages, its standard output takes them; whatever is printed goes to standard error.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from multiprocessing.connection import Connection

from datalake_service.engines.loop import TaskLoop
from datalake_service.engines.messages import FromParent, FromWorker, Hello

_ORPHANED = 3
"""Exit status of a worker whose parent is gone."""


class _Parent:
    """The way to the parent. Any thread may use it."""

    def __init__(self, outbound: Connection) -> None:
        self._outbound = outbound
        self._sending = threading.Lock()

    def send(self, message: FromWorker) -> None:
        with self._sending:
            self._outbound.send(message)


def main() -> None:
    """Run tasks until the parent says that there are no more."""
    # The terminal's interrupt is the parent's to hear; it asks for an orderly stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    inbound, outbound = _take_pipes()
    hello: Hello = inbound.recv()
    sys.path[:] = hello.search_path
    loop = TaskLoop(_Parent(outbound).send)
    threading.Thread(target=_listen, args=(inbound, loop), daemon=True, name="parent").start()
    if not loop.run():
        sys.exit(1)


def _take_pipes() -> tuple[Connection, Connection]:
    """Move both pipes out of the reach of user code: it reads nothing, and prints to the standard error stream."""
    inbound, outbound = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return Connection(inbound, writable=False), Connection(outbound, readable=False)


def _listen(inbound: Connection, loop: TaskLoop) -> None:
    """Hand on what the parent says. Without a parent nobody may go on: another run may have the task already."""
    try:
        while True:
            message: FromParent = inbound.recv()
            loop.hear(message)
    except (EOFError, OSError):
        os._exit(_ORPHANED)
