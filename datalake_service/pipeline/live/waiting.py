"""Chunks that no merge has taken yet, as local files that can be asked like merged ones. Each chunk is read once.

A file lives as long as anybody holds its ``WaitingPart``. Chunks are parsed as a merge would parse them; lines that are
no rows are left out here, and become rejections there.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from datalake_service.catalog import layout
from datalake_service.catalog.annotations import FINAL_STATUSES
from datalake_service.catalog.manifests import format_time
from datalake_service.chunks.annotation_rows import rows_by_batch
from datalake_service.chunks.fetch import LineFetcher
from datalake_service.chunks.inventory import Source, inventory_of
from datalake_service.chunks.rows import Census, Origin, identify
from datalake_service.pipeline.live.look import AnnotatorLook, BatchLook
from datalake_service.storage.base import ObjectMeta, ObjectStore
from datalake_service.tables.objects.waiting import WaitingFile, write_annotations, write_rows
from datalake_utils.ids import random_hex

_PART_BYTES: Final = 8 << 20
"""Chunks that make one file: they are in memory while it is written."""
_SMALL_BYTES: Final = 1 << 20
_MAX_SMALL: Final = 8
"""When there are more small files of a batch than this, they become one."""
_WINDOW_BYTES: Final = 16 << 20
DEFAULT_BYTES: Final = 1 << 30
"""Chunks of a dataset that are shown before they are merged; beyond it, the oldest wait for the merge."""

_Name = tuple[str, str]
"""(file name, ETag) of a chunk."""


class WaitingPart:
    """One local file; it is removed when nobody holds this any more."""

    def __init__(self, file: WaitingFile, *, batch: str, sources: frozenset[_Name], size: int, own_ids: bool) -> None:
        """Take over ``file``, made of the chunks ``sources`` of ``size`` bytes."""
        self.file = file
        self.batch = batch
        self.sources = sources
        self.size = size
        self.own_ids = own_ids
        """Whether rows brought ids, which merged rows may have too."""
        weakref.finalize(self, _remove, file.path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for the merge of a dataset, as files."""

    rows: dict[str, tuple[WaitingPart, ...]]
    """By batch."""
    annotations: dict[str, dict[str, tuple[WaitingPart, ...]]]
    """By annotator, by batch."""
    left_out: int
    """Chunks that are not shown, because there are too many bytes of them."""


