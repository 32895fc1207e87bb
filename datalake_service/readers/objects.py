"""One object of a store → its records, in batches, with positions to resume from.

Joins opening, sniffing, decompression and framing. Knows nothing of handlers: it is given the two hints.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from operator import itemgetter

from datalake_interfaces import RecordHintType, RecordParseHint
from datalake_service.catalog.rejections import Rejection
from datalake_service.readers.blocks import ObjectBlocks, Position, entry_offset
from datalake_service.readers.framing import MAX_RECORD_BYTES, Frame, Framer
from datalake_service.readers.sniffing import Damage
from datalake_service.readers.streams import Block, Entry
from datalake_service.readers.unreadable import damaged, too_large
from datalake_service.storage.base import ObjectMeta, ObjectStore


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Records that came out of one block, or what could not be read; everything is in the order of the file."""

    records: list[Frame]
    """Offset in the decompressed data, and bytes."""
    rejections: tuple[Rejection, ...]
    """What could not be read; then there are no records in this batch."""
    position: Position
    """Where to go on once the whole batch is safe."""
    read: int
    """Bytes of the object that were read so far, for progress."""
    _entries: tuple[Entry, ...]
    _shared: int

    def position_after(self, index: int) -> Position:
        """Where to go on once the records up to ``index`` (inclusive) are safe."""
        if index == len(self.records) - 1:
            return self.position
        return Position.at(_behind(self.records[index], self._shared), self._entries, self.position.compression)


class ObjectReader:
    """Reads one version of one object. Make one for each attempt; iterate ``batches`` once."""

    def __init__(
        self,
        store: ObjectStore,
        meta: ObjectMeta,
        hints: tuple[RecordParseHint, RecordParseHint],
        *,
        source: str,
        position: Position | None = None,
        end_is_next_start: bool = False,
        max_record_bytes: int = MAX_RECORD_BYTES,
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            store: Where the object is; any store, not only the lake.
            meta: The version to read: every request is pinned to its ETag.
            hints: Where a record starts and where it ends.
            source: The name that rejections carry.
            position: Where an earlier attempt left off; of the same version.
            end_is_next_start: See ``Framer``.
            max_record_bytes: See ``Framer``.
        """
        self._meta = meta
        self._source = source
        self._blocks = ObjectBlocks(store, meta, source=source, position=position)
        self._from_start = position is None
        self._framer = Framer(
            *hints,
            offset=position.offset if position else 0,
            end_is_next_start=end_is_next_start,
            max_record_bytes=max_record_bytes,
        )
        end_is_shared = end_is_next_start and hints[1].record_hint_type is RecordHintType.PATTERN
        self._shared = len(hints[1].pattern_bytes) if end_is_shared else 0
        self._entries: list[Entry] = [self._blocks.start]
        self._read = self._blocks.start.at
        self.records = 0
        """Records so far, one for each rejection included."""
        self.notes = self._blocks.notes
        """What the object's user should know; complete when ``batches`` has ended."""

    @property
    def skipped(self) -> int:
        """Bytes outside records, in this attempt."""
        return self._framer.skipped

    def batches(self) -> Iterator[RecordBatch]:
        """Yield the records in order. Bad data ends them with a last batch that holds one rejection, and a note.

        Raises:
            PreconditionFailedError: The object is not the version that ``meta`` describes any more.
            ObjectNotFoundError: It was deleted.
            StoreError: It cannot be read; nothing of it is counted as bad data.
        """
        damage: Damage | None = None
        with closing(self._blocks.read()) as blocks:
            for item in blocks:
                if isinstance(item, Damage):
                    damage = item
                    break
                yield from self._framed(item)
        yield from self._finish(damage)

    def _framed(self, block: Block) -> Iterator[RecordBatch]:
        self._entries.extend(block.entries)
        self._read = block.read
        self._framer.push(block.data)
        yield from self._in_order(self._framer.take())

    def _in_order(self, records: list[Frame]) -> Iterator[RecordBatch]:
        """Yield records, and those that were too large between them, so that a position never passes one by."""
        for item in self._framer.oversize:
            before = bisect_left(records, item.start, key=itemgetter(0))
            if before:
                yield self._batch(records[:before], resume=_behind(records[before - 1], self._shared))
                records = records[before:]
            yield self._batch([], too_large(self._source, item), resume=item.end - self._shared)
        self._framer.oversize.clear()
        if records:
            yield self._batch(records, resume=self._framer.resume)

    def _finish(self, damage: Damage | None) -> Iterator[RecordBatch]:
        last = self._framer.finish()
        if damage is not None:
            yield from self._in_order([])
            self.notes.append(f"{self._source}: {damage.message}")
            resume = self._framer.resume
            yield self._batch([], damaged(self._source, damage, fragment=last, offset=resume), resume=resume)
            return
        yield from self._in_order([last] if last is not None else [])
        if self._meta.size and not self.records and self._from_start:
            self.notes.append(f"{self._source}: no record in {self._meta.size} bytes: the start pattern does not occur")

    def _batch(self, records: list[Frame], *rejections: Rejection, resume: int) -> RecordBatch:
        self.records += len(records) + len(rejections)
        first = records[0][0] if records else resume
        self._entries = self._entries[max(0, bisect_right(self._entries, first, key=entry_offset) - 1) :]
        position = Position.at(resume, self._entries, self._blocks.compression)
        return RecordBatch(records, rejections, position, self._read, tuple(self._entries), self._shared)


def _behind(record: Frame, shared: int) -> int:
    offset, data = record
    return offset + len(data) - shared
