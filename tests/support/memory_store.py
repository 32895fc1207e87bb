"""A small object store in memory, with a clock of its own: what stands in the way of nothing but the protocol."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from datalake_service.errors import AlreadyExistsError, ObjectNotFoundError, PreconditionFailedError
from datalake_service.storage.base import CreateOnly, IfMatch, ObjectMeta, PutMode
from datalake_utils.clock import Clock, SystemClock


class MemoryStore:
    """Keys and bytes."""

    uri = "memory"

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.objects: dict[str, tuple[bytes, ObjectMeta]] = {}
        self.requests = 0
        self._lock = threading.Lock()

    def get(self, key: str, *, etag: str | None = None) -> tuple[bytes, ObjectMeta]:
        self.requests += 1
        if key not in self.objects:
            raise ObjectNotFoundError(f"no object {key}")
        body, meta = self.objects[key]
        if etag is not None and meta.etag != etag:
            raise PreconditionFailedError(f"{key} is another version")
        return body, meta

    def head(self, key: str) -> ObjectMeta:
        return self.get(key)[1]

    def open(self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None) -> BinaryIO:
        return BytesIO(self.get(key, etag=etag)[0][start:end])

    def put(self, key: str, body: bytes | Path, *, mode: PutMode) -> ObjectMeta:
        with self._lock:
            self.requests += 1
            standing = self.objects.get(key)
            if isinstance(mode, CreateOnly) and standing is not None:
                raise AlreadyExistsError(f"{key} exists")
            if isinstance(mode, IfMatch) and (standing is None or standing[1].etag != mode.etag):
                raise PreconditionFailedError(f"{key} is another version")
            data = body if isinstance(body, bytes) else body.read_bytes()
            meta = ObjectMeta(key, len(data), f"{self.requests:x}", self.now())
            self.objects[key] = data, meta
            return meta

    def now(self) -> datetime:
        """The time of the store."""
        return self.clock.now()

    def delete(self, key: str, *, etag: str | None = None) -> None:
        with self._lock:
            standing = self.objects.get(key)
            if standing is not None and etag is not None and standing[1].etag != etag:
                raise PreconditionFailedError(f"{key} is another version")
            self.objects.pop(key, None)

    def delete_many(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.delete(key)

    def list(self, prefix: str) -> Iterator[ObjectMeta]:
        return iter([self.objects[key][1] for key in sorted(self.objects) if key.startswith(prefix)])

    def list_folders(self, prefix: str) -> Iterator[str]:
        below = {key.removeprefix(prefix).split("/")[0] for key in self.objects if key.startswith(prefix)}
        return iter(sorted(below))
