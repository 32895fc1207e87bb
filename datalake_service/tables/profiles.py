"""What a column holds: counts, distribution, most frequent values, over time and against another column.

Asked of the same row sources as pages. Results are plain values; nothing here knows how they are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from datalake_service.catalog.columns import ColumnType
from datalake_service.tables.conditions import Condition
from datalake_service.tables.engine import in_our_words
from datalake_service.tables.live import RowSource, select, union
from datalake_service.tables.sql import Reference, sql_type

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
PREFIXES: Final = {"minute": 16, "hour": 13, "day": 10, "month": 7}
"""How much of a time names its bucket."""


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


def top_values(rows: RowSet, column: Reference, top: int) -> list[Any]:
    """The most frequent values of a column, null left out."""
    found = rows.ask(
        f"SELECT {_short(rows.types[column])} AS value, count(*) AS rows FROM ({rows.sql({'v': column})}) "
        f"WHERE v IS NOT NULL GROUP BY value ORDER BY rows DESC, value LIMIT {top}"
    )
    return [value for value, _ in found]


def count_values(rows: RowSet, column: Reference) -> list[tuple[Any, int]]:
    """How many rows have each value of a column that has few of them; null is one."""
    table = rows.sql({"v": column})
    return [
        (value, count)
        for value, count in rows.ask(f"SELECT v, count(*) AS n FROM ({table}) GROUP BY v ORDER BY n DESC, v")
    ]


def over_time(
    rows: RowSet, column: Reference | None, values: Sequence[Any], *, bucket: str
) -> dict[tuple[str, int], int]:
    """Rows by bucket of time and by the index of their value (one more than the last: any other, or null)."""
    columns = {"t": TIME} if column is None else {"t": TIME, "v": column}
    which, bound = ("0", {}) if column is None else _which("v", rows.types[column], values, "value")
    found = rows.ask(
        f"SELECT substr(t, 1, {PREFIXES[bucket]}) AS bucket, {which} AS place, count(*) FROM ({rows.sql(columns)}) "
        "WHERE t IS NOT NULL GROUP BY bucket, place",
        bound,
    )
    return {(start, place): count for start, place, count in found}


def against(
    rows: RowSet, a: Reference, b: Reference, values: tuple[Sequence[Any], Sequence[Any]]
) -> dict[tuple[int, int], int]:
    """Rows by the indexes of their values in two columns (one more than the last: any other, or null)."""
    which_a, bound_a = _which("a", rows.types[a], values[0], "first")
    which_b, bound_b = _which("b", rows.types[b], values[1], "second")
    found = rows.ask(
        f"SELECT {which_a} AS place_a, {which_b} AS place_b, count(*) FROM ({rows.sql({'a': a, 'b': b})}) "
        "GROUP BY place_a, place_b",
        {**bound_a, **bound_b},
    )
    return {(place_a, place_b): count for place_a, place_b, count in found}


def _which(alias: str, kind: ColumnType, values: Sequence[Any], name: str) -> tuple[str, dict[str, Any]]:
    """The index of a value among some."""
    short = _short(kind).replace("v", alias, 1) if kind not in TEXTS else f"substr({alias}, 1, {_SHOWN})"
    bound = {f"{name}_{index}": value for index, value in enumerate(values)}
    cases = " ".join(f"WHEN {short} = ${name}_{index} THEN {index}" for index in range(len(values)))
    return (f"CASE {cases} ELSE {len(values)} END" if cases else "0"), bound
