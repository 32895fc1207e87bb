"""Rows into chunks of the lake: into the task's batch, or each into the batch of its record's time.

A batch has a run of its own in each attempt, claimed with its first row.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

from datalake_service.catalog import layout
from datalake_service.catalog.manifests import claim_run
from datalake_service.chunks.writer import ChunkWriter
from datalake_service.config.batch import batch_name
from datalake_service.pipeline.jobs.engine import LakeOutput, TaskJob
from datalake_service.pipeline.sinks.sink import Origin, Refusal, of_values
from datalake_utils.clock import Clock
from datalake_utils.ids import random_hex

MOST_OPEN = 8
"""Batches with an open chunk at a time; the one that got no row for longest is closed for another."""
_RUN_DIGITS = 6


class LakeSink:
    """The chunks of one attempt; see ``Sink``."""

    def __init__(self, job: TaskJob, output: LakeOutput, *, clock: Clock) -> None:
        """Write the rows of ``job``."""
        self._job = job
        self._output = output
        self._clock = clock
        self._writers: dict[str, ChunkWriter] = {}  # by batch, the one used last at the end
        self._last: ChunkWriter | None = None
        self._last_batch = ""
        self._names: dict[int, str] = {}  # of the seconds seen lately
        self.needs_origins = output.batch_by_time is not None
        self.run: str | None = None

    @property
    def saturated(self) -> bool:
        """Whether too many chunks are on their way."""
        return self._last is not None and self._last.saturated

    @property
    def rows_buffered(self) -> int:
        """Rows of chunks that are not sealed."""
        return sum(writer.rows_buffered for writer in self._writers.values())

    def add(self, row: dict[str, Any], origin: Origin | None) -> None:
        """Put a row into the chunk of its batch; see ``Sink.add``."""
        writer = self._last
        if writer is None or self.needs_origins:
            writer = self._writer(self._batch(origin))
        writer.add_line(of_values(writer.encode, row))

    def wait_for_room(self) -> None:
        """Block while too many chunks are on their way."""
        if self._last is not None:
            self._last.wait_for_room()

    def flush(self) -> None:
        """Block until every row is durable. Chunks of all batches are sealed first, so that they travel together."""
        for writer in self._writers.values():
            writer.seal()
        for writer in self._writers.values():
            writer.flush()

    def refused(self) -> Sequence[Refusal]:
        """Nothing: what a chunk cannot hold is refused by ``add``."""
        return ()

    def close(self) -> None:
        """Make every row durable and complete the runs; each of them, whatever becomes of the others."""
        with ExitStack() as stack:
            for writer in self._writers.values():
                stack.callback(writer.close)
            self._writers, self._last, self._last_batch = {}, None, ""

    def _batch(self, origin: Origin | None) -> str:
        template = self._output.batch_by_time
        if template is None or origin is None or origin.seconds is None:
            return self._job.batch
        second = int(origin.seconds // 1)
        name = self._names.get(second)
        if name is None:
            if len(self._names) >= 1 << 12:
                self._names.clear()
            name = self._names[second] = batch_name(template, datetime.fromtimestamp(second, UTC))
        return name

    def _writer(self, batch: str) -> ChunkWriter:
        if self._last is not None and batch == self._last_batch:
            return self._last
        writer = self._writers.pop(batch, None)
        if writer is None:
            if len(self._writers) >= MOST_OPEN:
                oldest = next(iter(self._writers))
                self._writers.pop(oldest).close()
            writer = self._claim(batch)
        self._writers[batch] = writer
        self._last, self._last_batch, self.run = writer, batch, writer.run
        return writer

    def _claim(self, batch: str) -> ChunkWriter:
        prefix = layout.batch_prefix(self._job.dataset, batch)
        manifest = claim_run(
            self._job.store,
            prefix,
            kind="task",
            deduplicate_on=self._output.deduplicate_on,
            chunk_size=self._output.chunk_size,
            now=self._clock.now(),
            draw=lambda: random_hex(_RUN_DIGITS),
        )
        return ChunkWriter(self._job.store, prefix, manifest, clock=self._clock)
