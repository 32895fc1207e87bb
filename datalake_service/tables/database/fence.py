"""SQL that people wrote, kept apart: it runs in processes that can be ended, with limits that the system enforces.

DuckDB cannot be interrupted inside one function call, and what one call allocates is not counted by its memory limit
(tried: ``list_filter(range(30000000), …)``, ``repeat('x', 1000000000)``). A process can always be ended.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from datalake_service.tables.database.engine import EngineLimits, quote_text
from datalake_service.tables.database.fence_worker import receive, send, send_files

_DATA_BYTES: Final = 512 << 20
"""What a process may allocate besides the memory of its database."""
_IDLE: Final = 2
"""Processes that are kept for the next question."""
_DESCRIPTOR: Final = re.compile(r"(/proc/self/fd|/dev/fd)/([0-9]+)")


class Fence:
    """Processes for SQL that people wrote, kept for a while. Thread-safe; ``close`` it."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._closed = False

    def open(self, paths: Sequence[str], limits: EngineLimits) -> FencedConnection:
        """A database that can read some files and nothing else, in a process of its own."""
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        if worker is None or not worker.alive:
            worker = _Worker()
        try:
            return FencedConnection(self, worker, paths, limits)
        except BaseException:
            worker.end()
            raise

    def give_back(self, worker: _Worker) -> None:
        """Keep a process for the next question, or end it."""
        with self._lock:
            if worker.alive and not self._closed and len(self._idle) < _IDLE:
                self._idle.append(worker)
                return
        worker.end()

    def close(self) -> None:
        """End all idle processes."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.end()


class _Worker:
    """One process."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "datalake_service.tables.database.fence_worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # Nothing of our environment: it may hold keys.
                env={"PYTHONPATH": ":".join(path for path in sys.path if path), "LC_ALL": "C.UTF-8"},
            )
        self.sock = ours
        self.killed = False

    @property
    def alive(self) -> bool:
        return not self.killed and self._process.poll() is None

    def kill(self) -> None:
        """End it at once, from any thread."""
        self.killed = True
        self._process.kill()

    def end(self) -> None:
        self.kill()
        self.sock.close()
        self._process.wait()


class FencedConnection:
    """As much of a connection as questions need; used by one thread, and ended by any."""

    def __init__(self, fence: Fence, worker: _Worker, paths: Sequence[str], limits: EngineLimits) -> None:
        """Hand the files over; see ``Fence.open``."""
        self._fence = fence
        self._worker = worker
        described = [path for path in dict.fromkeys(paths) if _DESCRIPTOR.fullmatch(path)]
        numbers = [int(path.rpartition("/")[2]) for path in described]
        question = {
            "files": len(numbers),
            "folder": described[0].rpartition("/")[0] if described else "",
            "paths": [path for path in paths if path not in set(described)],
            "memory": limits.memory_bytes,
            "threads": limits.threads,
            "data": limits.memory_bytes + _DATA_BYTES,
            "spill": str(limits.spill_folder or Path(tempfile.gettempdir())),
        }
        try:
            send(worker.sock, question)
            send_files(worker.sock, numbers)
        except OSError as error:
            raise self._gone() from error
        answer = self._receive()
        self._renamed = {
            quote_text(ours): quote_text(theirs) for ours, theirs in zip(described, answer["paths"], strict=True)
        }

    def execute(self, sql: str, values: Mapping[str, Any] | Sequence[Any] | None = None) -> FencedConnection:
        """Run a query.

        Raises:
            duckdb.Error: It failed, or its process was ended.
        """
        for ours, theirs in self._renamed.items():
            sql = sql.replace(ours, theirs)
        try:
            send(self._worker.sock, {"sql": sql, "values": values})
        except OSError as error:
            raise self._gone() from error
        self._rows = [tuple(row) for row in self._receive()["rows"]]
        return self

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows of the last query."""
        return self._rows

    def fetchone(self) -> tuple[Any, ...] | None:
        """The first row of the last query."""
        return self._rows[0] if self._rows else None

    def interrupt(self) -> None:
        """End the process."""
        self._worker.kill()

    def close(self) -> None:
        """Give the process back."""
        try:
            send(self._worker.sock, "done")
        except OSError:
            self._worker.kill()
        self._fence.give_back(self._worker)

    def _receive(self) -> dict[str, Any]:
        import duckdb

        answer: dict[str, Any] | None = receive(self._worker.sock)
        if answer is None:
            raise self._gone()
        if "error" in answer:
            raise duckdb.Error(answer["error"])
        return answer

    def _gone(self) -> Exception:
        import duckdb

        if self._worker.killed:
            return duckdb.Error("INTERRUPT Error: Interrupted!")
        self._worker.kill()
        return duckdb.Error("Out of Memory Error: the expression needed more than it may use")
