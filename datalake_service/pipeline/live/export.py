"""All rows that a page would show in the end, one after the other: merged or not, in the order of the page.

By time, rows are read window by window: a window is a span of time that holds some megabytes, as footers say. In any
other order everything is selected first. What does not fit into memory is sorted on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from datalake_service.catalog.columns import ColumnType
from datalake_service.errors import ObjectNotFoundError, PreconditionFailedError, StoreError
from datalake_service.pipeline.live.asking import JOINED_FILES, Asking, types_of
from datalake_service.pipeline.live.dataset import RowFile, Snapshot
from datalake_service.pipeline.live.pages import CREATED_AT, NEWEST_FIRST, PageRequest, find_page, read_bounds
from datalake_service.tables.database.sql import Reference
from datalake_service.tables.filters.conditions import Condition
from datalake_service.tables.live.paging import Order
from datalake_service.tables.live.selecting import Between, Selecting
from datalake_service.tables.verdicts.sorted_runs import SortedRuns

_WINDOW_BYTES: Final = 16 << 20
"""Compressed, of the rows of one window."""
_PART_BYTES: Final = 32 << 20
"""Compressed, of the files that one query reads."""
_PIECE_BYTES: Final = 1 << 20
_MIN_ROWS, _MAX_ROWS = 16, 4_096
"""Rows that are handed out at once."""
_EXPANSION: Final = 4
_ATTEMPTS: Final = 5
_FIRST, _LAST = "", "~"
"""Before and after all times."""

Piece = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsRequest:
    """What is exported."""

    columns: Sequence[Reference]
    condition: Condition = field(default_factory=Condition)
    order: Order = NEWEST_FIRST
    batches: frozenset[str] | None = None
    limit: int | None = None
    typed: bool = False
    """Whether columns have the type of all batches (for tables) or are as stored (for lines)."""


class LiveExport:
    """One export. What is asked of every snapshot is said by ``request``."""

    def __init__(self, asking: Asking, dataset: str, request: Callable[[Snapshot], RowsRequest]) -> None:
        """Look at the dataset; reads no row.

        Raises:
            DatasetNotFoundError: There is no such dataset.
            FilterError: The filter cannot be used.
        """
        self._asking = asking
        self._dataset = dataset
        self._request = request
        self._snapshot, wanted = asking.over(dataset, request)
        self.columns = columns_for(self._snapshot, wanted)
        """What each row is made of, in this order."""
        self._windows = windows(self._rows(wanted), wanted)

    def _rows(self, wanted: RowsRequest) -> list[RowFile]:
        """Where the rows are, with what is known of their times."""
        rows = [row for row in self._snapshot.rows if wanted.batches is None or row.batch in wanted.batches]
        read_bounds(self._asking, rows, CREATED_AT.column)
        return rows

    def pieces(self) -> Generator[Piece, None, None]:
        """All rows, in order.

        Raises:
            FilterError: The user's SQL fails on some row.
            StoreError: Reading fails, or columns were changed meanwhile.
        """
        for window in self._windows:
            yield from self._window(window)

    def _window(self, window: Between | None) -> Iterator[Piece]:
        for attempt in range(_ATTEMPTS):
            if attempt:
                self._look_again()
            begun = False
            try:
                for piece in self._read(window):
                    begun = True
                    yield piece
            except (ObjectNotFoundError, PreconditionFailedError):
                if begun:
                    raise
                continue
            return
        raise StoreError(f"objects of dataset {self._dataset!r} were replaced {_ATTEMPTS} times in a row; try again")

    def _look_again(self) -> None:
        self._snapshot = self._asking.lake.snapshot(self._dataset, again=True)
        if columns_for(self._snapshot, self._request(self._snapshot)) != self.columns:
            raise StoreError(f"columns of dataset {self._dataset!r} were changed meanwhile; export again")

    def _read(self, window: Between | None) -> Iterator[Piece]:
        snapshot = self._snapshot
        wanted = self._request(snapshot)
        rows = [row for row in self._rows(wanted) if window is None or _overlaps(row, window)]
        ids = None
        if wanted.limit is not None:
            # Few rows of many: which, is found out by ids alone.
            page = PageRequest(
                condition=wanted.condition, order=wanted.order, batches=wanted.batches, limit=wanted.limit
            )
            found = find_page(self._asking, snapshot, page)
            ids, rows = [row.place.id for row, _ in found], list(dict.fromkeys(file for _, file in found))
        references = [reference for reference, _ in self.columns]
        by = [wanted.order.column, *wanted.condition.columns.values()]
        selecting = Selecting(
            columns=self.columns,
            order=wanted.order,
            condition=wanted.condition,
            types=types_of(snapshot, by),
            between=window,
            ids=ids,
        )
        size, order = _piece_rows(rows), wanted.order
        with SortedRuns(self._asking.lake.limits.spill_folder, descending=order.descending) as runs:
            for some in _parts(rows):
                asked = self._asking.sources(
                    snapshot, some, [*references, *by], fenced=wanted.condition.raw, patient=True
                )
                with asked as (opened, parts):
                    for part in parts:
                        for piece in selecting.read(opened.connection, part.sources, size=size):
                            for place, cells in piece:
                                runs.add(order.key(place), cells)
            sorted_rows = islice(runs.rows(), wanted.limit)
            while rows_out := list(islice(sorted_rows, size)):
                yield rows_out


def _parts(rows: Sequence[RowFile]) -> Iterator[list[RowFile]]:
    """Files that are asked together, few enough that what is selected of them fits into memory."""
    part: list[RowFile] = []
    size = 0
    for row in rows:
        if part and (size + row.file.size > _PART_BYTES or len(part) == JOINED_FILES):
            yield part
            part, size = [], 0
        part.append(row)
        size += row.file.size
    if part:
        yield part


def columns_for(snapshot: Snapshot, wanted: RowsRequest) -> list[tuple[Reference, ColumnType]]:
    """The columns, each with the type in which it is returned."""
    if wanted.typed:
        return [(reference, snapshot.type_of(reference)) for reference in wanted.columns]
    return [(reference, _stored_type(snapshot, reference)) for reference in wanted.columns]


def _stored_type(snapshot: Snapshot, reference: Reference) -> ColumnType:
    """How a column is stored, if that is the same everywhere; else JSON: what is an integer here is no float there."""
    if reference.annotator is None:
        files = [row.file for row in snapshot.rows]
    else:
        by_batch = snapshot.annotations.get(reference.annotator, {}).values()
        files = [file for one in by_batch for file in one.files]
    columns = [file.footer.columns.get(reference.column) for file in files]
    kinds = {stored.type for stored in columns if stored is not None} - {ColumnType.NULL}
    if not kinds:
        return ColumnType.NULL
    return kinds.pop() if len(kinds) == 1 and ColumnType.NUMBER not in kinds else ColumnType.JSON


def windows(rows: Sequence[RowFile], wanted: RowsRequest) -> list[Between | None]:
    """Spans of time in the order of the export, each with some megabytes; ``None``: everything at once."""
    order = wanted.order
    if order.column != CREATED_AT or order.seed is not None or wanted.limit is not None:
        return [None]
    sizes: list[tuple[str, int]] = []
    for row in rows:
        groups = row.file.bounds_of(CREATED_AT.column)
        if groups is None or any(group.high is None for group in groups):
            return [None]
        per_row = row.file.size // max(1, row.file.footer.rows)
        sizes += [(group.high, group.rows * per_row) for group in groups if group.high is not None]
    ends, total = [], 0
    for high, size in sorted(sizes):
        total += size
        if total >= _WINDOW_BYTES:
            ends.append(high)
            total = 0
    ends = list(dict.fromkeys(ends))
    found: list[Between | None] = list(zip([_FIRST, *ends], [*ends, _LAST], strict=True))
    return found[::-1] if order.descending else found


def _overlaps(row: RowFile, window: Between) -> bool:
    """Whether a file may hold rows of a window."""
    groups = row.file.bounds_of(CREATED_AT.column)
    if groups is None:
        return True
    after, last = window
    return any(
        group.low is None or group.high is None or (group.high > after and group.low <= last) for group in groups
    )


def _piece_rows(rows: Sequence[RowFile]) -> int:
    largest = max((row.file.size // max(1, row.file.footer.rows) for row in rows), default=1)
    return max(_MIN_ROWS, min(_MAX_ROWS, _PIECE_BYTES // (1 + _EXPANSION * largest)))
