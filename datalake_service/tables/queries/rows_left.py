"""Which rows of a merged object are left when some ids are left out: found out by its ids alone, exactly.

Row groups in which no row is left are not read at all; in the others a row is taken or not by its number, so that
nothing has to be joined, and rows stay in order, while the other columns are read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from datalake_service.tables.database.engine import in_our_words
from datalake_service.tables.database.footers import group_sizes
from datalake_service.tables.queries.query import ID, LocalTable, RowsLeft, scan
from datalake_utils.ids import random_hex

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import numpy.typing as npt

_LEFT_OUT = "left_out"
"""The table of ids while they are compared."""
_MAX_RANGES = 32
"""Row groups in more ranges than this are read with what lies between some of them."""

_Range = tuple[int, int]
"""Start (inclusive) and end (exclusive)."""


def find_rows_left(
    connection: duckdb.DuckDBPyConnection,
    table: LocalTable,
    *,
    key: str,
    leave_out: Collection[str],
    span: _Range | None = None,
) -> RowsLeft:
    """Compare the ids of a local file with those that are left out. Of the file, only the ids are read.

    Args:
        connection: A database that may still read files. It keeps which rows are left.
        table: The file.
        key: Names it in errors.
        leave_out: Ids; those that are no rows do not matter.
        span: Only these rows, by number.

    Raises:
        StoreError: The file cannot be read.
    """
    import numpy as np

    sizes = group_sizes(connection, table.path, key=key)
    first, end = span or (0, sum(sizes))
    if leave_out:
        numbers = _numbers_left(connection, table, key, leave_out, (first, end))
    else:
        numbers = np.arange(first, end, dtype=np.int64)
    return rows_with(connection, numbers, sizes=sizes, span=(first, end))


def rows_with(
    connection: duckdb.DuckDBPyConnection,
    numbers: npt.NDArray[np.int64],
    *,
    sizes: Sequence[int],
    span: _Range,
) -> RowsLeft:
    """The rows with these numbers, all of them within ``span``, of row groups of these sizes.

    Raises:
        StoreError: There is no room to remember them.
    """
    import numpy as np

    first, end = span
    numbers = np.sort(numbers)
    starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    counts = np.histogram(numbers, starts)[0] if len(numbers) else np.zeros(len(sizes), np.int64)
    ranges = _ranges(np.flatnonzero(counts).tolist())
    groups = frozenset(group for start, stop in ranges for group in range(start, stop))
    rows = [(max(int(starts[start]), first), min(int(starts[stop]), end)) for start, stop in ranges]
    conditions = []
    if len(groups) < len(sizes) or end - first < sum(sizes):
        conditions.append(" OR ".join(f"(row_number >= {start} AND row_number < {stop})" for start, stop in rows))
    if len(numbers) < sum(stop - start for start, stop in rows):
        conditions.append(_by_number(connection, numbers, (first, end)))
    sql = " AND ".join(f"({one})" for one in conditions if one) or "TRUE"
    return RowsLeft(len(numbers), groups, sql=sql, numbers=numbers)


def _numbers_left(
    connection: duckdb.DuckDBPyConnection, table: LocalTable, key: str, leave_out: Collection[str], span: _Range
) -> npt.NDArray[np.int64]:
    import numpy as np
    import pyarrow as pa

    from datalake_service.tables.formats.arrays import array_of
    from datalake_service.tables.objects.finished_ids import AllBut, FinishedIds

    join, ids = ("SEMI", leave_out.wanted) if isinstance(leave_out, AllBut) else ("ANTI", leave_out)
    column = ids.column if isinstance(ids, FinishedIds) else array_of(list(ids), pa.large_string())
    with in_our_words(f"compare the ids of {key}"):
        connection.register(_LEFT_OUT, pa.table({"id": column}))
        try:
            found = connection.execute(
                f"SELECT row_number FROM {scan(table)} "
                f"{join} JOIN {_LEFT_OUT} ON {_LEFT_OUT}.id = c{table.footer.columns[ID].position} "
                f"WHERE row_number >= {span[0]} AND row_number < {span[1]}"
            ).fetchnumpy()
        finally:
            connection.unregister(_LEFT_OUT)
    return np.asarray(found["row_number"], np.int64)


def _ranges(groups: Sequence[int]) -> list[_Range]:
    """Row groups as ranges of their numbers; those with the smallest gaps are joined until there are few."""
    ranges: list[_Range] = []
    for group in groups:
        if ranges and ranges[-1][1] == group:
            ranges[-1] = (ranges[-1][0], group + 1)
        else:
            ranges.append((group, group + 1))
    while len(ranges) > _MAX_RANGES:
        at = min(range(1, len(ranges)), key=lambda number: ranges[number][0] - ranges[number - 1][1])
        ranges[at - 1 : at + 1] = [(ranges[at - 1][0], ranges[at][1])]
    return ranges


def _by_number(connection: duckdb.DuckDBPyConnection, numbers: npt.NDArray[np.int64], span: _Range) -> str:
    """A condition that holds for rows with these numbers, whose order does not matter: one bit for each row."""
    import numpy as np

    first, rows = span[0], span[1] - span[0]
    digits = np.full(rows, ord("0"), np.uint8)
    digits[numbers - first] = ord("1")
    name = f"rows_left_{random_hex(12)}"
    with in_our_words("remember which rows are left"):
        connection.execute(f"SET VARIABLE {name} = CAST(? AS BIT)", [digits.tobytes().decode("ascii")])
    # It may be asked about a row beside the span, before another condition leaves that out.
    place = f"least(greatest(row_number - {first}, 0), {rows - 1})"
    return f"get_bit(getvariable('{name}'), CAST({place} AS INTEGER)) = 1"
