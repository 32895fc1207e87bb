"""One attempt to merge a batch: look, build local files, commit, tidy up, in this order.

It knows what may be written and deleted when; ``rows.py`` decides about rows.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from datalake_service.catalog import layout
from datalake_service.catalog.columns import SYSTEM_COLUMNS
from datalake_service.catalog.summary import Summary, summary_yaml
from datalake_service.chunks.inventory import Inventory, Source, take_inventory
from datalake_service.pipeline.merging.files import RejectionFiles, delete_contained, delete_finished_manifests
from datalake_service.pipeline.merging.input import MergeInput
from datalake_service.pipeline.merging.result import MergeLimits, MergeResult
from datalake_service.pipeline.merging.rows import RowCounts, RowMerge, effective_columns, union_schema
from datalake_service.storage.base import CreateOnly, IfMatch, ObjectMeta, ObjectStore, Overwrite
from datalake_service.storage.scratch import scratch_folder
from datalake_service.tables.formats.chunk_ranges import Ranges, with_chunks
from datalake_service.tables.formats.schema import MergedMetadata, TableSchema
from datalake_service.tables.objects.merged import MergedFile


@dataclass(slots=True)
class _Plan:
    """What one look at the batch found."""

    inventory: Inventory
    previous: MergedFile | None
    new: list[Source] = field(default_factory=list)
    contained: list[Source] = field(default_factory=list)
    """Files that are merged already and whose deletion was not confirmed."""

    @property
    def nothing_to_do(self) -> bool:
        """Whether the merged object would stay as it is."""
        if self.new:
            return False
        return self.previous is not None or not any(found.finished for found in self.inventory.manifests)

    @property
    def kept(self) -> tuple[str, ...]:
        """Contained files that must stay."""
        kept = self.previous.metadata.kept if self.previous is not None else ()
        return tuple(source.name for source in self.contained if source.name in kept)

    @property
    def merged_runs(self) -> dict[str, Ranges]:
        """The chunks that are merged with this one, of the runs whose manifests are there."""
        chunks = (source.origin.chunk for source in [*self.contained, *self.new])
        known = self.previous.metadata.runs if self.previous is not None else {}
        runs = {found.run for found in self.inventory.manifests}
        return with_chunks(known, (chunk for chunk in chunks if chunk is not None), runs=runs)


class BatchMerge:
    """One attempt; ``run`` it once."""

    def __init__(
        self,
        store: ObjectStore,
        dataset: str,
        batch: str,
        limits: MergeLimits,
        *,
        attempt: str,
        now: datetime,
        trust: bool,
    ) -> None:
        """Merge under the name ``attempt``; ``trust``: believe what manifests say about their chunks."""
        self._store = store
        self._dataset = dataset
        self._batch = batch
        self._prefix = layout.batch_prefix(dataset, batch)
        self._limits = limits
        self._attempt = attempt
        self._now = now
        self._trust = trust
        self._side_object: str | None = None

    def run(self) -> MergeResult:
        """Plan, merge, commit, tidy up."""
        inventory = take_inventory(self._store, self._prefix)
        if inventory.merged is None:
            return self._merge(self._plan(inventory, None))
        with closing(MergedFile(self._store, inventory.merged)) as previous:
            return self._merge(self._plan(inventory, previous))

    def forget(self) -> None:
        """Remove what only a commit of this attempt would have given a meaning; call it if that failed for certain."""
        if self._side_object is not None:
            self._store.delete(self._side_object)

    def _plan(self, inventory: Inventory, previous: MergedFile | None) -> _Plan:
        done = set(previous.metadata.contains) if previous is not None else set()
        plan = _Plan(inventory, previous)
        for source in inventory.sources:
            if (source.name, source.meta.etag) in done:
                plan.contained.append(source)
            else:
                plan.new.append(source if self._trust else replace(source, census=None, rows=None))
        return plan

    def _merge(self, plan: _Plan) -> MergeResult:
        key = layout.merged_key(self._prefix)
        if plan.nothing_to_do:
            return self._finish_earlier(plan, key)
        with scratch_folder(self._store) as folder:
            path = folder / "merged.parquet"
            metadata, result = self._build(plan, folder, path)
            mode = CreateOnly() if plan.previous is None else IfMatch(plan.previous.meta.etag)
            committed = self._store.put(key, path, mode=mode)
            self._side_object = None  # it counts from now on
        self._summarise(plan, metadata, committed)
        self._tidy(plan, metadata.kept)
        # No other attempt that was planned before this commit can commit any more, so what it put aside is worthless,
        # as is what the replaced version had put aside. An attempt that was planned later is not in the listing.
        aside = layout.duplicates_prefix(self._dataset, self._batch)
        self._store.delete_many([meta.key for meta in plan.inventory.others if meta.key.startswith(aside)])
        return result

    def _finish_earlier(self, plan: _Plan, key: str) -> MergeResult:
        """Do what a merge that was interrupted after its commit left undone.

        No side object is touched here: it may belong to a merge that is under way.
        """
        if plan.previous is None:
            return MergeResult(key=key, committed=False)
        if len(plan.contained) > len(plan.kept) or any(found.finished for found in plan.inventory.manifests):
            self._summarise(plan, plan.previous.metadata, plan.previous.meta)
        self._tidy(plan, plan.kept)
        return MergeResult(key=key, committed=False, rows=plan.previous.rows)

    def _build(self, plan: _Plan, folder: Path, path: Path) -> tuple[MergedMetadata, MergeResult]:
        """Write all local files, and store the side objects."""
        lists = _lists(plan)
        rows = MergeInput(
            self._store, self._dataset, self._batch, merged=plan.previous, sources=plan.new, limits=self._limits
        )
        censuses, most_rows = rows.survey()
        schema = union_schema(plan.previous.schema if plan.previous is not None else None, censuses)
        keys = effective_columns(lists)
        rejections = RejectionFiles(folder, layout.rejected_prefix(self._dataset, self._batch))
        merge = RowMerge(rows, keys=keys, rejections=rejections, folder=folder, limits=self._limits)
        writer = merge.write(schema, most_rows=most_rows, path=path)
        metadata = MergedMetadata(
            kind="rows",
            attempt=self._attempt,
            merged_at=self._now,
            columns=schema.columns,
            counts=_totals(plan.previous, writer.rows, merge, rejections),
            contains=tuple((source.name, source.meta.etag) for source in [*plan.contained, *plan.new]),
            runs=plan.merged_runs,
            kept=tuple(sorted({*plan.kept, *rejections.kept})),
            deduplicate_on=lists,
            duplicates=self._attempt if merge.duplicates.rows else None,
        )
        writer.finish(metadata)
        rejections.store(self._store)
        if merge.duplicates.rows:
            self._side_object = layout.duplicates_key(self._dataset, self._batch, self._attempt)
            self._store.put(self._side_object, merge.duplicates.path, mode=CreateOnly())
        warnings = (*_key_warnings(lists, keys, schema, merge.counts), *rejections.warnings)
        return metadata, _result(layout.merged_key(self._prefix), plan, metadata, merge.counts, rejections, warnings)

    def _summarise(self, plan: _Plan, metadata: MergedMetadata, committed: ObjectMeta) -> None:
        summary = Summary(
            dataset=self._dataset,
            batch=self._batch,
            merged_at=metadata.merged_at,
            size=committed.size,
            counts=metadata.counts,
            deduplicate_on=effective_columns(metadata.deduplicate_on),
            columns=[(column.name, column.type) for column in metadata.columns],
            files=[(source.name, source.meta.size) for source in plan.new or plan.contained],
        )
        self._store.put(layout.summary_key(self._prefix), summary_yaml(summary), mode=Overwrite())

    def _tidy(self, plan: _Plan, kept: tuple[str, ...]) -> None:
        """Delete what the merged object contains for certain."""
        gone = [source for source in [*plan.contained, *plan.new] if source.name not in kept]
        delete_contained(self._store, gone)
        delete_finished_manifests(self._store, plan.inventory)


def _lists(plan: _Plan) -> tuple[tuple[str, ...], ...]:
    """The distinct lists of dedup columns of all runs that took part so far."""
    earlier = plan.previous.metadata.deduplicate_on if plan.previous is not None else ()
    named = (source.deduplicate_on for source in plan.new)
    return tuple(dict.fromkeys([*earlier, *(columns for columns in named if columns)]))


def _totals(previous: MergedFile | None, rows: int, merge: RowMerge, rejections: RejectionFiles) -> dict[str, int]:
    before = previous.metadata.counts if previous is not None else {}
    return {
        "rows": rows,
        "duplicates": merge.duplicates.rows,
        "repeated": before.get("repeated", 0) + merge.counts.repeated,
        "rejected": before.get("rejected", 0) + rejections.lines,
        "conflicts": before.get("conflicts", 0) + merge.counts.conflicts,
        "allNullKeys": merge.counts.all_null,
    }


def _key_warnings(
    lists: tuple[tuple[str, ...], ...], keys: tuple[str, ...], schema: TableSchema, counts: RowCounts
) -> list[str]:
    warnings = []
    if lists and not keys:
        named = "; ".join(", ".join(columns) for columns in lists)
        warnings.append(f"nothing is deduplicated: no column is in every run's list ({named})")
    known = {column.name for column in schema.columns}.difference(SYSTEM_COLUMNS)
    missing = [repr(column) for column in keys if column not in known]
    if missing:
        warnings.append(f"no row has the dedup column {', '.join(missing)}")
    if counts.all_null:
        warnings.append(f"{counts.all_null} rows have none of the dedup columns {', '.join(keys)}; they stay")
    return warnings


def _result(
    key: str,
    plan: _Plan,
    metadata: MergedMetadata,
    counts: RowCounts,
    rejections: RejectionFiles,
    warnings: tuple[str, ...],
) -> MergeResult:
    return MergeResult(
        key=key,
        committed=True,
        rows=metadata.counts["rows"],
        new_rows=counts.new_rows,
        duplicates=counts.duplicates,
        restored=counts.restored,
        repeated=counts.repeated,
        rejected=rejections.lines,
        conflicts=counts.conflicts,
        chunks=len(plan.new),
        size=sum(source.meta.size for source in plan.new),
        warnings=warnings,
    )
