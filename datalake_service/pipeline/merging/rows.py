"""Deciding the rows of a batch: which stay, which are duplicates, which are rejected. See 004-merge.md.

Everything up to the finished local files; the commit and what follows it are the caller's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from datalake_service.catalog.columns import SYSTEM_COLUMNS, merge_censuses
from datalake_service.catalog.rejections import RejectionKind
from datalake_service.chunks.inventory import Source
from datalake_service.chunks.reader import BadLine
from datalake_service.pipeline.merging.files import RejectionFiles, RowFile
from datalake_service.pipeline.merging.input import MergeInput, Positions
from datalake_service.pipeline.merging.result import MergeLimits
from datalake_service.tables.formats.schema import TableSchema, row_schema
from datalake_service.tables.objects.blocks import Block
from datalake_service.tables.objects.parquet import MergedWriter
from datalake_service.tables.verdicts.bits import Mask
from datalake_service.tables.verdicts.collisions import Collisions
from datalake_service.tables.verdicts.dedup import Dedup, KeyColumns, MemoryDedup, Verdict
from datalake_service.tables.verdicts.dedup_spooled import SpooledDedup
from datalake_utils.garbage import fewer_collections

_LIVE_OBJECTS = 50_000
"""More than the rows of a few blocks are made of."""


@dataclass(slots=True)
class RowCounts:
    """What happened to the rows of one attempt; see ``MergeResult``."""

    new_rows: int = 0
    duplicates: int = 0
    restored: int = 0
    repeated: int = 0
    conflicts: int = 0
    all_null: int = 0


def effective_columns(lists: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """The dedup columns that all runs with a list agree on, in the order of the first."""
    lists = list(lists)
    if not lists:
        return ()
    return tuple(column for column in lists[0] if all(column in other for other in lists[1:]))


class RowMerge:
    """Writes the rows of ``MergeInput`` that stay, and keeps the others apart."""

    def __init__(
        self,
        rows: MergeInput,
        *,
        keys: tuple[str, ...],
        rejections: RejectionFiles,
        folder: Path,
        limits: MergeLimits,
    ) -> None:
        """Deduplicate by ``keys`` (none: not at all); local files go to ``folder``."""
        self._rows = rows
        self._keys = keys
        self._rejections = rejections
        self._folder = folder
        self._limits = limits
        self.duplicates = RowFile(folder / "duplicates.jsonl")
        """The rows that were taken out, after ``write``."""
        self.counts = RowCounts()

    def write(self, schema: TableSchema, *, most_rows: int, path: Path) -> MergedWriter:
        """Judge every row and write those that stay to ``path``; the caller finishes the returned writer.

        Raises:
            UnexpectedKindsError: A manifest is wrong about its chunk.
            StoreError: The store failed, or an object was replaced or removed meanwhile.
            MergeError: The local disk cannot be written.
        """
        dedup = self._dedup(most_rows)
        collisions = Collisions(self._folder, rows=most_rows, partition_bytes=self._limits.partition_bytes)
        writer = MergedWriter(path, schema, group_bytes=self._limits.group_bytes)
        try:
            with fewer_collections(_LIVE_OBJECTS):
                firsts = self._write_blocks(dedup, collisions, writer, schema)
                self.duplicates.close()
                self._settle(firsts, collisions)
        except BaseException:
            writer.abort()
            self.duplicates.abandon()
            raise
        return writer

    def _dedup(self, most_rows: int) -> Dedup:
        keyed = bool(self._keys)
        if MemoryDedup.fits(most_rows, keyed=keyed, budget_bytes=self._limits.key_bytes):
            return MemoryDedup(most_rows, keyed=keyed)
        spooled = SpooledDedup(self._folder, most_rows, keyed=keyed, partition_bytes=self._limits.partition_bytes)
        for start, block in self._rows.blocks():
            spooled.add(start, block.ids, self._key_columns(block))
        spooled.decide(keyed=keyed)
        return spooled

    def _write_blocks(
        self, dedup: Dedup, collisions: Collisions, writer: MergedWriter, schema: TableSchema
    ) -> Positions:
        """Answer the positions of first rows of repeated ids that ``collisions`` does not know yet."""
        firsts = [np.empty(0, np.int64)]
        for start, block in self._rows.blocks(on_bad=self._reject):
            verdict = dedup.judge(start, block.ids, self._key_columns(block))
            if verdict.shared.any():
                _note(collisions, block, start, verdict.shared)
                firsts.append(np.unique(verdict.first))
            if verdict.duplicate.any():
                self.duplicates.add(block.stored(verdict.duplicate))
            table = block.table(schema, verdict.keep)
            del block  # while the writer is busy, and while the next one is read
            writer.add(table)
            del table
            self._count(verdict, start)
        return np.unique(np.concatenate(firsts))

    def _reject(self, source: Source, bad: Sequence[BadLine]) -> None:
        self._rejections.add(source, bad, RejectionKind.LINE)

    def _count(self, verdict: Verdict, start: int) -> None:
        duplicates, repeated = int(verdict.duplicate.sum()), int(verdict.repeated.sum())
        stayed = len(verdict.duplicate) - duplicates - repeated
        self.counts.repeated += repeated
        self.counts.all_null += verdict.all_null
        if start >= self._rows.first_new:
            self.counts.new_rows += stayed
            self.counts.duplicates += duplicates
        elif start >= self._rows.merged_rows:
            self.counts.restored += stayed
        else:
            self.counts.duplicates += duplicates

    def _settle(self, firsts: Positions, collisions: Collisions) -> None:
        """Tell repetitions from conflicts, and reject the latter."""
        if len(firsts):
            for start, block in self._rows.blocks(wanted=firsts):
                positions = np.arange(start, start + len(block.ids))
                _note(collisions, block, start, np.isin(positions, firsts, assume_unique=True))
        conflicts = collisions.conflicts()
        self.counts.conflicts = len(conflicts)
        self.counts.repeated -= len(conflicts)
        if not len(conflicts):
            return
        for source, start, ids, lines in self._rows.lines(wanted=conflicts):
            low, high = np.searchsorted(conflicts, (start, start + len(ids)))
            message = "an earlier row of the batch has this id and other content"
            bad = lines.refused((conflicts[low:high] - start).tolist(), message)
            self._rejections.add(source, bad, RejectionKind.CONFLICT)

    def _key_columns(self, block: Block) -> KeyColumns | None:
        return partial(self._key_values, block) if self._keys else None

    def _key_values(self, block: Block) -> list[list[Any]]:
        # No row brings a system column, so it is missing in all of them.
        return [[None] * len(block.ids) if column in SYSTEM_COLUMNS else block.values(column) for column in self._keys]


def _note(collisions: Collisions, block: Block, start: int, mask: Mask) -> None:
    chosen = np.flatnonzero(mask)
    ids = block.ids
    collisions.note([ids[index] for index in chosen.tolist()], block.contents(mask), start + chosen)


def union_schema(stored: TableSchema | None, censuses: Iterable[dict[str, str]]) -> TableSchema:
    """The columns of stored rows and of new ones, in the order they first came, with all kinds ever seen."""
    known = {column.name: column.kinds for column in stored.columns} if stored is not None else {}
    kinds = merge_censuses([known, *censuses])
    return row_schema({name: codes for name, codes in kinds.items() if name not in SYSTEM_COLUMNS})
