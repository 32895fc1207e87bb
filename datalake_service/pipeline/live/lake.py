"""A lake that is looked at again and again: what was read of it is kept as long as it is true.

Footers are kept by version, chunks as local files, listings for a moment. Whatever many people ask at the same time is
asked of the store once. Read-only: nothing is ever written to the lake.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from datalake_service.catalog import layout
from datalake_service.catalog.deletions import DeletionStatus, find_deletion
from datalake_service.errors import DatasetNotFoundError, ObjectNotFoundError, PreconditionFailedError, StoreError
from datalake_service.pipeline.live.dataset import AnnotationFiles, RowFile, Snapshot, schema_of
from datalake_service.pipeline.live.look import DatasetLook, look
from datalake_service.pipeline.live.waiting import WaitingPart, WaitingRows
from datalake_service.storage.base import ObjectMeta, ObjectStore
from datalake_service.storage.folder import FolderStore
from datalake_service.storage.scratch import innermost
from datalake_service.tables.database.engine import EngineLimits
from datalake_service.tables.filters.naming import nearest_names
from datalake_service.tables.live.live_files import LiveFile, load_files, load_local
from datalake_utils.clock import Clock, SystemClock

_ATTEMPTS: Final = 10
"""How often a dataset may change while it is looked at."""
_SNAPSHOTS: Final = 8
"""Moments of a dataset that are kept, for people who are still turning pages in them."""
_SMALL_BYTES: Final = 32 << 20
"""Records that are kept: manifests of runs, tasks."""
CREATED_AT: Final = "_created_at"


@dataclass(slots=True)
class _Kept:
    """What is known of one dataset."""

    waiting: WaitingRows
    lock: threading.RLock = field(default_factory=threading.RLock)
    look: DatasetLook | None = None
    looked_at: float = 0.0
    files: dict[str, LiveFile] = field(default_factory=dict)
    """By key."""
    local: dict[WaitingPart, LiveFile] = field(default_factory=dict)
    snapshots: OrderedDict[str, Snapshot] = field(default_factory=OrderedDict)
    deletion: tuple[str, bool] = ("", False)
    """ETag of the object that says so, and whether the dataset is deleted."""


class LiveLake:
    """The datasets of a lake. Thread-safe."""

    def __init__(
        self,
        store: ObjectStore,
        folder: Path,
        *,
        limits: EngineLimits | None = None,
        max_age: float = 1.0,
        clock: Clock | None = None,
    ) -> None:
        """Look at ``store``.

        Args:
            store: The lake.
            folder: For files of rows that wait for a merge; empty, and nobody else's.
            limits: What one question may use of the machine.
            max_age: Seconds for which a listing is believed.
            clock: Time source.
        """
        self.store = store
        self.limits = replace(limits or EngineLimits(), spill_folder=folder)
        self._folder = folder
        self._max_age = max_age
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}
        self._names: tuple[float, list[str]] | None = None
        self._small: OrderedDict[str, tuple[str, bytes]] = OrderedDict()
        self._small_bytes = 0

    @property
    def folders(self) -> list[Path]:
        """Where the files that are read lie, if they have names."""
        inner = innermost(self.store)
        return [self._folder, inner.root] if isinstance(inner, FolderStore) else [self._folder]

    def datasets(self) -> list[str]:
        """The names of all datasets, deleted ones left out."""
        return [name for name in self._all_names() if not self.is_deleted(name)]

    def _all_names(self) -> list[str]:
        with self._lock:
            now = self._clock.monotonic()
            if self._names is None or now - self._names[0] > self._max_age:
                names = [name for name in self.store.list_folders("") if not name.startswith(".")]
                self._names = (now, names)
            return list(self._names[1])

    def is_deleted(self, dataset: str) -> bool:
        """Whether a dataset is deleted, and only waits for its purge."""
        kept, found = self._of(dataset), self.look(dataset).deletion
        if found is None:
            return False
        with kept.lock:
            if kept.deletion[0] != found.etag:
                deletion = find_deletion(self.store, dataset)
                deleted = deletion is not None and deletion.status is not DeletionStatus.RESTORED
                kept.deletion = (found.etag, deleted)
            return kept.deletion[1]

    def _of(self, dataset: str) -> _Kept:
        with self._lock:
            kept = self._kept.get(dataset)
            if kept is None:
                kept = self._kept[dataset] = _Kept(WaitingRows(self.store, dataset, self._folder))
            return kept

    def look(self, dataset: str, *, again: bool = False) -> DatasetLook:
        """What a listing shows, not older than a moment; ``again``: newer than this call."""
        kept = self._of(dataset)
        asked = self._clock.monotonic()
        with kept.lock:
            oldest = asked if again else asked - self._max_age
            if kept.look is None or kept.looked_at < oldest:
                kept.looked_at = self._clock.monotonic()
                kept.look = look(self.store, dataset)
            return kept.look

    def existing(self, dataset: str) -> DatasetLook:
        """What a listing of a dataset shows, if there is such a dataset.

        Raises:
            DatasetNotFoundError: There is none.
        """
        found = self.look(dataset)
        if not found.objects or self.is_deleted(dataset):
            raise self._no_dataset(dataset)
        return found

    def snapshot(self, dataset: str, *, version: str | None = None, again: bool = False) -> Snapshot:
        """The dataset as it is now, or as it was at ``version`` if that is still known.

        Raises:
            DatasetNotFoundError: There is no such dataset.
            StoreError: The store failed.
        """
        kept = self._of(dataset)
        with kept.lock:
            if version is not None and version in kept.snapshots:
                kept.snapshots.move_to_end(version)
                return kept.snapshots[version]
            for attempt in range(_ATTEMPTS):
                found = self.look(dataset, again=again or attempt > 0)
                if not found.objects or self.is_deleted(dataset):
                    raise self._no_dataset(dataset)
                if found.version in kept.snapshots and not again:
                    kept.snapshots.move_to_end(found.version)
                    return kept.snapshots[found.version]
                try:
                    made = self._snapshot(kept, found)
                except (ObjectNotFoundError, PreconditionFailedError):
                    continue  # replaced since the listing
                kept.snapshots[found.version] = made
                while len(kept.snapshots) > _SNAPSHOTS:
                    kept.snapshots.popitem(last=False)
                return made
        raise StoreError(f"objects of dataset {dataset!r} were replaced {_ATTEMPTS} times in a row; try again later")

    def _no_dataset(self, dataset: str) -> DatasetNotFoundError:
        near = nearest_names(dataset, self._all_names())
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        return DatasetNotFoundError(f"there is no dataset {dataset!r} in {self.store.uri}{hint}")

    def read_small(self, meta: ObjectMeta) -> bytes | None:
        """The bytes of a small object, in the version that was listed or a newer one; ``None``: it is gone."""
        with self._lock:
            known = self._small.get(meta.key)
            if known is not None and known[0] == meta.etag:
                self._small.move_to_end(meta.key)
                return known[1]
        try:
            body, _ = self.store.get(meta.key)
        except ObjectNotFoundError:
            return None
        with self._lock:
            old = self._small.pop(meta.key, None)
            self._small_bytes += len(body) - (0 if old is None else len(old[1]))
            self._small[meta.key] = (meta.etag, body)
            while self._small_bytes > _SMALL_BYTES:
                self._small_bytes -= len(self._small.popitem(last=False)[1][1])
        return body

    # Making a snapshot -------------------------------------------------------------------------------

    def footers(self, dataset: str) -> tuple[DatasetLook, Mapping[str, LiveFile], Mapping[str, str]]:
        """The merged objects of a dataset by key, with those that cannot be read and why. Reads no chunk."""
        kept = self._of(dataset)
        with kept.lock:
            for attempt in range(_ATTEMPTS):
                found = self.look(dataset, again=attempt > 0)
                try:
                    return found, *self._files(kept, found)
                except (ObjectNotFoundError, PreconditionFailedError):
                    continue
        raise StoreError(f"objects of dataset {dataset!r} were replaced {_ATTEMPTS} times in a row; try again later")

    def _files(self, kept: _Kept, found: DatasetLook) -> tuple[dict[str, LiveFile], dict[str, str]]:
        metas = [batch.merged for batch in found.batches.values() if batch.merged is not None]
        metas += [meta for annotator in found.annotators.values() for meta in annotator.merged.values()]
        known = {
            meta.key: file
            for meta in metas
            if (file := kept.files.get(meta.key)) is not None
            and file.version is not None
            and file.version.meta.etag == meta.etag
        }
        missing = [meta for meta in metas if meta.key not in known]
        problems: dict[str, str] = {}
        try:
            loaded = load_files(self.store, missing, self.limits, bounds_of=CREATED_AT) if missing else []
        except (ObjectNotFoundError, PreconditionFailedError):
            raise
        except StoreError:
            loaded = self._one_by_one(missing, problems)
        known |= {file.key: file for file in loaded}
        kept.files = known
        return known, problems

    def _one_by_one(self, metas: Sequence[ObjectMeta], problems: dict[str, str]) -> list[LiveFile]:
        """Read footers so that one that is damaged does not hide the others."""
        loaded = []
        for meta in metas:
            try:
                loaded += load_files(self.store, [meta], self.limits, bounds_of=CREATED_AT)
            except (ObjectNotFoundError, PreconditionFailedError):
                raise
            except StoreError as error:
                problems[meta.key] = str(error)
        return loaded

    def _snapshot(self, kept: _Kept, found: DatasetLook) -> Snapshot:
        files, problems = self._files(kept, found)

        def contained(key: str) -> frozenset[tuple[str, str]]:
            return files[key].footer.contains if key in files else frozenset()

        waiting = kept.waiting.update(
            [
                (batch, frozenset() if batch.merged is None else contained(batch.merged.key))
                for batch in found.batches.values()
            ],
            [
                (one, {batch: contained(meta.key) for batch, meta in one.merged.items()})
                for one in found.annotators.values()
            ],
        )
        parts = [part for group in waiting.rows.values() for part in group]
        parts += [part for one in waiting.annotations.values() for group in one.values() for part in group]
        new = [part for part in parts if part not in kept.local]
        loaded = load_local([(part.file.path, part) for part in new], self.limits)
        local = {part: kept.local[part] for part in parts if part in kept.local} | dict(zip(new, loaded, strict=True))
        kept.local = local
        rows: list[RowFile] = []
        for name, batch in found.batches.items():
            merged = None if batch.merged is None else files.get(batch.merged.key)
            if merged is not None:
                rows.append(RowFile(name, merged=True, file=merged))
            rows += [
                RowFile(name, merged=False, file=local[part], hidden_by=merged if part.own_ids else None)
                for part in waiting.rows.get(name, ())
            ]
        annotations = {
            one.name: {
                batch: AnnotationFiles(
                    files.get(layout.merged_key(layout.annotation_prefix(found.name, one.name, batch))),
                    tuple(local[part] for part in waiting.annotations.get(one.name, {}).get(batch, ())),
                )
                for batch in sorted({*one.merged, *waiting.annotations.get(one.name, {})})
            }
            for one in found.annotators.values()
        }
        return Snapshot(found, tuple(rows), annotations, schema_of(rows, annotations), problems, waiting.left_out)
