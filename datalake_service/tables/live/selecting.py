"""All rows that a condition selects, with what they are sorted by: selected part by part, read in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from datalake_service.catalog.columns import ColumnType
from datalake_service.tables.database.engine import in_our_words, quote_text
from datalake_service.tables.database.sql import Reference
from datalake_service.tables.filters.comparing import text
from datalake_service.tables.filters.conditions import Condition
from datalake_service.tables.live.live import RowSource, select, union
from datalake_service.tables.live.paging import Order, Place

if TYPE_CHECKING:
    import duckdb

_KEY: Final = "sort_key"
_TABLE: Final = "selected"

Between = tuple[str, str]
"""After the first, up to and including the second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selecting:
    """Which rows are wanted, and how."""

    columns: Sequence[tuple[Reference, ColumnType]]
    """What is returned, each in a type that holds all its values."""
    order: Order
    condition: Condition
    types: Mapping[Reference, ColumnType]
    """Of the order's column and those of the condition, over all batches."""
    between: Between | None = None
    """Only rows whose value in the order's column, a text that is never null, lies between two."""
    ids: Sequence[str] | None = None
    """Only rows with these ids, whatever their batch."""

    def read(
        self, connection: duckdb.DuckDBPyConnection, sources: Sequence[RowSource], *, size: int
    ) -> Iterator[list[tuple[Place, tuple[Any, ...]]]]:
        """The rows of some sources, in no order, ``size`` of them at once.

        Raises:
            FilterError: The user's SQL fails on some row.
            OutOfMemoryError: There is not enough room for them.
            StoreError: Reading fails.
        """
        values = None if self.between is None else dict(zip(("after", "last"), self.between, strict=True))
        ((rows,),) = self._ask(connection, f"CREATE TEMP TABLE {_TABLE} AS {self._sql(sources)}", values)
        try:
            for start in range(0, rows, size):
                found = self._ask(
                    connection, f"SELECT * FROM {_TABLE} WHERE rowid >= {start} AND rowid < {start + size}"
                )
                yield [(Place(row[0], row[1], row[2]), row[3:]) for row in found]
        finally:
            self._ask(connection, f"DROP TABLE {_TABLE}")

    def _sql(self, sources: Sequence[RowSource]) -> str:
        aliases = {f"v{number}": reference for number, (reference, _) in enumerate(self.columns)}
        shown = {f"v{number}": kind for number, (_, kind) in enumerate(self.columns)}
        wanted, key = aliases, f"hash(row_id, row_batch, {quote_text(self.order.seed or '')})"
        if self.order.seed is None:
            wanted, key = {_KEY: self.order.column, **aliases}, _KEY
        types = {**dict(self.columns), **self.types}
        selected = union([select(one, wanted, self.condition, types, shown=shown) for one in sources])
        chosen = ", ".join([f"{key} AS found_key", "row_batch", "row_id", *aliases])
        where = "" if self.between is None else f" WHERE {_KEY} > $after AND {_KEY} <= $last"
        if self.ids is not None:
            where = f" WHERE row_id IN ({', '.join(map(text, self.ids)) or 'NULL'})"
        return f"SELECT {chosen} FROM ({selected}){where}"

    def _ask(
        self, connection: duckdb.DuckDBPyConnection, sql: str, values: Mapping[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        with in_our_words("select rows", names=self.condition.names, user_sql=self.condition.user_sql):
            if values:
                return connection.execute(sql, dict(values)).fetchall()
            return connection.execute(sql).fetchall()
