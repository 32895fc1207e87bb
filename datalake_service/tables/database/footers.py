"""What merged objects say about themselves: columns, rows, and where the bytes of a column lie. Read by DuckDB.

``schema.py`` holds the same record for writers; this reader needs no Arrow, which costs a tenth of a second to load.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from datalake_service.catalog.columns import ColumnType, column_type
from datalake_service.errors import StoreError
from datalake_service.tables.database.engine import quote_text

if TYPE_CHECKING:
    import duckdb

    from datalake_service.tables.database.local import ByteRange

_METADATA_KEY = b"datalake"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class StoredColumn:
    """One column of a merged object."""

    position: int
    """Counted from 0 among the fields of the Parquet file."""
    kinds: str
    """Codes of ``catalog/columns.py``."""
    type: ColumnType
    """How it is stored."""


@dataclass(frozen=True, slots=True)
class Footer:
    """What one merged object holds."""

    rows: int
    columns: Mapping[str, StoredColumn]
    """By true name, in the order of the object; system columns included."""
    contains: frozenset[tuple[str, str]]
    """(file name, ETag) of merged files that may still be there."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Totals over all merges, by name."""
    older: str | None = None
    """Of annotations: the attempt that names the object with older versions, which has the same columns."""
    versions: frozenset[tuple[str | None, str | None]] = frozenset()
    """Of annotations: label and code hash of those that are there, older ones included."""
    cost: float = 0.0
    """Of annotations: what all that were ever merged have cost."""


@dataclass(frozen=True, slots=True)
class GroupBounds:
    """What is known of one column in one row group."""

    rows: int
    nulls: int | None
    low: str | None
    """The smallest value as text, or less; ``None``: not known."""
    high: str | None
    """The largest value as text, or more; ``None``: not known."""


def read_footers(connection: duckdb.DuckDBPyConnection, files: Sequence[tuple[str, str]]) -> list[Footer]:
    """Read the footers of local files, each a (path, key); the key names it in errors.

    Raises:
        StoreError: One of them is no merged object, or of a newer format.
    """
    import duckdb

    if not files:
        return []
    try:
        found = _ask(connection, [path for path, _ in files])
    except duckdb.Error as error:
        if len(files) == 1:
            raise _incomplete(files[0][1], error) from error
        return [footer for file in files for footer in read_footers(connection, [file])]  # says which one it is
    return [_footer(key, found[path]) for path, key in files]


def column_ranges(
    connection: duckdb.DuckDBPyConnection,
    path: str,
    *,
    key: str,
    positions: Collection[int],
    groups: Collection[int] | None = None,
) -> list[ByteRange]:
    """Where the bytes of some columns lie, in all row groups or in ``groups``.

    Raises:
        StoreError: The file is no Parquet file.
    """
    what = (
        "column_id, least(data_page_offset, coalesce(nullif(dictionary_page_offset, 0), data_page_offset)), "
        "total_compressed_size, row_group_id"
    )
    return [
        (start, start + size)
        for column, start, size, group in _chunks(connection, path, key, what)
        if column in positions and (groups is None or group in groups)
    ]


def group_sizes(connection: duckdb.DuckDBPyConnection, path: str, *, key: str) -> list[int]:
    """How many rows each row group has.

    Raises:
        StoreError: The file is no Parquet file.
    """
    chunks = _chunks(connection, path, key, "row_group_id, row_group_num_rows")
    return list({group: rows for group, rows, *_ in chunks}.values())


def column_bounds(
    connection: duckdb.DuckDBPyConnection, paths: Sequence[str], *, positions: Sequence[int]
) -> list[list[GroupBounds]]:
    """What the footers of local files say about one column each, row group by row group.

    Raises:
        duckdb.Error: One of them is no Parquet file.
    """
    found: dict[str, list[GroupBounds]] = {path: [] for path in paths}
    if paths:
        wanted = dict(zip(paths, positions, strict=True))
        listed = "[" + ", ".join(quote_text(path) for path in paths) + "]"
        places = ", ".join(str(place) for place in sorted(set(positions)))
        for path, place, rows, nulls, low, high in connection.execute(
            "SELECT file_name, column_id, row_group_num_rows, stats_null_count, stats_min_value, stats_max_value "
            f"FROM parquet_metadata({listed}) WHERE column_id IN ({places}) ORDER BY file_name, row_group_id"
        ).fetchall():
            if wanted[path] == place:
                found[path].append(GroupBounds(rows, nulls, low, high))
    return [found[path] for path in paths]


def _chunks(connection: duckdb.DuckDBPyConnection, path: str, key: str, what: str) -> list[tuple[int, ...]]:
    """What the footer says about every column of every row group, in the order of the file."""
    import duckdb

    try:
        return connection.execute(f"SELECT {what} FROM parquet_metadata({quote_text(path)})").fetchall()
    except duckdb.Error as error:
        raise _incomplete(key, error) from error


@dataclass(frozen=True, slots=True)
class _Found:
    rows: int
    width: int
    record: bytes


def _ask(connection: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> dict[str, _Found]:
    listed = "[" + ", ".join(quote_text(path) for path in paths) + "]"
    counts = connection.execute(f"SELECT file_name, num_rows FROM parquet_file_metadata({listed})").fetchall()
    widths = dict(
        connection.execute(
            f"SELECT file_name, num_children FROM parquet_schema({listed}) WHERE column_id = 0"
        ).fetchall()
    )
    records = {
        path: value
        for path, name, value in connection.execute(
            f"SELECT file_name, key, value FROM parquet_kv_metadata({listed})"
        ).fetchall()
        if name == _METADATA_KEY
    }
    return {path: _Found(rows, widths[path], records.get(path, b"null")) for path, rows in counts}


def _footer(key: str, found: _Found) -> Footer:
    try:
        document = json.loads(found.record)
        if document["format"] != _FORMAT:
            from datalake_service.catalog.manifests import check_format  # takes its time to load

            check_format(document["format"], key=key)
        columns = {
            item["name"]: StoredColumn(position, item["kinds"], column_type(item["kinds"]))
            for position, item in enumerate(document["columns"])
        }
        contains = frozenset((name, etag) for name, etag in document["contains"])
        counts = {str(name): int(count) for name, count in document["counts"].items()}
        cost = float((document.get("spent") or {}).get("cost") or 0.0)
        versions = frozenset((made["version"], made["code"]) for made in document.get("made", ()))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{key} was not written by a merge of datalake; move it away") from error
    if len(columns) != found.width or "id" not in columns:
        raise StoreError(f"{key} does not have the columns that its record names: move it away, or restore it")
    return Footer(found.rows, columns, contains, counts, document.get("older"), versions, cost)


def _incomplete(key: str, error: Exception) -> StoreError:
    import duckdb

    if isinstance(error, duckdb.InterruptException):
        return StoreError(f"cannot read {key}: it was interrupted")
    return StoreError(f"{key} is no complete Parquet file: move it away, or restore it")
