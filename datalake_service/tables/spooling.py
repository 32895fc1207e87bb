"""Rows in order, all of them: sorted in a temporary table, which DuckDB keeps on disk where it must; read in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from datalake_service.catalog.columns import ColumnType
from datalake_service.tables.comparing import text
from datalake_service.tables.conditions import Condition
from datalake_service.tables.engine import in_our_words, quote_text
from datalake_service.tables.live import RowSource, select, union
from datalake_service.tables.paging import Order
from datalake_service.tables.sql import Reference

if TYPE_CHECKING:
    import duckdb

_KEY: Final = "sort_key"
_PARTS, _SORTED = "spooled_parts", "spooled"

Between = tuple[str, str]
"""After the first, up to and including the second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spooling:
    """Which rows are wanted, how, and in which order."""

    columns: Sequence[tuple[Reference, ColumnType]]
    """What is returned, each in a type that holds all its values."""
    order: Order
    condition: Condition
    types: Mapping[Reference, ColumnType]
    """Of the order's column and those of the condition, over all batches."""
    between: Between | None = None
    """Only rows whose value in the order's column, a text that is never null, lies between two."""
    limit: int | None = None
    ids: Sequence[str] | None = None
    """Only rows with these ids, whatever their batch."""

    def rows(self, sources: Sequence[RowSource]) -> str:
        """The rows of some sources, in no order, with what they are sorted by."""
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

    def in_order(self, table: str) -> str:
        """The values of a table's rows, sorted."""
        way = "DESC" if self.order.descending else "ASC"
        limit = "" if self.limit is None else f" LIMIT {self.limit}"
        values = ", ".join(f"v{number}" for number in range(len(self.columns)))
        return f"SELECT {values} FROM {table} ORDER BY found_key {way} NULLS LAST, row_batch {way}, row_id {way}{limit}"


class Spool:
    """The rows of one question, sorted; ``close`` it."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, parts: Sequence[Sequence[RowSource]], wanted: Spooling
    ) -> None:
        """Select and sort.

        Raises:
            FilterError: The user's SQL fails on some row.
            OutOfMemoryError: There is not enough room to sort.
            StoreError: Reading fails.
        """
        self._connection = connection
        self._wanted = wanted
        self.rows = 0
        """How many there are."""
        if not parts:
            return
        values = None if wanted.between is None else dict(zip(("after", "last"), wanted.between, strict=True))
        if len(parts) == 1:
            self._ask(f"CREATE TEMP TABLE {_SORTED} AS {wanted.in_order(f'({wanted.rows(parts[0])})')}", values)
        else:
            for number, part in enumerate(parts):
                begin = f"CREATE TEMP TABLE {_PARTS} AS" if number == 0 else f"INSERT INTO {_PARTS}"
                self._ask(f"{begin} {wanted.rows(part)}", values)
            self._ask(f"CREATE TEMP TABLE {_SORTED} AS {wanted.in_order(_PARTS)}")
            self._ask(f"DROP TABLE {_PARTS}")
        ((self.rows,),) = self._ask(f"SELECT count(*) FROM {_SORTED}")

    def pieces(self, size: int) -> Iterator[list[tuple[Any, ...]]]:
        """All rows, so many at once."""
        for start in range(0, self.rows, size):
            yield self._ask(f"SELECT * FROM {_SORTED} WHERE rowid >= {start} AND rowid < {start + size} ORDER BY rowid")

    def _ask(self, sql: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        condition = self._wanted.condition
        with in_our_words("sort rows", names=condition.names, user_sql=condition.user_sql):
            if values:
                return self._connection.execute(sql, dict(values)).fetchall()
            return self._connection.execute(sql).fetchall()

    def close(self) -> None:
        """Free what is kept."""
        self._ask(f"DROP TABLE IF EXISTS {_SORTED}")
