"""From filters to one SQL condition over the columns of a view.

Columns stand in the condition under aliases that ``query.py`` gives them in each batch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from datalake_service.errors import FilterError
from datalake_service.tables.database.engine import in_our_words
from datalake_service.tables.database.sql import Reference, sql_type
from datalake_service.tables.filters.ands import split_ands
from datalake_service.tables.filters.expressions import parse_expression
from datalake_service.tables.filters.naming import Names, ViewSchema

if TYPE_CHECKING:
    import duckdb

    from datalake_service.config.filters import BooleanFilter, FilterNode, RawDuckFilter
    from datalake_service.tables.filters.comparing import Comparison

    Node = FilterNode


@dataclass(frozen=True, slots=True)
class Conjunct:
    """A part of a condition that has to be true."""

    sql: str
    columns: frozenset[Reference]
    """What it looks at."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Which rows are selected, in SQL."""

    sql: str = "TRUE"
    columns: Mapping[str, Reference] = field(default_factory=dict)
    """What the aliases in it stand for."""
    early: Mapping[str, str] = field(default_factory=dict)
    """By annotator, a part of the condition that no row passes without an annotation: it can be asked before a join."""
    user_sql: bool = False
    """Whether part of it was written by the user: SQL, or a regular expression."""
    raw: bool = False
    """Whether part of it is SQL that a user wrote."""
    notes: tuple[str, ...] = ()
    """What the user should know, one line each: names that stand for nothing."""
    conjuncts: tuple[Conjunct, ...] = ()
    """All of it, in parts."""

    def split(self, is_early: Callable[[Reference], bool]) -> tuple[Condition, Condition]:
        """Two conditions that are this one together: the first looks at nothing but columns that are early."""
        early = [part for part in self.conjuncts if all(map(is_early, part.columns))]
        late = [part for part in self.conjuncts if part not in early]
        return self._of(early, self.early), self._of(late, {})

    def _of(self, parts: Sequence[Conjunct], early: Mapping[str, str]) -> Condition:
        used = {reference for part in parts for reference in part.columns}
        return Condition(
            " AND ".join(part.sql for part in parts) or "TRUE",
            {alias: reference for alias, reference in self.columns.items() if reference in used},
            early=early,
            user_sql=self.user_sql,
            conjuncts=tuple(parts),
        )

    @property
    def names(self) -> dict[str, str]:
        """Labels by alias, for messages."""
        return {alias: reference.label for alias, reference in self.columns.items()}


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A filter at the end of a branch, and whose columns it names unqualified."""

    node: BooleanFilter | RawDuckFilter | Comparison
    owner: str | None
    what: str


_Pieces = list["str | _Leaf"]
"""SQL with filters in it."""


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
        parts: list[tuple[Node | None, str | None, str]] = [(over_all, None, "filter"), (base, None, "base_filter")]
        parts += [(node, name, f"annotator_filters[{name!r}]") for name, node in (annotators or {}).items()]
        self._conjuncts: list[_Pieces] = [
            list(_flattened(conjunct, owner, what))
            for node, owner, what in parts
            if node is not None
            for conjunct in _apart(connection, node)
        ]
        self._parsed = {
            id(leaf): parse_expression(connection, leaf.node.sql, what=leaf.what)
            for leaf in self._leaves()
            if leaf.node.type == "raw_duck"
        }

    @property
    def raw(self) -> bool:
        """Whether there is SQL that a user wrote."""
        return bool(self._parsed)

    def _leaves(self) -> Iterator[_Leaf]:
        return (piece for pieces in self._conjuncts for piece in pieces if isinstance(piece, _Leaf))

    def named_annotators(self, existing: Collection[str]) -> set[str]:
        """Those of ``existing`` that a filter may name."""
        found = {name for name in self.owners if name in existing}
        folded = {name.lower(): name for name in existing}
        for leaf in self._leaves():
            if leaf.node.type != "raw_duck":
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
        if not self._conjuncts:
            return Condition()
        names = Names(schema, self._free_prefix())
        written: list[str] = []
        parts: list[Conjunct] = []
        of_one: list[tuple[str, str]] = []
        for pieces in self._conjuncts:
            names.used = set()
            written.append(
                " ".join(self._written(piece, names) if isinstance(piece, _Leaf) else piece for piece in pieces)
            )
            parts.append(Conjunct(written[-1], frozenset(names.used)))
            sources = {reference.annotator for reference in names.used}
            if len(sources) == 1 and (annotator := sources.pop()) is not None:
                of_one.append((annotator, written[-1]))
        condition = Condition(
            " AND ".join(written),
            names.columns,
            user_sql=bool(self._parsed),
            raw=bool(self._parsed),
            notes=tuple(names.notes),
            conjuncts=tuple(parts),
        )
        _check(connection, condition, schema)
        return replace(condition, early=_early(connection, condition, of_one, schema))

    def _free_prefix(self) -> str:
        """A beginning for aliases that no name in a raw filter has."""
        texts = [expression.sql.lower() for expression in self._parsed.values()]
        prefix = "column_"
        while any(prefix in text for text in texts):
            prefix += "_"
        return prefix

    def _written(self, leaf: _Leaf, names: Names) -> str:
        if leaf.node.type == "boolean":
            return names.boolean(leaf.node.field, leaf.owner, value=leaf.node.value, what=leaf.what)
        if leaf.node.type != "raw_duck":
            return names.compared(leaf.node, leaf.owner, what=leaf.what)
        expression = self._parsed[id(leaf)]
        text = expression.with_names(lambda name: names.in_sql(name, leaf.owner, expression, what=leaf.what))
        return f"(\n{text})"


def _conjuncts(node: Node) -> Iterator[Node]:
    """The parts of a filter that must all be true. Without recursion, like the next one: filters nest to any depth."""
    todo = [node]
    while todo:
        item = todo.pop()
        if item.type == "all" and item.filters:
            todo += reversed(item.filters)
        else:
            yield item


def _apart(connection: duckdb.DuckDBPyConnection, node: Node) -> Iterator[Node]:
    """The same, with what a user wrote in SQL taken apart too."""
    for conjunct in _conjuncts(node):
        if conjunct.type == "raw_duck":
            parts = split_ands(connection, conjunct.sql)
            yield from (conjunct.model_copy(update={"sql": part}) for part in parts)
        else:
            yield conjunct


def _flattened(node: Node, owner: str | None, what: str) -> Iterator[str | _Leaf]:
    """The filter as SQL between leaves."""
    todo: list[Node | str] = [node]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            yield item
        elif item.type == "not":
            todo += [") IS NOT TRUE)", item.filter, "(("]
        elif item.type != "all" and item.type != "any":  # noqa: PLR1714 - mypy narrows by it
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


def _nulls(condition: Condition, schema: ViewSchema) -> str:
    """One row in which every column of a condition is null, as a table."""
    columns = [
        f"CAST(NULL AS {sql_type(schema.type_of(reference))}) AS {alias}"
        for alias, reference in condition.columns.items()
    ]
    return f"(SELECT {', '.join(['1 AS one', *columns])})"


def _check(connection: duckdb.DuckDBPyConnection, condition: Condition, schema: ViewSchema) -> None:
    """Let DuckDB bind the condition over no rows: mistakes show before anything is read."""
    with in_our_words("use the filter", names=condition.names, user_sql=condition.user_sql):
        connection.execute(
            f"SELECT one FROM (FROM {_nulls(condition, schema)} LIMIT 0) WHERE {condition.sql}"
        ).fetchall()


def _early(
    connection: duckdb.DuckDBPyConnection, condition: Condition, of_one: list[tuple[str, str]], schema: ViewSchema
) -> dict[str, str]:
    """Those conditions on one annotator that are not true where there is no annotation."""
    early: dict[str, list[str]] = {}
    for annotator, sql in of_one:
        try:
            with in_our_words("use the filter", user_sql=condition.user_sql):
                row = connection.execute(f"SELECT ({sql}) IS TRUE FROM {_nulls(condition, schema)}").fetchone()
        except FilterError:  # fails for null, but may never meet one
            continue
        if row == (False,):
            early.setdefault(annotator, []).append(sql)
    return {annotator: " AND ".join(conditions) for annotator, conditions in early.items()}
