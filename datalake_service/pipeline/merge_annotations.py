"""One attempt to merge what an annotator made: its chunks hold rows of many batches, each batch has its own object.

Lines are sorted by batch into local files first, so that every chunk is read once. A chunk is deleted when every
batch in it has committed its rows; a batch that fails keeps its chunks and nobody else's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from datalake_service.catalog import layout
from datalake_service.catalog.annotations import ANNOTATION_COLUMNS, STATUSES
from datalake_service.catalog.columns import merge_censuses
from datalake_service.catalog.rejections import RejectionKind
from datalake_service.catalog.summary import Summary, summary_yaml
from datalake_service.chunks.annotation_rows import rows_by_batch
from datalake_service.chunks.fetch import LineFetcher
from datalake_service.chunks.inventory import Inventory, Source, take_inventory
from datalake_service.chunks.reader import Lines, read_lines
from datalake_service.chunks.rows import Census
from datalake_service.errors import (
    AlreadyExistsError,
    DatalakeError,
    ObjectNotFoundError,
    PreconditionFailedError,
)
from datalake_service.pipeline.merge_files import (
    RejectionFiles,
    delete_contained,
    delete_finished_manifests,
    local_failure,
)
from datalake_service.pipeline.merge_result import MergeLimits, MergeResult
from datalake_service.storage.base import CreateOnly, IfMatch, ObjectMeta, ObjectStore, Overwrite
from datalake_service.storage.scratch import scratch_folder
from datalake_service.tables.blocks import Block, ParsedBlock, StoredBlock
from datalake_service.tables.merged import MergedFile
from datalake_service.tables.parquet import MergedWriter
from datalake_service.tables.schema import MergedMetadata, TableSchema, annotation_schema
from datalake_service.tables.winners import Winners

LOST_RACE = (AlreadyExistsError, ObjectNotFoundError, PreconditionFailedError)
"""What it looks like when somebody else's merge got through."""
_USER_SYSTEM = frozenset({"id", *ANNOTATION_COLUMNS})


@dataclass(slots=True)
class _Target:
    """The new rows of one batch."""

    batch: str
    path: Path
    """Their lines, in merge order."""
    previous: ObjectMeta | None = None
    done: frozenset[tuple[str, str]] = frozenset()
    """(name, ETag) of files whose rows the merged object has."""
    error: DatalakeError | None = None
    sources: dict[str, Source] = field(default_factory=dict)
    """Files that hold rows of the batch, by name; also those that are done."""
    census: Census = field(default_factory=Census)
    rows: int = 0
    size: int = 0


