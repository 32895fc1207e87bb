"""Versions of merged objects: their footers, and one batch after the other as a locked-down query.

Knows which bytes are needed; not which batches a view has, nor what to do when an object was replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from datalake_service.catalog.columns import ColumnType
from datalake_service.catalog.parts import Part
from datalake_service.storage.base import ObjectMeta, ObjectStore
from datalake_service.storage.folder import FolderStore
from datalake_service.storage.scratch import innermost
from datalake_service.tables.conditions import Condition
from datalake_service.tables.engine import Engine, EngineLimits
from datalake_service.tables.footers import Footer, column_ranges, read_footers
from datalake_service.tables.local import LocalFile
from datalake_service.tables.query import ID, BatchQuery, LocalTable, needed_columns
from datalake_service.tables.rows_left import RowsLeft, find_rows_left
from datalake_service.tables.sql import Reference

if TYPE_CHECKING:
    import duckdb

_REQUESTS = 16
"""Objects of a remote store that are looked at at once."""
_OPEN_FILES = 48
"""Local files open at once for footers; systems allow a process a few hundred."""

_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a merged object."""

    meta: ObjectMeta
    footer: Footer
    tail: bytes | None
    """Its footer in bytes, where fetching it again would cost a request."""


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
        return self.base.meta.size + sum(version.meta.size for version in self.annotations.values())

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

    @property
    def annotators(self) -> set[str]:
        """The annotators whose files are read."""
        return {name for reference in self._references() if (name := reference.annotator) is not None}

    def _references(self) -> list[Reference]:
        return [*self.outputs, *self.condition.columns.values()]

    def needed(self, footer: Footer, annotator: str | None) -> set[int]:
        """The columns of one file that are read, by position."""
        return needed_columns(footer, annotator, self._references())


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
        versions |= {name: batch.annotations[name] for name in question.annotators & set(batch.annotations)}
        self.batch = batch
        self.question = question
        self._limits = limits
        self._size = sum(version.meta.size for version in versions.values())
        self._stack = ExitStack()
        try:
            wanted = [(version.meta, version.tail) for version in versions.values()]
            self._files = dict(zip(versions, _open_all(store, wanted, self._stack, limits), strict=True))
            self._tables = {name: LocalTable(self._files[name].path, versions[name].footer) for name in versions}
            rows = batch.base.footer.rows
            span = (0, rows) if part is None else (part.first, rows if part.end is None else min(part.end, rows))
            self._span = span[1] - span[0]
            some = leave_out or (part is not None and not part.covers(rows))
            self._left = self._find_left(engine, leave_out, span) if some else None
            if self.has_rows:
                self._fetch(engine)
        except BaseException:
            self.close()
            raise

    @property
    def has_rows(self) -> bool:
        """Whether there is anything to ask about."""
        return self._left.count > 0 if self._left is not None else self.batch.base.footer.rows > 0

    @property
    def left_out(self) -> int:
        """How many rows of the part are left out because of their ids."""
        return 0 if self._left is None else max(0, self._span - self._left.count)

    def _find_left(self, engine: Engine, leave_out: Collection[str], span: tuple[int, int]) -> RowsLeft:
        file, table = self._files[None], self._tables[None]
        if leave_out and not file.is_whole:
            ids = {table.footer.columns[ID].position}
            file.fetch(column_ranges(engine.connection, file.path, key=file.meta.key, positions=ids))
        return find_rows_left(engine.connection, table, key=file.meta.key, leave_out=leave_out, span=span)

    def _fetch(self, engine: Engine) -> None:
        for name, file in self._files.items():
            if file.is_whole:
                continue
            footer, groups = self._tables[name].footer, None
            wanted = self.question.needed(footer, name)
            if name is None and self._left is not None:
                known = {footer.columns[ID].position} if self._left.compared else set()
                wanted, groups = wanted - known, self._left.groups
            file.fetch(column_ranges(engine.connection, file.path, key=file.meta.key, positions=wanted, groups=groups))

    @property
    def paths(self) -> list[str]:
        """The local files."""
        return [file.path for file in self._files.values()]

    def query(self) -> BatchQuery:
        """The query for the batch."""
        return BatchQuery(
            base=self._tables[None],
            annotations={name: table for name, table in self._tables.items() if name is not None},
            outputs=self.question.outputs,
            condition=self.question.condition,
            types=self.question.types,
            typed=self.question.typed,
            fraction=self.question.fraction,
            left=self._left,
            sort=self._size <= self._limits.sort_bytes,
        )

    def close(self) -> None:
        """Forget the files."""
        self._stack.close()
