"""Pages of live rows: the next rows in an order, with their values and annotations.

What footers say about the sort column decides which files are looked at first; the others are left alone if they cannot
hold a row of the page. So the newest page of a large dataset reads its newest batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from datalake_service.catalog.annotations import DONE, FINAL_STATUSES
from datalake_service.catalog.columns import ColumnType
from datalake_service.pipeline.live.asking import Asking, types_of
from datalake_service.pipeline.live.dataset import AnnotationFiles, RowFile, Snapshot
from datalake_service.tables.database.footers import GroupBounds
from datalake_service.tables.database.sql import Reference
from datalake_service.tables.filters.conditions import Condition
from datalake_service.tables.live.live import ID, STATUS
from datalake_service.tables.live.live_files import LiveFile, OpenFiles
from datalake_service.tables.live.paging import (
    Cell,
    FoundRow,
    Order,
    Place,
    Stretch,
    find_by_id,
    find_rows,
    groups_of,
    read_by_id,
    read_rows,
)
from datalake_service.tables.queries.query import LocalTable

_FIRST: Final = 1
_LARGER: Final = 8
_MOST: Final = 256
"""Files of rows that are asked at once: few at first, more when they did not hold enough rows."""
CREATED_AT: Final = Reference(None, "_created_at")
NEWEST_FIRST: Final = Order(CREATED_AT, descending=True)
_NOTHING: Final = Cell(None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """Which rows are wanted."""

    condition: Condition = field(default_factory=Condition)
    order: Order = NEWEST_FIRST
    after: Place | None = None
    backwards: bool = False
    """The last rows before ``after``."""
    batches: frozenset[str] | None = None
    """``None``: all."""
    limit: int = 50


@dataclass(frozen=True, slots=True)
class LiveRow:
    """One row of a page."""

    place: Place
    """Where it stands in the order of the page."""
    merged: bool
    cells: tuple[Cell, ...]
    """In the order of the columns that were asked for."""

    @property
    def batch(self) -> str:
        """The batch that it is in."""
        return self.place.batch

    @property
    def id(self) -> str:
        """Its id."""
        return self.place.id


def find_page(asking: Asking, snapshot: Snapshot, request: PageRequest) -> list[tuple[FoundRow, RowFile]]:
    """The rows of a page, in order, and where each of them is."""
    order = request.order
    references = [order.column, *request.condition.columns.values()]
    types = types_of(snapshot, references)
    candidates = [row for row in snapshot.rows if request.batches is None or row.batch in request.batches]
    found: list[tuple[FoundRow, RowFile]] = []
    known = _known_bounds(asking, snapshot, candidates, request)
    enough = None if known is None else _enough(known, request)
    stretch = Stretch(after=request.after, backwards=request.backwards, limit=request.limit, until=enough)
    for rows, next_bound in _slices(candidates, known, request, enough):
        with asking.sources(snapshot, rows, references, fenced=request.condition.raw) as (opened, parts):
            for part in parts:
                some = find_rows(
                    opened.connection,
                    part.sources,
                    order=order,
                    stretch=stretch,
                    condition=request.condition,
                    types=types,
                )
                found += [(row, part.members[row.source][row.place.batch]) for row in some]
        # What is wanted stands at the front of the order, or, backwards, at its end.
        found.sort(key=lambda item: order.key(item[0].place), reverse=order.descending)
        found = found[-request.limit :] if request.backwards else found[: request.limit]
        if len(found) == request.limit and next_bound is not None:
            last = order.rank(found[0 if request.backwards else -1][0].place.value)
            if (last < next_bound) if order.descending == request.backwards else (last > next_bound):
                break
    return found


_Bound = tuple[Any, ...]
"""The rank of the best value that a file can hold."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What footers say about the sort column of some files."""

    groups: Mapping[RowFile, Sequence[GroupBounds]]
    """Empty where the file has no such column."""
    kind: ColumnType

    def bounds(self, rows: Sequence[RowFile], order: Order, *, falls: bool) -> dict[RowFile, _Bound]:
        """The largest rank (if ``falls``) or the smallest that a row of each file can have."""
        return {row: _bound(self.groups[row], order, self.kind, falls=falls) for row in rows}


def _known_bounds(asking: Asking, snapshot: Snapshot, rows: Sequence[RowFile], request: PageRequest) -> _Known | None:
    """What footers say about the order; ``None``: nothing."""
    order = request.order
    kind = snapshot.type_of(order.column)
    known = order.column.annotator is None and kind in (ColumnType.STRING, ColumnType.INT64)
    if order.seed is not None or not known:
        return None
    read_bounds(asking, rows, order.column.column)
    return _Known({row: row.file.bounds_of(order.column.column) or () for row in rows}, kind)


