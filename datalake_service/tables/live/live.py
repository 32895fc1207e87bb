"""Rows as they stand now, merged or not, as SQL: base rows with annotations beside them, over many batches at once.

Files with the same columns in the same places are scanned together. Columns are taken by position, like in
``query.py``; unlike there, rows come in no order, and files that were made of chunks take part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from datalake_service.catalog.annotations import DONE, FAILED
from datalake_service.catalog.columns import ColumnType
from datalake_service.tables.database.engine import quote_text
from datalake_service.tables.database.footers import Footer
from datalake_service.tables.database.sql import Reference, converted
from datalake_service.tables.filters.conditions import Condition

ID, BATCH, STATUS = "id", "_batch", "_status"


@dataclass(frozen=True, slots=True)
class Files:
    """Local files with the same columns in the same places."""

    paths: tuple[str, ...]
    footer: Footer

    def position(self, column: str) -> int | None:
        """Where a column stands, counted from 0."""
        stored = self.footer.columns.get(column)
        return None if stored is None else stored.position

    def scan(self) -> str:
        """The files as one table whose columns are called ``c0``, ``c1``, …, and ``row_number`` within its file."""
        names = ", ".join([*(f"c{number}" for number in range(len(self.footer.columns))), "row_number"])
        listed = ", ".join(quote_text(path) for path in self.paths)
        return f"read_parquet([{listed}], file_row_number = true) AS file({names})"


@dataclass(frozen=True, slots=True)
class Annotated:
    """What is known of one annotator: merged annotations, and those that wait in chunks."""

    merged: Files | None
    waiting: tuple[Files, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSource:
    """Rows of some batches, and the annotations of those batches."""

    number: int
    """Tells it from the other sources of a query."""
    rows: Files
    merged: bool
    """Whether a merge has taken them."""
    annotations: Mapping[str, Annotated]
    """By annotator; those without any are missing, and null."""
    hidden_by: Files | None = None
    """Rows whose ids hide these: merged rows of the one batch, where ids are the rows' own."""


def layout_of(footer: Footer) -> tuple[object, ...]:
    """Files are scanned together if this is equal."""
    return tuple((name, column.type) for name, column in footer.columns.items())


def select(
    source: RowSource,
    columns: Mapping[str, Reference],
    condition: Condition,
    types: Mapping[Reference, ColumnType],
    *,
    shown: Mapping[str, ColumnType] | None = None,
) -> str:
    """The rows that a condition selects: ``row_batch``, ``row_id``, ``row_number``, ``source``, ``columns``.

    Args:
        source: Where they are.
        columns: What else is returned, by alias, in the type of all batches.
        condition: Selects.
        types: The type of every column over all batches.
        shown: By alias, the types of ``columns`` that are returned in another one, which holds all their values.
    """
    wanted = {**columns, **condition.columns}
    kinds = {alias: types[reference] for alias, reference in wanted.items()} | dict(shown or {})
    rows = source.rows
    base = [
        f"c{rows.position(BATCH)} AS row_batch",
        f"c{rows.position(ID)} AS row_id",
        "row_number",
        f"{source.number} AS source",
    ]
    of_annotators: dict[str, dict[str, Reference]] = {}
    for alias, reference in wanted.items():
        known = reference.annotator is not None and reference.annotator in source.annotations
        if known and reference.annotator is not None:
            of_annotators.setdefault(reference.annotator, {})[alias] = reference
        else:
            base.append(f"{_value(rows if reference.annotator is None else None, reference, kinds[alias])} AS {alias}")
    hidden = "" if source.hidden_by is None else _hidden(source.hidden_by, rows)
    joins = [
        _join(number, source.annotations[name], items, condition, kinds, name)
        for number, (name, items) in enumerate(of_annotators.items())
    ]
    where = "" if condition.sql == "TRUE" else f" WHERE ({condition.sql})"
    chosen = ", ".join(["row_batch", "row_id", "row_number", "source", *columns])
    return (
        f"SELECT {chosen} FROM (SELECT {', '.join(base)} FROM {rows.scan()}{hidden}) AS base {' '.join(joins)}{where}"
    )


def _hidden(by: Files, rows: Files) -> str:
    return f" WHERE c{rows.position(ID)} NOT IN (SELECT c{by.position(ID)} FROM {by.scan()})"


def _value(files: Files | None, reference: Reference, kind: ColumnType) -> str:
    """A column in the type in which it is wanted."""
    stored = None if files is None else files.footer.columns.get(reference.column)
    if stored is None:
        return converted("NULL", ColumnType.NULL, kind)
    return converted(f"c{stored.position}", stored.type, kind)


def _join(
    number: int,
    annotated: Annotated,
    items: Mapping[str, Reference],
    condition: Condition,
    kinds: Mapping[str, ColumnType],
    name: str,
) -> str:
    """The annotations of one annotator, joined to the rows; only finished ones have values."""
    # What the lake itself says about an annotation shows even if it failed.
    system = any(reference.column.startswith("_") for reference in items.values())
    parts = [
        _annotations(files, items, kinds, rank, done_only=not system and not annotated.waiting)
        for rank, files in enumerate((annotated.merged, *annotated.waiting))
        if files is not None
    ]
    table = " UNION ALL ".join(parts)
    if annotated.waiting:
        # An answer counts before a failure, a merged one before one that waits, a new failure before an old one.
        table = (
            f"FROM ({table}) QUALIFY row_number() OVER (PARTITION BY key_batch, key_id ORDER BY CASE "
            f"WHEN status <> '{FAILED}' THEN rank ELSE 1e6 - rank END) = 1"
        )
        if not system:
            table = f"FROM ({table}) WHERE status = '{DONE}'"
    early = condition.early.get(name)
    if early is not None:
        # What the filter would drop anyway need not be joined.
        table = f"FROM ({table}) WHERE {early}"
    alias = f"beside_{number}"
    return f"LEFT JOIN ({table}) AS {alias} ON {alias}.key_id = base.row_id AND {alias}.key_batch = base.row_batch"


def _annotations(
    files: Files,
    items: Mapping[str, Reference],
    kinds: Mapping[str, ColumnType],
    rank: int,
    *,
    done_only: bool,
) -> str:
    done = f"c{files.position(STATUS)} = '{DONE}'"
    columns = [
        f"c{files.position(ID)} AS key_id",
        f"c{files.position(BATCH)} AS key_batch",
        f"c{files.position(STATUS)} AS status",
        f"{rank} AS rank",
    ]
    for alias, reference in items.items():
        value = _value(files, reference, kinds[alias])
        shown = done_only or reference.column.startswith("_")
        columns.append(f"{value if shown else f'CASE WHEN {done} THEN {value} END'} AS {alias}")
    return f"SELECT {', '.join(columns)} FROM {files.scan()}" + (f" WHERE {done}" if done_only else "")


def needed_positions(files: Files, annotator: str | None, references: Iterable[Reference]) -> set[int]:
    """The columns of some files that ``select`` reads, by position."""
    names = {reference.column for reference in references if reference.annotator == annotator}
    names |= {ID, BATCH} if annotator is None else {ID, BATCH, STATUS}
    return {position for name in names if (position := files.position(name)) is not None}


def union(selects: Sequence[str]) -> str:
    """Several selections as one."""
    return " UNION ALL ".join(f"({one})" for one in selects)
