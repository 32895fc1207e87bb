"""A dataset at one moment: merged objects and waiting chunks as files that can be asked, and their columns."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from datalake_service.catalog.columns import ColumnType, merge_censuses
from datalake_service.pipeline.live.look import DatasetLook
from datalake_service.tables.database.sql import Reference
from datalake_service.tables.filters.naming import ViewSchema
from datalake_service.tables.live.live import Annotated, Files, RowSource, layout_of, needed_positions
from datalake_service.tables.live.live_files import LiveFile, OpenFiles


@dataclass(frozen=True, slots=True, eq=False)
class RowFile:
    """Rows of one batch in one file."""

    batch: str
    merged: bool
    file: LiveFile
    hidden_by: LiveFile | None = None
    """The merged rows whose ids hide these."""


@dataclass(frozen=True, slots=True)
class AnnotationFiles:
    """What one annotator said about one batch."""

    merged: LiveFile | None = None
    waiting: tuple[LiveFile, ...] = ()

    @property
    def files(self) -> tuple[LiveFile, ...]:
        """All of them, merged first."""
        return self.waiting if self.merged is None else (self.merged, *self.waiting)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A dataset as one listing showed it. Never changes; may be asked as long as its objects are there."""

    look: DatasetLook
    rows: tuple[RowFile, ...]
    annotations: Mapping[str, Mapping[str, AnnotationFiles]]
    """By annotator, by batch."""
    schema: ViewSchema
    problems: Mapping[str, str] = field(default_factory=dict)
    """What cannot be read, by key, and why."""
    left_out: int = 0
    """Chunks that wait and are not shown, because there are too many of them."""

    @property
    def dataset(self) -> str:
        """Its name."""
        return self.look.name

    @property
    def version(self) -> str:
        """Changes when the dataset does."""
        return self.look.version

    def files_of(self, batch: str) -> list[RowFile]:
        """Where rows of a batch are; merged ones first."""
        return [row for row in self.rows if row.batch == batch]

    def type_of(self, reference: Reference) -> ColumnType:
        """The type of a column over all batches."""
        return self.schema.type_of(reference)


def schema_of(rows: Iterable[RowFile], annotations: Mapping[str, Mapping[str, AnnotationFiles]]) -> ViewSchema:
    """The columns of all files."""
    return ViewSchema(
        base=merge_censuses(_kinds(row.file) for row in rows),
        annotators={
            name: merge_censuses(_kinds(file) for files in by_batch.values() for file in files.files)
            for name, by_batch in annotations.items()
        },
    )


def _kinds(file: LiveFile) -> dict[str, str]:
    return {name: column.kinds for name, column in file.footer.columns.items()}


def needed_files(snapshot: Snapshot, rows: Sequence[RowFile], references: Collection[Reference]) -> list[LiveFile]:
    """What a question about some rows reads."""
    annotators = annotators_of(references)
    found: dict[LiveFile, None] = {}
    for row in rows:
        found[row.file] = None
        if row.hidden_by is not None:
            found[row.hidden_by] = None
        if row.merged:
            for name in annotators:
                for file in snapshot.annotations.get(name, {}).get(row.batch, AnnotationFiles()).files:
                    found[file] = None
    return list(found)


def annotators_of(references: Iterable[Reference]) -> list[str]:
    """The annotators whose columns are among some, sorted."""
    return sorted({reference.annotator for reference in references if reference.annotator is not None})


@dataclass(frozen=True, slots=True)
class Sources:
    """What one query reads."""

    sources: list[RowSource]
    members: list[dict[str, RowFile]]
    """For each source its files, by batch."""


def sources_of(
    snapshot: Snapshot, rows: Sequence[RowFile], references: Collection[Reference], opened: OpenFiles
) -> Sources:
    """Rows as sources of a query, with the bytes that it needs at hand.

    Rows that are not merged yet have no annotations: annotators read merged rows.
    """
    names = annotators_of(references)
    groups: dict[tuple[object, ...], list[RowFile]] = {}
    for row in rows:
        groups.setdefault(_group_key(snapshot, row, names), []).append(row)
    sources: list[RowSource] = []
    members: list[dict[str, RowFile]] = []
    for group in groups.values():
        annotations = {
            name: annotated
            for name in names
            if group[0].merged and (annotated := _annotated(snapshot, name, group, opened)) is not None
        }
        source = RowSource(
            number=len(sources),
            rows=_files([row.file for row in group], opened),
            merged=group[0].merged,
            annotations=annotations,
            hidden_by=None if group[0].hidden_by is None else _files([group[0].hidden_by], opened),
        )
        _fetch(source, group, snapshot, references, opened)
        sources.append(source)
        members.append({row.batch: row for row in group})
    return Sources(sources, members)


def _group_key(snapshot: Snapshot, row: RowFile, names: Sequence[str]) -> tuple[object, ...]:
    """Rows with equal keys are scanned together."""
    if not row.merged:
        return (id(row),)
    key: list[object] = [layout_of(row.file.footer)]
    for name in names:
        files = snapshot.annotations.get(name, {}).get(row.batch, AnnotationFiles())
        if files.waiting:
            return (row.batch,)
        key.append(None if files.merged is None else layout_of(files.merged.footer))
    return tuple(key)


def _annotated(snapshot: Snapshot, name: str, group: Sequence[RowFile], opened: OpenFiles) -> Annotated | None:
    found = [files for row in group if (files := snapshot.annotations.get(name, {}).get(row.batch)) is not None]
    merged = [files.merged for files in found if files.merged is not None]
    waiting = [file for files in found for file in files.waiting]
    if not merged and not waiting:
        return None
    return Annotated(_files(merged, opened) if merged else None, tuple(_files([file], opened) for file in waiting))


def _files(files: Sequence[LiveFile], opened: OpenFiles) -> Files:
    return Files(tuple(opened.path(file) for file in files), files[0].footer)


def _fetch(
    source: RowSource,
    group: Sequence[RowFile],
    snapshot: Snapshot,
    references: Collection[Reference],
    opened: OpenFiles,
) -> None:
    for row in group:
        opened.fetch(row.file, needed_positions(source.rows, None, references))
        if row.hidden_by is not None:
            opened.fetch(row.hidden_by, needed_positions(_files([row.hidden_by], opened), None, ()))
        for name in source.annotations:
            for file in snapshot.annotations[name].get(row.batch, AnnotationFiles()).files:
                opened.fetch(file, needed_positions(_files([file], opened), name, references))
