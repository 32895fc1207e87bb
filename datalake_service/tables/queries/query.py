"""One batch as one query: base rows joined with annotations, filtered, in the order of the base file.

A join in DuckDB loses the order of rows. What fits in memory is sorted again. Otherwise the annotations are joined to
the ids alone and sorted by row number, then laid beside the base rows (``POSITIONAL JOIN``), which stream; every row is
checked to lie beside its own annotations. Columns are taken by position: no name of a user's ever stands in the SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from datalake_service.catalog.annotations import FAILED, GENERATION, VERSION
from datalake_service.catalog.columns import ColumnType
from datalake_service.tables.database.engine import OutOfMemoryError, in_our_words, quote_text
from datalake_service.tables.database.footers import Footer
from datalake_service.tables.database.sql import Reference, converted, in_sample
from datalake_service.tables.filters.conditions import Condition

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

_T = TypeVar("_T")

ID = "id"
_STATUS = "_status"
_DONE = "done"


@dataclass(frozen=True, slots=True)
class LocalTable:
    """One merged object as a local file."""

    path: str
    footer: Footer
    older: str | None = None
    """Of annotations: another file, with the same columns, that holds older versions."""


@dataclass(frozen=True, slots=True)
class RowsLeft:
    """The rows of one file that are left when some ids are left out; see ``rows_left.py``."""

    count: int
    groups: frozenset[int]
    """Row groups that are read; the others hold no row that is left."""
    sql: str
    """Whether a row is left, given its ``row_number``; also keeps the database from reading other row groups."""
    numbers: npt.NDArray[np.int64] | None = None
    """Their numbers, in order, as long as somebody needs them."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One version of an annotator."""

    column: str
    """``_version`` or ``_code``."""
    value: str

    def sql(self, footer: Footer) -> str:
        """Which annotations of a file are of it."""
        column = footer.columns.get(self.column)
        return "FALSE" if column is None else f"c{column.position} = {quote_text(self.value)}"

    def newest(self, table: LocalTable) -> str:
        """Which of several annotations of a row is taken, as one label may stand for several hashes."""
        if table.older is None:
            return ""
        row_id, status, generation = (f"c{table.footer.columns[name].position}" for name in (ID, _STATUS, GENERATION))
        order = f"{status} = '{FAILED}', {generation} DESC NULLS LAST"
        return f" QUALIFY row_number() OVER (PARTITION BY {row_id} ORDER BY {order}) = 1"

    def needed(self, footer: Footer) -> set[int]:
        """The columns that it reads, by position."""
        return {footer.columns[name].position for name in (self.column, GENERATION) if name in footer.columns}

    def is_among(self, versions: Collection[tuple[str | None, str | None]]) -> bool:
        """Whether it is one of some labels and code hashes."""
        return any(self.value == (label if self.column == VERSION else code) for label, code in versions)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchQuery:
    """What is asked of one batch."""

    base: LocalTable
    annotations: Mapping[str, LocalTable]
    """By annotator; those that have none for this batch are missing, and null."""
    outputs: Sequence[Reference]
    """What is returned, in this order."""
    condition: Condition
    types: Mapping[Reference, ColumnType]
    """The type of every column over all batches."""
    typed: bool
    """Whether outputs have the type of all batches (for tables) or are as stored (for Python rows)."""
    fraction: float = 1.0
    left: RowsLeft | None = None
    """The rows that are left of the base; ``None``: all of them."""
    sort: bool = False
    """Whether to join everything and sort it: faster, but in memory. Otherwise base rows stream."""
    pins: Mapping[str, Pin] = field(default_factory=dict)
    """By annotator: the only version of its annotations that counts."""

    def sql(self) -> str:
        """The query."""
        chosen = ", ".join(f"o{number}" for number in range(len(self.outputs))) or "1"
        wanted = _Wanted(self)
        base = self._base(wanted.of_base)
        beside, joins = self._beside(wanted)
        conditions = self._conditions()
        if not joins:
            return f"SELECT {chosen} FROM {base}{_where(conditions)}"
        if self.sort:
            return f"SELECT {chosen} FROM {base} {_joined(joins, 'base')}{_where(conditions)} ORDER BY base.row_number"
        keys = f"(SELECT {self._key}, row_number FROM {scan(self.base)}{self._where_left}) AS keys"
        columns = ", ".join(["keys.row_number AS beside_number", *beside])
        check = (
            f"CASE WHEN base.row_number = beside.beside_number THEN ({' AND '.join(conditions) or 'TRUE'}) "
            "ELSE CAST(error('rows out of step at ' || base.row_number) AS BOOLEAN) END"
        )
        return (
            f"SELECT {chosen} FROM {base} POSITIONAL JOIN "
            f"(SELECT {columns} FROM {keys} {_joined(joins, 'keys')} ORDER BY keys.row_number) AS beside WHERE {check}"
        )

    def numbers_sql(self) -> str:
        """A query for the numbers of the rows that are selected, in any order."""
        wanted = _Wanted(self)
        _, joins = self._beside(wanted)
        base = self._base(wanted.of_base)
        return f"SELECT base.row_number FROM {base} {_joined(joins, 'base')}{_where(self._conditions())}"

    @property
    def _key(self) -> str:
        return f"c{self.base.footer.columns[ID].position} AS row_id"

    @property
    def _where_left(self) -> str:
        return _where([] if self.left is None or self.left.sql == "TRUE" else [self.left.sql])

    def _base(self, columns: Sequence[str]) -> str:
        chosen = ", ".join([*columns, self._key, "row_number"])
        return f"(SELECT {chosen} FROM {scan(self.base)}{self._where_left}) AS base"

    def _conditions(self) -> list[str]:
        conditions = []
        if self.condition.sql != "TRUE":
            conditions.append(f"({self.condition.sql})")
        if self.fraction < 1:
            conditions.append(in_sample("base.row_id", self.fraction))
        return conditions

    def _beside(self, wanted: _Wanted) -> tuple[list[str], list[_Join]]:
        """The columns that come from elsewhere, and the tables that they come from."""
        columns: list[str] = []
        joins: list[_Join] = []
        for number, (name, items) in enumerate(wanted.of_annotators.items()):
            table = self.annotations[name]
            shown = _shown(table, [reference for reference, _, _ in items])
            row_id = f"a{number}_id"
            inner = ", ".join(
                [
                    f"c{table.footer.columns[ID].position} AS {row_id}",
                    *(
                        f"{value if shown else _masked(table, reference, value)} AS {alias}"
                        for reference, value, alias in items
                    ),
                ]
            )
            pin = self.pins.get(name)
            chosen = _where(shown) if pin is None else f"{_where([*shown, pin.sql(table.footer)])}{pin.newest(table)}"
            found = f"(SELECT {inner} FROM {scan(table)}{chosen})"
            # What the filter would drop anyway need not be joined and sorted.
            early = self.condition.early.get(name)
            joins.append((found if early is None else f"(FROM {found} WHERE {early})", row_id))
            columns += [alias for _, _, alias in items]
        return columns, joins


