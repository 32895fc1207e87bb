"""What is in a lake and in a dataset: batches, annotators, waiting chunks, tasks. Reads records, never rows.

Counts come from the footers of merged objects and from run manifests: what readers go by. Costs one listing of the
dataset, and two small requests for each merged object and one for each run that waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from datalake_service.catalog import layout
from datalake_service.catalog.datasets import DatasetState, list_datasets, load_dataset
from datalake_service.catalog.deletions import Deletion, DeletionStatus, find_deletion
from datalake_service.catalog.made import Made, Spending
from datalake_service.catalog.manifests import RunManifest, format_time
from datalake_service.catalog.tasks import load_tasks
from datalake_service.config.problems import redacted
from datalake_service.errors import DatasetNotFoundError, ObjectNotFoundError, PreconditionFailedError, StoreError
from datalake_service.pipeline.reports.coverage import Coverage, coverage_of
from datalake_service.pipeline.tasks.stopping import with_deaths
from datalake_service.pipeline.upkeep.lifecycle import require_dataset
from datalake_service.storage.base import ObjectMeta, ObjectStore

_THREADS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSummary:
    """One line of the list of datasets."""

    dataset: str
    batches: int
    annotators: int
    status: str | None
    """How the last run of its dataset file ended; ``None``: it was made without one."""
    created_at: datetime | None
    """When its dataset file was run first."""
    deleted: Deletion | None
    """Set if it is deleted or being purged."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "datasetName": self.dataset,
            "status": self.status,
            "batches": self.batches,
            "annotators": self.annotators,
            "createdAt": None if self.created_at is None else format_time(self.created_at),
            "deletedAt": None if self.deleted is None else format_time(self.deleted.deleted_at),
        }


@dataclass(slots=True)
class Part:
    """One batch, or the annotations of one annotator for one batch: what is merged."""

    name: str
    rows: int = 0
    size: int = 0
    """Bytes of the merged object."""
    counts: dict[str, int] = field(default_factory=dict)
    """Totals over all merges, by name: duplicates, rejected and so on."""
    columns: dict[str, str] = field(default_factory=dict)
    """Type of each column."""
    merged_at: datetime | None = None
    """``None``: never merged."""
    error: str | None = None
    """Why nothing can be said of it."""
    made: tuple[Made, ...] = ()
    """Of annotations: what each maker has made in each generation."""
    spent: Spending = field(default_factory=Spending)
    """Of annotations: what all that were ever merged have cost."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "batch": self.name,
            "rows": self.rows,
            "bytes": self.size,
            "mergedAt": None if self.merged_at is None else format_time(self.merged_at),
            "counts": self.counts,
            "columns": self.columns,
            "error": self.error,
        }


@dataclass(slots=True)
class Waiting:
    """Chunks that no merge has taken yet."""

    chunks: int = 0
    size: int = 0
    """Bytes."""
    rows: int = 0
    """Rows in those of them that a run manifest knows."""

    def to_dict(self) -> dict[str, int]:
        """The JSON form."""
        return {"chunks": self.chunks, "rows": self.rows, "bytes": self.size}


@dataclass(slots=True)
class BatchOverview:
    """A batch with what waits for its next merge."""

    merged: Part
    waiting: Waiting = field(default_factory=Waiting)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {**self.merged.to_dict(), "waiting": self.waiting.to_dict()}


@dataclass(slots=True)
class AnnotatorOverview:
    """An annotator: its annotations by batch, and what waits."""

    name: str
    batches: dict[str, Part] = field(default_factory=dict)
    waiting: Waiting = field(default_factory=Waiting)
    coverage: dict[str, Coverage] = field(default_factory=dict)
    """Of every batch that has merged rows, or annotations."""

    @property
    def total(self) -> Coverage:
        """Of all batches together."""
        return sum(self.coverage.values(), Coverage())

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "annotatorName": self.name,
            "rows": sum(part.rows for part in self.batches.values()),
            "waiting": self.waiting.to_dict(),
            "coverage": self.total.to_dict(),
            "batches": [
                (self.batches.get(name) or Part(name)).to_dict() | {"coverage": coverage.to_dict()}
                for name, coverage in self.coverage.items()
            ],
        }


@dataclass(slots=True)
class DatasetOverview:
    """Everything that ``datasets view`` shows."""

    dataset: str
    uri: str
    state: DatasetState | None
    deleted: Deletion | None
    tasks: dict[str, int]
    """Tasks by status."""
    batches: dict[str, BatchOverview] = field(default_factory=dict)
    annotators: dict[str, AnnotatorOverview] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        state = self.state
        return {
            "datasetName": self.dataset,
            "uri": self.uri,
            "status": _status(state),
            "createdAt": None if state is None else format_time(state.created_at),
            "deletedAt": None if self.deleted is None else format_time(self.deleted.deleted_at),
            "rows": sum(batch.merged.rows for batch in self.batches.values()),
            "tasks": self.tasks,
            "batches": [batch.to_dict() for batch in self.batches.values()],
            "annotators": [annotator.to_dict() for annotator in self.annotators.values()],
            "config": None if state is None else redacted(dict(state.config)),
            "runs": [] if state is None else [run.to_dict() for run in state.runs],
            "report": None if state is None or state.report is None else dict(state.report),
        }


def summarise_datasets(store: ObjectStore) -> list[DatasetSummary]:
    """Every dataset of the lake, deleted ones included, by name. Four requests for each."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="datasets") as pool:
        return list(pool.map(lambda name: _summary(store, name), list_datasets(store)))


