"""What a view will read, decided before its first row: batches, versions, columns, the condition.

Asks the store and the footers; reads no rows.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

from datalake_service.catalog import layout
from datalake_service.catalog.columns import SYSTEM_COLUMNS, ColumnType, merge_censuses
from datalake_service.config.names import check_name
from datalake_service.errors import (
    DatasetNotFoundError,
    DatasetNotMergedError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreError,
    UsageError,
)
from datalake_service.pipeline.views.pins import add_older, find_pins
from datalake_service.storage.base import ObjectMeta, ObjectStore
from datalake_service.tables.database.databases import Databases
from datalake_service.tables.database.engine import Engine, EngineLimits
from datalake_service.tables.database.sql import Reference
from datalake_service.tables.filters.conditions import Condition, Filters
from datalake_service.tables.filters.naming import ViewSchema, nearest_names, unknown_column
from datalake_service.tables.queries.query import Pin
from datalake_service.tables.queries.reading import PlannedBatch, Version, in_parallel, read_versions

if TYPE_CHECKING:
    from datalake_service.config.filters import FilterNode

_log = logging.getLogger(__name__)

_LISTED = 2_000
"""Objects of a batch that are looked at in search of chunks; a batch may hold very many of them."""
_ATTEMPTS = 10
"""How often an object may be replaced under our eyes before we give up."""
ID = "id"


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewRequest:
    """What a user asks of a dataset."""

    dataset: str
    base_columns: Sequence[str] | None = None
    """``None``: all."""
    annotator_columns: Mapping[str, Sequence[str] | None] | None = None
    """Columns by annotator (``None``: all of them); ``None`` in place of the mapping: all columns of all."""
    filter: FilterNode | None = None
    base_filter: FilterNode | None = None
    annotator_filters: Mapping[str, FilterNode] | None = None
    fraction: float = 1.0
    batches: Sequence[str] | None = None
    """``None``: all."""
    versions: Mapping[str, str] | None = None
    """By annotator, the only version of it that is read: a label, or ``code:`` and a code hash."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            UsageError: A name, a list or the fraction cannot be used.
        """
        check_name(self.dataset, what="dataset")
        given: object = self.annotator_columns
        if given is not None and not isinstance(given, Mapping):
            raise UsageError(f"annotator_columns must be a dict of columns by annotator, not {given!r}")
        for name in self.annotator_columns or {}:
            check_name(name, what="annotator")
        for name in self.annotator_filters or {}:
            check_name(name, what="annotator")
        _check_names(self.base_columns, "base_columns")
        _check_names(self.batches, "batches")
        for name, columns in (self.annotator_columns or {}).items():
            _check_names(columns, f"annotator_columns[{name!r}]")
        for name, version in (self.versions or {}).items():
            check_name(name, what="annotator")
            label: object = version
            if not isinstance(label, str) or not label:
                raise UsageError(f"versions[{name!r}] must be a label, or code: and a code hash, not {version!r}")
        fraction: object = self.fraction
        if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 < fraction <= 1:
            raise UsageError(f"fraction must be more than 0 and at most 1, not {fraction!r}")


def _check_names(names: object, what: str) -> None:
    if names is None:
        return
    if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise UsageError(f"{what} must be a list of names, not {names!r}")


@dataclass(frozen=True, slots=True)
class ViewPlan:
    """What a view reads. Stays as it is while it is read, except for batches that are planned again."""

    batches: tuple[PlannedBatch, ...]
    schema: ViewSchema
    condition: Condition
    row_columns: tuple[Reference, ...]
    """The keys of Python rows, in order."""
    table_columns: tuple[Reference, ...]
    """The columns of tables, in order."""
    fraction: float
    """The share of rows that is sampled."""
    pins: Mapping[str, Pin] = field(default_factory=dict)
    """Versions of annotators, of those that are read."""

    def types(self) -> dict[Reference, ColumnType]:
        """The type of every column that is shown or filtered by, over all batches."""
        created = Reference(None, SYSTEM_COLUMNS[1])
        references = {*self.row_columns, *self.table_columns, *self.condition.columns.values(), created}
        return {reference: self.schema.type_of(reference) for reference in references}


@dataclass(frozen=True, slots=True)
class _Found:
    """What a look at a batch showed."""

    batch: str
    merged: ObjectMeta | None
    waiting: tuple[tuple[str, str], ...]
    """(file name, ETag) of objects that a merge would take in."""


class ViewPlanner:
    """Plans one view, and plans batches of it again when their objects were replaced."""

    def __init__(self, store: ObjectStore, request: ViewRequest, *, limits: EngineLimits) -> None:
        """Ask nothing yet."""
        self._store = store
        self._request = request
        self._limits = limits
        self._prefix = layout.dataset_prefix(request.dataset)
        self.databases = Databases(limits)
        """Those of the view; to be closed."""

    def plan(self) -> ViewPlan:
        """Look at the lake and decide.

        Raises:
            DatasetNotFoundError: There is no such dataset.
            DatasetNotMergedError: Nothing of it was ever merged.
            FilterError: A filter cannot be used.
            UsageError: A batch does not exist, or two columns would have the same name.
            StoreError: The lake cannot be read.
        """
        with self.databases.planning() as engine:
            filters = self._filters(engine)
            for _ in range(_ATTEMPTS):
                try:
                    found, existing = self._look()
                    annotators = self._wanted_annotators(filters, existing)
                    batches = self._versions(engine, found, sorted(annotators & existing))
                    break
                except (PreconditionFailedError, ObjectNotFoundError):
                    continue  # replaced since we looked
            else:
                raise _restless(self._prefix)
            if filters.raw:
                engine.lock()  # before a user's SQL is put to it
            plan = replace(
                self._decide(engine, filters, batches, annotators),
                pins=find_pins(self._request.versions, batches, existing),
            )
        self._tell(plan, found, annotators, existing)
        return plan

    def plan_again(self, plan: ViewPlan, batch: str) -> tuple[ViewPlan, PlannedBatch]:
        """Look at one batch again; the columns of the view stay, their types may become wider.

        Raises:
            StoreError: The lake cannot be read, or the batch is gone.
        """
        with self.databases.planning() as engine:
            filters = self._filters(engine)
            for _ in range(_ATTEMPTS):
                try:
                    found = self._look_at(batch)
                    if found.merged is None:
                        raise StoreError(f"{self._prefix}{batch}/ was deleted while it was being read")
                    (planned,) = self._versions(engine, [found], sorted(plan.schema.annotators))
                    break
                except (PreconditionFailedError, ObjectNotFoundError):
                    continue
            else:
                raise _restless(f"{self._prefix}{batch}/")
            if filters.raw:
                engine.lock()
            schema = _united([*plan.batches, planned], plan.schema.annotators)
            if schema == plan.schema:
                return plan, planned
            condition = filters.compile(engine.connection, schema)
        return replace(plan, schema=schema, condition=condition), planned

    def _filters(self, engine: Engine) -> Filters:
        request = self._request
        return Filters(
            engine.connection,
            over_all=request.filter,
            base=request.base_filter,
            annotators=request.annotator_filters,
        )

    # Looking -----------------------------------------------------------------------------------------

    def _look(self) -> tuple[list[_Found], set[str]]:
        """The chosen batches that are there, and all annotators."""
        folders = list(self._store.list_folders(self._prefix))
        if not folders:
            raise self._no_dataset()
        if layout.STATE in folders:
            from datalake_service.catalog.deletions import require_not_deleted

            require_not_deleted(self._store, self._request.dataset)
        there = [name for name in folders if layout.is_batch_folder(name)]
        chosen = there if self._request.batches is None else self._chosen(there)
        found = in_parallel(self._store, self._look_at, chosen)
        existing: set[str] = set()
        if layout.ANNOTATIONS in folders:
            existing.update(self._store.list_folders(f"{self._prefix}{layout.ANNOTATIONS}/"))
        return found, existing

    def _chosen(self, there: Sequence[str]) -> list[str]:
        chosen = list(dict.fromkeys(self._request.batches or ()))
        for name in chosen:
            if name not in there:
                raise UsageError(f"dataset {self._request.dataset!r} has no batch {name!r}{_hint(name, there)}")
        return chosen

    def _no_dataset(self) -> DatasetNotFoundError:
        name = self._request.dataset
        return DatasetNotFoundError(
            f"there is no dataset {name!r} in {self._store.uri}{_hint(name, self._store.list_folders(''))}"
        )

    def _look_at(self, batch: str) -> _Found:
        prefix = layout.batch_prefix(self._request.dataset, batch)
        key = layout.merged_key(prefix)
        listed = {meta.key.removeprefix(prefix): meta for meta in islice(self._store.list(prefix), _LISTED)}
        merged = listed.get(key.removeprefix(prefix))
        if merged is None and len(listed) == _LISTED:
            merged = self._head(key)
        waiting = ((name, meta.etag) for name, meta in listed.items() if "/" not in name and name.endswith(".jsonl"))
        return _Found(batch, merged, tuple(waiting))

    def _head(self, key: str) -> ObjectMeta | None:
        try:
            return self._store.head(key)
        except ObjectNotFoundError:
            return None

    def _versions(self, engine: Engine, found: Sequence[_Found], annotators: Sequence[str]) -> list[PlannedBatch]:
        """Read the footers of everything that may be read."""
        merged = {item.batch: item.merged for item in found if item.merged is not None}
        if not merged:
            raise self._not_merged(found)
        pairs = [(name, batch) for name in annotators for batch in self._annotated(name, merged)]
        keys = [layout.merged_key(layout.annotation_prefix(self._request.dataset, *pair)) for pair in pairs]
        heads = in_parallel(self._store, self._head, keys)
        metas = [*merged.values(), *(meta for meta in heads if meta is not None)]
        versions = read_versions(self._store, metas, engine.connection, self._limits)
        by_key = {version.meta.key: version for version in versions}
        add_older(self._store, self._request, engine, pairs, by_key, limits=self._limits)
        annotations: dict[str, dict[str, Version]] = {batch: {} for batch in merged}
        for (name, batch), key in zip(pairs, keys, strict=True):
            if key in by_key:
                annotations[batch][name] = by_key[key]
        return [PlannedBatch(batch, by_key[meta.key], annotations[batch]) for batch, meta in merged.items()]

    def _annotated(self, annotator: str, merged: Mapping[str, ObjectMeta]) -> list[str]:
        if len(merged) == 1:
            return list(merged)  # a look costs as much as a listing
        folders = self._store.list_folders(layout.annotator_prefix(self._request.dataset, annotator))
        return [name for name in folders if name in merged]

    def _not_merged(self, found: Sequence[_Found]) -> DatasetNotMergedError:
        dataset = self._request.dataset
        what = f"dataset {dataset!r}"
        if self._request.batches is not None:
            what = f"of {what}, {', '.join(item.batch for item in found) or 'no batch'}"
        waiting = any(item.waiting for item in found)
        todo = f"run `datalake clean-up --dataset {dataset}` first" if waiting else "write rows first, then merge them"
        return DatasetNotMergedError(f"{what} was never merged: {todo}")

    # Deciding ----------------------------------------------------------------------------------------

    def _wanted_annotators(self, filters: Filters, existing: set[str]) -> set[str]:
        columns = self._request.annotator_columns
        shown = existing if columns is None else set(columns)
        shown = shown | {*(self._request.versions or {})} & existing
        return shown | set(filters.owners) | filters.named_annotators(existing)

    def _decide(
        self, engine: Engine, filters: Filters, batches: Sequence[PlannedBatch], annotators: set[str]
    ) -> ViewPlan:
        schema = _united(batches, dict.fromkeys(sorted(annotators)))
        condition = filters.compile(engine.connection, schema)
        of_annotators = self._annotator_columns(schema)
        rows = _distinct([Reference(None, ID), *self._base_columns(schema, system=False), *of_annotators])
        tables = _distinct([Reference(None, ID), *self._base_columns(schema, system=True), *of_annotators])
        return ViewPlan(tuple(batches), schema, condition, rows, tables, self._request.fraction)

    def _base_columns(self, schema: ViewSchema, *, system: bool) -> list[Reference]:
        """``system``: whether "all columns" includes those that the merge added."""
        names = self._request.base_columns
        if names is None:
            names = [name for name in schema.base if system or name not in SYSTEM_COLUMNS]
        return [Reference(None, name) for name in names]

    def _annotator_columns(self, schema: ViewSchema) -> list[Reference]:
        columns = self._request.annotator_columns
        if columns is None:
            columns = dict.fromkeys(schema.annotators)
        found = []
        for name, wanted in columns.items():
            known = [column for column in schema.of(name) if column != ID and not column.startswith("_")]
            found += [Reference(name, column) for column in (known if wanted is None else wanted)]
        return found

    # Telling -----------------------------------------------------------------------------------------

    def _has_chunks(self, annotator: str) -> bool:
        prefix = layout.annotator_temp_prefix(self._request.dataset, annotator)
        names = (meta.key.removeprefix(prefix) for meta in islice(self._store.list(prefix), _LISTED))
        return any(layout.parse_chunk(name) for name in names)

    def _tell(self, plan: ViewPlan, found: Sequence[_Found], annotators: set[str], existing: set[str]) -> None:
        """Log what the user may not expect, one line each, once for each view."""
        dataset = self._request.dataset
        contained = {batch.name: batch.base.footer.contains for batch in plan.batches}
        waiting = [item.batch for item in found if set(item.waiting) - contained.get(item.batch, frozenset())]
        if waiting:
            _log.warning(
                "dataset %r: %d of %d batches have chunks that are not merged yet; this view does not show them "
                "(`datalake clean-up --dataset %s` merges them)", dataset, len(waiting), len(found), dataset,
            )  # fmt: skip
        for name in sorted(annotators):
            if name in existing and self._has_chunks(name):
                _log.warning(
                    "dataset %r: annotator %r has annotations that are not merged yet; this view does not show them "
                    "(`datalake clean-up --annotator %s:%s` merges them)", dataset, name, dataset, name,
                )  # fmt: skip
            elif not plan.schema.of(name):
                _log.warning(
                    "dataset %r: annotator %r has no merged annotations here; its columns are null%s",
                    dataset, name, "" if name in existing else _hint(name, existing),
                )  # fmt: skip
        for note in plan.condition.notes:
            _log.warning("dataset %r: %s", dataset, note)
        for reference in plan.row_columns:
            if reference.column not in plan.schema.of(reference.annotator) and plan.schema.of(reference.annotator):
                _log.warning("dataset %r: %s", dataset, unknown_column(reference.label, plan.schema.labels()))


def _united(batches: Sequence[PlannedBatch], annotators: Mapping[str, object]) -> ViewSchema:
    """The columns of all batches."""
    return ViewSchema(
        base=merge_censuses(_kinds(batch.base) for batch in batches),
        annotators={
            name: merge_censuses(_kinds(batch.annotations[name]) for batch in batches if name in batch.annotations)
            for name in annotators
        },
    )


def _kinds(version: Version) -> dict[str, str]:
    return {name: column.kinds for name, column in version.footer.columns.items()}


def _distinct(references: Sequence[Reference]) -> tuple[Reference, ...]:
    """Each column once, in order; two columns must not get the same name."""
    labels: dict[str, Reference] = {}
    for reference in references:
        known = labels.setdefault(reference.label, reference)
        if known != reference:
            raise UsageError(
                f"a base column and a column of annotator {known.annotator or reference.annotator!r} are both called "
                f"{reference.label!r}; leave one out with base_columns or annotator_columns"
            )
    return tuple(labels.values())


def _hint(name: str, candidates: Iterable[str]) -> str:
    near = nearest_names(name, candidates)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def _restless(prefix: str) -> StoreError:
    return StoreError(f"objects below {prefix} were replaced {_ATTEMPTS} times in a row; try again later")