_Join = tuple[str, str]
"""A table, and its column that holds the id of a row."""
_Item = tuple[Reference, str, str]
"""A column, the expression for it, the alias it gets."""


class _Wanted:
    """The columns of a query by the file that they come from; what no file has is null."""

    def __init__(self, query: BatchQuery) -> None:
        self.of_base: list[str] = []
        self.of_annotators: dict[str, list[_Item]] = {}
        for number, reference in enumerate(query.outputs):
            self._add(query, reference, f"o{number}", typed=query.typed)
        for alias, reference in query.condition.columns.items():
            self._add(query, reference, alias, typed=True)

    def _add(self, query: BatchQuery, reference: Reference, alias: str, *, typed: bool) -> None:
        table = query.base if reference.annotator is None else query.annotations.get(reference.annotator)
        stored = None if table is None else table.footer.columns.get(reference.column)
        wanted = query.types[reference]
        if stored is None:
            self.of_base.append(f"{converted('NULL', ColumnType.NULL, wanted)} AS {alias}")
            return
        value = f"c{stored.position}"
        if typed:
            value = converted(value, stored.type, wanted)
        if reference.annotator is None:
            self.of_base.append(f"{value} AS {alias}")
        else:
            self.of_annotators.setdefault(reference.annotator, []).append((reference, value, alias))


def scan(table: LocalTable) -> str:
    """A file whose columns are called ``c0``, ``c1``, … whatever they are called in it."""
    names = ", ".join([*(f"c{number}" for number in range(len(table.footer.columns))), "row_number"])
    path = quote_text(table.path) if table.older is None else f"[{quote_text(table.path)}, {quote_text(table.older)}]"
    return f"read_parquet({path}, file_row_number = true) AS file({names})"