def view_dataset(store: ObjectStore, dataset: str) -> DatasetOverview:
    """Look at one dataset.

    Raises:
        DatasetNotFoundError: There is no such dataset.
    """
    require_dataset(store, dataset)
    view = DatasetOverview(
        dataset=dataset,
        uri=store.uri,
        state=_state(store, dataset),
        deleted=_deletion(store, dataset),
        tasks=dict(Counter(str(task.state.status) for task in load_tasks(store, dataset))),
    )
    listing = _Listing(dataset)
    for meta in store.list(layout.dataset_prefix(dataset)):
        listing.add(meta)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="view") as pool:
        manifests = {
            prefix: list(pool.map(lambda meta: _manifest(store, meta), found))
            for prefix, found in listing.manifests.items()
        }
        parts = list(pool.map(lambda meta: _part(store, meta), listing.merged))
    _fill(view, listing, parts, manifests)
    return view


class _Listing:
    """The objects of a dataset by what they are."""

    def __init__(self, dataset: str) -> None:
        self._dataset = dataset
        self.merged: list[ObjectMeta] = []
        self.manifests: dict[str, list[ObjectMeta]] = {}
        self.files: dict[str, list[ObjectMeta]] = {}
        self.batches: set[str] = set()

    def add(self, meta: ObjectMeta) -> None:
        prefix, _, name = meta.key.rpartition("/")
        folders = prefix.split("/")[1:]
        if not folders or folders[0] == layout.STATE:
            return
        if len(folders) == 1 and layout.is_batch_folder(folders[0]):
            self.batches.add(folders[0])
        elif folders[0] != layout.ANNOTATIONS:
            return  # rejections and duplicates of a batch
        if layout.merged_key(f"{prefix}/") == meta.key:
            self.merged.append(meta)
        elif layout.parse_run_manifest(name) is not None:
            self.manifests.setdefault(f"{prefix}/", []).append(meta)
        elif name.endswith(".jsonl"):
            self.files.setdefault(f"{prefix}/", []).append(meta)


