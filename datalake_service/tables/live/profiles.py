"""What a column holds: counts, distribution, most frequent values, over time and against another column.

Asked of the same row sources as pages. Results are plain values; nothing here knows how they are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from datalake_service.catalog.columns import ColumnType
from datalake_service.tables.database.engine import in_our_words
from datalake_service.tables.database.sql import Reference, sql_type
from datalake_service.tables.filters.conditions import Condition
from datalake_service.tables.live.live import RowSource, select, union

if TYPE_CHECKING:
    import duckdb

NUMBERS: Final = frozenset({ColumnType.INT64, ColumnType.DOUBLE, ColumnType.NUMBER})
TEXTS: Final = frozenset({ColumnType.STRING, ColumnType.JSON})
_FEW: Final = 2_000
"""Distinct values up to which they are counted exactly."""
_MANY: Final = 100_000
"""Distinct values beyond which the most frequent ones are not looked for: there are none to speak of."""
_SHOWN: Final = 300
"""Characters by which long texts are told apart and shown."""
TIME: Final = Reference(None, "_created_at")
PREFIXES: Final = {"minute": 16, "hour": 13, "day": 10, "week": 10, "month": 7}
"""How much of a time names its bucket; a week is named by its Monday."""


@dataclass(frozen=True, slots=True)
class Bar:
    """Rows between two values; the last bar includes its end."""

    start: Any
    end: Any
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What is known of a column."""

    rows: int
    nulls: int
    distinct: int
    approximate: bool
    low: Any
    high: Any
    mean: float | None
    histogram: tuple[Bar, ...] | None
    lengths: tuple[Bar, ...] | None
    top: tuple[tuple[Any, int], ...] | None
    """Values and how many rows have them, most frequent first."""


