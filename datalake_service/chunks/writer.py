"""Streams the rows of one run to the store as immutable chunks. Knows neither their source nor what merges them.

The writer never blocks its caller on the store unless asked to: a sealed chunk is stored by a few background
threads, and ``wait_for_room`` is where the caller pays for a slow store.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from datalake_service.catalog import layout
from datalake_service.catalog.manifests import ChunkEntry, RunManifest, save_manifest
from datalake_service.chunks.encoder import RowEncoder
from datalake_service.storage.base import CreateOnly, ObjectStore
from datalake_utils.clock import Clock

MAX_CHUNK_BYTES = 64 << 20
"""A chunk is sealed at this size whatever its rows; one row may exceed it."""

_UPLOADS = 8
"""Chunks on their way at a time; a folder lake shares the wait for the disk among them."""
_BYTES_ON_THE_WAY = 128 << 20
"""But no more than this, unless a single chunk is larger."""
_FIRST_SAVE = 64
SIGN_OF_LIFE_SECONDS = 3_600.0
"""A chunk is stored only if the manifest was written within this time; else the manifest is written again before it.

So clean-up may remove the manifest of a run that has been silent for longer: if its writer lives after all, and be it
after days of sleep, the run has its manifest again before it has another chunk.
"""


@dataclass(slots=True)
class _Buffer:
    lines: list[bytes] = field(default_factory=list)
    size: int = 0


class ChunkWriter:
    """Writes rows into the chunks of one claimed run. One thread calls it.

    Guarantee: after ``flush`` returns, every row added before it is durable. A crash loses at most the rows that
    no ``flush`` or ``close`` has confirmed; it never leaves a part of a chunk, and what was stored stays.
    """

    def __init__(
        self,
        store: ObjectStore,
        prefix: str,
        manifest: RunManifest,
        *,
        clock: Clock,
        encoder: RowEncoder | None = None,
        max_chunk_bytes: int = MAX_CHUNK_BYTES,
        uploads: int = _UPLOADS,
    ) -> None:
        """Write below ``prefix`` into the run of ``manifest``, which this writer owns from now on."""
        self._store = store
        self._prefix = prefix
        self._manifest = manifest
        self._clock = clock
        self.encode: Callable[[Any], bytes] = (encoder := encoder or RowEncoder()).encode
        """Makes the line of a row; methods of the row's own values may run in it, and raise anything."""
        self._encoder = encoder
        self._max_rows = manifest.chunk_size
        self._max_bytes = max_chunk_bytes
        self._uploads = uploads
        self._pool: ThreadPoolExecutor | None = None
        self._buffer = _Buffer()
        self._next_number = len(manifest.chunks)
        self._running: dict[Future[None], int] = {}  # to the bytes on their way
        self._stored: dict[int, ChunkEntry] = {}
        self._next_save = self._next_number + _FIRST_SAVE
        self._saving = Lock()
        self._saved_at = clock.monotonic()
        self.saturated = False
        """Whether the caller should ``wait_for_room`` before it adds more."""
        self.rows_added = 0
        self.bytes_added = 0

    @property
    def run(self) -> str:
        """The run's name."""
        return self._manifest.run

    @property
    def chunks_sealed(self) -> int:
        """Chunks cut so far, stored or on their way."""
        return self._next_number

    @property
    def rows_buffered(self) -> int:
        """Rows of the chunk that is not sealed yet."""
        return len(self._buffer.lines)

    def add(self, row: object) -> None:
        """Add one row; a full chunk is sealed and goes on its way.

        Raises:
            RowError: The row cannot be stored; the rows before it are not touched by that.
            StoreError: A chunk that was sealed earlier could not be stored.
        """
        self.add_line(self.encode(row))

    def add_line(self, line: bytes) -> None:
        """Add one row as ``encode`` made it, before another one is made; see ``add``.

        Raises:
            StoreError: A chunk that was sealed earlier could not be stored.
        """
        buffer = self._buffer
        buffer.lines.append(line)
        buffer.size += len(line)
        if len(buffer.lines) >= self._max_rows or buffer.size >= self._max_bytes:
            self.seal()

    def seal(self) -> None:
        """Cut the current chunk, if it has rows, and start to store it."""
        buffer = self._buffer
        if not buffer.lines:
            return
        self._buffer = _Buffer()
        number, self._next_number = self._next_number, self._next_number + 1
        entry = ChunkEntry(len(buffer.lines), buffer.size, self._encoder.take_census(), self._clock.now())
        self.rows_added += entry.rows
        self.bytes_added += entry.size
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._uploads, thread_name_prefix="chunk")
        self._running[self._pool.submit(self._store_chunk, number, b"".join(buffer.lines), entry)] = entry.size
        if self._next_number >= self._next_save:
            # The next save waits for a quarter more chunks, so that the cost per chunk stays constant.
            self._next_save = self._next_number + max(_FIRST_SAVE, self._next_number // 4)
            self._running[self._pool.submit(self._save)] = 0
        # Last, because it may raise: this chunk is on its way even if an earlier one failed.
        self._collect(block=False)

    def wait_for_room(self) -> None:
        """Block while as many chunks as allowed are on their way.

        Raises:
            StoreError: A chunk could not be stored.
        """
        while self.saturated:
            self._collect(block=True)

    def flush(self) -> None:
        """Seal what is buffered and block until every row added so far is durable.

        Raises:
            StoreError: A chunk could not be stored; the others may be.
        """
        self.seal()
        while self._running:
            self._collect(block=True)

    def close(self) -> None:
        """Flush, and complete the manifest: no chunk will be added. Frees the threads in any case.

        Raises:
            StoreError: A chunk or the manifest could not be stored.
        """
        try:
            self.flush()
            self._manifest.completed_at = self._clock.now()
            self._save()
        finally:
            if self._pool is not None:
                self._pool.shutdown()

    def _store_chunk(self, number: int, data: bytes, entry: ChunkEntry) -> None:
        if self._clock.monotonic() - self._saved_at > SIGN_OF_LIFE_SECONDS:
            self._save()
        self._store.put(layout.chunk_key(self._prefix, self.run, number), data, mode=CreateOnly())
        self._stored[number] = entry

    def _collect(self, *, block: bool) -> None:
        """Take finished uploads out of ``_running``; the first failure is raised here."""
        if block and self._running:
            wait(self._running, return_when=FIRST_COMPLETED)
        done = [future for future in self._running if future.done()]
        for future in done:
            del self._running[future]
        self._measure()
        for future in done:
            future.result()

    def _measure(self) -> None:
        on_the_way = sum(self._running.values())
        self.saturated = len(self._running) >= self._uploads or on_the_way >= _BYTES_ON_THE_WAY

    def _save(self) -> None:
        """Save the manifest with the chunks known to be durable, without a gap."""
        with self._saving:  # it runs on a background thread too
            entries = self._manifest.chunks
            while (entry := self._stored.pop(len(entries), None)) is not None:
                entries.append(entry)
            moment = self._clock.monotonic()
            save_manifest(self._store, self._prefix, self._manifest)
            self._saved_at = moment
