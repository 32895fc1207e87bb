"""A process that has loaded what commands load, and becomes one for each request: a fork in place of a start.

``python -m tests.support.warm_server SOCKET`` with a pipe as its standard input serves until that is closed. A command
is a process of its own in every respect (streams, folder, environment, signals, exit status); what it does not do is
load a thousand modules again, and take them apart at its end, which is longer than most commands take. The server has
no threads of its own and no connection to anything when it forks. ``warm_client.py`` has the other end.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
import warnings
from pathlib import Path
from typing import Any, NoReturn

from tests.support.warm_client import LONGEST_REQUEST

LOADED = (
    "boto3.session",
    "datalake_service.cli.main",
    "datalake_service.config.available",
    "datalake_service.engines.choose",
    "datalake_service.pipeline.annotation.all_workers",
    "datalake_service.pipeline.upkeep.cleanup",
    "datalake_service.pipeline.exports.folder",
    "datalake_service.pipeline.upkeep.fsck",
    "datalake_service.pipeline.reports.overview",
    "datalake_service.pipeline.runs.run",
    "datalake_service.pipeline.workers.worker",
    "datalake_service.runtime.environment",
    "datalake_service.runtime.lake",
    "datalake_service.runtime.logs",
    "datalake_service.runtime.telemetry",
    "datalake_service.storage.s3_client",
    "duckdb",
    "multiprocessing.spawn",
    "pyarrow.compute",
    "pyarrow.parquet",
)
"""What commands load. One that is missing here is loaded by the commands that need it."""


class Server:
    """Forks at each request; in the child ``serve`` returns the request."""

    def __init__(self, address: str) -> None:
        """Listen, so that the first to ask waits until all is loaded."""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(f"{address}.new")
        self._listener.listen(64)
        Path(f"{address}.new").rename(address)
        self._running: dict[int, socket.socket] = {}
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        os.set_blocking(self._woken, False)

    def serve(self) -> dict[str, Any]:
        """Answer until the standard input is closed."""
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            listening = self._listener.fileno()
            waiting = {connection.fileno(): pid for pid, connection in self._running.items()}
            ready, _, _ = select.select([0, listening, self._woken, *waiting], [], [])
            for gone in waiting.keys() & ready:  # whoever stands in for a command was killed
                os.kill(waiting[gone], signal.SIGKILL)
            if self._woken in ready or waiting.keys() & ready:
                self._tell_ends()
            if 0 in ready:
                self._end()
            if listening in ready and (request := self._take()) is not None:
                return request

    def _take(self) -> dict[str, Any] | None:
        """Fork for one request; ``None`` in this process."""
        connection, _ = self._listener.accept()
        content, streams, _, _ = socket.recv_fds(connection, LONGEST_REQUEST, 3)
        if len(streams) != 3:
            connection.close()
            return None
        with warnings.catch_warnings():
            # The other thread is of the memory allocator that Arrow brings along, which knows what to do in a fork.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            self._leave(connection)
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
                os.close(stream)
            request: dict[str, Any] = json.loads(content)
            return request
        for stream in streams:
            os.close(stream)
        self._running[pid] = connection
        _send(connection, pid)
        return None

    def _leave(self, connection: socket.socket) -> None:
        """Be a process that knows nothing of the server."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for one in (self._listener, connection, *self._running.values()):
            one.close()
        os.close(self._woken)
        os.close(self._waker)

    def _tell_ends(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, 4096)
        for pid in list(self._running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                with self._running.pop(pid) as connection:
                    _send(connection, os.waitstatus_to_exitcode(status))

    def _end(self) -> NoReturn:
        for pid in self._running:
            os.kill(pid, signal.SIGKILL)
        for pid in self._running:
            os.waitpid(pid, 0)
        os._exit(0)


def _send(connection: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):  # nobody waits for it any more
        connection.send(str(number).encode())


def become(request: dict[str, Any]) -> None:
    """Be the process that was asked for, as if it had been started with ``-m``."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.path[0] = str(Path.cwd())
    sys.argv = [request["module"], *request["arguments"]]
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        old = getattr(sys, name)
        lines = name == "stderr" or os.isatty(number)
        buffering = 1 if lines and mode == "w" else -1
        new = open(number, mode, buffering, old.encoding, old.errors, closefd=False)  # noqa: SIM115 - it stays open
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)


def run(module: str) -> int:
    """Run a module as the main one; returns its exit status as the interpreter has it."""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        sys.stderr.write(f"{ended.code}\n")
        return 1
    except BaseException:  # noqa: BLE001 - the top of a process
        traceback.print_exc()
        return 1
    return 0


def end(status: int) -> NoReturn:
    """End as the interpreter does, but leave it to the system to take the modules apart: that is half a second."""
    threading._shutdown()  # type: ignore[attr-defined]  # what the interpreter calls
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            status = 120
    os._exit(status)


def main(address: str) -> None:
    """Load, serve, become a command."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    server = Server(address)
    for name in LOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()
    request = server.serve()
    become(request)
    end(run(request["module"]))


if __name__ == "__main__":
    main(sys.argv[1])