def read_bounds(asking: Asking, rows: Sequence[RowFile], column: str) -> None:
    """Have what footers say about a column of some files at hand."""
    places = [(row.file, row.file.footer.columns.get(column)) for row in rows]
    missing = [
        (file, stored.position) for file, stored in places if stored is not None and stored.position not in file.bounds
    ]
    for start in range(0, len(missing), _MOST):
        some = missing[start : start + _MOST]
        with asking.opened([file for file, _ in some]) as opened:
            opened.read_bounds(some)


def _enough(known: _Known, request: PageRequest) -> str | None:
    """A time so that the rows between the place and it are a page at least: only their row groups need be read.

    Only of all rows by their time, which is never null: of rows that a condition selects, nobody knows how many.
    """
    order, after = request.order, request.after
    if order.column != CREATED_AT or request.condition.sql != "TRUE":
        return None
    if after is not None and not isinstance(after.value, str):
        return None  # of a cursor that somebody wrote by hand
    falls = order.descending != request.backwards
    sure: list[tuple[str, int]] = []
    for row, groups in known.groups.items():
        for group in groups if row.hidden_by is None else ():
            if group.low is None or group.high is None:
                continue
            begin, end = (group.high, group.low) if falls else (group.low, group.high)
            if after is None or (begin < after.value if falls else begin > after.value):
                sure.append((end, group.rows))
    count = 0
    for end, rows in sorted(sure, reverse=falls):
        count += rows
        if count >= request.limit:
            return end
    return None


def _slices(
    rows: Sequence[RowFile], known: _Known | None, request: PageRequest, enough: str | None
) -> Iterator[tuple[list[RowFile], _Bound | None]]:
    """Files in the order in which they can contribute, each slice with the best that later ones can have."""
    order = request.order
    if known is None:
        for start in range(0, len(rows), _MOST):
            yield list(rows[start : start + _MOST]), None
        return
    falls = order.descending != request.backwards
    after = None if request.after is None else request.after.value
    if order.column == CREATED_AT and (after is None or isinstance(after, str)):
        rows = [row for row in rows if _holds(known.groups[row], after, enough, falls=falls)]
    bounds = known.bounds(rows, order, falls=falls)
    ordered = sorted(rows, key=lambda row: bounds[row], reverse=falls)
    if request.after is not None:
        place = order.rank(request.after.value)
        worst = known.bounds(rows, order, falls=not falls)
        # A file whose rows all stand before the place has nothing to add.
        ordered = [row for row in ordered if (worst[row] <= place if falls else worst[row] >= place)]
    start, size = 0, _FIRST if enough is None else _LARGER
    while start < len(ordered):
        end = start + size
        yield ordered[start:end], bounds[ordered[end]] if end < len(ordered) else None
        start, size = end, min(size * _LARGER, _MOST)


def _holds(groups: Sequence[GroupBounds], after: str | None, enough: str | None, *, falls: bool) -> bool:
    """Whether a file may hold times from where a page begins to where it has ended for certain."""
    for group in groups:
        if group.low is None or group.high is None:
            return True
        ends = enough is None or (group.high >= enough if falls else group.low <= enough)
        if ends and (after is None or (group.low <= after if falls else group.high >= after)):
            return True
    return not groups


def _bound(groups: Sequence[GroupBounds], order: Order, kind: ColumnType, *, falls: bool) -> _Bound:
    ranks = [order.rank(None)] if not groups else []
    for group in groups:
        if group.nulls is None or group.nulls:
            ranks.append(order.rank(None))
        if group.nulls is None or group.nulls < group.rows:
            value = group.high if falls else group.low
            if value is None:  # anything is possible
                ranks.append((9,) if falls else (-9,))
            else:
                ranks.append(order.rank(int(value) if kind is ColumnType.INT64 else value))
    return max(ranks) if falls else min(ranks)


def read_page(
    asking: Asking,
    snapshot: Snapshot,
    found: Sequence[tuple[FoundRow, RowFile]],
    columns: Sequence[Reference],
    *,
    cut: int | None,
) -> list[LiveRow]:
    """The values of rows that were found; longer texts are cut to ``cut`` characters."""
    names = [reference.column for reference in columns if reference.annotator is None]
    by_file: dict[RowFile, list[FoundRow]] = {}
    for row, file in found:
        by_file.setdefault(file, []).append(row)
    wanted: dict[str, list[str]] = {}
    for reference in columns:
        if reference.annotator is not None:
            wanted.setdefault(reference.annotator, []).append(reference.column)
    beside = {
        (name, file.batch): known
        for name in wanted
        for file in by_file
        if file.merged and (known := snapshot.annotations.get(name, {}).get(file.batch)) is not None
    }
    files = [file.file for file in by_file] + [file for one in beside.values() for file in one.files]
    base: dict[tuple[str, str], list[Cell]] = {}
    added: dict[tuple[str, str, str], list[Cell]] = {}
    with asking.opened(files) as opened:
        opened.read_bounds([(file.file, file.file.footer.columns[ID].position) for file in by_file])
        for file, rows in by_file.items():
            cells = _read(opened, file.file, [row.number for row in rows], names, cut=cut)
            base |= {(row.place.batch, row.place.id): cells[row.number] for row in rows}
        for (name, batch), annotation_files in beside.items():
            ids = [row.place.id for row, file in found if file.batch == batch and file.merged]
            for row_id, values in read_annotations(opened, annotation_files, ids, wanted[name], cut=cut).items():
                added[name, batch, row_id] = values
    return [LiveRow(row.place, file.merged, tuple(_arranged(row.place, columns, base, added))) for row, file in found]


