"""What lies in a batch and is not merged yet: one listing, and the manifests of the runs in it.

Decides the order in which a merge takes the files. Knows nothing of what is merged already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from datalake_service.catalog import layout
from datalake_service.catalog.columns import NEEDS_CARE
from datalake_service.catalog.makers import RunMaker
from datalake_service.catalog.manifests import ChunkEntry, RunManifest
from datalake_service.chunks.rows import Origin
from datalake_service.errors import ObjectNotFoundError, PreconditionFailedError
from datalake_service.storage.base import ObjectMeta, ObjectStore


@dataclass(frozen=True, slots=True)
class Source:
    """One chunk or foreign file."""

    meta: ObjectMeta
    origin: Origin
    created_at: datetime
    """When the chunk was sealed, or the foreign file written."""
    census: Mapping[str, str] | None = None
    """Column to kinds, if a manifest vouches for the file."""
    rows: int | None = None
    """Lines, if a manifest says so."""
    deduplicate_on: tuple[str, ...] | None = None
    """The dedup columns of its run."""
    maker: RunMaker | None = None
    """Who made the annotations of its run."""

    @property
    def name(self) -> str:
        """Last segment of its key."""
        return self.origin.name

    @property
    def vouched_rows(self) -> int | None:
        """``rows``, if the census says that the fast reader is exact for all of them."""
        if self.census is None or not NEEDS_CARE.isdisjoint("".join(self.census.values())):
            return None
        return self.rows


@dataclass(frozen=True, slots=True)
class FoundManifest:
    """A run manifest as it was listed."""

    meta: ObjectMeta
    run: str
    finished: bool
    """The listed version says that the run is complete, so the same listing shows all of its chunks."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """One look at a batch."""

    merged: ObjectMeta | None
    sources: tuple[Source, ...]
    """Files to merge, in merge order."""
    manifests: tuple[FoundManifest, ...]
    others: tuple[ObjectMeta, ...]
    """Objects in folders below the batch: rejections and duplicates."""


def take_inventory(store: ObjectStore, prefix: str) -> Inventory:
    """List what is below ``prefix`` and read the manifests.

    Raises:
        StoreError: The store failed, or a manifest is none.
    """
    return inventory_of(store, prefix, store.list(prefix))


def inventory_of(store: ObjectStore, prefix: str, listed: Iterable[ObjectMeta]) -> Inventory:
    """The same for a listing that somebody has made.

    Raises:
        StoreError: The store failed, or a manifest is none.
    """
    merged: ObjectMeta | None = None
    files: list[ObjectMeta] = []
    manifests: dict[str, ObjectMeta] = {}
    others: list[ObjectMeta] = []
    for meta in listed:
        name = meta.key.removeprefix(prefix)
        if "/" in name:
            others.append(meta)
        elif meta.key == layout.merged_key(prefix):
            merged = meta
        elif (run := layout.parse_run_manifest(name)) is not None:
            manifests[run] = meta
        elif name.endswith(".jsonl"):
            files.append(meta)
    runs = _Runs(store, prefix, manifests)
    sources = sorted((_source(meta, prefix, runs) for meta in files), key=_merge_order)
    found = tuple(FoundManifest(meta, run, runs.is_finished(run)) for run, meta in manifests.items())
    return Inventory(merged, tuple(sources), found, tuple(others))


class _Runs:
    """The manifests of a listing, each read once."""

    def __init__(self, store: ObjectStore, prefix: str, listed: Mapping[str, ObjectMeta]) -> None:
        self._store = store
        self._prefix = prefix
        self._finished: set[str] = set()
        self._manifests: dict[str, RunManifest | None] = {}
        for run, meta in listed.items():
            self._read(run, meta)

    def is_finished(self, run: str) -> bool:
        return run in self._finished

    def manifest(self, run: str) -> RunManifest | None:
        if run not in self._manifests:
            # A run claimed while the listing went on: its chunk was listed, its manifest was not.
            self._read(run, None)
        return self._manifests[run]

    def _read(self, run: str, listed: ObjectMeta | None) -> None:
        key = layout.run_manifest_key(self._prefix, run)
        try:
            body, meta = self._store.get(key)
        except (ObjectNotFoundError, PreconditionFailedError):
            self._manifests[run] = None
            return
        manifest = self._manifests[run] = RunManifest.from_json(body, key=key)
        if manifest.completed and listed is not None and listed.etag == meta.etag:
            self._finished.add(run)


def _source(meta: ObjectMeta, prefix: str, runs: _Runs) -> Source:
    name = meta.key.removeprefix(prefix)
    chunk = layout.parse_chunk(name)
    origin = Origin(name, chunk)
    manifest = runs.manifest(chunk.run) if chunk is not None else None
    if chunk is None or manifest is None:
        return Source(meta, origin, meta.last_modified)
    entry, columns, maker = _entry(manifest, chunk.number, meta.size), manifest.deduplicate_on or None, manifest.maker
    if entry is None:
        return Source(meta, origin, meta.last_modified, deduplicate_on=columns, maker=maker)
    return Source(meta, origin, entry.sealed_at, entry.census, entry.rows, columns, maker)


def _entry(manifest: RunManifest, number: int, size: int) -> ChunkEntry | None:
    """What the manifest says of a chunk, unless it is not the chunk that it speaks of."""
    if number >= len(manifest.chunks):
        return None
    entry = manifest.chunks[number]
    return entry if entry.size == size else None


def _merge_order(source: Source) -> tuple[datetime, datetime, str, int]:
    chunk = source.origin.chunk
    run, number = (chunk.run, chunk.number) if chunk is not None else (source.name, 0)
    return source.meta.last_modified, source.created_at, run, number
