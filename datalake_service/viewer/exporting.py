"""What is on the screen as a file, streamed; and the command that makes the same file."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import closing
from typing import Any, Final

from datalake_service.catalog.columns import ColumnType
from datalake_service.config.filters import FilterNode
from datalake_service.pipeline.live.asking import Asking
from datalake_service.pipeline.live.dataset import Snapshot
from datalake_service.pipeline.live.export import LiveExport, Piece, RowsRequest
from datalake_service.pipeline.views.plan import ViewRequest
from datalake_service.tables.database.sql import Reference
from datalake_service.tables.formats.delimited import CsvMaker, header_line
from datalake_service.tables.formats.rows import LineMaker
from datalake_service.viewer.problems import BusyError
from datalake_service.viewer.queries import ExportQuery
from datalake_service.viewer.selecting import columns_of, filter_of, order_of

MEDIA: Final = {
    "jsonl": "application/jsonl",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
AT_ONCE: Final = 2
"""Exports that run at the same time."""
_UNSAFE: Final = '"\\/\r\n'


class Exports:
    """Makes files of one lake, a few at a time."""

    def __init__(self, asking: Asking) -> None:
        """Put questions by ``asking``."""
        self._asking = asking
        self._turns = threading.BoundedSemaphore(AT_ONCE)

    def open(self, dataset: str, query: ExportQuery) -> Generator[bytes, None, None]:
        """The pieces of a file. Everything that can be wrong with the question is found before the first one.

        Raises:
            BusyError: Others are exporting.
            FilterError: The filter cannot be used.
        """
        if not self._turns.acquire(blocking=False):
            raise BusyError(f"{AT_ONCE} exports are running; try again when one has ended, or use the command line")
        try:
            export = LiveExport(self._asking, dataset, lambda snapshot: self._request(snapshot, query))
        except BaseException:
            self._turns.release()
            raise
        pieces = self._pieces(export, query.format)
        next(pieces)  # from now on its turn ends with it, whether somebody reads it or not
        return pieces

    def _request(self, snapshot: Snapshot, query: ExportQuery) -> RowsRequest:
        schema = snapshot.schema
        return RowsRequest(
            columns=shown_columns(snapshot, query),
            condition=self._asking.condition(snapshot, filter_of(query, schema)),
            order=order_of(schema, query.sort, query.order, sample=query.sample, seed=query.seed),
            batches=frozenset(query.batch) if query.batch else None,
            limit=query.sample,
            typed=query.format == "parquet",
        )

    def _pieces(self, export: LiveExport, kind: str) -> Generator[bytes, None, None]:
        try:
            yield b""
            with closing(export.pieces()) as pieces:
                yield from _written(kind, [(one.label, type_) for one, type_ in export.columns], pieces)
        finally:
            self._turns.release()

    def command(self, snapshot: Snapshot, query: ExportQuery) -> dict[str, Any]:
        """The command that makes the same file, and what is different from the screen."""
        request = request_of(snapshot, query)
        words = ["datalake", "export", "--uri", self._asking.lake.store.uri, "--datasetName", snapshot.dataset]
        words += ["--output", f"{snapshot.dataset}.{query.format}"]
        if query.columns:
            words += ["--columns", _names(request.base_columns or [])]
            for name, columns in (request.annotator_columns or {}).items():
                words += ["--annotator-columns", f"{name}:{_names(columns or [])}"]
            if not request.annotator_columns:
                words.append("--no-annotators")
        if request.filter is not None:
            words += ["--filter", request.filter.model_dump_json(exclude_none=True)]
        for name in query.batch:
            words += ["--batch", name]
        return {"command": shlex.join(words), "notes": list(_differences(snapshot, query))}


def _written(kind: str, columns: Sequence[tuple[str, ColumnType]], pieces: Iterator[Piece]) -> Iterator[bytes]:
    """Rows in the format of a file."""
    labels, kinds = [label for label, _ in columns], [type_ for _, type_ in columns]
    if kind == "parquet":
        from datalake_service.tables.formats.output import batch_of, parquet_pieces

        yield from parquet_pieces(columns, (batch_of(columns, piece) for piece in pieces))
        return
    make: Callable[[Piece], bytes]
    if kind == "csv":
        yield header_line(labels)
        make = CsvMaker(kinds)
    else:
        make = LineMaker(labels, kinds)
    for piece in pieces:
        yield make(piece)


def shown_columns(snapshot: Snapshot, query: ExportQuery) -> list[Reference]:
    """The id, and what the screen shows, in its order."""
    chosen = [Reference(None, "id"), *columns_of(snapshot.schema, query.columns)]
    return list({reference.label: reference for reference in reversed(chosen)}.values())[::-1]


def _differences(snapshot: Snapshot, query: ExportQuery) -> Iterator[str]:
    """What is on the screen, and in the file that is downloaded, and not in what the command writes."""
    waiting = sum(row.file.footer.rows for row in snapshot.rows if not row.merged)
    if waiting:
        yield f"It leaves out {waiting:,} {'row that is' if waiting == 1 else 'rows that are'} not merged yet."
    if any(files.waiting for by_batch in snapshot.annotations.values() for files in by_batch.values()):
        yield "It leaves out annotations that are not merged yet."
    if query.sample is not None:
        yield "It writes all rows, not the sample."
    yield "It writes rows batch by batch, in the order in which they were merged."
    columns = columns_of(snapshot.schema, query.columns)
    if columns != sorted(columns, key=lambda one: one.annotator is not None):
        yield "It writes the columns of annotators last."


def request_of(snapshot: Snapshot, query: ExportQuery) -> ViewRequest:
    """The view that holds what is on the screen."""
    node: FilterNode | None = filter_of(query, snapshot.schema)
    chosen = columns_of(snapshot.schema, query.columns)
    return ViewRequest(
        dataset=snapshot.dataset,
        base_columns=[one.column for one in chosen if one.annotator is None and one.column != "id"]
        if query.columns
        else None,
        annotator_columns=_by_annotator(chosen) if query.columns else None,
        filter=node,
        batches=query.batch or None,
    )


def _by_annotator(columns: list[Reference]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for reference in columns:
        if reference.annotator is not None:
            found.setdefault(reference.annotator, []).append(reference.column)
    return found


def _names(names: Collection[str]) -> str:
    """Names as the command reads them."""
    plain = all(name and "," not in name and not name.startswith("[") for name in names)
    return ",".join(names) if plain and names else json.dumps(list(names))


def file_name(dataset: str, kind: str) -> str:
    """What a browser calls the file: a name of a dataset is portable."""
    return f"{''.join(character for character in dataset if character not in _UNSAFE)}.{kind}"
