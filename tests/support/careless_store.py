"""Stores that do not keep their word: conditions are ignored, or permissions are missing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from datalake_service.errors import AccessDeniedError
from datalake_service.storage.base import CreateOnly, IfMatch, ObjectMeta, ObjectStore, Overwrite, PutMode


class CarelessStore:
    """``inner`` under the address of a bucket; ``ignores`` conditions, ``denies`` methods, counts what is asked."""

    def __init__(
        self,
        inner: ObjectStore,
        *,
        ignores: tuple[type[CreateOnly | IfMatch], ...] = (),
        denies: Collection[str] = (),
        uri: str = "s3://bucket/lake",
    ) -> None:
        self.inner = inner
        self.uri = uri
        self.asked: list[str] = []
        self._ignores = ignores
        self._denies = denies

    def get(self, key: str, *, etag: str | None = None) -> tuple[bytes, ObjectMeta]:
        self._ask("get")
        return self.inner.get(key, etag=etag)

    def head(self, key: str) -> ObjectMeta:
        self._ask("head")
        return self.inner.head(key)

    def open(self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None) -> BinaryIO:
        self._ask("open")
        return self.inner.open(key, start=start, end=end, etag=etag)

    def put(self, key: str, body: bytes | Path, *, mode: PutMode) -> ObjectMeta:
        self._ask("put")
        return self.inner.put(key, body, mode=Overwrite() if isinstance(mode, self._ignores) else mode)

    def delete(self, key: str, *, etag: str | None = None) -> None:
        self._ask("delete")
        self.inner.delete(key, etag=etag)

    def delete_many(self, keys: Iterable[str]) -> None:
        self._ask("delete")
        self.inner.delete_many(keys)

    def list(self, prefix: str) -> Iterator[ObjectMeta]:
        self._ask("list")
        return self.inner.list(prefix)

    def list_folders(self, prefix: str) -> Iterator[str]:
        self._ask("list")
        return self.inner.list_folders(prefix)

    def _ask(self, verb: str) -> None:
        self.asked.append(verb)
        if verb in self._denies:
            raise AccessDeniedError(f"{self.uri}: no {verb} here")
