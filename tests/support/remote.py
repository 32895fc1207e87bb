"""A store that looks like one across a network: ranges only, no open files; it counts what is asked of it."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from datalake_service.storage.base import ObjectMeta, ObjectStore, PutMode

_LISTED = 1_000
"""Objects of one answer to a request for a list."""


class RemoteStore:
    """Passes everything on, and hides that the store behind it is a folder."""

    def __init__(self, behind: ObjectStore) -> None:
        self._behind = behind
        self.read: list[tuple[str, int]] = []
        """Key and bytes of every range that was read."""
        self.before_open: Callable[[str], None] = lambda key: None
        """Called before every range, for accidents."""
        self.requests: Counter[str] = Counter()
        """What an S3 server would have been asked, by kind."""

    @property
    def uri(self) -> str:
        return "s3://elsewhere/lake"

    def get(self, key: str, *, etag: str | None = None) -> tuple[bytes, ObjectMeta]:
        self.requests["get"] += 1
        return self._behind.get(key, etag=etag)

    def head(self, key: str) -> ObjectMeta:
        self.requests["head"] += 1
        return self._behind.head(key)

    def open(self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None) -> BinaryIO:
        self.before_open(key)
        self.requests["get"] += 1
        with self._behind.open(key, start=start, end=end, etag=etag) as stream:
            data = stream.read()
        self.read.append((key, len(data)))
        return io.BytesIO(data)

    def put(self, key: str, body: bytes | Path, *, mode: PutMode) -> ObjectMeta:
        return self._behind.put(key, body, mode=mode)

    def delete(self, key: str, *, etag: str | None = None) -> None:
        self._behind.delete(key, etag=etag)

    def delete_many(self, keys: Iterable[str]) -> None:
        self._behind.delete_many(keys)

    def list(self, prefix: str) -> Iterator[ObjectMeta]:
        self.requests["list"] += 1
        for number, meta in enumerate(self._behind.list(prefix)):
            if number and number % _LISTED == 0:
                self.requests["list"] += 1
            yield meta

    def list_folders(self, prefix: str) -> Iterator[str]:
        self.requests["list"] += 1
        return self._behind.list_folders(prefix)