@dataclass(frozen=True, slots=True)
class RowSet:
    """The rows that a chart is about."""

    connection: duckdb.DuckDBPyConnection
    parts: Sequence[Sequence[RowSource]]
    """What is selected together; see ``Asking.sources``."""
    condition: Condition
    types: Mapping[Reference, ColumnType]
    _tables: dict[tuple[tuple[str, Reference], ...], str] = field(default_factory=dict)

    def sql(self, columns: Mapping[str, Reference]) -> str:
        """The rows as a table with ``columns``. Of several parts, their values are put together first, on disk."""
        if not self.parts:
            nulls = [f"CAST(NULL AS {sql_type(self.types[one])}) AS {alias}" for alias, one in columns.items()]
            return f"SELECT {', '.join(nulls)} LIMIT 0"
        if len(self.parts) == 1:
            return self._part(self.parts[0], columns)
        key = tuple(columns.items())
        if key not in self._tables:
            name = f"chart_{len(self._tables)}"
            chosen = ", ".join(columns)
            for number, part in enumerate(self.parts):
                begin = f"CREATE TEMP TABLE {name} AS" if number == 0 else f"INSERT INTO {name}"
                self.ask(f"{begin} SELECT {chosen} FROM ({self._part(part, columns)})")
            self._tables[key] = name
        return f"FROM {self._tables[key]}"

    def counted(self, columns: Mapping[str, Reference], shown: Mapping[str, str]) -> str:
        """How many rows have the same values: a table with what is ``shown`` of ``columns``, and their number ``n``.

        Each part is read once, and only numbers are put together: few, unless nearly all values are different.
        """
        name = f"chart_{len(self._tables)}"
        chosen = ", ".join(f"{expression} AS {alias}" for alias, expression in shown.items())
        for number, table in enumerate([self._part(part, columns) for part in self.parts] or [self.sql(columns)]):
            begin = f"CREATE TEMP TABLE {name} AS" if number == 0 else f"INSERT INTO {name}"
            self.ask(f"{begin} SELECT {chosen}, count(*) AS n FROM ({table}) GROUP BY ALL")
        self._tables[tuple(columns.items())] = name
        return name

    def _part(self, part: Sequence[RowSource], columns: Mapping[str, Reference]) -> str:
        return union([select(source, columns, self.condition, self.types) for source in part])

    def ask(self, sql: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Put a query.

        Raises:
            FilterError: The user's SQL fails on some row.
            StoreError: The query fails otherwise.
        """
        with in_our_words("draw the chart", names=self.condition.names, user_sql=self.condition.user_sql):
            if values:
                return self.connection.execute(sql, dict(values)).fetchall()
            return self.connection.execute(sql).fetchall()

    def close(self) -> None:
        """Forget what was put together."""
        for name in self._tables.values():
            self.ask(f"DROP TABLE {name}")


def profile(rows: RowSet, column: Reference, *, buckets: int, top: int) -> Profile:
    """Look at a column."""
    kind = rows.types[column]
    is_time = column.column in (TIME.column, "_annotated_at") and kind is ColumnType.STRING
    table = rows.sql({"v": column})
    number = _number(kind, is_time=is_time)
    finite = f"CASE WHEN isfinite({number}) THEN {number} END" if number else "NULL"
    length = "length(v)" if kind in TEXTS and not is_time else "NULL"
    short = _short(kind)
    ((count, present, distinct, low, high, mean, short_low, short_high, shortest, longest),) = rows.ask(
        f"SELECT count(*), count(v), approx_count_distinct({short}), min({finite}), max({finite}), avg({finite}), "
        f"min({short}), max({short}), min({length}), max({length}) FROM ({table})"
    )
    exact = distinct <= _FEW
    found = None
    if distinct <= _MANY and present:
        found = rows.ask(
            f"SELECT {short} AS value, count(*) AS rows FROM ({table}) WHERE v IS NOT NULL GROUP BY value "
            f"ORDER BY rows DESC, value LIMIT {top}"
        )
    if exact and present:
        ((distinct,),) = rows.ask(f"SELECT count(DISTINCT {short}) FROM ({table})")
    is_number = number is not None and low is not None
    if kind is ColumnType.INT64 and is_number:
        low, high = short_low, short_high
    return Profile(
        rows=count,
        nulls=count - present,
        distinct=distinct if present else 0,
        approximate=not exact,
        low=short_low if not is_number or is_time else low,
        high=short_high if not is_number or is_time else high,
        mean=mean if is_number and not is_time else None,
        histogram=_histogram(rows, table, finite, low, high, buckets, whole=kind is ColumnType.INT64)
        if is_number
        else None,
        lengths=_histogram(rows, table, length, shortest, longest, buckets, whole=True)
        if shortest is not None
        else None,
        top=None if found is None else tuple((value, number) for value, number in found),
    )


def _number(kind: ColumnType, *, is_time: bool) -> str | None:
    """A value as a number, if its column has numbers."""
    if is_time:
        return "epoch(TRY_CAST(v AS TIMESTAMP))"
    return "CAST(v AS DOUBLE)" if kind in NUMBERS else None


def _short(kind: ColumnType) -> str:
    return f"substr(v, 1, {_SHOWN})" if kind in TEXTS else "v"


def _histogram(
    rows: RowSet, table: str, value: str, low: float, high: float, buckets: int, *, whole: bool
) -> tuple[Bar, ...]:
    """Bars of equal width; for whole numbers, their width is whole too."""
    width = (high - low) / buckets
    if whole:
        width = max(1, math.ceil((high - low + 1) / buckets))
        buckets = max(1, math.ceil((high - low + 1) / width))
    if width <= 0 or not math.isfinite(width):
        width, buckets = 1.0, 1
    found = dict(
        rows.ask(
            f"SELECT least(CAST(floor((x - CAST($low AS DOUBLE)) / CAST($width AS DOUBLE)) AS BIGINT), $last) AS bar, "
            f"count(*) FROM (SELECT {value} AS x FROM ({table})) WHERE x IS NOT NULL GROUP BY bar",
            {"low": low, "width": width, "last": buckets - 1},
        )
    )
    return tuple(
        Bar(
            low + bar * width,
            high if bar == buckets - 1 and not whole else low + (bar + 1) * width,
            found.get(bar, 0),
        )
        for bar in range(buckets)
    )


def count_values(rows: RowSet, column: Reference) -> list[tuple[Any, int]]:
    """How many rows have each value of a column that has few of them; null is one."""
    table = rows.sql({"v": column})
    return [
        (value, count)
        for value, count in rows.ask(f"SELECT v, count(*) AS n FROM ({table}) GROUP BY v ORDER BY n DESC, v")
    ]


def over_time(
    rows: RowSet, column: Reference | None, *, bucket: str, top: int
) -> tuple[list[Any], dict[tuple[str, int], int]]:
    """The most frequent values of a column, and rows by bucket of time and by the index of their value.

    One more than the last index: any other value, or null. Without a column all rows have the index 0.
    """
    start = f"substr(t, 1, {PREFIXES[bucket]})"
    if bucket == "week":
        start = f"CAST(CAST(date_trunc('week', TRY_CAST({start} AS DATE)) AS DATE) AS VARCHAR)"
    values: list[Any] = [None]
    which, bound = _which("v", [])
    if column is None:
        table = rows.counted({"t": TIME}, {"bucket": start})
    else:
        table = rows.counted({"t": TIME, "v": column}, {"bucket": start, "v": _short(rows.types[column])})
        values = _top(rows, table, "v", top)
        which, bound = _which("v", values)
    found = rows.ask(
        f"SELECT bucket, {which} AS place, CAST(sum(n) AS BIGINT) FROM {table} WHERE bucket IS NOT NULL "
        "GROUP BY bucket, place",
        bound,
    )
    return values, {(time, place): count for time, place, count in found}


def against(
    rows: RowSet, a: Reference, b: Reference, *, top: int
) -> tuple[list[Any], list[Any], dict[tuple[int, int], int]]:
    """The most frequent values of two columns, and rows by the indexes of their values in them.

    One more than the last index: any other value, or null.
    """
    shown = {"a": _short(rows.types[a]).replace("v", "a"), "b": _short(rows.types[b]).replace("v", "b")}
    table = rows.counted({"a": a, "b": b}, shown)
    of_a, of_b = _top(rows, table, "a", top), _top(rows, table, "b", top)
    (which_a, bound_a), (which_b, bound_b) = _which("a", of_a), _which("b", of_b)
    found = rows.ask(
        f"SELECT {which_a} AS place_a, {which_b} AS place_b, CAST(sum(n) AS BIGINT) FROM {table} "
        "GROUP BY place_a, place_b",
        {**bound_a, **bound_b},
    )
    return of_a, of_b, {(place_a, place_b): count for place_a, place_b, count in found}


def _top(rows: RowSet, table: str, column: str, top: int) -> list[Any]:
    """The most frequent values of a column of a table that counts, null left out."""
    found = rows.ask(
        f"SELECT {column}, sum(n) AS rows FROM {table} WHERE {column} IS NOT NULL GROUP BY {column} "
        f"ORDER BY rows DESC, {column} LIMIT {top}"
    )
    return [value for value, _ in found]


def _which(column: str, values: Sequence[Any]) -> tuple[str, dict[str, Any]]:
    """The index of a value among some."""
    bound = {f"{column}_{index}": value for index, value in enumerate(values)}
    cases = " ".join(f"WHEN {column} = ${column}_{index} THEN {index}" for index in range(len(values)))
    return (f"CASE {cases} ELSE {len(values)} END" if cases else "0"), bound
