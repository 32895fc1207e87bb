"""Where the pages of a column lie, and what stands in the place of those that nobody needs.

A Parquet file says in its footer where each column of each row group lies, and in its page index where the pages of
that lie and which rows they hold. A page that is not read is replaced by one of the same length that holds as many
nulls: a header of some twenty bytes, and a hole. Every reader takes such a file for a whole one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from datalake_service.errors import StoreError
from datalake_service.tables.database.local import ByteRange
from datalake_service.tables.queries.thrift import Number, Struct, ThriftError, read_struct, varint, write_struct

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_FOOTER_END: Final = 8
_OPTIONAL: Final = 1
_DATA_PAGE_V2: Final = 3
_PLAIN: Final = 0
_LEAST: Final = 64
"""A page that is shorter is read: a header would not fit into its place, or save nothing."""


@dataclass(frozen=True, slots=True)
class ColumnChunk:
    """One column of one row group."""

    start: int
    """Of its first page, which may be a dictionary."""
    size: int
    """Bytes, compressed."""
    index: ByteRange | None
    """Where its page index lies; ``None``: it has none, or may hold no nulls."""

    @property
    def whole(self) -> ByteRange:
        """All of its bytes."""
        return self.start, self.start + self.size


@dataclass(frozen=True, slots=True)
class RowGroup:
    """The columns of one row group, by position."""

    rows: int
    columns: Sequence[ColumnChunk]


def row_groups(footer: bytes, *, key: str) -> list[RowGroup]:
    """What a footer (the last bytes of a file) says about all row groups.

    Raises:
        StoreError: It is no footer.
    """
    length = int.from_bytes(footer[-_FOOTER_END:-4], "little")
    try:
        found = read_struct(footer[-_FOOTER_END - length : -_FOOTER_END])
        nullable = [element.get(3) == _OPTIONAL for element in found[2][1:]]
        return [
            RowGroup(group[3], [_chunk(one, null) for one, null in zip(group[1], nullable, strict=True)])
            for group in found[4]
        ]
    except (ThriftError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{key} is no complete Parquet file: move it away, or restore it") from error


def _chunk(column: Struct, nullable: bool) -> ColumnChunk:  # noqa: FBT001 - of one call
    about = column[3]
    start = min(about[9], about.get(11) or about[9])
    indexed = nullable and 4 in column and 5 in column  # noqa: PLR2004 - field numbers
    return ColumnChunk(start, about[7], (column[4], column[4] + column[5]) if indexed else None)


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages of one column chunk, in order."""

    offsets: npt.NDArray[np.int64]
    """Where each begins, and where the last one ends."""
    rows: npt.NDArray[np.int64]
    """The first row of each, counted within the row group, and how many rows there are."""

    def of_rows(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The pages that hold these rows, counted within the row group; in order, each once."""
        import numpy as np

        return np.unique(np.searchsorted(self.rows, numbers, side="right") - 1)


def read_pages(index: bytes, group: RowGroup, *, key: str) -> Pages:
    """Read the page index of one column chunk.

    Raises:
        StoreError: It is none.
    """
    try:
        places = read_struct(index)[1]
        last = places[-1]
        offsets = [*(place[1] for place in places), last[1] + last[2]]
        rows = [*(place[3] for place in places), group.rows]
    except (ThriftError, KeyError, IndexError, TypeError) as error:
        raise StoreError(f"{key} has a page index that cannot be read: move it away, or restore it") from error
    import numpy as np  # only where pages are chosen: it takes longer to load than most exports take

    return Pages(np.array(offsets, np.int64), np.array(rows, np.int64))


@dataclass(frozen=True, slots=True)
class Cut:
    """What is read of a column chunk, and what is put in the place of the rest."""

    ranges: Sequence[ByteRange]
    blanks: Sequence[tuple[int, bytes]]
    """Where a page of nulls begins, and its first bytes; the rest of it may be anything."""

    @property
    def size(self) -> int:
        """Bytes that are read."""
        return sum(end - start for start, end in self.ranges)


def cut(chunk: ColumnChunk, pages: Pages, wanted: Collection[int]) -> Cut:
    """Read only some pages of a column chunk, and its dictionary."""
    offsets, rows = pages.offsets, pages.rows
    last = len(offsets) - 1
    ranges = [(chunk.start, int(offsets[0]))] if wanted and chunk.start < offsets[0] else []
    blanks = []
    begin = 0
    for page in [*sorted(wanted), last]:
        start, end = int(offsets[begin]), int(offsets[page])
        if 0 < end - start < _LEAST:
            ranges.append((start, end))
        elif start < end:
            blanks.append((start, blank(end - start, int(rows[page] - rows[begin]))))
        if page < last:
            ranges.append((end, int(offsets[page + 1])))
        begin = page + 1
    if not wanted and chunk.start < offsets[0]:  # a dictionary has to be there, though nobody looks into it
        ranges.append((chunk.start, int(offsets[0])))
    return Cut(ranges, blanks)


def blank(size: int, rows: int) -> bytes:
    """The first bytes of a data page of ``size`` bytes, header included, that holds ``rows`` nulls."""
    levels = varint(rows << 1) + b"\0"  # one run of zeros: no value is defined
    # Not compressed, whatever the column is: only pages of the second kind can say so.
    page = write_struct([(1, rows), (2, rows), (3, rows), (4, _PLAIN), (5, len(levels)), (6, 0), (7, False)])
    for width in range(1, 6):  # as many bytes for its length as that needs; now and then one more
        empty = write_struct([(1, _DATA_PAGE_V2), (2, Number(0, width)), (3, Number(0, width)), (8, page)])
        body = size - len(empty)
        if body << 1 < 1 << 7 * width:
            length = Number(body, width)
            return write_struct([(1, _DATA_PAGE_V2), (2, length), (3, length), (8, page)]) + levels
    raise AssertionError("no page has 2 GiB")
