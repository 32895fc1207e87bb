"""One object of a store → its records, one at a time, each looked for as its caller says.

For state machines: what the next record looks like depends on the one before. ``objects.py`` is for files in which all
records look alike.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from datalake_interfaces import RecordParseHint
from datalake_service.catalog.rejections import Rejection
from datalake_service.readers.blocks import ObjectBlocks, Position, entry_offset
from datalake_service.readers.framing import MAX_RECORD_BYTES, Frame, Framer
from datalake_service.readers.sniffing import Damage
from datalake_service.readers.streams import Block, Entry
from datalake_service.readers.unreadable import damaged, too_large
from datalake_service.storage.base import ObjectMeta, ObjectStore

_ENTRIES: Final = 64
"""Entries are looked through when there are so many."""


class ObjectRecords:
    """Reads one version of one object. Make one for each attempt; one thread uses it."""

    def __init__(
        self,
        store: ObjectStore,
        meta: ObjectMeta,
        *,
        source: str,
        position: Position | None = None,
        end_is_next_start: bool = False,
        max_record_bytes: int = MAX_RECORD_BYTES,
    ) -> None:
        """Prepare; nothing is opened yet. The arguments are those of ``ObjectReader``."""
        self._source = source
        self._input = ObjectBlocks(store, meta, source=source, position=position)
        self._blocks = self._input.read()
        self._size = meta.size
        self._framer: Framer | None = None
        self._begin = position.offset if position else 0
        self._from_start = position is None
        self._end_is_next_start = end_is_next_start
        self._max_record_bytes = max_record_bytes
        self._entries: list[Entry] = [self._input.start]
        self._found = False
        self._damage: Damage | None = None
        self._fragment: Frame | None = None
        self.read = self._input.start.at
        """Bytes of the object that were read so far, for progress."""
        self.damaged = False
        """Whether what ``next`` returned last is damage: nothing follows it."""
        self.notes = self._input.notes
        """What the object's user should know."""

    @property
    def offset(self) -> int:
        """Where the search for the next record begins, in the decompressed data."""
        return self._framer.resume if self._framer is not None else self._begin

    def next(self, start: RecordParseHint, end: RecordParseHint) -> Frame | Rejection | None:
        """Return the next record; a rejection for one that is too large, or for bad data; ``None`` at the end.

        After bad data comes the end. Called again at the end, it returns ``None`` again.

        Raises:
            ValueError: With these hints, every record would be empty.
            PreconditionFailedError: The object is not the version that ``meta`` describes any more.
            ObjectNotFoundError: It was deleted.
            StoreError: It cannot be read; nothing of it is counted as bad data.
        """
        framer = self._framer
        if framer is None:
            framer = self._framer = Framer(
                start,
                end,
                offset=self._begin,
                end_is_next_start=self._end_is_next_start,
                max_record_bytes=self._max_record_bytes,
            )
        else:
            framer.expect(start, end)
        while True:
            frame = framer.take_one()
            if frame is not None:
                self._found = True
                return frame
            if framer.oversize:
                self._found = True
                return too_large(self._source, framer.oversize.pop())
            if not self._push(framer):
                return self._finish(framer)

    def position(self, offset: int) -> Position | None:
        """The position at ``offset``, which is not before what ``forget_before`` was told.

        ``None`` is the beginning, as long as nothing was read and so nothing is known of the object.
        """
        if not self._input.sniffed:
            return None
        return Position.at(offset, self._entries, self._input.compression)

    def forget_before(self, offset: int) -> None:
        """Nobody will ask for a position before ``offset`` any more."""
        if len(self._entries) >= _ENTRIES:
            del self._entries[: max(0, bisect_right(self._entries, offset, key=entry_offset) - 1)]

    def close(self) -> None:
        """Let go of the object."""
        self._blocks.close()

    def _push(self, framer: Framer) -> bool:
        """Give the framer the next bytes; ``False`` at the end."""
        block: Block | Damage | None = None if self._damage is not None else next(self._blocks, None)
        if isinstance(block, Damage):
            self._damage = block
            self.notes.append(f"{self._source}: {block.message}")
            self._fragment = framer.finish()
            return bool(framer.oversize)
        if block is None:
            return False
        self._entries.extend(block.entries)
        self.read = block.read
        framer.push(block.data)
        return True

    def _finish(self, framer: Framer) -> Frame | Rejection | None:
        damage, self._damage = self._damage, None
        if damage is not None:
            self._blocks.close()
            self._found = self.damaged = True
            return damaged(self._source, damage, fragment=self._fragment, offset=framer.resume)
        last = framer.finish()
        if last is not None:
            self._found = True
            return last
        if framer.oversize:
            self._found = True
            return too_large(self._source, framer.oversize.pop())
        if self._size and not self._found and self._from_start:
            self._found = True  # said once
            self.notes.append(f"{self._source}: no record in {self._size} bytes: the start pattern does not occur")
        return None
