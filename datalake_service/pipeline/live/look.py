"""One look at a dataset: everything that a listing shows, sorted by what it is. Reads no object.

What changes when somebody writes, merges or annotates changes the look's version; renewed leases and logs do not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b

from datalake_service.catalog import layout
from datalake_service.storage.base import ObjectMeta, ObjectStore


@dataclass(slots=True)
class BatchLook:
    """The objects of one batch."""

    name: str
    merged: ObjectMeta | None = None
    files: list[ObjectMeta] = field(default_factory=list)
    """Chunks and foreign files, merged or not."""
    manifests: list[ObjectMeta] = field(default_factory=list)
    rejected: list[ObjectMeta] = field(default_factory=list)


@dataclass(slots=True)
class AnnotatorLook:
    """The objects of one annotator."""

    name: str
    merged: dict[str, ObjectMeta] = field(default_factory=dict)
    """By batch."""
    files: list[ObjectMeta] = field(default_factory=list)
    manifests: list[ObjectMeta] = field(default_factory=list)
    rejected: list[ObjectMeta] = field(default_factory=list)
    locked: bool = False
    """Whether there is a lease that may be held."""


@dataclass(slots=True)
class DatasetLook:
    """The objects of one dataset."""

    name: str
    version: str = ""
    batches: dict[str, BatchLook] = field(default_factory=dict)
    annotators: dict[str, AnnotatorLook] = field(default_factory=dict)
    tasks: list[ObjectMeta] = field(default_factory=list)
    state: ObjectMeta | None = None
    """Its dataset file, if it was made with one."""
    deletion: ObjectMeta | None = None
    """Says whether it is deleted."""
    stops: ObjectMeta | None = None
    objects: int = 0
    last_activity: datetime | None = None
    """When anything of it was written last."""

    def _batch(self, name: str) -> BatchLook:
        return self.batches.setdefault(name, BatchLook(name))

    def _annotator(self, name: str) -> AnnotatorLook:
        return self.annotators.setdefault(name, AnnotatorLook(name))

    def add(self, meta: ObjectMeta) -> bool:
        """Sort one object in; returns whether it is part of the version."""
        parts = meta.key.removeprefix(layout.dataset_prefix(self.name)).split("/")
        if parts[0] == layout.STATE:
            return self._add_state(meta)
        if parts[0] == layout.ANNOTATIONS:
            return len(parts) > 2 and self._add_annotation(meta, parts[1:])  # noqa: PLR2004 - annotator, file
        if len(parts) > 1 and layout.is_batch_folder(parts[0]):
            return self._add_row_object(meta, parts)
        return False

    def _add_state(self, meta: ObjectMeta) -> bool:
        if meta.key.startswith(layout.tasks_prefix(self.name)):
            self.tasks.append(meta)
        elif meta.key == layout.dataset_state_key(self.name):
            self.state = meta
        elif meta.key == layout.deletion_key(self.name):
            self.deletion = meta
        elif meta.key == layout.stop_key(self.name):
            self.stops = meta
        else:
            return False
        return True

    def _add_row_object(self, meta: ObjectMeta, parts: list[str]) -> bool:
        batch = self._batch(parts[0])
        prefix = layout.batch_prefix(self.name, batch.name)
        if meta.key == layout.merged_key(prefix):
            batch.merged = meta
        elif meta.key.startswith(layout.rejected_prefix(self.name, batch.name)):
            batch.rejected.append(meta)
        elif len(parts) == 2 and layout.parse_run_manifest(parts[1]) is not None:  # noqa: PLR2004 - batch, file
            batch.manifests.append(meta)
        elif len(parts) == 2 and parts[1].endswith(".jsonl"):  # noqa: PLR2004 - batch, file
            batch.files.append(meta)
        else:
            return False
        return True

    def _add_annotation(self, meta: ObjectMeta, parts: list[str]) -> bool:
        annotator = self._annotator(parts[0])
        waiting = layout.annotator_temp_prefix(self.name, annotator.name)
        if meta.key.startswith(waiting):
            return self._add_waiting(annotator, meta, meta.key.removeprefix(waiting))
        if meta.key.startswith(layout.worker_leases_prefix(self.name, annotator.name)):
            annotator.locked = True
            return False
        if meta.key.startswith(layout.annotator_rejected_prefix(self.name, annotator.name)):
            annotator.rejected.append(meta)
            return True
        if layout.merged_key(layout.annotation_prefix(self.name, annotator.name, parts[1])) == meta.key:
            annotator.merged[parts[1]] = meta
            return True
        return False

    def _add_waiting(self, annotator: AnnotatorLook, meta: ObjectMeta, name: str) -> bool:
        if meta.key == layout.annotator_lease_key(self.name, annotator.name):
            annotator.locked = True
        elif layout.parse_run_manifest(name) is not None:
            annotator.manifests.append(meta)
            return True
        elif name.endswith(".jsonl"):
            annotator.files.append(meta)
            return True
        return False


def look(store: ObjectStore, dataset: str) -> DatasetLook:
    """List a dataset.

    Raises:
        StoreError: The store failed.
    """
    return look_of(dataset, store.list(layout.dataset_prefix(dataset)))


def look_of(dataset: str, listed: Iterable[ObjectMeta]) -> DatasetLook:
    """Sort what a listing of a dataset showed."""
    found = DatasetLook(dataset)
    digest = blake2b(digest_size=12)
    for meta in listed:
        found.objects += 1
        if found.add(meta):
            digest.update(f"{meta.key}\0{meta.etag}\n".encode("utf-8", "surrogatepass"))
            if found.last_activity is None or meta.last_modified > found.last_activity:
                found.last_activity = meta.last_modified
    found.version = digest.hexdigest()
    return found
