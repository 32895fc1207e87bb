"""Versions of merged objects: their footers, and one batch after the other as a locked-down query.

Knows which bytes are needed; not which batches a view has, nor what to do when an object was replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from datalake_service.catalog.columns import ColumnType
from datalake_service.catalog.parts import Part
from datalake_service.storage.base import ObjectMeta, ObjectStore
from datalake_service.storage.folder import FolderStore
from datalake_service.storage.scratch import innermost
from datalake_service.tables.database.engine import Engine, EngineLimits
from datalake_service.tables.database.footers import Footer, column_ranges, read_footers
from datalake_service.tables.database.local import LocalFile
from datalake_service.tables.database.sql import Reference
from datalake_service.tables.filters.conditions import Condition
from datalake_service.tables.queries.narrowing import Narrowing, pages_left, plan_narrowing, put_cuts
from datalake_service.tables.queries.query import (
    ID,
    BatchQuery,
    LocalTable,
    Pin,
    RowsLeft,
    fetch_numbers,
    needed_columns,
)
from datalake_service.tables.queries.rows_left import find_rows_left, rows_with

if TYPE_CHECKING:
    import duckdb

_REQUESTS = 16
"""Objects of a remote store that are looked at at once."""
_OPEN_FILES = 48
"""Local files open at once for footers; systems allow a process a few hundred."""

_OLDER = "/older"
"""Behind the name of an annotator: its older versions. No name has a slash in it."""

_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a merged object."""

    meta: ObjectMeta
    footer: Footer
    tail: bytes | None
    """Its footer in bytes, where fetching it again would cost a request."""
    older: Version | None = None
    """Of annotations: the object with older versions, if they are wanted."""


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """The versions that make up one batch."""

    name: str
    base: Version
    annotations: Mapping[str, Version]
    """By annotator; those without annotations of this batch are missing."""

    @property
    def size(self) -> int:
        """Bytes of all objects."""
        others = [one for version in self.annotations.values() for one in (version, version.older) if one is not None]
        return self.base.meta.size + sum(version.meta.size for version in others)

    def stored_type(self, reference: Reference) -> ColumnType | None:
        """How a column is stored in this batch; ``None``: it is not."""
        version = self.base if reference.annotator is None else self.annotations.get(reference.annotator)
        column = None if version is None else version.footer.columns.get(reference.column)
        return None if column is None else column.type


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a batch; see ``BatchQuery``."""

    outputs: Sequence[Reference]
    condition: Condition
    types: Mapping[Reference, ColumnType]
    typed: bool
    fraction: float = 1.0
    pins: Mapping[str, Pin] = field(default_factory=dict)

    @property
    def annotators(self) -> set[str]:
        """The annotators whose files are read."""
        return {name for reference in self._references() if (name := reference.annotator) is not None}

    def _references(self) -> list[Reference]:
        return [*self.outputs, *self.condition.columns.values()]

    def needed(self, footer: Footer, annotator: str | None) -> set[int]:
        """The columns of one file that are read, by position."""
        needed = needed_columns(footer, annotator, self._references())
        pin = None if annotator is None else self.pins.get(annotator)
        return needed if pin is None else needed | pin.needed(footer)


def is_remote(store: ObjectStore) -> bool:
    """Whether every look at the store is a request over a network."""
    return not isinstance(innermost(store), FolderStore)


def in_parallel(store: ObjectStore, function: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
    """Call ``function`` for each item, several at once where calls wait for a network."""
    if len(items) < 2 or not is_remote(store):  # noqa: PLR2004 - one thing cannot be done at once
        return [function(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(_REQUESTS, len(items)), thread_name_prefix="look") as pool:
        return list(pool.map(function, items))


def read_versions(
    store: ObjectStore, metas: Sequence[ObjectMeta], connection: duckdb.DuckDBPyConnection, limits: EngineLimits
) -> list[Version]:
    """Read the footers of objects.

    Raises:
        PreconditionFailedError: One of them was replaced.
        ObjectNotFoundError: One of them was deleted.
        StoreError: One of them cannot be read, or is no merged object.
    """
    versions: list[Version] = []
    for start in range(0, len(metas), _OPEN_FILES):
        group = metas[start : start + _OPEN_FILES]
        with ExitStack() as stack:
            files = _open_all(store, [(meta, None) for meta in group], stack, limits)
            footers = read_footers(connection, [(file.path, file.meta.key) for file in files])
            versions += [Version(file.meta, footer, file.tail) for file, footer in zip(files, footers, strict=True)]
    return versions


def _open_all(
    store: ObjectStore, wanted: Sequence[tuple[ObjectMeta, bytes | None]], stack: ExitStack, limits: EngineLimits
) -> list[LocalFile]:
    def open_one(item: tuple[ObjectMeta, bytes | None]) -> LocalFile:
        file = LocalFile(store, item[0], tail=item[1], folder=limits.spill_folder)
        stack.callback(file.close)  # a list append: safe from several threads
        return file

    return in_parallel(store, open_one, wanted)


class OpenBatch:
    """One batch with its files at hand: what it answers is of the versions it was planned with."""

    def __init__(
        self,
        store: ObjectStore,
        batch: PlannedBatch,
        question: Question,
        engine: Engine,
        *,
        limits: EngineLimits,
        leave_out: Collection[str] = (),
        part: Part | None = None,
    ) -> None:
        """Open the files and bring in the bytes that the question needs, if rows are left without ``leave_out``.

        If only a ``part`` of the batch is asked about, the bytes of row groups beside it are not brought in.

        Raises:
            PreconditionFailedError: An object was replaced; plan the batch again.
            ObjectNotFoundError: An object was deleted; plan the batch again.
            StoreError: An object cannot be read.
        """
        versions: dict[str | None, Version] = {None: batch.base}
        for name in question.annotators & set(batch.annotations):
            versions[name] = batch.annotations[name]
            older = batch.annotations[name].older
            if older is not None:
                versions[name + _OLDER] = older
        self.batch = batch
        self.question = question
        self._store = store
        self._limits = limits
        self._size = sum(version.meta.size for version in versions.values())
        self._stack = ExitStack()
        try:
            wanted = [(version.meta, version.tail) for version in versions.values()]
            self._files = dict(zip(versions, _open_all(store, wanted, self._stack, limits), strict=True))
            self._tables = {name: self._table(name, versions[name].footer) for name in versions}
            rows = batch.base.footer.rows
            first, end = (0, None) if part is None else (part.first, part.end)
            self._span = (first, rows if end is None else min(end, rows))
            self._there: set[int] = set()
            self._left: RowsLeft | None = None
            some = leave_out or (part is not None and not part.covers(rows))
            if some:
                self._left = self._find_left(engine, leave_out)
            self.left_out = 0 if self._left is None else max(0, self._span[1] - first - self._left.count)
            """How many rows of the part are left out because of their ids."""
            self._narrowing = self._plan_narrowing() if self.has_rows else None
            self._sparse = self._open_sparse() if self._narrowing is not None else None
            if self.has_rows:
                self._fetch(engine)
            if self._left is not None and self._narrowing is None:
                self._left = replace(self._left, numbers=None)
        except BaseException:
            self.close()
            raise

    def _table(self, name: str | None, footer: Footer) -> LocalTable:
        older = None if name is None else self._files.get(name + _OLDER)
        return LocalTable(self._files[name].path, footer, None if older is None else older.path)

    @property
    def has_rows(self) -> bool:
        """Whether there is anything to ask about."""
        return self._left.count > 0 if self._left is not None else self.batch.base.footer.rows > 0

    def _find_left(self, engine: Engine, leave_out: Collection[str]) -> RowsLeft:
        file, table = self._files[None], self._tables[None]
        if leave_out:
            self._fetch_base(engine, {table.footer.columns[ID].position})
        return find_rows_left(engine.connection, table, key=file.meta.key, leave_out=leave_out, span=self._span)

    def _plan_narrowing(self) -> Narrowing | None:
        footer, question = self._tables[None].footer, self.question
        return plan_narrowing(
            self._files[None],
            footer,
            question.condition,
            needed=question.needed(footer, None),
            fraction=question.fraction,
            some_left=self._left is not None and self._left.count < footer.rows,
            large_value=self._limits.large_value,
            worth=self._limits.narrow_bytes,
        )

    def _open_sparse(self) -> LocalFile | None:
        """Where chosen pages are copied to, if they lie in a file that is here."""
        base = self._files[None]
        if not base.is_whole:
            return None
        made = LocalFile(self._store, base.meta, tail=base.footer(), folder=self._limits.spill_folder, whole=base)
        self._stack.callback(made.close)
        return made

    def _fetch(self, engine: Engine) -> None:
        """Bring in what the question needs; what it needs of chosen rows only, ``narrow`` brings in."""
        footer, narrowing = self._tables[None].footer, self._narrowing
        if narrowing is None:
            self._fetch_base(engine, self.question.needed(footer, None))
        elif narrowing.asks:
            self._fetch_base(engine, needed_columns(footer, None, narrowing.first.columns.values()))
        for name, file in self._files.items():
            if name is not None and not file.is_whole:
                wanted = self.question.needed(self._tables[name].footer, name.removesuffix(_OLDER))
                file.fetch(column_ranges(engine.connection, file.path, key=file.meta.key, positions=wanted))

    def _fetch_base(self, engine: Engine, columns: set[int]) -> None:
        """Bring in some columns of the base, of the row groups that are read."""
        file = self._files[None]
        if not file.is_whole:
            groups = None if self._left is None else self._left.groups
            wanted = columns - self._there
            self._there |= wanted
            file.fetch(column_ranges(engine.connection, file.path, key=file.meta.key, positions=wanted, groups=groups))

    @property
    def paths(self) -> list[str]:
        """The local files."""
        files = [*self._files.values(), *([] if self._sparse is None else [self._sparse])]
        return [file.path for file in files]

    def narrow(self, engine: Engine) -> None:
        """Let small columns choose the rows, and bring in what the question needs of them; before ``query``.

        The database is locked by now: what it is asked, a user may have written.

        Raises:
            FilterError: The user's SQL fails on some row.
            PreconditionFailedError: An object was replaced; plan the batch again.
            ObjectNotFoundError: An object was deleted; plan the batch again.
            StoreError: An object cannot be read.
        """
        narrowing = self._narrowing
        if narrowing is None:
            return
        if narrowing.asks:
            self._left = self._choose(engine, narrowing)
        if not self.has_rows:
            return
        assert self._left is not None  # asked just now, or known before
        base, footer = self._files[None], self._tables[None].footer
        references = [*self.question.outputs, *narrowing.rest.columns.values()]
        columns = needed_columns(footer, None, references) - self._there
        cuts, dense = pages_left(base, narrowing.groups, self._left, columns)
        if self._sparse is None or not dense:
            target = self._sparse or base
            put_cuts(target, cuts)
            self._tables[None] = LocalTable(target.path, footer)
            self._size += sum(cut.size for cut in cuts) - base.meta.size
        self._left = replace(self._left, numbers=None)

    def _choose(self, engine: Engine, narrowing: Narrowing) -> RowsLeft:
        query = self._query(outputs=(), condition=narrowing.first, fraction=narrowing.fraction)
        numbers = fetch_numbers(engine.connection, query, doing=f"read batch {self.batch.name!r}")
        sizes = [group.rows for group in narrowing.groups]
        return rows_with(engine.connection, numbers, sizes=sizes, span=self._span)

    def query(self) -> BatchQuery:
        """The query for the batch."""
        question, narrowing = self.question, self._narrowing
        if narrowing is None:
            return self._query(outputs=question.outputs, condition=question.condition, fraction=question.fraction)
        return self._query(outputs=question.outputs, condition=narrowing.rest, fraction=1.0)

    def _query(self, *, outputs: Sequence[Reference], condition: Condition, fraction: float) -> BatchQuery:
        return BatchQuery(
            base=self._tables[None],
            annotations={name: table for name, table in self._tables.items() if name is not None},
            outputs=outputs,
            condition=condition,
            types=self.question.types,
            typed=self.question.typed,
            fraction=fraction,
            left=self._left,
            sort=self._size <= self._limits.sort_bytes,
            pins=self.question.pins,
        )

    def close(self) -> None:
        """Forget the files."""
        self._stack.close()