def _fill(
    view: DatasetOverview,
    listing: _Listing,
    parts: Sequence[tuple[str, Part] | None],
    manifests: dict[str, list[RunManifest | None]],
) -> None:
    for name in sorted(listing.batches):
        view.batches[name] = BatchOverview(Part(name))
    for prefix, part in filter(None, parts):
        folders = prefix.removesuffix("/").split("/")[1:]
        if len(folders) == 1:
            view.batches[folders[0]].merged = part
        else:
            annotator = view.annotators.setdefault(folders[1], AnnotatorOverview(folders[1]))
            annotator.batches[part.name] = part
    for prefix, files in listing.files.items():
        folders = prefix.removesuffix("/").split("/")[1:]
        waiting = _waiting(files, [found for found in manifests.get(prefix, []) if found is not None])
        if len(folders) == 1:
            view.batches[folders[0]].waiting = waiting
        else:
            view.annotators.setdefault(folders[1], AnnotatorOverview(folders[1])).waiting = waiting
    for annotator in view.annotators.values():
        for name in sorted({*annotator.batches, *(name for name, one in view.batches.items() if one.merged.rows)}):
            base = view.batches.get(name)
            rows = 0 if base is None else base.merged.rows
            annotator.coverage[name] = coverage_of(annotator.batches.get(name) or Part(name), rows)


def _waiting(files: Sequence[ObjectMeta], manifests: Sequence[RunManifest]) -> Waiting:
    rows = {
        (manifest.run, number): chunk.rows for manifest in manifests for number, chunk in enumerate(manifest.chunks)
    }
    names = [layout.parse_chunk(meta.key.rpartition("/")[2]) for meta in files]
    known = sum(rows.get((name.run, name.number), 0) for name in names if name is not None)
    return Waiting(len(files), sum(meta.size for meta in files), known)


def _part(store: ObjectStore, meta: ObjectMeta) -> tuple[str, Part] | None:
    """What one merged object says of itself; ``None``: it is gone. A damaged one does not hide the others."""
    prefix = meta.key.rpartition("/")[0] + "/"
    name = prefix.split("/")[-2]
    try:
        return prefix, _described(store, meta, name)
    except ObjectNotFoundError:
        return None
    except StoreError as error:
        return prefix, Part(name, size=meta.size, error=str(error))


def _described(store: ObjectStore, meta: ObjectMeta, name: str) -> Part:
    from datalake_service.tables.objects.merged import MergedFile

    try:
        merged = MergedFile(store, meta)
    except PreconditionFailedError:  # it was merged again: look at the new one
        meta = store.head(meta.key)
        merged = MergedFile(store, meta)
    try:
        record = merged.metadata
        return Part(
            name=name,
            rows=merged.rows,
            size=meta.size,
            counts=dict(record.counts),
            columns={column.name: str(column.type) for column in record.columns},
            merged_at=record.merged_at,
            made=record.made,
            spent=record.spent,
        )
    finally:
        merged.close()


def _manifest(store: ObjectStore, meta: ObjectMeta) -> RunManifest | None:
    try:
        return RunManifest.from_json(store.get(meta.key)[0], key=meta.key)
    except ObjectNotFoundError:  # merged since the listing
        return None


def _summary(store: ObjectStore, dataset: str) -> DatasetSummary:
    state = _state(store, dataset)
    folders = list(store.list_folders(layout.dataset_prefix(dataset)))
    annotators: Iterator[str] = iter(())
    if layout.ANNOTATIONS in folders:
        annotators = store.list_folders(f"{layout.dataset_prefix(dataset)}{layout.ANNOTATIONS}/")
    return DatasetSummary(
        dataset=dataset,
        batches=sum(layout.is_batch_folder(name) for name in folders),
        annotators=sum(1 for _ in annotators),
        status=_status(state),
        created_at=None if state is None else state.created_at,
        deleted=_deletion(store, dataset),
    )


def _state(store: ObjectStore, dataset: str) -> DatasetState | None:
    try:
        return with_deaths(store, load_dataset(store, dataset))
    except DatasetNotFoundError:
        return None


def _deletion(store: ObjectStore, dataset: str) -> Deletion | None:
    found = find_deletion(store, dataset)
    return None if found is None or found.status is DeletionStatus.RESTORED else found


def _status(state: DatasetState | None) -> str | None:
    return str(state.runs[-1].status) if state is not None and state.runs else None