class WaitingRows:
    """Makes and keeps the files of one dataset. Thread-safe."""

    def __init__(self, store: ObjectStore, dataset: str, folder: Path, *, max_bytes: int = DEFAULT_BYTES) -> None:
        """Make files in ``folder``."""
        self._store = store
        self._dataset = dataset
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._rows: dict[str, list[WaitingPart]] = {}
        self._annotations: dict[str, dict[_Name, list[WaitingPart]]] = {}
        self._created: dict[_Name, datetime] = {}
        """When a chunk was sealed, as far as was known when it was seen first: rows must not move while people read."""

    def update(
        self,
        batches: Iterable[tuple[BatchLook, frozenset[_Name]]],
        annotators: Iterable[tuple[AnnotatorLook, dict[str, frozenset[_Name]]]],
    ) -> Waiting:
        """Read what is new.

        Args:
            batches: Batches, each with the chunks that its merged object contains.
            annotators: Annotators, each with the chunks that the merged object of each batch contains.

        Raises:
            ObjectNotFoundError: A chunk is gone: look again.
            StoreError: The store failed.
        """
        with self._lock:
            batches, annotators = list(batches), list(annotators)
            shown, left_out = self._within_limit(batches)
            rows = {}
            for look, contained in batches:
                files = [meta for meta in look.files if meta.key in shown]
                rows[look.name] = self._of_batch(look, files, contained)
            annotations = {look.name: self._of_annotator(look, contained) for look, contained in annotators}
            return Waiting({name: parts for name, parts in rows.items() if parts}, annotations, left_out)

    def _within_limit(self, batches: Sequence[tuple[BatchLook, frozenset[_Name]]]) -> tuple[set[str], int]:
        """The newest chunks, up to the limit."""
        waiting = [
            meta for look, contained in batches for meta in look.files if (_last(meta), meta.etag) not in contained
        ]
        shown: set[str] = set()
        total = 0
        for meta in sorted(waiting, key=lambda meta: (meta.last_modified, meta.key), reverse=True):
            total += meta.size
            if total > self._max_bytes and shown:
                break
            shown.add(meta.key)
        return shown, len(waiting) - len(shown)

    # Rows --------------------------------------------------------------------------------------------

    def _of_batch(
        self, look: BatchLook, files: Sequence[ObjectMeta], contained: frozenset[_Name]
    ) -> tuple[WaitingPart, ...]:
        wanted = {name: meta for meta in files if (name := (_last(meta), meta.etag)) not in contained}
        kept = [part for part in self._rows.get(look.name, []) if part.sources <= wanted.keys()]
        small = [part for part in kept if part.size < _SMALL_BYTES]
        if len(small) > _MAX_SMALL:
            kept = [part for part in kept if part.size >= _SMALL_BYTES]
        covered = {name for part in kept for name in part.sources}
        new = [meta for name, meta in wanted.items() if name not in covered]
        if new:
            prefix = layout.batch_prefix(self._dataset, look.name)
            inventory = inventory_of(self._store, prefix, [*new, *look.manifests])
            for sources in _groups(inventory.sources):
                part = self._row_part(look.name, sources)
                if part is not None:
                    kept.append(part)
        self._rows[look.name] = kept
        return tuple(part for part in kept if part.file.rows)

    def _row_part(self, batch: str, sources: Sequence[Source]) -> WaitingPart:
        census, rows, seen, own = Census(), [], set(), False
        for source, lines in self._read(sources):
            name = (source.name, source.meta.etag)
            created = format_time(self._created.setdefault(name, source.created_at))
            own = own or any("id" in row for row in lines.rows)
            ids = identify(lines, source.origin, trusted=False)
            census.count(lines.rows)
            for row_id, row in zip(ids, lines.rows, strict=True):
                if row_id not in seen:
                    seen.add(row_id)
                    rows.append({**row, "id": row_id, "_batch": batch, "_created_at": created})
        file = write_rows(self._new_path(), rows, census.kinds())
        names = frozenset((source.name, source.meta.etag) for source in sources)
        return WaitingPart(file, batch=batch, sources=names, size=_bytes(sources), own_ids=own)

    # Annotations -------------------------------------------------------------------------------------

    def _of_annotator(
        self, look: AnnotatorLook, contained: dict[str, frozenset[_Name]]
    ) -> dict[str, tuple[WaitingPart, ...]]:
        wanted = {(_last(meta), meta.etag): meta for meta in look.files}
        known = self._annotations.setdefault(look.name, {})
        for name in known.keys() - wanted.keys():
            del known[name]
        new = [meta for name, meta in wanted.items() if name not in known]
        if new:
            for sources in _groups([_source(meta) for meta in sorted(new, key=lambda meta: meta.last_modified)]):
                parts = self._annotation_parts(sources)
                for source in sources:
                    known[source.name, source.meta.etag] = parts
        by_batch: dict[str, dict[int, WaitingPart]] = {}
        for parts in known.values():
            for part in parts:
                if not part.sources <= contained.get(part.batch, frozenset()):
                    by_batch.setdefault(part.batch, {})[id(part)] = part
        return {batch: tuple(found.values()) for batch, found in by_batch.items()}

    def _annotation_parts(self, sources: Sequence[Source]) -> list[WaitingPart]:
        winners: dict[str, dict[str, dict[str, Any]]] = {}
        for _, lines in self._read(sources):
            for batch, indexes in rows_by_batch(lines).items():
                found = winners.setdefault(batch, {})
                for index in indexes:
                    row = lines.rows[index]
                    known = found.get(row["id"])
                    if known is None or known["_status"] not in FINAL_STATUSES:
                        found[row["id"]] = row
        names = frozenset((source.name, source.meta.etag) for source in sources)
        parts = []
        for batch, by_id in winners.items():
            rows = list(by_id.values())
            census = Census()
            census.count({name: row[name] for name in row if not _is_system(name)} for row in rows)
            file = write_annotations(self._new_path(), rows, census.kinds())
            parts.append(WaitingPart(file, batch=batch, sources=names, size=_bytes(sources), own_ids=True))
        return parts

    # Reading -----------------------------------------------------------------------------------------

    def _read(self, sources: Sequence[Source]) -> Iterator[tuple[Source, Any]]:
        fetcher = LineFetcher(self._store, window_bytes=_WINDOW_BYTES)
        for number, lines in fetcher.read(sources):
            yield sources[number], lines

    def _new_path(self) -> Path:
        return self._folder / f"{random_hex(12)}.parquet"


def _is_system(name: str) -> bool:
    return name == "id" or name.startswith("_")


def _last(meta: ObjectMeta) -> str:
    return meta.key.rpartition("/")[2]


def _source(meta: ObjectMeta) -> Source:
    name = _last(meta)
    return Source(meta, Origin(name, layout.parse_chunk(name)), meta.last_modified)


def _bytes(sources: Sequence[Source]) -> int:
    return sum(source.meta.size for source in sources)


def _groups(sources: Sequence[Source]) -> Iterator[list[Source]]:
    """Sources that are read together."""
    group: list[Source] = []
    size = 0
    for source in sources:
        if group and size + source.meta.size > _PART_BYTES:
            yield group
            group, size = [], 0
        group.append(source)
        size += source.meta.size
    if group:
        yield group
