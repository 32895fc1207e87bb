"""The rows that a merge reads, in merge order: merged ones, duplicates put aside earlier, files not merged yet.

Rows have *positions*: usable rows counted from 0 in merge order. Reading again gives the same positions, because
every read is pinned to a version. Decides nothing about rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import numpy.typing as npt

from datalake_service.catalog import layout
from datalake_service.catalog.columns import SYSTEM_COLUMNS
from datalake_service.catalog.manifests import format_time
from datalake_service.chunks.fetch import LineFetcher
from datalake_service.chunks.inventory import Source
from datalake_service.chunks.reader import BLOCK_BYTES, BadLine, Lines, read_lines
from datalake_service.chunks.rows import Census, identify
from datalake_service.errors import ObjectNotFoundError, StoreError
from datalake_service.pipeline.merging.result import MergeLimits
from datalake_service.storage.base import ObjectStore
from datalake_service.tables.formats.values import UnexpectedKindsError
from datalake_service.tables.objects.blocks import Block, ParsedBlock, StoredBlock
from datalake_service.tables.objects.merged import MergedFile

Positions = npt.NDArray[np.int64]
OnBad = Callable[[Source, list[BadLine]], None]

_BLOCK_ROWS = 4096


class MergeInput:
    """Everything that one attempt reads. Not thread-safe; may be read any number of times."""

    def __init__(
        self,
        store: ObjectStore,
        dataset: str,
        batch: str,
        *,
        merged: MergedFile | None,
        sources: Sequence[Source],
        limits: MergeLimits,
    ) -> None:
        """Read ``merged`` and what it put aside, then ``sources``, which are in merge order."""
        self._store = store
        self._dataset = dataset
        self._batch = batch
        self._merged = merged
        self._sources = sources
        self._limits = limits
        self._fetcher = LineFetcher(store, window_bytes=limits.window_bytes, max_line_bytes=limits.max_line_bytes)
        self._starts = [0] * (len(sources) + 1)
        self.merged_rows = merged.rows if merged is not None else 0
        """Position of the first row that was put aside."""
        self.first_new = self.merged_rows
        """Position of the first row of a source."""
        self._aside: str | None = None
        if merged is not None and merged.metadata.duplicates is not None:
            self._aside = layout.duplicates_key(dataset, batch, merged.metadata.duplicates)
            self.first_new += merged.metadata.counts["duplicates"]

    def survey(self) -> tuple[list[dict[str, str]], int]:
        """The censuses of all sources in order, and how many rows there may be at most.

        Reads those that no manifest vouches for.
        """
        unknown = [source for source in self._sources if source.census is None]
        counted = {source.name: Census() for source in unknown}
        rows = sum(source.rows or 0 for source in self._sources if source.census is not None)
        for number, lines in self._fetcher.read(unknown):
            source = unknown[number]
            identify(lines, source.origin, trusted=False)
            counted[source.name].count(lines.rows)
            rows += len(lines.rows)
        censuses = [
            counted[source.name].kinds() if source.census is None else dict(source.census) for source in self._sources
        ]
        return censuses, rows + self.first_new

    def blocks(self, *, on_bad: OnBad | None = None, wanted: Positions | None = None) -> Iterator[tuple[int, Block]]:
        """All rows in merge order, each block with the position of its first row.

        Args:
            on_bad: Told of lines that are no usable rows.
            wanted: Read only what holds rows at these positions (rising).
        """
        if self._merged is not None:
            yield from self._stored_blocks(self._merged, wanted)
        yield from self._source_blocks(on_bad, wanted)

    def _stored_blocks(self, merged: MergedFile, wanted: Positions | None) -> Iterator[tuple[int, Block]]:
        position = 0
        for number, size in enumerate(merged.group_sizes):
            if _any_between(wanted, position, position + size):
                yield position, StoredBlock(merged, merged.read_group(number), system=SYSTEM_COLUMNS)
            position += size
        if self._aside is None or not _any_between(wanted, position, self.first_new):
            return
        for block in self._put_aside(merged, self._aside):
            yield position, block
            position += len(block.ids)
        if position != self.first_new:
            raise self._damaged(self._aside)

    def lines(self, *, wanted: Positions | None = None) -> Iterator[tuple[Source, int, list[str], Lines]]:
        """The lines of all sources (of those with ``wanted`` positions), with the first position, and the ids."""
        chosen = [
            index
            for index in range(len(self._sources))
            if wanted is None or _any_between(wanted, self._starts[index], self._starts[index + 1])
        ]
        position, last, count = self.first_new, -1, 0
        for number, lines in self._fetcher.read([self._sources[index] for index in chosen]):
            index = chosen[number]
            source = self._sources[index]
            if index != last:
                if wanted is None:
                    self._starts[last + 1 : index + 1] = [position] * (index - last)
                else:
                    position = self._starts[index]
                last, count = index, 0
            count += len(lines.rows) + len(lines.bad)
            if source.rows is not None and count > source.rows:
                msg = f"{source.meta.key} has more lines than its manifest says"
                raise UnexpectedKindsError(msg)
            ids = identify(lines, source.origin, trusted=source.census is not None)
            yield source, position, ids, lines
            position += len(ids)
        if wanted is None:
            self._starts[last + 1 :] = [position] * (len(self._sources) - last)

    def _put_aside(self, merged: MergedFile, key: str) -> Iterator[Block]:
        """The duplicates of earlier merges."""
        try:
            stream = self._store.open(key)
        except ObjectNotFoundError:
            if self._store.head(merged.meta.key).etag != merged.meta.etag:
                raise  # another merge replaced both
            raise self._damaged(key) from None
        # System columns make a stored line a little longer than the line that came in.
        with closing(stream):
            for lines in read_lines(stream, max_line_bytes=2 * self._limits.max_line_bytes):
                try:
                    ids = [row.pop("id") for row in lines.rows]
                    system = {name: [row.pop(name) for row in lines.rows] for name in SYSTEM_COLUMNS}
                except KeyError:
                    raise self._damaged(key) from None
                if lines.bad:
                    raise self._damaged(key)
                yield ParsedBlock(ids, lines.rows, system)

    def _damaged(self, key: str) -> StoreError:
        return StoreError(f"{key} is damaged; it holds the duplicates of {self._dataset}/{self._batch}: restore it")

    def _source_blocks(self, on_bad: OnBad | None, wanted: Positions | None) -> Iterator[tuple[int, Block]]:
        """Rows of small chunks go together: a block has a fixed price."""
        ids: list[str] = []
        rows: list[dict[str, Any]] = []
        created: list[str] = []
        start = size = 0
        for source, position, new_ids, lines in self.lines(wanted=wanted):
            if on_bad is not None and lines.bad:
                on_bad(source, lines.bad)
            if rows and (position != start + len(rows) or size >= BLOCK_BYTES or len(rows) >= _BLOCK_ROWS):
                yield start, self._taken(ids, rows, created)
                size = 0
            if not rows:
                start = position
            ids += new_ids
            rows += lines.rows
            created += [format_time(source.created_at)] * len(new_ids)
            size += len(lines.data)
            lines.forget()
        if rows:
            yield start, self._taken(ids, rows, created)

    def _taken(self, ids: list[str], rows: list[dict[str, Any]], created: list[str]) -> Block:
        """A block of what was collected, which is let go of: a row may be most of the memory there is."""
        system = {"_batch": [self._batch] * len(rows), "_created_at": [*created]}
        block = ParsedBlock([*ids], [*rows], system)
        for collected in (ids, rows, created):
            collected.clear()
        return block


def _any_between(wanted: Positions | None, start: int, end: int) -> bool:
    return wanted is None or bool(np.searchsorted(wanted, start) < np.searchsorted(wanted, end))
