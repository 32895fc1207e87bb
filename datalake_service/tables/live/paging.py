"""Pages of rows by keyset: which rows come next in an order, and what is in them.

An order is total: the sort column, then batch, then id, all in one direction, nulls last. So a page can begin behind
any row, whether that row is still there or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datalake_service.catalog.columns import ColumnType
from datalake_service.tables.database.engine import in_our_words, quote_text
from datalake_service.tables.database.footers import GroupBounds
from datalake_service.tables.database.sql import Reference
from datalake_service.tables.filters.comparing import text
from datalake_service.tables.filters.conditions import Condition
from datalake_service.tables.formats.rows import decoded
from datalake_service.tables.live.live import ID, RowSource, select, union
from datalake_service.tables.queries.query import LocalTable, scan

if TYPE_CHECKING:
    import duckdb

_SORT = "sort_key"
_NEVER_NULL = frozenset(Reference(None, name) for name in ("id", "_batch", "_created_at"))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands in an order."""

    value: Any
    """Of the sort column, as SQL sees it."""
    batch: str
    id: str


@dataclass(frozen=True, slots=True)
class Order:
    """In which order rows are shown."""

    column: Reference
    descending: bool
    seed: str | None = None
    """Rows come in a random order instead, the same for the same seed."""

    def key(self, place: Place) -> tuple[Any, ...]:
        """Rises in the direction of the order if it is ascending, falls if it is descending; nulls last in both."""
        return (*self.rank(place.value), place.batch, place.id)

    def rank(self, value: object) -> tuple[Any, ...]:
        """Where a value stands among others."""
        if value is None:
            return (-1 if self.descending else 2, 0)
        if value != value:  # noqa: PLR0124 - NaN, which is larger than all other numbers
            return (1, 0)
        return (0, value)

    def sorted(self, places: Sequence[FoundRow]) -> list[FoundRow]:
        """Rows in this order."""
        return sorted(places, key=lambda row: self.key(row.place), reverse=self.descending)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A part of an order."""

    after: Place | None = None
    """Where it begins; ``None``: at the beginning."""
    backwards: bool = False
    """Whether it ends at ``after`` instead."""
    limit: int
    """How many rows are wanted at most."""
    until: str | None = None
    """Rows beyond this value of a column that is never null are not wanted."""


@dataclass(frozen=True, slots=True)
class FoundRow:
    """A row of a page, before it is read."""

    place: Place
    source: int
    """The number of its ``RowSource``."""
    number: int
    """Its row number in its file."""


def find_rows(
    connection: duckdb.DuckDBPyConnection,
    sources: Sequence[RowSource],
    *,
    order: Order,
    stretch: Stretch,
    condition: Condition,
    types: Mapping[Reference, ColumnType],
) -> list[FoundRow]:
    """The rows of a stretch that a condition selects, in order.

    Raises:
        FilterError: The user's SQL fails on some row.
        StoreError: The query fails otherwise.
    """
    if not sources:
        return []
    columns = {} if order.seed is not None else {_SORT: order.column}
    key = _SORT
    if order.seed is not None:
        key = f"hash(row_id, row_batch, {quote_text(order.seed)})"
    rows = union([select(source, columns, condition, types) for source in sources])
    after, backwards, until = stretch.after, stretch.backwards, stretch.until
    falls = order.descending != backwards
    conditions: list[str] = []
    values: dict[str, Any] = {}
    if after is not None:
        values = {"batch": after.batch, "id": after.id} | ({} if after.value is None else {"value": after.value})
        conditions.append(_behind(key, null=after.value is None, falls=falls, backwards=backwards))
        if order.column in _NEVER_NULL and order.seed is None:
            # Says nothing new, but DuckDB leaves out row groups by it.
            conditions.append(f"{key} {'<=' if falls else '>='} $value")
    if until is not None:
        conditions.append(f"{key} {'>=' if falls else '<='} $until")
        values["until"] = until
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    way = "DESC" if falls else "ASC"
    sql = (
        f"SELECT {key} AS found_key, row_batch, row_id, source, row_number FROM ({rows}){where} "
        f"ORDER BY found_key {way} NULLS {'FIRST' if backwards else 'LAST'}, row_batch {way}, row_id {way} "
        f"LIMIT {stretch.limit}"
    )
    with in_our_words("find rows", names=condition.names, user_sql=condition.user_sql):
        found = connection.execute(sql, values).fetchall() if values else connection.execute(sql).fetchall()
    rows_found = [
        FoundRow(Place(value, batch, row_id), source, number) for value, batch, row_id, source, number in found
    ]
    return rows_found[::-1] if backwards else rows_found


def _behind(key: str, *, null: bool, falls: bool, backwards: bool) -> str:
    sign = "<" if falls else ">"
    later = f"(row_batch {sign} $batch OR (row_batch = $batch AND row_id {sign} $id))"
    if null:
        return f"({key} IS NOT NULL OR {later})" if backwards else f"({key} IS NULL AND {later})"
    nulls = "" if backwards else f" OR {key} IS NULL"
    return f"({key} {sign} $value OR ({key} = $value AND {later}){nulls})"


@dataclass(frozen=True, slots=True)
class Cell:
    """One value as it is stored, perhaps cut."""

    value: Any
    length: int | None
    """Characters of the whole text, if ``value`` is only the beginning of it."""


def read_rows(
    connection: duckdb.DuckDBPyConnection,
    table: LocalTable,
    numbers: Sequence[int],
    columns: Sequence[str],
    *,
    groups: Sequence[GroupBounds],
    cut: int | None,
) -> dict[int, list[Cell]]:
    """Read some rows of one file, by row number.

    Args:
        connection: A database that may read the file.
        table: The file.
        numbers: The rows.
        columns: True names; what the file has not is null.
        groups: The row groups of the file; others than those that hold the rows are not touched.
        cut: Longer texts are cut to so many characters.
    """
    parts = [
        f"row_number >= {inside[0]} AND row_number <= {inside[-1]}"
        + ("" if len(inside) == inside[-1] - inside[0] + 1 else f" AND row_number IN ({', '.join(map(str, inside))})")
        for inside in _by_group(numbers, groups)
    ]
    if not parts:
        return {}
    found = _read_cells(connection, table, "row_number", parts, columns, cut=cut)
    return {row[0]: cells for row, cells in found}


def read_by_id(
    connection: duckdb.DuckDBPyConnection,
    table: LocalTable,
    ids: Sequence[str],
    columns: Sequence[str],
    *,
    cut: int | None,
) -> dict[str, list[Cell]]:
    """The same by id, of a file that is here as a whole: one scan finds rows and reads them."""
    column = f"c{table.footer.columns[ID].position}"
    wanted = f"{column} = {text(ids[0])}" if len(ids) == 1 else f"{column} IN ({', '.join(map(text, ids))})"
    found = _read_cells(connection, table, column, [wanted], columns, cut=cut)
    return {row[0]: cells for row, cells in found}


def _read_cells(
    connection: duckdb.DuckDBPyConnection,
    table: LocalTable,
    key: str,
    conditions: Sequence[str],
    columns: Sequence[str],
    *,
    cut: int | None,
) -> Iterator[tuple[tuple[Any, ...], list[Cell]]]:
    """Rows that one of some conditions selects, each with ``key`` first, and the cells of some columns."""
    wanted = [(name, table.footer.columns.get(name)) for name in columns]
    picked = [stored for _, stored in wanted if stored is not None]
    chosen = ", ".join([key, *(_cell(f"c{stored.position}", stored.type, cut) for stored in picked)])
    with in_our_words("read rows"):
        tuples = connection.execute(
            union([f"SELECT {chosen} FROM {scan(table)} WHERE {condition}" for condition in conditions])
        ).fetchall()
    cells = _cells(tuples, [stored.type for stored in picked])
    for row, values in zip(tuples, cells, strict=True):
        left = iter(values)
        yield row, [Cell(None, None) if stored is None else next(left) for _, stored in wanted]


def count_rows(
    connection: duckdb.DuckDBPyConnection,
    sources: Sequence[RowSource],
    condition: Condition,
    types: Mapping[Reference, ColumnType],
) -> int:
    """How many rows a condition selects.

    Raises:
        FilterError: The user's SQL fails on some row.
        StoreError: The query fails otherwise.
    """
    if not sources:
        return 0
    rows = union([select(source, {}, condition, types) for source in sources])
    with in_our_words("count rows", names=condition.names, user_sql=condition.user_sql):
        found = connection.execute(f"SELECT count(*) FROM ({rows})").fetchone()
    return int(found[0]) if found else 0


def find_by_id(connection: duckdb.DuckDBPyConnection, table: LocalTable, ids: Sequence[str]) -> dict[int, str]:
    """Row numbers of ids, with the id."""
    with in_our_words("look for rows"):
        rows = connection.execute(
            f"SELECT row_number, c{table.footer.columns[ID].position} FROM {scan(table)} "
            f"WHERE c{table.footer.columns[ID].position} IN (SELECT unnest($ids))"
            if len(ids) > 1
            else f"SELECT row_number, c{table.footer.columns[ID].position} FROM {scan(table)} "
            f"WHERE c{table.footer.columns[ID].position} = $ids",
            {"ids": list(ids) if len(ids) > 1 else ids[0]},
        ).fetchall()
    return dict(rows)


def groups_of(numbers: Sequence[int], groups: Sequence[GroupBounds]) -> set[int]:
    """The row groups that hold some rows."""
    found, start = set(), 0
    rows = sorted(numbers)
    for number, group in enumerate(groups):
        if any(start <= row < start + group.rows for row in rows):
            found.add(number)
        start += group.rows
    return found


def _by_group(numbers: Sequence[int], groups: Sequence[GroupBounds]) -> Iterator[list[int]]:
    """Numbers in order, those of each row group together."""
    start = 0
    for group in groups:
        inside = sorted({number for number in numbers if start <= number < start + group.rows})
        if inside:
            yield inside
        start += group.rows


def _cell(value: str, kind: ColumnType, cut: int | None) -> str:
    """A value, and the length of a text that is cut."""
    if kind not in (ColumnType.STRING, ColumnType.JSON) or cut is None:
        return f"{value}, NULL"
    return (
        f"CASE WHEN length({value}) > {cut} THEN substr({value}, 1, {cut}) ELSE {value} END, "
        f"CASE WHEN length({value}) > {cut} THEN length({value}) END"
    )


def _cells(tuples: Sequence[tuple[Any, ...]], kinds: Sequence[ColumnType]) -> list[list[Cell]]:
    columns: list[list[Cell]] = []
    for index, kind in enumerate(kinds):
        values = [row[1 + 2 * index] for row in tuples]
        lengths = [row[2 + 2 * index] for row in tuples]
        if kind.is_json_text:
            whole = decoded([value if length is None else None for value, length in zip(values, lengths, strict=True)])
            values = [
                value if length is not None else known
                for value, length, known in zip(values, lengths, whole, strict=True)
            ]
        columns.append([Cell(value, length) for value, length in zip(values, lengths, strict=True)])
    return [list(cells) for cells in zip(*columns, strict=True)] if columns else [[] for _ in tuples]
