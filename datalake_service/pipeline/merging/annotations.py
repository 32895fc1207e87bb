"""One attempt to merge what an annotator made: its chunks hold rows of many batches, each batch has its own object.

Lines are sorted by batch into local files first, so that every chunk is read once. A chunk is deleted when every
batch in it has committed its rows; a batch that fails keeps its chunks and nobody else's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from datalake_service.catalog import layout
from datalake_service.catalog.annotations import (
    ANNOTATION_COLUMNS,
    ATTEMPTS,
    CODE,
    GENERATION,
    KIND,
    STATUSES,
    VERSION,
)
from datalake_service.catalog.columns import merge_censuses
from datalake_service.catalog.made import Spending, replaced_before
from datalake_service.catalog.makers import RunMaker, VersionKey
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
from datalake_service.pipeline.merging.files import (
    RejectionFiles,
    delete_contained,
    delete_finished_manifests,
    local_failure,
)
from datalake_service.pipeline.merging.result import MergeLimits, MergeResult
from datalake_service.pipeline.merging.versions import Limits, made_by, made_keys, write_versions
from datalake_service.storage.base import CreateOnly, IfMatch, ObjectMeta, ObjectStore, Overwrite
from datalake_service.storage.scratch import scratch_folder
from datalake_service.tables.formats.schema import MergedMetadata, TableSchema, annotation_schema
from datalake_service.tables.objects.blocks import Block, ParsedBlock, StoredBlock
from datalake_service.tables.objects.merged import MergedFile

LOST_RACE = (AlreadyExistsError, ObjectNotFoundError, PreconditionFailedError)
"""What it looks like when somebody else's merge got through."""
_MAY_BE_ODD = ("_error", KIND, VERSION, CODE)
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
    forget: frozenset[VersionKey] = frozenset()
    """Versions of which replaced rows are not kept any more."""
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
        forget_before: datetime | None = None,
    ) -> None:
        """Merge with attempt names from ``draw``.

        With ``forget_before``, also look at batches in which nothing is new, and keep no rows that were replaced of
        versions that made nothing since.
        """
        self._store = store
        self._dataset = dataset
        self._annotator = annotator
        self._limits = limits
        self._draw = draw
        self._now = now
        self._forget_before = forget_before
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
            targets += self._with_something_to_forget(folder, {target.batch for target in targets})
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
            said = b"" if source.maker is None else _said(source.maker)
            for batch, indexes in rows_by_batch(lines).items():
                target = targets.get(batch)
                if target is None:
                    target = targets[batch] = self._target(batch, folder / f"batch-{len(targets)}.jsonl")
                target.sources[source.name] = source
                if target.error is None and (source.name, source.meta.etag) not in target.done:
                    _append(target, lines, indexes, said)
            if lines.bad:
                rejections.add(source, lines.bad, RejectionKind.LINE)
        return list(targets.values())

    def _with_something_to_forget(self, folder: Path, besides: Collection[str]) -> Iterator[_Target]:
        if self._forget_before is None:
            return
        for batch in self._store.list_folders(layout.annotator_prefix(self._dataset, self._annotator)):
            if layout.is_batch_folder(batch) and batch not in besides:
                target = self._target(batch, folder / f"older-{batch}.jsonl")
                if target.forget or target.error is not None:
                    yield target

    def _target(self, batch: str, path: Path) -> _Target:
        key = layout.merged_key(layout.annotation_prefix(self._dataset, self._annotator, batch))
        try:
            meta = self._store.head(key)
        except ObjectNotFoundError:
            return _Target(batch, path)
        try:
            with closing(MergedFile(self._store, meta)) as merged:
                record, moment = merged.metadata, self._forget_before
                forget = frozenset[VersionKey]() if moment is None else replaced_before(record.made, moment)
                return _Target(batch, path, meta, frozenset(record.contains), forget)
        except LOST_RACE:
            raise
        except DatalakeError as error:
            return _Target(batch, path, meta, error=error)

    def _commit(self, target: _Target, folder: Path) -> None:
        if target.error is None and not target.rows and not target.forget:
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
        with ExitStack() as stack:
            previous = None
            merged = []
            if target.previous is not None:
                previous = stack.enter_context(closing(MergedFile(self._store, target.previous)))
                merged.append(previous)
                if previous.metadata.older is not None:
                    key = layout.older_key(self._dataset, self._annotator, target.batch, previous.metadata.older)
                    merged.append(stack.enter_context(closing(MergedFile(self._store, self._store.head(key)))))
            return self._write(target, previous, merged, path)

    def _write(
        self, target: _Target, previous: MergedFile | None, merged: Sequence[MergedFile], path: Path
    ) -> MergeResult:
        before = sum(file.rows for file in merged)
        record = None if previous is None else previous.metadata
        fresh = [one for one in target.sources.values() if (one.name, one.meta.etag) not in target.done]
        keys = made_keys(None if record is None else record.made, fresh, target.census.kinds())
        schema = _union(merged, target)
        beside = self._listed_older(target.batch) if len(keys) > 1 else []
        writer, older, written = write_versions(
            lambda: self._blocks(target, merged),
            before + target.rows,
            before,
            schema=schema,
            path=path,
            keys=keys,
            limits=Limits(self._limits.partition_bytes, self._limits.group_bytes),
            forget=target.forget,
        )
        attempt = self._draw()
        metadata = MergedMetadata(
            kind="annotations",
            attempt=attempt,
            merged_at=self._now,
            columns=schema.columns,
            counts={
                "rows": written.rows,
                **{status: written.statuses[status] for status in STATUSES},
                "superseded": (0 if record is None else record.counts.get("superseded", 0))
                + (before + target.rows - written.rows - written.older),
            },
            contains=tuple((source.name, source.meta.etag) for source in target.sources.values()),
            made=made_by(() if record is None else record.made, fresh, written.keys, batch=target.batch),
            spent=(Spending() if record is None else record.spent) + written.spent,
            older=None if older is None else attempt,
        )
        writer.finish(metadata)
        prefix = layout.annotation_prefix(self._dataset, self._annotator, target.batch)
        if older is not None:
            counts = {"rows": written.older}
            older.finish(replace(metadata, counts=counts, contains=(), older=None))
            key = layout.older_key(self._dataset, self._annotator, target.batch, attempt)
            self._store.put(key, path.with_suffix(".older"), mode=CreateOnly())
        mode = CreateOnly() if previous is None else IfMatch(previous.meta.etag)
        committed = self._store.put(layout.merged_key(prefix), path, mode=mode)
        self._summarise(prefix, target, metadata, committed)
        for meta in beside:
            self._store.delete(meta.key)
        return MergeResult(
            key=committed.key,
            committed=True,
            rows=written.rows,
            new_rows=written.rows - (0 if previous is None else previous.rows),
            repeated=before + target.rows - written.rows - written.older - written.forgotten,
            forgotten=written.forgotten,
            chunks=len(fresh),
            size=target.size,
        )

    def _listed_older(self, batch: str) -> list[ObjectMeta]:
        """Older versions that lie there before the commit: whoever stored them has committed, or cannot any more."""
        return list(self._store.list(layout.older_prefix(self._dataset, self._annotator, batch)))

    def _blocks(self, target: _Target, merged: Sequence[MergedFile]) -> Iterator[tuple[int, Block]]:
        """The merged annotations of the batch, older versions, then the new ones."""
        position = 0
        for file in merged:
            for number, size in enumerate(file.group_sizes):
                table = file.read_group(number)
                yield position, StoredBlock(file, table, system=ANNOTATION_COLUMNS)
                position += size
        if not target.rows:
            return
        try:
            with target.path.open("rb") as stream:
                for lines in read_lines(stream, max_line_bytes=self._limits.max_line_bytes):
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
            made=metadata.made,
            spent=metadata.spent,
        )
        self._store.put(layout.summary_key(prefix), summary_yaml(summary), mode=Overwrite())