class AnnotatorMerge:
    """One attempt for all batches of an annotator; ``run`` it once."""

    def __init__(
        self,
        store: ObjectStore,
        dataset: str,
        annotator: str,
        limits: MergeLimits,
        *,
        draw: Callable[[], str],
        now: datetime,
    ) -> None:
        """Merge with attempt names from ``draw``."""
        self._store = store
        self._dataset = dataset
        self._annotator = annotator
        self._limits = limits
        self._draw = draw
        self._now = now
        self.results: dict[str, MergeResult] = {}
        """By batch; those that were committed."""
        self.failures: dict[str, DatalakeError] = {}
        """By batch; the others are not touched by them."""
        self.rejected = 0
        """Lines that are no annotation rows."""
        self.warnings: tuple[str, ...] = ()

    def run(self) -> None:
        """Sort, merge, commit batch by batch, tidy up."""
        inventory = take_inventory(self._store, layout.annotator_temp_prefix(self._dataset, self._annotator))
        with scratch_folder(self._store) as folder:
            rejections = RejectionFiles(folder, layout.annotator_rejected_prefix(self._dataset, self._annotator))
            targets = self._sort(inventory, folder, rejections)
            rejections.store(self._store)
            self.rejected, self.warnings = rejections.lines, rejections.warnings
            for target in targets:
                self._commit(target, folder)
        waiting = {
            name for target in targets if target.batch in self.failures for name in target.sources
        } | rejections.kept
        delete_contained(self._store, [source for source in inventory.sources if source.name not in waiting])
        staying = [source for source in inventory.sources if source.name in waiting]
        delete_finished_manifests(self._store, inventory, staying=staying)

    def _sort(self, inventory: Inventory, folder: Path, rejections: RejectionFiles) -> list[_Target]:
        """Lines to one local file for each batch."""
        targets: dict[str, _Target] = {}
        fetcher = LineFetcher(
            self._store, window_bytes=self._limits.window_bytes, max_line_bytes=self._limits.max_line_bytes
        )
        for number, lines in fetcher.read(inventory.sources):
            source = inventory.sources[number]
            for batch, indexes in rows_by_batch(lines).items():
                target = targets.get(batch)
                if target is None:
                    target = targets[batch] = self._target(batch, folder / f"batch-{len(targets)}.jsonl")
                target.sources[source.name] = source
                if target.error is None and (source.name, source.meta.etag) not in target.done:
                    _append(target, lines, indexes)
            if lines.bad:
                rejections.add(source, lines.bad, RejectionKind.LINE)
        return list(targets.values())

    def _target(self, batch: str, path: Path) -> _Target:
        key = layout.merged_key(layout.annotation_prefix(self._dataset, self._annotator, batch))
        try:
            meta = self._store.head(key)
        except ObjectNotFoundError:
            return _Target(batch, path)
        try:
            with closing(MergedFile(self._store, meta)) as merged:
                return _Target(batch, path, meta, frozenset(merged.metadata.contains))
        except LOST_RACE:
            raise
        except DatalakeError as error:
            return _Target(batch, path, meta, error=error)

    def _commit(self, target: _Target, folder: Path) -> None:
        if target.error is None and not target.rows:
            return  # a crash came between its commit and the deletion
        try:
            if target.error is not None:
                raise target.error
            self.results[target.batch] = self._merge(target, folder / f"{target.path.stem}.parquet")
        except LOST_RACE:
            raise
        except DatalakeError as error:
            self.failures[target.batch] = error

    def _merge(self, target: _Target, path: Path) -> MergeResult:
        if target.previous is None:
            return self._write(target, None, path)
        with closing(MergedFile(self._store, target.previous)) as previous:
            return self._write(target, previous, path)

    def _write(self, target: _Target, previous: MergedFile | None, path: Path) -> MergeResult:
        before = previous.rows if previous is not None else 0
        winners = Winners(path.parent, before + target.rows, partition_bytes=self._limits.partition_bytes)
        for start, block in self._blocks(target, previous):
            winners.add(start, block.ids, block.values("_status"))
        winners.decide()
        schema = _union(previous, target)
        writer = MergedWriter(path, schema, group_bytes=self._limits.group_bytes)
        statuses: Counter[str] = Counter()
        try:
            for start, block in self._blocks(target, previous):
                keep = winners.among(start, len(block.ids))
                statuses.update(status for status, stays in zip(block.values("_status"), keep, strict=True) if stays)
                writer.add(block.table(schema, None if keep.all() else keep))
        except BaseException:
            writer.abort()
            raise
        metadata = self._metadata(target, previous, schema, writer.rows, statuses)
        writer.finish(metadata)
        prefix = layout.annotation_prefix(self._dataset, self._annotator, target.batch)
        mode = CreateOnly() if previous is None else IfMatch(previous.meta.etag)
        committed = self._store.put(layout.merged_key(prefix), path, mode=mode)
        self._summarise(prefix, target, metadata, committed)
        return MergeResult(
            key=committed.key,
            committed=True,
            rows=writer.rows,
            new_rows=writer.rows - before,
            repeated=before + target.rows - writer.rows,
            chunks=sum((source.name, source.meta.etag) not in target.done for source in target.sources.values()),
            size=target.size,
        )

    def _metadata(
        self,
        target: _Target,
        previous: MergedFile | None,
        schema: TableSchema,
        rows: int,
        statuses: Counter[str],
    ) -> MergedMetadata:
        superseded = previous.metadata.counts.get("superseded", 0) if previous is not None else 0
        superseded += (previous.rows if previous is not None else 0) + target.rows - rows
        return MergedMetadata(
            kind="annotations",
            attempt=self._draw(),
            merged_at=self._now,
            columns=schema.columns,
            counts={"rows": rows, **{status: statuses[status] for status in STATUSES}, "superseded": superseded},
            contains=tuple((source.name, source.meta.etag) for source in target.sources.values()),
        )

    def _blocks(self, target: _Target, previous: MergedFile | None) -> Iterator[tuple[int, Block]]:
        """The merged annotations of the batch, then the new ones."""
        position = 0
        if previous is not None:
            for number, size in enumerate(previous.group_sizes):
                table = previous.read_group(number)
                yield position, StoredBlock(previous, table, system=ANNOTATION_COLUMNS)
                position += size
        try:
            with target.path.open("rb") as file:
                for lines in read_lines(file, max_line_bytes=self._limits.max_line_bytes):
                    block = _parsed(lines)
                    yield position, block
                    position += len(block.ids)
        except OSError as error:
            raise local_failure(error, target.path) from error

    def _summarise(self, prefix: str, target: _Target, metadata: MergedMetadata, committed: ObjectMeta) -> None:
        summary = Summary(
            dataset=self._dataset,
            batch=target.batch,
            annotator=self._annotator,
            merged_at=self._now,
            size=committed.size,
            counts=metadata.counts,
            deduplicate_on=(),
            columns=[(column.name, column.type) for column in metadata.columns],
            files=[(source.name, source.meta.size) for source in target.sources.values()],
        )
        self._store.put(layout.summary_key(prefix), summary_yaml(summary), mode=Overwrite())


def _append(target: _Target, lines: Lines, indexes: list[int]) -> None:
    texts = lines.text()
    try:
        with target.path.open("ab") as file:
            for index in indexes:
                text = texts[lines.numbers[index] - lines.first] + b"\n"
                file.write(text)
                target.size += len(text)
    except OSError as error:
        raise local_failure(error, target.path) from error
    target.census.count(lines.rows[index] for index in indexes)
    target.rows += len(indexes)


def _parsed(lines: Lines) -> Block:
    ids = [row.pop("id") for row in lines.rows]
    if not lines.exact:
        for row in lines.rows:
            if row.get("_error") is not None:  # the text of somebody's exception may be no UTF-8
                row["_error"] = row["_error"].encode("utf-8", "backslashreplace").decode("utf-8")
    return ParsedBlock(ids, lines.rows, {})


def _union(previous: MergedFile | None, target: _Target) -> TableSchema:
    known = {column.name: column.kinds for column in previous.schema.columns} if previous is not None else {}
    kinds = merge_censuses([known, target.census.kinds()])
    return annotation_schema({name: codes for name, codes in kinds.items() if name not in _USER_SYSTEM})
