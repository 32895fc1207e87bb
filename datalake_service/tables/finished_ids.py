"""The ids of rows that need no annotation any more, a few bytes more than their text each, compared exactly.

They come from merged objects of annotations (two columns of them, nothing else) and from unmerged chunks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing

import pyarrow as pa
import pyarrow.compute as pc

from datalake_service.errors import ObjectNotFoundError, PreconditionFailedError, StoreError
from datalake_service.storage.base import ObjectStore
from datalake_service.tables.merged import MergedFile

_ATTEMPTS = 5
"""How often reading starts again because the object was replaced in the middle."""
_PACKED = 8_192
"""Ids that are packed together: an array costs some hundred bytes besides what is in it."""


class IdPile:
    """Ids as they come, the same ones perhaps again. Not thread-safe."""

    def __init__(self) -> None:
        """Hold nothing."""
        self._packed: list[pa.Array] = []
        self._loose: list[str] = []

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
            others = others.filter(pc.invert(pc.is_in(others, value_set=known.combine_chunks())))
        return FinishedIds([*known.chunks, others])


def finished_ids(store: ObjectStore, key: str, *, statuses: Collection[str]) -> FinishedIds:
    """The ids of the rows with one of ``statuses``; none if there is no object ``key``.

    One version of the object is read, and only the ids and the statuses of it.

    Raises:
        StoreError: The object cannot be read, or is no merged object of annotations.
    """
    for _ in range(_ATTEMPTS):
        try:
            with closing(MergedFile(store, store.head(key))) as file:
                return FinishedIds(list(_ids(file, pa.array(sorted(statuses), pa.string()))))
        except ObjectNotFoundError:
            return FinishedIds()
        except PreconditionFailedError:
            continue
    msg = f"{key} was replaced {_ATTEMPTS} times while it was being read; run again when nothing merges it"
    raise StoreError(msg)


def _ids(file: MergedFile, statuses: pa.Array) -> Iterator[pa.Array]:
    try:
        id_name, status_name = file.field_name("id"), file.field_name("_status")
    except KeyError as error:
        msg = f"{file.meta.key} holds no annotations ({error.args[0]}); move it away"
        raise StoreError(msg) from error
    for number in range(len(file.group_sizes)):
        table = file.read_group(number, ["id", "_status"])
        found = pc.is_in(table.column(status_name).cast(pa.string()), value_set=statuses)
        yield from table.column(id_name).cast(pa.string()).filter(found).chunks


def _packed(ids: list[str]) -> pa.Array:
    try:
        return pa.array(ids, pa.string())
    except (UnicodeEncodeError, pa.ArrowInvalid):  # no row has an id with half a character in it
        return pa.array([row_id for row_id in ids if _is_whole(row_id)], pa.string())


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