def _said(run: RunMaker) -> bytes:
    """What the manifest of a run says of its rows, as the beginning of their lines: what a line says itself counts."""
    version, code, generation = run.key
    said = json.dumps({VERSION: version, CODE: code, GENERATION: generation, ATTEMPTS: 1})
    return said[1:-1].encode("ascii") + b", "


def _append(target: _Target, lines: Lines, indexes: list[int], said: bytes) -> None:
    texts = lines.text()
    try:
        with target.path.open("ab") as file:
            for index in indexes:
                text = texts[lines.numbers[index] - lines.first] + b"\n"
                target.size += len(text)
                if said:
                    text = b"{" + said + text.lstrip()[1:]
                file.write(text)
    except OSError as error:
        raise local_failure(error, target.path) from error
    target.census.count(lines.rows[index] for index in indexes)
    target.rows += len(indexes)


def _parsed(lines: Lines) -> Block:
    ids = [row.pop("id") for row in lines.rows]
    if not lines.exact:
        for row in lines.rows:
            for name in _MAY_BE_ODD:  # the text of somebody's exception may be no UTF-8
                if row.get(name) is not None:
                    row[name] = row[name].encode("utf-8", "backslashreplace").decode("utf-8")
    return ParsedBlock(ids, lines.rows, {})


def _union(merged: Sequence[MergedFile], target: _Target) -> TableSchema:
    known = [{column.name: column.kinds for column in file.schema.columns} for file in merged]
    kinds = merge_censuses([*known, target.census.kinds()])
    return annotation_schema({name: codes for name, codes in kinds.items() if name not in _USER_SYSTEM})