def _arranged(
    place: Place,
    columns: Sequence[Reference],
    base: dict[tuple[str, str], list[Cell]],
    added: dict[tuple[str, str, str], list[Cell]],
) -> Iterator[Cell]:
    """Values in the order in which they were asked for."""
    own = iter(base[place.batch, place.id])
    others = {
        name: iter(added.get((name, place.batch, place.id), ()))
        for name in {reference.annotator for reference in columns}
        if name is not None
    }
    for reference in columns:
        yield next(own) if reference.annotator is None else next(others[reference.annotator], _NOTHING)


def _read(
    opened: OpenFiles, file: LiveFile, numbers: Sequence[int], names: Sequence[str], *, cut: int | None
) -> dict[int, list[Cell]]:
    groups = file.bounds[file.footer.columns[ID].position]
    positions = {stored.position for name in names if (stored := file.footer.columns.get(name)) is not None}
    opened.fetch(file, positions, groups_of(numbers, groups))
    table = LocalTable(opened.path(file), file.footer)
    return read_rows(opened.engine.connection, table, numbers, names, groups=groups, cut=cut)


def _read_ids(
    opened: OpenFiles, file: LiveFile, ids: Sequence[str], names: Sequence[str], *, cut: int | None
) -> dict[str, list[Cell]]:
    """Rows of a file by id, those that are there."""
    table, connection = LocalTable(opened.path(file), file.footer), opened.engine.connection
    if opened.is_here(file):
        return read_by_id(connection, table, ids, names, cut=cut)
    opened.fetch(file, {file.footer.columns[ID].position})
    numbers = find_by_id(connection, table, ids)
    opened.read_bounds([(file, file.footer.columns[ID].position)])
    rows = _read(opened, file, list(numbers), names, cut=cut)
    return {numbers[number]: cells for number, cells in rows.items()}


def read_annotations(
    opened: OpenFiles, files: AnnotationFiles, ids: Sequence[str], names: Sequence[str], *, cut: int | None
) -> dict[str, list[Cell]]:
    """What an annotator said about some rows of a batch, by id: the answer that counts, if there is one.

    The columns of what is not done are null, but for those that begin with an underscore.
    """
    best: dict[str, tuple[bool, list[Cell]]] = {}
    for file in files.files:
        for row_id, (status, *cells) in _read_ids(opened, file, ids, [STATUS, *names], cut=cut).items():
            final = status.value in FINAL_STATUSES
            known = best.get(row_id)
            if known is None or not known[0]:
                shown = [
                    cell if status.value == DONE or name.startswith("_") else _NOTHING
                    for name, cell in zip(names, cells, strict=True)
                ]
                best[row_id] = (final, shown)
    return {row_id: cells for row_id, (_, cells) in best.items()}


@dataclass(frozen=True, slots=True)
class OneRow:
    """Everything about one row."""

    place: Place
    """In the order of time."""
    merged: bool
    cells: list[Cell]
    """Base columns, in the order in which they were asked for."""
    annotations: dict[str, list[Cell]]
    """By annotator, of those that said anything about it."""


def read_one(
    asking: Asking,
    snapshot: Snapshot,
    key: tuple[str, str],
    names: Sequence[str],
    annotators: Mapping[str, Sequence[str]],
    *,
    cut: int | None,
) -> OneRow | None:
    """The row with a batch and an id, and what annotators said about it; ``None``: there is none."""
    batch, row_id = key
    rows = snapshot.files_of(batch)
    beside = {
        name: known for name in annotators if (known := snapshot.annotations.get(name, {}).get(batch)) is not None
    }
    files = [row.file for row in rows] + [file for one in beside.values() for file in one.files]
    with asking.opened(files) as opened:
        for row in rows:
            own = _read_ids(opened, row.file, [row_id], [CREATED_AT.column, *names], cut=cut)
            if not own:
                continue
            created, *cells = own[row_id]
            said = {
                name: found[row_id]
                for name, some in (beside if row.merged else {}).items()
                if row_id in (found := read_annotations(opened, some, [row_id], list(annotators[name]), cut=cut))
            }
            return OneRow(Place(created.value, batch, row_id), row.merged, cells, said)
    return None
