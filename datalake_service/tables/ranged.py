"""One version of a stored object as a seekable file: every read is a ranged read pinned to its ETag."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from datalake_service.errors import StoreError
from datalake_service.storage.base import ObjectMeta, ObjectStore

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class RangedFile(io.RawIOBase):
    """Random access to the version that ``meta`` describes.

    It never mixes versions: a read after the object was replaced raises ``PreconditionFailedError``. Not
    thread-safe. Each read is one request, so callers read in large pieces.
    """

    def __init__(self, store: ObjectStore, meta: ObjectMeta) -> None:
        """Stand at the first byte; nothing is read yet."""
        super().__init__()
        self._store = store
        self._meta = meta
        self._position = 0

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
        start, wanted = self._position, end - self._position
        if wanted <= 0:
            return b""
        with self._store.open(self._meta.key, start=start, end=end, etag=self._meta.etag) as stream:
            data = stream.read(wanted)
            while len(data) < wanted and (more := stream.read(wanted - len(data))):
                data += more
        if len(data) < wanted:
            msg = f"{self._meta.key}: the store gave {len(data)} of the {wanted} bytes from {start}"
            raise StoreError(msg)
        self._position = end
        return data

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill ``buffer``."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)
