"""The shape of a merged object: its columns, their Parquet fields, and the record in its footer.

Pure but for the Arrow classes; reads and writes no file. See ``docs/design/001-lake-format.md`` and ``004-merge.md``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import pyarrow as pa

from datalake_service.catalog.columns import FLOAT, INT53, NESTED, NULL, TEXT, ColumnType, column_type
from datalake_service.catalog.made import Made, Spending
from datalake_service.catalog.manifests import FORMAT_VERSION, check_format, format_time, parse_time
from datalake_service.errors import StoreError
from datalake_service.tables.formats.chunk_ranges import Ranges

MergedKind = Literal["rows", "annotations"]

METADATA_KEY = b"datalake"
"""Key of the commit record in the Parquet footer."""
FIELD_NAME, FIELD_TYPE, FIELD_KINDS = b"datalake.name", b"datalake.type", b"datalake.kinds"

_ARROW_TYPES = {
    ColumnType.BOOL: pa.bool_(),
    ColumnType.INT64: pa.int64(),
    ColumnType.DOUBLE: pa.float64(),
}
TEXT_TYPE = pa.large_string()
"""Arrow's text type for everything else; its 64-bit offsets never overflow, whatever a row group holds."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its true name and every kind of value that ever came in."""

    name: str
    """As in the rows; any text."""
    kinds: str
    """Codes of ``catalog/columns.py``."""

    @property
    def type(self) -> ColumnType:
        """How it is stored."""
        return column_type(self.kinds)


@dataclass(frozen=True, slots=True)
class TableSchema:
    """All columns of a merged object in the order of its fields."""

    columns: tuple[Column, ...]
    """System columns included."""
    _names: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _arrow: pa.Schema = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Find a field name for every column, and the Arrow schema."""
        names = physical_names([column.name for column in self.columns])
        object.__setattr__(self, "_names", names)
        fields = [
            pa.field(name, arrow_type(column.type), metadata=_field_metadata(column))
            for name, column in zip(names, self.columns, strict=True)
        ]
        object.__setattr__(self, "_arrow", pa.schema(fields))

    @property
    def field_names(self) -> tuple[str, ...]:
        """The Parquet field of each column."""
        return self._names

    def arrow(self) -> pa.Schema:
        """The Arrow schema, true names and types in the field metadata."""
        return self._arrow

    @classmethod
    def from_arrow(cls, schema: pa.Schema, *, key: str) -> TableSchema:
        """Read the columns of a stored object; ``key`` names it in errors.

        Raises:
            StoreError: Its fields do not say what they are: no merged object of ours.
        """
        try:
            columns = [_column_of(item.metadata) for item in schema]
        except (KeyError, TypeError, ValueError) as error:
            msg = f"{key} was not written by a merge of datalake; move it away"
            raise StoreError(msg) from error
        return cls(tuple(columns))


ROW_SYSTEM_COLUMNS = (Column("_batch", TEXT), Column("_created_at", TEXT))
ANNOTATION_SYSTEM_COLUMNS = (
    Column("_batch", TEXT),
    Column("_status", TEXT),
    Column("_error", NULL + TEXT),
    Column("_metadata", NESTED + NULL),
    Column("_annotated_at", TEXT),
    Column("_kind", NULL + TEXT),
    Column("_version", NULL + TEXT),
    Column("_code", NULL + TEXT),
    Column("_generation", INT53 + NULL),
    Column("_attempts", INT53 + NULL),
    Column("_seconds", FLOAT + NULL),
    Column("_cost", FLOAT + NULL),
    Column("_input_tokens", INT53 + NULL),
    Column("_output_tokens", INT53 + NULL),
)
ID_COLUMN = Column("id", TEXT)


def row_schema(kinds: Mapping[str, str]) -> TableSchema:
    """The columns of merged rows; ``kinds`` are those of the users' columns (``id`` is not one of them)."""
    return TableSchema((ID_COLUMN, *_user_columns(kinds), *ROW_SYSTEM_COLUMNS))


def annotation_schema(kinds: Mapping[str, str]) -> TableSchema:
    """The columns of merged annotations; ``kinds`` are those of the annotator's columns."""
    return TableSchema((ID_COLUMN, *ANNOTATION_SYSTEM_COLUMNS, *_user_columns(kinds)))


def _user_columns(kinds: Mapping[str, str]) -> Iterable[Column]:
    return (Column(name, codes) for name, codes in kinds.items() if name != ID_COLUMN.name)


def arrow_type(kind: ColumnType) -> pa.DataType:
    """The Arrow type in which values of a column type are stored."""
    return _ARROW_TYPES.get(kind, TEXT_TYPE)


