"""A store that remembers what it read: ranges of versions, which never change, as files of a folder on this machine.

For those who look at the same objects again and again over a network. Only reads that name an ETag are remembered, so
nothing old is ever given out; the folder holds so many bytes and not more.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, Final

from datalake_service.storage.base import ObjectMeta, ObjectStore, PutMode

DEFAULT_BYTES: Final = 1 << 30
_LARGEST: Final = 16 << 20
"""Bytes of a range that is remembered; more are read once, mostly."""


class CachedStore:
    """Passes everything on to ``inner``. Thread-safe; not picklable, because its folder belongs to one process."""

    def __init__(self, inner: ObjectStore, folder: Path, *, max_bytes: int = DEFAULT_BYTES) -> None:
        """Remember in ``folder``, which exists, is empty, and is removed by whoever made it."""
        self.inner = inner
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._known: OrderedDict[str, int] = OrderedDict()
        """Bytes by file, the one that was asked for last at the end."""
        self._size = 0

    @property
    def uri(self) -> str:
        """That of the store behind it."""
        return self.inner.uri

    def open(self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None) -> BinaryIO:
        """Open a stream over one version; see ``ObjectStore.open``."""
        if etag is None or end is None or end - start > _LARGEST:
            return self.inner.open(key, start=start, end=end, etag=etag)
        name = blake2b(f"{key}\0{etag}\0{start}\0{end}".encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        data = self._remembered(name)
        if data is None:
            with self.inner.open(key, start=start, end=end, etag=etag) as stream:
                data = stream.read()
            self._remember(name, data)
        return io.BytesIO(data)

    def _remembered(self, name: str) -> bytes | None:
        with self._lock:
            if name not in self._known:
                return None
            self._known.move_to_end(name)
        try:
            return (self._folder / name).read_bytes()
        except OSError:  # forgotten since, or removed by somebody who cleans up
            return None

    def _remember(self, name: str, data: bytes) -> None:
        try:
            (self._folder / name).write_bytes(data)
        except OSError:  # no space: it is read again then
            return
        with self._lock:
            self._size += len(data) - self._known.pop(name, 0)
            self._known[name] = len(data)
            forgotten = []
            while self._size > self._max_bytes and len(self._known) > 1:
                oldest, size = self._known.popitem(last=False)
                self._size -= size
                forgotten.append(oldest)
        for oldest in forgotten:
            (self._folder / oldest).unlink(missing_ok=True)

    def get(self, key: str, *, etag: str | None = None) -> tuple[bytes, ObjectMeta]:
        """Read a whole object; see ``ObjectStore.get``."""
        return self.inner.get(key, etag=etag)

    def head(self, key: str) -> ObjectMeta:
        """Look at an object; see ``ObjectStore.head``."""
        return self.inner.head(key)

    def put(self, key: str, body: bytes | Path, *, mode: PutMode) -> ObjectMeta:
        """Write an object; see ``ObjectStore.put``."""
        return self.inner.put(key, body, mode=mode)

    def delete(self, key: str, *, etag: str | None = None) -> None:
        """Remove an object; see ``ObjectStore.delete``."""
        self.inner.delete(key, etag=etag)

    def delete_many(self, keys: Iterable[str]) -> None:
        """Remove objects; see ``ObjectStore.delete_many``."""
        self.inner.delete_many(keys)

    def list(self, prefix: str) -> Iterator[ObjectMeta]:
        """All objects below a prefix; see ``ObjectStore.list``."""
        return self.inner.list(prefix)

    def list_folders(self, prefix: str) -> Iterator[str]:
        """The folders below a prefix; see ``ObjectStore.list_folders``."""
        return self.inner.list_folders(prefix)
