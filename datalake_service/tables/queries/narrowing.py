"""Rows chosen by small columns before large ones are read: which columns are which, and what is read of the large.

Annotations, ids and short columns decide; then pages of texts are read that hold a row which is left, and no others.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from datalake_service.tables.database.footers import Footer
from datalake_service.tables.database.local import LocalFile
from datalake_service.tables.database.sql import Reference
from datalake_service.tables.filters.conditions import Condition
from datalake_service.tables.queries.page_index import Cut, RowGroup, cut, read_pages, row_groups
from datalake_service.tables.queries.query import RowsLeft

_WORTH_LOCAL, _WORTH_REMOTE = 32 << 20, 4 << 20
"""Bytes of large columns from which it is worth while to ask twice: of a file that is here, of one that is fetched."""
NEAR: Final = 64 << 10
"""Pages of a remote object with a smaller gap between them are fetched as one."""
_DENSE: Final = 0.5
"""A file that is here is read as it is when more of its large columns is needed than this share."""


@dataclass(frozen=True, slots=True)
class Narrowing:
    """How one base file is read in two steps."""

    groups: Sequence[RowGroup]
    first: Condition
    """Asked of small columns."""
    rest: Condition
    """Asked of the rows that are left."""
    large: frozenset[int]
    """Columns that are read for rows that are left, by position."""
    fraction: float
    """The sample that is part of the first step."""

    @property
    def asks(self) -> bool:
        """Whether the first step has anything to ask."""
        return self.first.sql != "TRUE" or self.fraction < 1


def plan_narrowing(
    file: LocalFile,
    footer: Footer,
    condition: Condition,
    *,
    needed: Collection[int],
    fraction: float,
    some_left: bool,
    large_value: int,
    worth: int | None = None,
) -> Narrowing | None:
    """How to read a file of which the columns ``needed`` are asked for; ``None``: in one step.

    Args:
        file: The base file.
        footer: What it holds.
        condition: Which rows are selected.
        needed: Columns, by position.
        fraction: The share of rows that is sampled.
        some_left: Whether it is known already that some rows are not wanted.
        large_value: Bytes of a value, compressed, from which its column is large.
        worth: Bytes of large columns from which it is worth while to ask twice; ``None``: what was measured.

    Raises:
        StoreError: It is no Parquet file.
    """
    if worth is None:
        worth = _WORTH_LOCAL if file.is_whole else _WORTH_REMOTE
    if file.meta.size < worth or footer.rows == 0 or not (condition.conjuncts or fraction < 1 or some_left):
        return None
    groups = row_groups(file.footer(), key=file.meta.key)
    sizes = {position: sum(group.columns[position].size for group in groups) for position in needed}
    large = frozenset(position for position, size in sizes.items() if size > large_value * footer.rows)
    if not large or sum(sizes[position] for position in large) < worth:
        return None

    def is_small(reference: Reference) -> bool:
        column = footer.columns.get(reference.column)
        return reference.annotator is not None or column is None or column.position not in large

    first, rest = condition.split(is_small)
    narrowing = Narrowing(groups, first, rest, large, fraction)
    return narrowing if narrowing.asks or some_left else None


def pages_left(
    file: LocalFile, groups: Sequence[RowGroup], left: RowsLeft, columns: Collection[int]
) -> tuple[Sequence[Cut], bool]:
    """What is read of some columns for the rows that are left, and whether that is most of them.

    Raises:
        PreconditionFailedError: The object was replaced.
        ObjectNotFoundError: It was deleted.
        StoreError: It cannot be read.
    """
    assert left.numbers is not None
    starts = [0, *accumulate(group.rows for group in groups)]
    wanted = sorted(left.groups)
    chunks = [(number, groups[number].columns[column]) for number in wanted for column in columns]
    file.fetch([chunk.index for _, chunk in chunks if chunk.index is not None])
    cuts = []
    for number, chunk in chunks:
        if chunk.index is None:
            cuts.append(Cut([chunk.whole], []))
            continue
        begin, end = left.numbers.searchsorted((starts[number], starts[number + 1]))
        pages = read_pages(file.read(chunk.index), groups[number], key=file.meta.key)
        cuts.append(cut(chunk, pages, pages.of_rows(left.numbers[begin:end] - starts[number]).tolist()))
    whole = sum(groups[number].columns[column].size for number in range(len(groups)) for column in columns)
    return cuts, sum(one.size for one in cuts) > _DENSE * whole


def put_cuts(file: LocalFile, cuts: Sequence[Cut]) -> None:
    """Bring in what is read, and put nulls in the place of the rest.

    Raises:
        PreconditionFailedError: The object was replaced.
        ObjectNotFoundError: It was deleted.
        StoreError: It cannot be read, or there is no space for it.
    """
    file.fetch((part for one in cuts for part in one.ranges), near=NEAR)
    for one in cuts:
        for start, head in one.blanks:
            file.put(head, start)