def physical_names(names: Sequence[str]) -> tuple[str, ...]:
    """A Parquet field name for each column name: the same, or a substitute where Parquet could not keep it."""
    taken = set(names)
    result = []
    for number, name in enumerate(names):
        if _is_storable(name):
            result.append(name)
            continue
        substitute = f"column_{number}"
        while substitute in taken:
            substitute += "_"
        taken.add(substitute)
        result.append(substitute)
    return tuple(result)


def _is_storable(name: str) -> bool:
    # A null character would end the name in every reader written in C.
    if not name or "\0" in name:
        return False
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _field_metadata(column: Column) -> dict[bytes, bytes]:
    return {
        FIELD_NAME: json.dumps(column.name).encode("ascii"),
        FIELD_TYPE: str(column.type).encode("ascii"),
        FIELD_KINDS: column.kinds.encode("ascii"),
    }


def _column_of(metadata: Mapping[bytes, bytes] | None) -> Column:
    found = metadata or {}
    column = Column(json.loads(found[FIELD_NAME]), found[FIELD_KINDS].decode("ascii"))
    if column.type != found[FIELD_TYPE].decode("ascii"):
        raise ValueError("the kinds do not make the type")
    return column


@dataclass(frozen=True, slots=True)
class MergedMetadata:
    """The commit record of a merged object: what it contains and what it was made by."""

    kind: MergedKind
    attempt: str
    """Twelve hexadecimal digits, unique for each merge attempt."""
    merged_at: datetime
    """When the attempt started, by the clock of the machine that merged (aware)."""
    columns: tuple[Column, ...]
    """Every column of the object, system columns included."""
    counts: Mapping[str, int]
    """Totals over all merges so far, by name."""
    contains: tuple[tuple[str, str], ...] = ()
    """(file name, ETag) of merged files that may still be there."""
    runs: Mapping[str, Ranges] = field(default_factory=dict)
    """Chunks that were merged, by run, for runs whose manifests were there: they tell merged chunks from lost ones."""
    kept: tuple[str, ...] = ()
    """Names among them that stay, because they hold rejected lines too long to be kept elsewhere."""
    deduplicate_on: tuple[tuple[str, ...], ...] = ()
    """The distinct lists of dedup columns of all runs that took part."""
    duplicates: str | None = None
    """The attempt that names the side object with the rows taken out as duplicates; ``None``: there are none."""
    made: tuple[Made, ...] = ()
    """Of annotations: what each maker has made in each generation."""
    spent: Spending = field(default_factory=Spending)
    """Of annotations: what all that were ever merged have cost."""
    older: str | None = None
    """Of annotations: the attempt that names the side object with older versions; ``None``: there are none."""

    def to_json(self) -> bytes:
        """Write the record."""
        document: dict[str, object] = {
            "format": FORMAT_VERSION,
            "kind": self.kind,
            "attempt": self.attempt,
            "mergedAt": format_time(self.merged_at),
            "contains": self.contains,
            "runs": dict(self.runs),
            "kept": self.kept,
            "deduplicateOn": self.deduplicate_on,
            "duplicates": self.duplicates,
            "counts": dict(self.counts),
            "columns": [{"name": item.name, "type": item.type, "kinds": item.kinds} for item in self.columns],
        }
        if self.kind == "annotations":
            made = [item.to_dict() for item in self.made]
            document |= {"made": made, "spent": self.spent.to_dict(), "older": self.older}
        return json.dumps(document).encode("ascii")

    @classmethod
    def from_json(cls, data: bytes, *, key: str) -> MergedMetadata:
        """Read a record; ``key`` names the object in errors.

        Raises:
            StoreError: Not such a record, or of a newer format.
        """
        try:
            document = json.loads(data)
            check_format(document["format"], key=key)
            return cls(
                kind=document["kind"],
                attempt=document["attempt"],
                merged_at=parse_time(document["mergedAt"]),
                columns=tuple(Column(item["name"], item["kinds"]) for item in document["columns"]),
                counts=document["counts"],
                contains=tuple((name, etag) for name, etag in document["contains"]),
                # Records of before this was noted do not have it.
                runs={
                    run: tuple((first, last) for first, last in ranges)
                    for run, ranges in document.get("runs", {}).items()
                },
                kept=tuple(document["kept"]),
                deduplicate_on=tuple(tuple(columns) for columns in document["deduplicateOn"]),
                duplicates=document["duplicates"],
                made=tuple(map(Made.from_dict, document.get("made", ()))),
                spent=Spending.from_dict(document["spent"]) if "spent" in document else Spending(),
                older=document.get("older"),
            )
        except (KeyError, TypeError, ValueError) as error:
            msg = f"{key} was not written by a merge of datalake ({type(error).__name__}); move it away"
            raise StoreError(msg) from error
