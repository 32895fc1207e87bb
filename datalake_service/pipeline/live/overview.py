"""What a lake and its datasets hold, in numbers: from listings, footers and small records, never from rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from datalake_service.catalog import layout
from datalake_service.catalog.annotations import DONE, FAILED, SKIPPED
from datalake_service.catalog.manifests import RunManifest
from datalake_service.catalog.tasks import TaskState
from datalake_service.errors import StoreError
from datalake_service.pipeline.live.lake import LiveLake
from datalake_service.pipeline.live.look import AnnotatorLook, BatchLook, DatasetLook
from datalake_service.storage.base import ObjectMeta
from datalake_service.tables.live.live_files import LiveFile


@dataclass(slots=True)
class Coverage:
    """How far an annotator is."""

    done: int = 0
    skipped: int = 0
    failed: int = 0
    pending: int = 0
    """Rows that have none of these."""

    @property
    def share(self) -> float:
        """The share of rows that need not be asked any more."""
        total = self.done + self.skipped + self.failed + self.pending
        return (self.done + self.skipped) / total if total else 0.0


@dataclass(slots=True)
class AnnotatorNumbers:
    """One annotator."""

    name: str
    total: Coverage = field(default_factory=Coverage)
    batches: dict[str, Coverage] = field(default_factory=dict)
    waiting_chunks: int = 0
    waiting_rows: int = 0
    """Annotations in chunks; they are not in ``total``."""
    cost: float = 0.0
    """What merged annotations have cost."""
    last_activity: datetime | None = None


@dataclass(slots=True)
class BatchNumbers:
    """One batch."""

    name: str
    rows: int = 0
    waiting_rows: int = 0
    waiting_chunks: int = 0
    size: int = 0
    rejected: int = 0
    created_from: str | None = None
    created_to: str | None = None


@dataclass(slots=True)
class DatasetNumbers:
    """One dataset."""

    look: DatasetLook
    batches: dict[str, BatchNumbers] = field(default_factory=dict)
    annotators: dict[str, AnnotatorNumbers] = field(default_factory=dict)
    columns: int = 0
    live_runs: int = 0
    """Runs that have not ended in order: they go on, or their writers died."""
    task_rejections: int = 0
    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Merged rows."""
        return sum(batch.rows for batch in self.batches.values())


def count_dataset(lake: LiveLake, dataset: str) -> DatasetNumbers:
    """Look at one dataset.

    Raises:
        StoreError: The store failed.
    """
    look, files, problems = lake.footers(dataset)
    numbers = DatasetNumbers(look, problems=problems)
    for batch in look.batches.values():
        numbers.batches[batch.name] = _batch(lake, batch, files, numbers)
    for annotator in look.annotators.values():
        numbers.annotators[annotator.name] = _annotator(lake, annotator, files, numbers)
    numbers.columns = sum(1 for _ in _column_names(look, files))
    numbers.task_rejections = sum(task.counts.rejections for task in tasks_of(lake, look))
    return numbers


def _column_names(look: DatasetLook, files: Mapping[str, LiveFile]) -> set[tuple[str | None, str]]:
    found: set[tuple[str | None, str]] = set()
    for batch in look.batches.values():
        if batch.merged is not None and batch.merged.key in files:
            found |= {(None, name) for name in files[batch.merged.key].footer.columns}
    for annotator in look.annotators.values():
        for meta in annotator.merged.values():
            if meta.key in files:
                columns = files[meta.key].footer.columns
                found |= {(annotator.name, name) for name in columns if name != "id" and not name.startswith("_")}
    return found


def _batch(lake: LiveLake, batch: BatchLook, files: Mapping[str, LiveFile], numbers: DatasetNumbers) -> BatchNumbers:
    found = BatchNumbers(batch.name)
    file = None if batch.merged is None else files.get(batch.merged.key)
    contained: frozenset[tuple[str, str]] = frozenset()
    if file is not None and batch.merged is not None:
        found.rows, found.size = file.footer.rows, batch.merged.size
        found.rejected = file.footer.counts.get("rejected", 0)
        found.created_from, found.created_to = _span(file)
        contained = file.footer.contains
    waiting = [meta for meta in batch.files if (_last(meta), meta.etag) not in contained]
    found.waiting_chunks, found.waiting_rows = len(waiting), _rows_of(lake, batch.manifests, waiting, numbers)
    found.size += sum(meta.size for meta in waiting)
    return found


def _span(file: LiveFile) -> tuple[str | None, str | None]:
    """When the first and the last row were created."""
    column = file.footer.columns.get("_created_at")
    groups = () if column is None else file.bounds.get(column.position, ())
    lows = [group.low for group in groups if group.low is not None]
    highs = [group.high for group in groups if group.high is not None]
    return min(lows, default=None), max(highs, default=None)


def _rows_of(lake: LiveLake, manifests: list[ObjectMeta], waiting: list[ObjectMeta], numbers: DatasetNumbers) -> int:
    """Rows in chunks, as far as manifests know them."""
    known: dict[tuple[str, int], int] = {}
    for meta in manifests:
        manifest = _manifest(lake, meta)
        if manifest is not None:
            numbers.live_runs += not manifest.completed
            known |= {(manifest.run, index): chunk.rows for index, chunk in enumerate(manifest.chunks)}
    names = [layout.parse_chunk(_last(meta)) for meta in waiting]
    return sum(known.get((name.run, name.number), 0) for name in names if name is not None)


def _annotator(
    lake: LiveLake, look: AnnotatorLook, files: Mapping[str, LiveFile], numbers: DatasetNumbers
) -> AnnotatorNumbers:
    found = AnnotatorNumbers(look.name)
    metas = [*look.merged.values(), *look.files]
    found.last_activity = max((meta.last_modified for meta in metas), default=None)
    contained: set[tuple[str, str]] = set()
    for batch, numbers_of_batch in numbers.batches.items():
        meta = look.merged.get(batch)
        file = None if meta is None else files.get(meta.key)
        coverage = Coverage(pending=numbers_of_batch.rows)
        if file is not None:
            counts = file.footer.counts
            coverage.done, coverage.skipped = counts.get(DONE, 0), counts.get(SKIPPED, 0)
            coverage.failed = counts.get(FAILED, 0)
            known = coverage.done + coverage.skipped + coverage.failed
            coverage.pending = max(0, numbers_of_batch.rows - known)
            contained |= file.footer.contains
            found.cost += file.footer.cost
        found.batches[batch] = coverage
        for name in ("done", "skipped", "failed", "pending"):
            setattr(found.total, name, getattr(found.total, name) + getattr(coverage, name))
    waiting = [meta for meta in look.files if (_last(meta), meta.etag) not in contained]
    found.waiting_chunks = len(waiting)
    found.waiting_rows = _rows_of(lake, look.manifests, waiting, numbers)
    return found


def _manifest(lake: LiveLake, meta: ObjectMeta) -> RunManifest | None:
    body = lake.read_small(meta)
    if body is None:
        return None
    try:
        return RunManifest.from_json(body, key=meta.key)
    except StoreError:
        return None


def tasks_of(lake: LiveLake, look: DatasetLook) -> list[TaskState]:
    """The tasks of a dataset, as far as they can be read."""
    found = []
    for meta in look.tasks:
        body = lake.read_small(meta)
        if body is not None:
            try:
                found.append(TaskState.from_json(body, key=meta.key))
            except StoreError:
                continue
    return found


def _last(meta: ObjectMeta) -> str:
    return meta.key.rpartition("/")[2]
