"""Everything about one row: fields, annotations with their versions and costs, where it came from, its neighbours."""

from __future__ import annotations

from typing import Any, Final

from datalake_service.pipeline.live.asking import Asking
from datalake_service.pipeline.live.dataset import Snapshot
from datalake_service.pipeline.live.pages import NEWEST_FIRST, PageRequest, find_page, read_one
from datalake_service.tables.database.sql import Reference
from datalake_service.tables.live.paging import Cell, Place
from datalake_service.viewer.cells import CellWriter, text, type_name
from datalake_service.viewer.problems import NotFoundError
from datalake_service.viewer.queries import CellQuery, RowQuery

CUT: Final = 200_000
"""Characters of a value that are shown at once; the rest is fetched by itself."""
_SYSTEM: Final = (
    "_status", "_version", "_code", "_cost", "_seconds", "_attempts", "_input_tokens", "_output_tokens",
    "_annotated_at", "_error", "_kind", "_metadata", "_generation",
)  # fmt: skip


def row_entry(asking: Asking, snapshot: Snapshot, query: RowQuery) -> dict[str, Any]:
    """One row.

    Raises:
        NotFoundError: There is none.
    """
    names = list(snapshot.schema.base)
    annotators = {name: list(columns) for name, columns in snapshot.schema.annotators.items()}
    row = read_one(asking, snapshot, (query.batch, query.id), names, annotators, cut=CUT)
    if row is None:
        raise _no_row(snapshot, query)
    shown = _Shown()
    fields = {text(name): shown.cell(name, cell) for name, cell in zip(names, row.cells, strict=True)}
    return {
        "id": query.id,
        "batch": query.batch,
        "merged": row.merged,
        "fields": fields,
        "types": {text(one.label): type_name(one.column, snapshot.type_of(one)) for one in _columns(snapshot)},
        "annotations": [
            _annotation(name, dict(zip(annotators[name], cells, strict=True)), shown)
            for name, cells in row.annotations.items()
        ],
        "truncated": [[name, length] for name, length in shown.cut.items()],
        "big": shown.big,
        "source": _source(fields),
        "neighbours": _neighbours(asking, snapshot, row.place),
        "version": snapshot.version,
    }


def cell_text(asking: Asking, snapshot: Snapshot, query: CellQuery) -> str:
    """One value as text, whole: text as it is, anything else as JSON.

    Raises:
        NotFoundError: There is no such row, or its column is null.
    """
    from datalake_service import jsontext
    from datalake_service.viewer.selecting import reference_of

    reference = reference_of(snapshot.schema, query.column)
    base = [reference.column] if reference.annotator is None else []
    beside = {} if reference.annotator is None else {reference.annotator: [reference.column]}
    row = read_one(asking, snapshot, (query.batch, query.id), base, beside, cut=None)
    if row is None:
        raise _no_row(snapshot, query)
    cells = row.cells if reference.annotator is None else row.annotations.get(reference.annotator, [Cell(None, None)])
    value = cells[0].value
    if value is None:
        raise NotFoundError(f"row {query.id!r} has nothing in column {query.column!r}")
    return text(value) if isinstance(value, str) else jsontext.dumps(value).decode("utf-8", "replace")


class _Shown:
    """Values as they are shown, and which of them are not what they are."""

    def __init__(self) -> None:
        self.cut: dict[str, int] = {}
        self.big: list[str] = []
        self._writer = CellWriter()

    def cell(self, label: str, cell: Cell) -> object:
        self._writer.big = False
        shown = self._writer.safe(cell.value)
        if cell.length is not None:
            self.cut[text(label)] = cell.length
        if self._writer.big:
            self.big.append(text(label))
        return shown


def _columns(snapshot: Snapshot) -> list[Reference]:
    references = [Reference(None, name) for name in snapshot.schema.base]
    references += [Reference(name, column) for name, some in snapshot.schema.annotators.items() for column in some]
    return references


def _annotation(name: str, cells: dict[str, Cell], shown: _Shown) -> dict[str, Any]:
    system = {column: shown.cell(f"{name}.{column}", cells.get(column, Cell(None, None))) for column in _SYSTEM}
    return {
        "annotator": name,
        "status": system["_status"],
        "version": system["_version"],
        "code": system["_code"],
        "cost": system["_cost"],
        "seconds": system["_seconds"],
        "attempts": system["_attempts"],
        "tokens": _tokens(system["_input_tokens"], system["_output_tokens"]),
        "at": system["_annotated_at"],
        "error": system["_error"],
        "kind": system["_kind"],
        "metadata": system["_metadata"],
        "fields": {
            text(column): shown.cell(f"{name}.{column}", cell)
            for column, cell in cells.items()
            if column != "id" and not column.startswith("_")
        },
    }


def _tokens(read: object, written: object) -> dict[str, object] | None:
    return None if read is None and written is None else {"input": read or 0, "output": written or 0}


def _source(fields: dict[str, Any]) -> dict[str, Any] | None:
    """Where a handler found the record that the row was made of."""
    metadata = fields.get("documentMetadata")
    known = {
        key: value
        for holder in (metadata if isinstance(metadata, dict) else {}, fields)
        for key, value in holder.items()
        if key in ("source", "uri", "file", "startOffset", "endOffset", "offset", "offsets")
    }
    return known or None


def _neighbours(asking: Asking, snapshot: Snapshot, place: Place) -> dict[str, Any]:
    """The rows before and behind a row, newest first."""
    beside: dict[str, Any] = {}
    for name, backwards in (("previous", True), ("next", False)):
        request = PageRequest(order=NEWEST_FIRST, after=place, backwards=backwards, limit=1)
        found = find_page(asking, snapshot, request)
        beside[name] = {"batch": found[0][0].place.batch, "id": found[0][0].place.id} if found else None
    return beside


def _no_row(snapshot: Snapshot, query: RowQuery) -> NotFoundError:
    if not snapshot.files_of(query.batch):
        return NotFoundError(f"dataset {snapshot.dataset!r} has no batch {text(query.batch)!r}")
    return NotFoundError(f"batch {query.batch!r} has no row {text(query.id)!r}")
