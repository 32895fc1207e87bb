"""The rows that need no annotation any more, from a merged object of annotations: two columns of it, nothing else."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from datalake_service.errors import ObjectNotFoundError, PreconditionFailedError, StoreError
from datalake_service.storage.base import ObjectMeta, ObjectStore

_ATTEMPTS = 5
"""How often reading starts again because the object was replaced in the middle."""


def finished_ids(store: ObjectStore, key: str, *, statuses: Collection[str]) -> set[str]:
    """The ids of the rows with one of ``statuses``; none if there is no object ``key``.

    One version of the object is read, and only the ids and the statuses of it.

    Raises:
        StoreError: The object cannot be read, or is no merged object of annotations.
    """
    for _ in range(_ATTEMPTS):
        try:
            meta = store.head(key)
        except ObjectNotFoundError:
            return set()
        try:
            return set(_ids(_Version(store, meta), key, frozenset(statuses)))
        except (PreconditionFailedError, ObjectNotFoundError):
            continue
    msg = f"{key} was replaced {_ATTEMPTS} times while it was being read; run again when nothing merges it"
    raise StoreError(msg)


def _ids(version: _Version, key: str, statuses: frozenset[str]) -> Iterator[str]:
    try:
        with pq.ParquetFile(pa.PythonFile(version, mode="r")) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=["id", "_status"])
                ids, found = table.column("id").to_pylist(), table.column("_status").to_pylist()
                yield from (row_id for row_id, status in zip(ids, found, strict=True) if status in statuses)
    except (pa.ArrowInvalid, KeyError) as error:
        msg = f"{key} is no merged object of annotations ({error}); move it away and run again"
        raise StoreError(msg) from error


class _Version(io.RawIOBase):
    """One version of an object as a file with random access."""

    def __init__(self, store: ObjectStore, meta: ObjectMeta) -> None:
        super().__init__()
        self._store = store
        self._meta = meta
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._meta.size}[whence]
        self._at = start + offset
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        end = self._meta.size if size is None or size < 0 else min(self._at + size, self._meta.size)
        if end <= self._at:
            return b""
        with self._store.open(self._meta.key, start=self._at, end=end, etag=self._meta.etag) as stream:
            data = stream.read()
        self._at += len(data)
        return data