def _joined(joins: Sequence[_Join], left: str) -> str:
    return " ".join(f"LEFT JOIN {table} ON {row_id} = {left}.row_id" for table, row_id in joins)


def _where(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _is_done(table: LocalTable) -> str | None:
    status = table.footer.columns.get(_STATUS)
    return None if status is None else f"c{status.position} = '{_DONE}'"


def _shown(table: LocalTable, references: Collection[Reference]) -> list[str]:
    """Only finished annotations count, unless somebody asks how far the others are (``_status``, ``_error``)."""
    done = _is_done(table)
    return [] if done is None or any(reference.column.startswith("_") for reference in references) else [done]


def _masked(table: LocalTable, reference: Reference, value: str) -> str:
    """The columns of an annotation that is not finished are null; what the lake says about it is not."""
    done = _is_done(table)
    return value if done is None or reference.column.startswith("_") else f"CASE WHEN {done} THEN {value} END"


def needed_columns(footer: Footer, annotator: str | None, references: Iterable[Reference]) -> set[int]:
    """The columns of one file that a query over ``references`` reads, by position."""
    names = {reference.column for reference in references if reference.annotator == annotator}
    names |= {ID} if annotator is None else {ID, _STATUS}
    return {column.position for name in names if (column := footer.columns.get(name)) is not None}


def fetch_rows(
    connection: duckdb.DuckDBPyConnection, query: BatchQuery, *, size: int, doing: str
) -> Iterator[list[tuple[Any, ...]]]:
    """Run a query; its rows as tuples, at most ``size`` at a time.

    Raises:
        FilterError: The user's SQL fails on some row.
        StoreError: The query fails otherwise; ``doing`` says what cannot be done then.
    """

    def run(sql: str) -> Iterator[list[tuple[Any, ...]]]:
        # ``sql`` would give a relation, which returns all rows at once.
        result = connection.execute(sql)
        while rows := result.fetchmany(size):
            yield rows

    return _run(run, query, doing=doing)


def fetch_arrow(
    connection: duckdb.DuckDBPyConnection, query: BatchQuery, *, size: int, doing: str
) -> Iterator[pa.RecordBatch]:
    """Run a query; its rows as Arrow batches of about ``size`` rows at most.

    Raises:
        FilterError: The user's SQL fails on some row.
        StoreError: The query fails otherwise; ``doing`` says what cannot be done then.
    """
    # ``execute`` would hold all rows before the first batch comes out.
    return _run(lambda sql: iter(connection.sql(sql).to_arrow_reader(size)), query, doing=doing)


def _run(run: Callable[[str], Iterator[_T]], query: BatchQuery, *, doing: str) -> Iterator[_T]:
    """Stream what a query returns. What turns out not to fit in memory sorted, before its first row, is streamed."""
    begun = False
    try:
        with in_our_words(doing, names=query.condition.names, user_sql=query.condition.user_sql):
            for some in run(query.sql()):
                begun = True
                yield some
    except OutOfMemoryError:
        if begun or not query.sort:
            raise
        yield from _run(run, replace(query, sort=False), doing=doing)


def fetch_numbers(connection: duckdb.DuckDBPyConnection, query: BatchQuery, *, doing: str) -> npt.NDArray[np.int64]:
    """The numbers of the rows that a query selects, in any order.

    Raises:
        FilterError: The user's SQL fails on some row.
        StoreError: The query fails otherwise; ``doing`` says what cannot be done then.
    """
    import numpy as np

    with in_our_words(doing, names=query.condition.names, user_sql=query.condition.user_sql):
        found = connection.execute(query.numbers_sql()).fetchnumpy()
    return np.asarray(found["row_number"], np.int64)


def count_rows(connection: duckdb.DuckDBPyConnection, query: BatchQuery, *, doing: str) -> int:
    """How many rows a query selects.

    Raises:
        FilterError: The user's SQL fails on some row.
        StoreError: The query fails otherwise; ``doing`` says what cannot be done then.
    """
    with in_our_words(doing, names=query.condition.names, user_sql=query.condition.user_sql):
        row = connection.execute(f"SELECT count(*) FROM ({query.sql()})").fetchone()
    return int(row[0]) if row else 0
