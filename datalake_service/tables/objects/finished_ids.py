"""The ids of rows that need no annotation any more, a few bytes more than their text each, compared exactly.

They come from merged objects of annotations (two columns of them, nothing else) and from unmerged chunks.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing

import pyarrow as pa
import pyarrow.compute as pc

from datalake_service.catalog import layout
from datalake_service.catalog.annotations import (
    ANY_DONE,
    CODE,
    FAILED,
    GENERATION,
    STATUS,
    STATUSES,
    VERSION,
    DoneRule,
)
from datalake_service.catalog.makers import MadeKey
from datalake_service.errors import ObjectNotFoundError, PreconditionFailedError, StoreError
from datalake_service.storage.base import ObjectStore
from datalake_service.tables.formats.arrays import array_of, in_one, scalar_of
from datalake_service.tables.objects.merged import MergedFile

_ATTEMPTS = 5
"""How often reading starts again because the object was replaced in the middle."""
_PACKED = 8_192
"""Ids that are packed together: an array costs some hundred bytes besides what is in it."""


class IdPile:
    """Ids as they come, the same ones perhaps again. Not thread-safe."""

    def __init__(self, packed: Sequence[pa.Array] = ()) -> None:
        """Hold what is packed already."""
        self._packed: list[pa.Array] = list(packed)
        self._loose: list[str] = []

    def add_packed(self, ids: pa.Array) -> None:
        """Add some that are packed already."""
        self._packed.append(ids)

    def add(self, ids: Sequence[str]) -> None:
        """Add some."""
        self._loose += ids
        if len(self._loose) >= _PACKED:
            self._pack()

    def arrays(self) -> list[pa.Array]:
        """Everything that was added."""
        self._pack()
        return self._packed

    def _pack(self) -> None:
        if self._loose:
            self._packed.append(_packed(self._loose))
            self._loose.clear()


class FinishedIds(Collection[str]):
    """Distinct ids of the finished rows of one batch. Immutable.

    For a database they are a column (``column``). Asking for a single one is for few rows: it makes a set of them.
    """

    def __init__(self, arrays: Sequence[pa.Array] = ()) -> None:
        """Hold what is in ``arrays``, in which no id is twice."""
        self._column = pa.chunked_array(arrays, pa.string())
        self._set: frozenset[str] | None = None

    @property
    def column(self) -> pa.ChunkedArray:
        """The ids as one column of text."""
        return self._column

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._column)

    def __iter__(self) -> Iterator[str]:
        """Every id."""
        for array in self._column.chunks:
            yield from array.to_pylist()

    def __contains__(self, row_id: object) -> bool:
        """Whether a row is finished."""
        if self._set is None:
            self._set = frozenset(self)
        return row_id in self._set

    def joined(self, more: IdPile) -> FinishedIds:
        """These and others, each once."""
        arrays = more.arrays()
        if not arrays:
            return self
        others = pa.chunked_array(arrays, pa.string()).unique()
        known = self._column
        # What makes the table of the two is the smaller one: it takes several times the memory of its ids.
        if len(others) <= len(known):
            known = known.filter(pc.invert(pc.is_in(known, value_set=others)))
        else:
            others = others.filter(pc.invert(pc.is_in(others, value_set=in_one(known))))
        return FinishedIds([*known.chunks, others])

    def without(self, others: IdPile) -> FinishedIds:
        """These but for some."""
        arrays = others.arrays()
        if not arrays or not len(self):
            return self
        known = pa.chunked_array(arrays, pa.string()).combine_chunks()
        return FinishedIds(self._column.filter(pc.invert(pc.is_in(self._column, value_set=known))).chunks)


class AllBut(Collection[str]):
    """Every id but some: what is left out where only those some are wanted."""

    def __init__(self, ids: FinishedIds) -> None:
        """Hold the ids that are wanted."""
        self.wanted = ids
        """The ids that are not in it."""

    def __bool__(self) -> bool:
        """Something is in it, however few are not."""
        return True

    def __len__(self) -> int:
        """Nobody can count them."""
        return 0

    def __iter__(self) -> Iterator[str]:
        """Nobody can name them."""
        return iter(())

    def __contains__(self, row_id: object) -> bool:
        """Whether it is none of those that are wanted."""
        return row_id not in self.wanted


class Answered:
    """Which rows of a batch have an annotation that counts, and which have failed, by generation. Not thread-safe."""

    def __init__(self) -> None:
        """Know of no row."""
        self._final: dict[int, IdPile] = {}
        self._failed: dict[int, IdPile] = {}
        self._distinct: dict[int, list[pa.Array]] = {}

    def add(self, generation: int, *, final: Sequence[str] = (), failed: Sequence[str] = ()) -> None:
        """Add rows as they come; the same ones perhaps again."""
        if final:
            self._final.setdefault(generation, IdPile()).add(final)
        if failed:
            self._failed.setdefault(generation, IdPile()).add(failed)

    def add_packed(self, generation: int, ids: pa.Array, *, final: bool) -> None:
        """Add rows that are packed already, as they come; the same ones perhaps again."""
        (self._final if final else self._failed).setdefault(generation, IdPile()).add_packed(ids)

    def add_merged(self, generation: int, *, final: pa.Array, failed: pa.Array) -> None:
        """Add rows of a merged object, in which no id is twice."""
        if len(final):
            self._distinct.setdefault(generation, []).append(final)
        if len(failed):
            self._failed.setdefault(generation, IdPile()).add_packed(failed)

    def joined(self, other: Answered) -> Answered:
        """Both together; ids of a merged object in one of them only."""
        both = Answered()
        both._distinct = self._distinct or other._distinct
        for mine, his, made in (
            (self._final, other._final, both._final),
            (self._failed, other._failed, both._failed),
        ):
            for generation in sorted({*mine, *his}):
                pile = made[generation] = IdPile()
                for one in (mine.get(generation), his.get(generation)):
                    for array in () if one is None else one.arrays():
                        pile.add_packed(array)
        return both

    def finished(self) -> FinishedIds:
        """The rows whose newest annotation that is known is final; within a generation a final one is the newest."""
        found = FinishedIds()
        for generation in sorted({*self._distinct, *self._final, *self._failed}):
            if len(found) and generation in self._failed:
                found = found.without(self._failed[generation])
            distinct = self._distinct.get(generation, [])
            if not len(found):
                found = FinishedIds(distinct)
            elif distinct:
                found = found.joined(IdPile(distinct))
            if generation in self._final:
                found = found.joined(self._final[generation])
        return found

    def failed(self) -> FinishedIds:
        """The rows whose newest annotation that is known is a failure."""
        failures = FinishedIds().joined(IdPile([array for pile in self._failed.values() for array in pile.arrays()]))
        return failures.without(IdPile(self.finished().column.chunks))


def answered_ids(store: ObjectStore, dataset: str, annotator: str, batch: str, rule: DoneRule = ANY_DONE) -> Answered:
    """What the merged annotations of a batch say, older versions included; nothing if there are none.

    One version of the objects is read, and only ids, statuses, and who made them where that matters.

    Raises:
        StoreError: An object cannot be read, or is no merged object of annotations.
    """
    key = layout.merged_key(layout.annotation_prefix(dataset, annotator, batch))
    for attempt in range(_ATTEMPTS):
        found = Answered()
        try:
            meta = store.head(key)
        except ObjectNotFoundError:
            return found
        try:
            with closing(MergedFile(store, meta)) as file:
                _add(found, file, rule)
                older = file.metadata.older
            if older is not None:
                meta = store.head(layout.older_key(dataset, annotator, batch, older))
                with closing(MergedFile(store, meta)) as file:
                    _add(found, file, rule, distinct=False)
        except (PreconditionFailedError, ObjectNotFoundError):
            if attempt == _ATTEMPTS - 1:
                raise
            continue
        return found
    msg = f"{key} was replaced {_ATTEMPTS} times while it was being read; run again when nothing merges it"
    raise StoreError(msg)


def _add(found: Answered, file: MergedFile, rule: DoneRule, *, distinct: bool = True) -> None:
    for name in ("id", STATUS):
        if name not in {column.name for column in file.schema.columns}:
            msg = f"{file.meta.key} holds no annotations (it has no column {name!r}); move it away"
            raise StoreError(msg)
    makers = {made.key for made in file.metadata.made} or {(None, None, None)}
    one = next(iter(makers)) if len(makers) == 1 else None
    columns = ["id", STATUS, *(() if one else (VERSION, CODE, GENERATION))]
    for number in range(len(file.group_sizes)):
        table = file.read_group(number, columns)
        ids, statuses = (table.column(file.field_name(name)).cast(pa.string()) for name in ("id", STATUS))
        for (version, code, generation), mask in _by_maker(file, table, one):
            if rule.takes_version(version, code):
                some = (ids, statuses) if mask is None else (ids.filter(mask), statuses.filter(mask))
                _sort(found, *some, generation or 0, rule, distinct=distinct)


def _sort(
    found: Answered,
    ids: pa.ChunkedArray,
    statuses: pa.ChunkedArray,
    generation: int,
    rule: DoneRule,
    *,
    distinct: bool,
) -> None:
    """Rows of one maker and generation: which are done, which failed."""
    done = [status for status in STATUSES if rule.is_done(status, generation)]
    final, failed = (
        in_one(ids.filter(pc.is_in(statuses, value_set=array_of(sorted(wanted), pa.string()))))
        for wanted in (done, {FAILED}.difference(done))
    )
    if distinct:
        found.add_merged(generation, final=final, failed=failed)
    else:
        found.add(generation, final=final.to_pylist(), failed=failed.to_pylist())


def _by_maker(
    file: MergedFile, table: pa.Table, one: MadeKey | None
) -> Iterator[tuple[MadeKey, pa.ChunkedArray | None]]:
    """Each maker in a table, and which rows are its; ``None``: all."""
    if one is not None:
        yield one, None
        return
    columns = [table.column(file.field_name(name)) for name in (VERSION, CODE, GENERATION)]
    for values in dict.fromkeys(zip(*(column.to_pylist() for column in columns), strict=True)):
        yield values, functools.reduce(pc.and_, map(_equal, columns, values))


def _equal(column: pa.ChunkedArray, value: str | int | None) -> pa.ChunkedArray:
    return pc.is_null(column) if value is None else pc.equal(column, scalar_of(value, column.type))


def _packed(ids: list[str]) -> pa.Array:
    try:
        return array_of(ids, pa.string())
    except (UnicodeEncodeError, pa.ArrowInvalid):  # no row has an id with half a character in it
        return array_of([row_id for row_id in ids if _is_whole(row_id)], pa.string())


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
