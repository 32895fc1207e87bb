"""Reading a merged object to its last byte, and comparing ids, in bounded memory. Finds facts; judges nothing.

Ids are compared by digest, in as many passes over the id column as the memory asks for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow.compute as pc

from datalake_service.errors import StoreError
from datalake_service.tables.formats.arrays import array_of, scalar_of
from datalake_service.tables.formats.schema import TEXT_TYPE
from datalake_service.tables.objects.merged import MergedFile
from datalake_service.tables.verdicts.digest_table import DigestTable, SmallDigestTable, bytes_for, table_for
from datalake_service.tables.verdicts.digests import as_array, digest_texts

_EXAMPLES: Final = 3
_ROOM: Final = 1.2
"""How much fuller than the average a pass may be; digests are spread evenly."""


@dataclass(slots=True)
class Contents:
    """What the rows of a merged object say, all of them read."""

    rows: int = 0
    without_id: int = 0
    misplaced: int = 0
    """Rows of another batch."""
    statuses: Counter[str] = field(default_factory=Counter)
    """Annotations by status; empty for rows."""
    times: set[str] = field(default_factory=set)
    """Those of the asked times at which rows were made."""


@dataclass(slots=True)
class Ids:
    """Ids that should not be there."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, found: list[str]) -> None:
        """Count them, and keep the first few."""
        self.count += len(found)
        self.examples += found[: max(_EXAMPLES - len(self.examples), 0)]


def read_all(file: MergedFile, *, batch: str, times: Collection[str] = ()) -> Contents:
    """Decode every value of every column, one row group at a time.

    Raises:
        PreconditionFailedError: The object was replaced.
        StoreError: A row group cannot be read.
    """
    contents = Contents()
    names = {column.name for column in file.schema.columns}
    _require(file, "id", "_batch")
    asked, wanted = array_of(sorted(times), TEXT_TYPE), scalar_of(batch, TEXT_TYPE)
    for number in range(len(file.group_sizes)):
        table = file.read_group(number)
        contents.rows += len(table)
        contents.without_id += table.column(file.field_name("id")).null_count
        in_batch = pc.equal(table.column(file.field_name("_batch")), wanted)
        contents.misplaced += len(table) - (pc.sum(in_batch).as_py() or 0)
        if "_status" in names:
            contents.statuses.update(table.column(file.field_name("_status")).to_pylist())
        if asked and "_created_at" in names:
            made = table.column(file.field_name("_created_at"))
            contents.times.update(made.filter(pc.is_in(made, value_set=asked)).unique().to_pylist())
    return contents


def repeated_ids(file: MergedFile, *, memory_bytes: int) -> Ids:
    """Ids that stand in more than one row; each further row counts."""
    found = Ids()
    for share in _shares(file.rows, memory_bytes):
        table = share.table()
        for start, ids in _id_blocks(file):
            texts, positions, first = share.add(table, ids, start)
            found.add([texts[index] for index in np.flatnonzero(first != positions)])
    return found


def ids_without_base(base: MergedFile | None, file: MergedFile, *, memory_bytes: int) -> Ids:
    """Ids of ``file`` that no row of ``base`` has."""
    base_rows = base.rows if base is not None else 0
    found = Ids()
    for share in _shares(base_rows + file.rows, memory_bytes):
        table = share.table()
        if base is not None:
            for start, ids in _id_blocks(base):
                share.add(table, ids, start)
        for start, ids in _id_blocks(file):
            texts, _, first = share.add(table, ids, base_rows + start)
            found.add([texts[index] for index in np.flatnonzero(first >= base_rows)])
    return found


@dataclass(frozen=True, slots=True)
class _Share:
    """The ids of one pass: those whose digest leaves ``number`` when it is divided by ``of``."""

    number: int
    of: int
    rows: int
    """At most."""

    def table(self) -> DigestTable | SmallDigestTable:
        return table_for(self.rows)

    def add(
        self, table: DigestTable | SmallDigestTable, ids: list[str], start: int
    ) -> tuple[list[str], np.ndarray[tuple[int], np.dtype[np.int64]], np.ndarray[tuple[int], np.dtype[np.int64]]]:
        """Add those of this share; answers them, where they stand, and where each was seen first."""
        digests = digest_texts(ids)
        chosen = np.arange(len(ids), dtype=np.int64)
        if self.of > 1 and ids:
            chosen = chosen[as_array(digests)[:, 0] // np.uint64(1 << 32) % np.uint64(self.of) == self.number]
        positions = chosen + start
        first = table.add([digests[index] for index in chosen], positions) if len(chosen) else positions
        return [ids[index] for index in chosen], positions, first


def _shares(rows: int, memory_bytes: int) -> Iterator[_Share]:
    passes = max(1, -(-bytes_for(rows) // memory_bytes)) if rows else 1
    most = rows if passes == 1 else int(rows / passes * _ROOM) + 1000
    return (_Share(number, passes, most) for number in range(passes))


def _id_blocks(file: MergedFile) -> Iterator[tuple[int, list[str]]]:
    """The ids of each row group and the position of its first row; missing ones are left out."""
    _require(file, "id")
    position = 0
    for number, size in enumerate(file.group_sizes):
        column = file.read_group(number, ["id"]).column(file.field_name("id"))
        yield position, column.drop_null().to_pylist()
        position += size


def _require(file: MergedFile, *columns: str) -> None:
    missing = set(columns).difference(column.name for column in file.schema.columns)
    if missing:
        msg = f"{file.meta.key} has no column {', '.join(sorted(missing))}: move it away, or restore it"
        raise StoreError(msg)
