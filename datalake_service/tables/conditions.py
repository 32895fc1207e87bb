"""From filters to one SQL condition over the columns of a view.

Decides what every name in a filter means, once for all batches. Columns stand in the condition under aliases that
``query.py`` gives them in each batch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datalake_service.catalog.columns import ColumnType, column_type
from datalake_service.errors import FilterError
from datalake_service.tables.engine import in_our_words
from datalake_service.tables.expressions import ColumnName, Expression, is_keyword, parse_expression
from datalake_service.tables.sql import Reference, sql_type

if TYPE_CHECKING:
    import duckdb

    from datalake_service.config.filters import AllFilter, AnyFilter, BooleanFilter, RawDuckFilter

    Node = AllFilter | AnyFilter | BooleanFilter | RawDuckFilter

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


@dataclass(frozen=True, slots=True)
class Condition:
    """Which rows are selected, in SQL."""

    sql: str = "TRUE"
    columns: Mapping[str, Reference] | None = None
    """What the aliases in it stand for."""
    user_sql: bool = False
    """Whether part of it was written by the user."""
    notes: tuple[str, ...] = ()
    """What the user should know, one line each: names that stand for nothing."""

    @property
    def names(self) -> dict[str, str]:
        """Labels by alias, for messages."""
        return {alias: reference.label for alias, reference in (self.columns or {}).items()}


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A filter at the end of a branch, and whose columns it names unqualified."""

    node: BooleanFilter | RawDuckFilter
    owner: str | None
    what: str


class Filters:
    """All filters of one view, parsed; no name is looked up yet."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        *,
        over_all: Node | None = None,
        base: Node | None = None,
        annotators: Mapping[str, Node] | None = None,
    ) -> None:
        """Parse every raw filter.

        Args:
            connection: Any; its parser is used, nothing is executed.
            over_all: Names base columns plain, others qualified.
            base: Names base columns.
            annotators: For each annotator, names its own columns plain.

        Raises:
            FilterError: A raw filter is not one expression about a row.
        """
        self.owners = tuple(annotators or {})
        self._pieces: list[str | _Leaf] = []
        parts: list[tuple[Node | None, str | None, str]] = [(over_all, None, "filter"), (base, None, "base_filter")]
        parts += [(node, name, f"annotator_filters[{name!r}]") for name, node in (annotators or {}).items()]
        for node, owner, what in parts:
            if node is not None:
                self._pieces += [*(["AND"] if self._pieces else []), *_flattened(node, owner, what)]
        self._parsed = {
            id(leaf): parse_expression(connection, leaf.node.sql, what=leaf.what)
            for leaf in self._leaves()
            if leaf.node.type == "raw_duck"
        }

    def _leaves(self) -> Iterator[_Leaf]:
        return (piece for piece in self._pieces if isinstance(piece, _Leaf))

    def named_annotators(self, existing: Collection[str]) -> set[str]:
        """Those of ``existing`` that a filter may name."""
        found = {name for name in self.owners if name in existing}
        folded = {name.lower(): name for name in existing}
        for leaf in self._leaves():
            if leaf.node.type == "boolean":
                found.update(name for name in existing if leaf.node.field.startswith(f"{name}."))
            else:
                for name in self._parsed[id(leaf)].names:
                    prefixes = (".".join(name.parts[:length]) for length in range(1, len(name.parts)))
                    found.update(folded[prefix.lower()] for prefix in prefixes if prefix.lower() in folded)
        return found

    def compile(self, connection: duckdb.DuckDBPyConnection, schema: ViewSchema) -> Condition:
        """Look every name up and write the condition; DuckDB checks that it can be used.

        Raises:
            FilterError: A name is ambiguous, or DuckDB refuses the expression.
        """
        if not self._pieces:
            return Condition()
        names = _Names(schema, self._free_prefix())
        pieces = [self._written(piece, names) if isinstance(piece, _Leaf) else piece for piece in self._pieces]
        condition = Condition(" ".join(pieces), names.columns, bool(self._parsed), tuple(names.notes))
        _check(connection, condition, schema)
        return condition

    def _free_prefix(self) -> str:
        """A beginning for aliases that no name in a raw filter has."""
        texts = [expression.sql.lower() for expression in self._parsed.values()]
        prefix = "column_"
        while any(prefix in text for text in texts):
            prefix += "_"
        return prefix

    def _written(self, leaf: _Leaf, names: _Names) -> str:
        if leaf.node.type == "boolean":
            return names.boolean(leaf.node.field, leaf.owner, value=leaf.node.value, what=leaf.what)
        expression = self._parsed[id(leaf)]
        text = expression.with_names(lambda name: names.in_sql(name, leaf.owner, expression, what=leaf.what))
        return f"(\n{text})"


def _flattened(node: Node, owner: str | None, what: str) -> Iterator[str | _Leaf]:
    """The filter as text between leaves. Without recursion: filters nest to any depth."""
    todo: list[Node | str] = [node]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            yield item
        elif item.type == "boolean" or item.type == "raw_duck":  # noqa: PLR1714 - mypy narrows by it
            yield _Leaf(item, owner, what)
        elif not item.filters:
            yield "TRUE" if item.type == "all" else "FALSE"
        elif len(item.filters) == 1:
            todo.append(item.filters[0])
        else:
            todo.append(")")
            for number, part in enumerate(reversed(item.filters)):
                todo += [*([] if number == 0 else ["AND" if item.type == "all" else "OR"]), part]
            todo.append("(")


class _Names:
    """Looks names up, hands out aliases, and notes what stands for nothing."""

    def __init__(self, schema: ViewSchema, prefix: str) -> None:
        self._schema = schema
        self._prefix = prefix
        self._aliases: dict[Reference, str] = {}
        self.notes: dict[str, None] = {}

    @property
    def columns(self) -> dict[str, Reference]:
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


def _check(connection: duckdb.DuckDBPyConnection, condition: Condition, schema: ViewSchema) -> None:
    """Let DuckDB bind the condition over no rows: mistakes show before anything is read."""
    columns = [
        f"CAST(NULL AS {sql_type(schema.type_of(reference))}) AS {alias}"
        for alias, reference in (condition.columns or {}).items()
    ]
    rows = f"(SELECT {', '.join(['1 AS one', *columns])} LIMIT 0)"
    with in_our_words("use the filter", names=condition.names, user_sql=condition.user_sql):
        connection.execute(f"SELECT one FROM {rows} WHERE {condition.sql}").fetchall()
