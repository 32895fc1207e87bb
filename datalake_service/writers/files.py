"""Documents as files below a prefix of a store that is no lake: JSONL, or whatever a format makes of the lines.

A task has a folder of its own. Its files are named by the number of documents before them, so that an attempt knows
which files were written behind the checkpoint that it starts from: those do not count, and it removes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from datalake_service.storage.base import ObjectStore, Overwrite
from datalake_service.storage.scratch import scratch_folder

MOST_BYTES: Final = 64 << 20
"""A file ends at this size, whatever its rows; one row may exceed it."""
_UPLOADS: Final = 2
_DIGITS: Final = 12

Format = Callable[[Sequence[bytes], Path], None]
"""Writes lines of JSON as a file."""


@dataclass(frozen=True, slots=True)
class FileNames:
    """How the files of one task are called."""

    prefix: str
    """Of the task's folder; ends in a slash."""
    suffix: str
    """With its dot."""
    first: int
    """Documents that the task had when the attempt began."""
    attempt: int

    def key(self, number: int) -> str:
        """The file whose first document is ``number``."""
        return f"{self.prefix}{number:0{_DIGITS}d}-{self.attempt}{self.suffix}"

    def counts(self, key: str) -> bool:
        """Whether a file in the folder was written before the attempt began, and is covered by its checkpoint."""
        number = key.removeprefix(self.prefix).partition("-")[0]
        return not number.isdecimal() or int(number) < self.first


class FileWriter:
    """Writes records into files. One thread calls it.

    Guarantee: after ``flush`` returned, every record is in a file; the files of one attempt hold each record once.
    """

    def __init__(self, store: ObjectStore, names: FileNames, *, write: Format, rows_per_file: int) -> None:
        """Write to ``store``, with ``write`` as the format."""
        self._store = store
        self._names = names
        self._write = write
        self._rows = rows_per_file
        self._lines: list[bytes] = []
        self._size = 0
        self._next = names.first
        self._pool: ThreadPoolExecutor | None = None
        self._running: set[Future[None]] = set()
        self._written: set[str] = set()
        self._tidied = False

    @property
    def rows_buffered(self) -> int:
        """Records of the file that is not ended."""
        return len(self._lines)

    @property
    def saturated(self) -> bool:
        """Whether the caller should ``wait_for_room``."""
        return len(self._running) >= _UPLOADS

    def add(self, line: bytes) -> None:
        """Add the JSON text of a record; a full file goes on its way.

        Raises:
            StoreError: An earlier file could not be stored.
        """
        self._lines.append(line)
        self._size += len(line)
        if len(self._lines) >= self._rows or self._size >= MOST_BYTES:
            self._end_file()

    def wait_for_room(self) -> None:
        """Block while as many files as allowed are on their way.

        Raises:
            StoreError: A file could not be stored.
        """
        while self.saturated:
            self._collect()

    def flush(self) -> None:
        """End the file, and block until every record is stored.

        Raises:
            StoreError: A file could not be stored.
        """
        self._tidy()
        self._end_file()
        while self._running:
            self._collect()

    def finish(self) -> None:
        """After the last ``flush``: remove what another worker may have written while this one had the task.

        Raises:
            StoreError: Something cannot be removed.
        """
        self._tidied = False
        self._tidy()

    def close(self) -> None:
        """Free the threads; what was not flushed is dropped."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _tidy(self) -> None:
        """Remove the task's files that no checkpoint covers and that are not of this attempt."""
        if self._tidied:
            return
        self._tidied = True
        keys = [meta.key for meta in self._store.list(self._names.prefix)]
        self._store.delete_many([key for key in keys if key not in self._written and not self._names.counts(key)])

    def _end_file(self) -> None:
        if not self._lines:
            return
        self._tidy()
        lines, self._lines, self._size = self._lines, [], 0
        key, self._next = self._names.key(self._next), self._next + len(lines)
        self._written.add(key)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_UPLOADS, thread_name_prefix="file")
        self._running.add(self._pool.submit(self._store_file, key, lines))

    def _store_file(self, key: str, lines: list[bytes]) -> None:
        with scratch_folder(self._store) as folder:
            path = folder / "file"
            self._write(lines, path)
            self._store.put(key, path, mode=Overwrite())

    def _collect(self) -> None:
        done, self._running = wait(self._running, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()


def write_jsonl(lines: Sequence[bytes], path: Path) -> None:
    """One JSON object a line."""
    path.write_bytes(b"\n".join([*lines, b""]))


def write_jsonl_gzip(lines: Sequence[bytes], path: Path) -> None:
    """The same, compressed. The same lines make the same file."""
    from isal import igzip

    path.write_bytes(igzip.compress(b"\n".join([*lines, b""]), _GZIP_LEVEL, mtime=0))


_GZIP_LEVEL: Final = 2
