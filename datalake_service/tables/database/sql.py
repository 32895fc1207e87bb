"""Pieces of SQL: column types, how a stored column becomes the type that a whole view has, sampling. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from datalake_service.catalog.columns import ColumnType

_SQL_TYPES = {
    ColumnType.NULL: "VARCHAR",
    ColumnType.BOOL: "BOOLEAN",
    ColumnType.INT64: "BIGINT",
    ColumnType.DOUBLE: "DOUBLE",
    ColumnType.NUMBER: "DOUBLE",
    ColumnType.STRING: "VARCHAR",
    ColumnType.JSON: "VARCHAR",
}
_AS_JSON = {
    ColumnType.BOOL: "CAST({0} AS VARCHAR)",
    ColumnType.INT64: "CAST({0} AS VARCHAR)",
    ColumnType.DOUBLE: "CASE WHEN isfinite({0}) THEN CAST({0} AS VARCHAR) WHEN isnan({0}) THEN 'NaN' "
    "WHEN {0} > 0 THEN 'Infinity' WHEN {0} < 0 THEN '-Infinity' END",
    ColumnType.STRING: "CAST(to_json({0}) AS VARCHAR)",
}
"""How a column of a type is written as JSON text, the way Python's ``json`` would."""
_HEX_DIGITS = 16
_ALL = 1 << 4 * _HEX_DIGITS


@dataclass(frozen=True, slots=True)
class Reference:
    """A column of a dataset: of the base, or of an annotator."""

    annotator: str | None
    """``None``: a base column."""
    column: str
    """Its true name."""

    @property
    def label(self) -> str:
        """What the column is called in rows: base columns plain, others qualified (``lang.label``)."""
        return self.column if self.annotator is None else f"{self.annotator}.{self.column}"


def sql_type(kind: ColumnType) -> str:
    """What a column of this type is in SQL. JSON is its text."""
    return _SQL_TYPES[kind]


def converted(value: str, stored: ColumnType, wanted: ColumnType) -> str:
    """An expression for ``value``, stored as one type, in the SQL type of another that holds it all.

    ``wanted`` follows from the kinds of all batches, ``stored`` from those of one.
    """
    if stored is ColumnType.NULL:
        return f"CAST(NULL AS {sql_type(wanted)})"
    if wanted is ColumnType.NUMBER:
        return f"CAST({value} AS DOUBLE)"
    if stored is wanted or wanted is not ColumnType.JSON:
        return value
    return _AS_JSON.get(stored, "{0}").format(value)


def in_sample(row_id: str, fraction: float) -> str:
    """A condition that selects the same ``fraction`` of the ids everywhere; a larger one selects them too.

    It compares the first 64 bits of the SHA-256 of the id.
    """
    threshold = int(fraction * _ALL)
    return f"substr(sha256({row_id}), 1, {_HEX_DIGITS}) < '{threshold:0{_HEX_DIGITS}x}'"
