"""What dead processes leave in a lake: made, made older, and what of it is removed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from datalake_service.catalog import layout
from datalake_service.catalog.manifests import claim_run
from datalake_service.chunks.writer import ChunkWriter
from datalake_service.pipeline.ingest import ingest_iterator
from datalake_service.pipeline.upkeep.cleanup import clean_up
from datalake_service.storage.base import ObjectMeta, ObjectStore, Overwrite, PutMode
from datalake_service.storage.folder import FolderStore
from datalake_utils.clock import ManualClock
from tests.support.faulty_store import FaultyStore

BATCH = layout.batch_prefix("posts", "b")


TEMP = layout.annotator_temp_prefix("posts", "lang")


MERGED = layout.merged_key(BATCH)


ASIDE = layout.duplicates_prefix("posts", "b")


LINE = b'{"id": "1", "text": "a"}\n'


def claim(store: ObjectStore, prefix: str = BATCH, run: str = "aaaaaa") -> ChunkWriter:
    """The writer of a new run."""
    clock = ManualClock(datetime.now(UTC))
    manifest = claim_run(
        store, prefix, kind="rows", deduplicate_on=["text"], chunk_size=1, now=clock.now(), draw=lambda: run
    )
    return ChunkWriter(store, prefix, manifest, clock=clock)


def age(store: FolderStore, days: float, *keys: str) -> None:
    """Make objects as old as this, all of them if none is named."""
    for meta in list(store.list("")):
        if not keys or meta.key in keys:
            then = datetime.now(UTC).timestamp() - days * 86_400
            os.utime(store.root / meta.key, (then, then))


def put(store: FolderStore, key: str, days: float = 0, body: bytes = LINE) -> str:
    """An object of an age; answers its key."""
    store.put(key, body, mode=Overwrite())
    age(store, days, key)
    return key


def removed(store: ObjectStore, **options: Any) -> Mapping[str, int]:
    """What clean-up removes, of all datasets; it must not fail."""
    results = list(clean_up(store, **options))
    assert [result.error for result in results if result.error] == []
    return {kind: number for result in results for kind, number in (result.removed or {}).items()}


def names(store: ObjectStore, prefix: str = BATCH) -> set[str]:
    """What lies in a folder."""
    return {meta.key.removeprefix(prefix) for meta in store.list(prefix)}


class Hooked(FaultyStore):
    """A store in which something happens right before an operation, once."""

    def __init__(self, inner: ObjectStore, verb: str, key: str, happens: Callable[[], object], *, nth: int = 1) -> None:
        super().__init__(inner)
        self.at, self.happens, self.left = (verb, key), happens, nth

    def _before(self, verb: str, key: str) -> None:
        self.left -= (verb, key) == self.at
        if self.left == 0:
            self.left -= 1
            self.happens()

    def list(self, prefix: str) -> Iterator[ObjectMeta]:
        self._before("list", prefix)
        return super().list(prefix)

    def put(self, key: str, body: bytes | Path, *, mode: PutMode) -> ObjectMeta:
        self._before("put", key)
        return super().put(key, body, mode=mode)

    def delete(self, key: str, *, etag: str | None = None) -> None:
        self._before("delete", key)
        super().delete(key, etag=etag)


# Duplicates -----------------------------------------------------------------------------------------


def ingest(store: ObjectStore, *texts: str) -> None:
    """A run of rows that is deduplicated by its text."""
    rows = ({"text": text} for text in texts)
    asyncio.run(ingest_iterator(store, rows, dataset="posts", batch="b", deduplicate_on=["text"]))
