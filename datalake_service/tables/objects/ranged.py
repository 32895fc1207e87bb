"""One version of a stored object as a seekable file: every read is a ranged read pinned to its ETag."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from datalake_service.errors import StoreError
from datalake_service.storage.base import ObjectMeta, ObjectStore

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CLOSE_BYTES: Final = 64 << 10
"""What lies between two ranges is fetched with them if it is no more than this: another request costs more."""


class RangedFile(io.RawIOBase):
    """Random access to the version that ``meta`` describes.

    It never mixes versions: a read after the object was replaced raises ``PreconditionFailedError``. Not
    thread-safe. Each read is one request, unless ``hold`` has fetched what it reads.
    """

    def __init__(self, store: ObjectStore, meta: ObjectMeta) -> None:
        """Stand at the first byte; nothing is read yet."""
        super().__init__()
        self._store = store
        self._meta = meta
        self._position = 0
        self._held: list[tuple[int, bytes]] = []

    def hold(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetch ranges (first byte, byte behind the last) and keep them, instead of those that were kept before.

        Ranges that lie close together are one request.

        Raises:
            PreconditionFailedError: The object was replaced.
            StoreError: The store gave fewer bytes than the object has.
        """
        self._held = []  # before, so that not both are in memory
        for start, end in _joined(ranges):
            self._held.append((start, self._fetch(start, end)))

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to ``offset``, counted from the start, from here, or from the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._meta.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Read exactly ``size`` bytes, or up to the end of the object.

        Raises:
            PreconditionFailedError: The object was replaced.
            StoreError: The store gave fewer bytes than the object has.
        """
        end = self._meta.size if size < 0 else min(self._meta.size, self._position + size)
        start = self._position
        if end <= start:
            return b""
        data = self._of_held(start, end)
        if data is None:
            data = self._fetch(start, end)
        self._position = end
        return data

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill ``buffer``."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def _of_held(self, start: int, end: int) -> bytes | None:
        for first, data in self._held:
            if first <= start and end <= first + len(data):
                return data[start - first : end - first]
        return None

    def _fetch(self, start: int, end: int) -> bytes:
        wanted = end - start
        with self._store.open(self._meta.key, start=start, end=end, etag=self._meta.etag) as stream:
            data = stream.read(wanted)
            while len(data) < wanted and (more := stream.read(wanted - len(data))):
                data += more
        if len(data) < wanted:
            msg = f"{self._meta.key}: the store gave {len(data)} of the {wanted} bytes from {start}"
            raise StoreError(msg)
        return data


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges in order, with those in one that lie close together."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if joined and start <= joined[-1][1] + CLOSE_BYTES:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
