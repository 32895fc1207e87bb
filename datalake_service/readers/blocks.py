"""One version of one object → its bytes as they were written: opened, sniffed, decompressed, from any position on."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, BinaryIO

from datalake_service.errors import StoreError
from datalake_service.readers.ahead import ReadAhead
from datalake_service.readers.sniffing import SNIFFED_BYTES, Compression, Content, Damage, sniff
from datalake_service.readers.streams import READ_BYTES, Block, Entry, Input, decoded_blocks, plain_blocks
from datalake_service.storage.base import ObjectMeta, ObjectStore


@dataclass(frozen=True, slots=True)
class Position:
    """Where reading goes on after everything before it is safe. Belongs to one version of one object."""

    offset: int
    """In the decompressed data: right behind a record (before its end pattern, if that begins the next one)."""
    entry: Entry
    """Where decompression has to begin to get there."""
    compression: Compression
    """How the object is compressed; sniffing again in the middle could be wrong."""

    def to_json(self) -> dict[str, str]:
        """The form that a checkpoint keeps. Numbers are text, as in every source: some need more than 64 bits."""
        return {
            "offset": str(self.offset),
            "entryAt": str(self.entry.at),
            "entryOffset": str(self.entry.offset),
            "compression": str(self.compression),
        }

    @classmethod
    def from_json(cls, data: object) -> Position:
        """Read that form.

        Raises:
            StoreError: It is no position of an object.
        """
        try:
            said: Any = data
            entry = Entry(int(said["entryAt"]), int(said["entryOffset"]))
            return cls(int(said["offset"]), entry, Compression(said["compression"]))
        except (KeyError, TypeError, ValueError) as error:
            msg = f"the checkpoint is none of a file ({type(error).__name__}: {error}); reset the task to read it anew"
            raise StoreError(msg) from error

    @classmethod
    def at(cls, offset: int, entries: Sequence[Entry], compression: Compression) -> Position:
        """The position at ``offset``, which one of ``entries`` (in order) leads to."""
        if compression is Compression.NONE:
            return cls(offset, Entry(offset, offset), compression)
        return cls(offset, entries[max(0, bisect_right(entries, offset, key=entry_offset) - 1)], compression)


def entry_offset(entry: Entry) -> int:
    """Where an entry lies in the decompressed data."""
    return entry.offset


class ObjectBlocks:
    """Reads one version of one object, block by block, once."""

    def __init__(self, store: ObjectStore, meta: ObjectMeta, *, source: str, position: Position | None) -> None:
        """Prepare; nothing is opened yet.

        Args:
            store: Where the object is; any store, not only the lake.
            meta: The version to read: every request is pinned to its ETag.
            source: The name that notes carry.
            position: Where an earlier attempt left off; of the same version.
        """
        self._store = store
        self._meta = meta
        self._source = source
        self._position = position
        self.start = position.entry if position else Entry(0, 0)
        """Where decompression begins."""
        self.compression = position.compression if position else Compression.NONE
        """Known once the first block was yielded."""
        self.sniffed = position is not None
        """Whether ``compression`` is known."""
        self.notes: list[str] = []
        """What the object's user should know."""

    def read(self) -> Generator[Block | Damage, None, None]:
        """Yield blocks from the position on; bad data ends them with its ``Damage``. Closing it closes the object.

        Raises:
            PreconditionFailedError: The object is not the version that ``meta`` describes any more.
            ObjectNotFoundError: It was deleted.
            StoreError: It cannot be read; nothing of it is counted as bad data.
        """
        if self.start.at < self._meta.size:
            with closing(self._stream()) as stream:
                yield from self._blocks(Input(stream, self.start.at))

    def _stream(self) -> BinaryIO:
        stream = self._open(self.start.at)
        return ReadAhead(stream) if self._meta.size - self.start.at > READ_BYTES else stream

    def _open(self, at: int) -> BinaryIO:
        return self._store.open(self._meta.key, start=at, etag=self._meta.etag)

    def _blocks(self, source: Input) -> Iterator[Block | Damage]:
        if self._position is None:
            content = sniff(source.peek(SNIFFED_BYTES), self._meta.key)
            if isinstance(content, Damage):
                yield content
                return
            self._note(content)
            self.sniffed = True
        if self.compression is Compression.NONE:
            blocks: Iterator[Block | Damage] = plain_blocks(source)
        else:
            blocks = decoded_blocks(source, self.compression, offset=self.start.offset, reopen=self._open)
        yield from _without_first(blocks, (self._position.offset if self._position else 0) - self.start.offset)

    def _note(self, content: Content) -> None:
        self.compression = content.compression
        if content.notice:
            self.notes.append(f"{self._source}: {content.notice}")


def _without_first(blocks: Iterator[Block | Damage], count: int) -> Iterator[Block | Damage]:
    """The blocks without their first ``count`` bytes, which an earlier attempt has dealt with."""
    for block in blocks:
        if isinstance(block, Damage) or count == 0:
            yield block
        else:
            yield Block(block.data[count:], block.entries, block.read)
            count -= min(count, len(block.data))
