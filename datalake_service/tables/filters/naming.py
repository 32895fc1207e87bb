"""What names in filters mean: which column of which source, once for all batches of a view.

Pure. Knows how names are spelled; nothing of how conditions are put together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datalake_service.catalog.columns import ColumnType, column_type
from datalake_service.errors import FilterError
from datalake_service.tables.database.sql import Reference
from datalake_service.tables.filters.comparing import absent, compare
from datalake_service.tables.filters.expressions import ColumnName, Expression, is_keyword

if TYPE_CHECKING:
    from datalake_service.tables.filters.comparing import Comparison

_SUGGESTIONS = 3


@dataclass(frozen=True, slots=True)
class ViewSchema:
    """Every column that the chosen batches have, and the kinds of its values over all of them."""

    base: Mapping[str, str]
    """Kinds by name."""
    annotators: Mapping[str, Mapping[str, str]]
    """The same for each annotator that was looked at; none yet for one that has no merged annotations."""

    def of(self, annotator: str | None) -> Mapping[str, str]:
        """The columns of the base (``None``) or of an annotator."""
        return self.base if annotator is None else self.annotators.get(annotator, {})

    def type_of(self, reference: Reference) -> ColumnType:
        """The type that holds the column in all batches; ``null`` if it is nowhere."""
        return column_type(self.of(reference.annotator).get(reference.column, ""))

    def labels(self) -> list[str]:
        """Every column as rows name it."""
        qualified = (Reference(name, column).label for name, columns in self.annotators.items() for column in columns)
        return [*self.base, *qualified]


class Names:
    """Looks names up, hands out aliases, and notes what stands for nothing."""

    def __init__(self, schema: ViewSchema, prefix: str) -> None:
        """Know no name yet; aliases begin with ``prefix``."""
        self._schema = schema
        self._prefix = prefix
        self._aliases: dict[Reference, str] = {}
        self.notes: dict[str, None] = {}
        """Lines for the user, each once."""
        self.used: set[Reference] = set()
        """The columns that were named since somebody emptied this."""

    @property
    def columns(self) -> dict[str, Reference]:
        """What the aliases stand for."""
        return {alias: reference for reference, alias in self._aliases.items()}

    def boolean(self, field: str, owner: str | None, *, value: bool, what: str) -> str:
        """The condition of a boolean filter."""
        reference = self._field(field, owner)
        if reference is None:
            self._unknown(field, owner, what)
            return "FALSE"
        kind = self._schema.type_of(reference)
        match kind:
            case ColumnType.NULL:
                return "FALSE"
            case ColumnType.BOOL:
                return self._alias(reference) if value else f"(NOT {self._alias(reference)})"
            case ColumnType.JSON:
                return f"({self._alias(reference)} = '{'true' if value else 'false'}')"
            case _:
                self.notes[f"{what}: column {field!r} holds {kind} values, no booleans; it selects no row"] = None
                return "FALSE"

    def compared(self, node: Comparison, owner: str | None, *, what: str) -> str:
        """The condition of a filter that compares one column."""
        reference = self._field(node.field, owner)
        if reference is None:
            self._unknown(node.field, owner, what)
            return absent(node)
        kind = self._schema.type_of(reference)
        if kind is ColumnType.NULL:
            return absent(node)
        return compare(node, self._alias(reference), kind)

    def in_sql(self, name: ColumnName, owner: str | None, expression: Expression, *, what: str) -> str | None:
        """What to write for a name in a raw filter; ``None``: leave it."""
        reference = self._reference(name.parts, owner, what)
        if reference is None:
            if is_keyword(name, expression.sql):
                return None
            self._unknown(".".join(name.parts), owner, what)
            return "(NULL)"
        return "(NULL)" if self._schema.type_of(reference) is ColumnType.NULL else self._alias(reference)

    def _alias(self, reference: Reference) -> str:
        self.used.add(reference)
        return self._aliases.setdefault(reference, f"{self._prefix}{len(self._aliases)}")

    def _field(self, field: str, owner: str | None) -> Reference | None:
        """A field is exact: JSON keys are."""
        if owner is not None and field in self._schema.of(owner):
            return Reference(owner, field)
        for name in sorted(self._schema.annotators, key=len, reverse=True):
            column = field.removeprefix(f"{name}.")
            if column != field and column in self._schema.of(name):
                return Reference(name, column)
        return Reference(None, field) if owner is None and field in self._schema.base else None

    def _reference(self, parts: tuple[str, ...], owner: str | None, what: str) -> Reference | None:
        """A name in SQL: exactly as spelled, else whatever its case."""
        own = self._schema.of(owner)
        if len(parts) == 1:
            column = _spelled(parts[0], own, what)
            return None if column is None else Reference(owner, column)
        for length in range(1, len(parts)):
            annotator = _spelled(".".join(parts[:length]), self._schema.annotators, what)
            if annotator is not None:
                column = _spelled(".".join(parts[length:]), self._schema.of(annotator), what)
                if column is not None:
                    return Reference(annotator, column)
                self._refuse_path(parts[length:], self._schema.of(annotator), what)
        if ".".join(parts) in own:
            return Reference(owner, ".".join(parts))
        self._refuse_path(parts, own, what)
        return None

    def _refuse_path(self, parts: tuple[str, ...], columns: Mapping[str, str], what: str) -> None:
        """``metadata.score`` looks right, and would be null for every row."""
        if len(parts) > 1 and parts[0] in columns:
            path = ".".join(parts)
            raise FilterError(
                f"{what}: {path}: {parts[0]!r} is a column, not an annotator; write {parts[0]}->>'{parts[1]}' to take "
                "a value out of its JSON"
            )

    def _unknown(self, name: str, owner: str | None, what: str) -> None:
        candidates = self._schema.labels() if owner is None else [*self._schema.of(owner), *self._schema.labels()]
        self.notes[f"{what}: {unknown_column(name, candidates)}"] = None


def unknown_column(name: str, candidates: Iterable[str]) -> str:
    """A sentence about a column that is nowhere, with the nearest names."""
    near = nearest_names(name, candidates)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    return f"there is no column {name!r}, it is null in every row{hint}"


def nearest_names(name: str, candidates: Iterable[str]) -> list[str]:
    """Those of ``candidates`` that ``name`` was probably meant to be."""
    import difflib

    return difflib.get_close_matches(name, list(dict.fromkeys(candidates)), n=_SUGGESTIONS, cutoff=0.6)


def _spelled(name: str, known: Mapping[str, object], what: str) -> str | None:
    """The one of ``known`` that ``name`` means in SQL, where case does not count unless it has to."""
    if name in known:
        return name
    same = [candidate for candidate in known if candidate.lower() == name.lower()]
    if len(same) > 1:
        raise FilterError(f"{what}: {name!r} could be {' or '.join(map(repr, same))}; write one of them exactly")
    return same[0] if same else None
