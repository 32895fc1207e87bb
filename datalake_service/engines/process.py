"""One worker process as its parent sees it: start, send, receive, and why it died."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock

import datalake_service
from datalake_service.engines.messages import FromParent, FromWorker, Hello
from datalake_service.engines.scheduler import WorkerDiedError
from datalake_service.pipeline.tasks.task import worker_name

_POLL_SECONDS = 0.5
"""How long a dead worker goes unnoticed if something that it started keeps its pipe open."""
_PACKAGE_ROOT = Path(datalake_service.__file__).resolve().parents[1]
_PROGRAM = "import sys; sys.path.append({root!r}); from datalake_service.engines.worker import main; main()"
_REAPING_SECONDS = 10.0


class WorkerProcess:
    """A fresh interpreter that runs tasks. One thread receives; any thread may send, and kill."""

    def __init__(self) -> None:
        """Start the process; it is ready when its imports are done, messages wait until then.

        Raises:
            WorkerDiedError: It could not be started.
        """
        if not sys.executable:
            raise WorkerDiedError("no worker can be started: this Python does not know its own interpreter")
        # -P: the worker must not find modules in the current directory before it has its parent's search path.
        command = [sys.executable, "-P", "-c", _PROGRAM.format(root=str(_PACKAGE_ROOT))]
        try:
            # A session of its own: an interrupt from the terminal reaches the parent only.
            self._process = subprocess.Popen(  # noqa: S603 - ourselves
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, start_new_session=True
            )
        except OSError as error:
            raise WorkerDiedError(f"no worker can be started: {error}") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None  # it was started with a pipe
        self._outbound = Connection(os.dup(self._process.stdin.fileno()), readable=False)
        self._inbound = Connection(os.dup(self._process.stdout.fileno()), writable=False)
        self._process.stdin.close()
        self._process.stdout.close()
        self._sending = Lock()
        self.send(Hello(tuple(sys.path)))

    @property
    def name(self) -> str:
        """How it calls itself in the tasks that it has."""
        return worker_name(self._process.pid)

    def send(self, message: FromParent) -> None:
        """Send a message. That the worker is dead shows in ``receive``."""
        with self._sending:
            try:
                self._outbound.send(message)
            except OSError:
                return

    def receive(self) -> FromWorker:
        """Block for the next message.

        Raises:
            WorkerDiedError: There will be none; the text says how the process ended.
        """
        try:
            while not self._inbound.poll(_POLL_SECONDS):
                if self._process.poll() is not None and not self._inbound.poll(0):
                    break
            else:
                message: FromWorker = self._inbound.recv()
                return message
        except (EOFError, OSError):
            pass
        raise WorkerDiedError(f"the worker process {self._how_it_ended()}")

    def kill(self) -> None:
        """End the process at once, and what it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Close the pipes, upon which a living worker ends, and wait for that."""
        with self._sending:
            self._outbound.close()
        try:
            self._process.wait(_REAPING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._inbound.close()

    def _how_it_ended(self) -> str:
        try:
            status = self._process.wait(_REAPING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return "closed its pipe"
        if status >= 0:
            return f"exited with status {status}"
        name = _signal_name(-status)
        often = "; often that means: out of memory" if -status == signal.SIGKILL else ""
        return f"was killed by signal {-status} ({name}){often}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
