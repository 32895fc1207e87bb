"""Answers to what the page asks: questions put to the lake, and what comes back as JSON. Blocks; runs in threads."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from datalake_service.catalog.manifests import format_time
from datalake_service.config.names import check_name
from datalake_service.config.version import VERSION
from datalake_service.errors import FilterError
from datalake_service.pipeline.live.asking import Asking
from datalake_service.pipeline.live.dataset import Snapshot
from datalake_service.pipeline.live.lake import LiveLake
from datalake_service.pipeline.live.overview import AnnotatorNumbers, Coverage, DatasetNumbers, count_dataset
from datalake_service.pipeline.live.pages import LiveRow, PageRequest, find_page, read_page
from datalake_service.tables.database.sql import Reference
from datalake_service.viewer import operations
from datalake_service.viewer.cells import CellWriter, text, type_name
from datalake_service.viewer.charts import Charts
from datalake_service.viewer.cursors import Cursor, question_of
from datalake_service.viewer.exporting import MEDIA, Exports, file_name
from datalake_service.viewer.failures import failures
from datalake_service.viewer.filter_text import filter_given, to_python
from datalake_service.viewer.problems import QueryError
from datalake_service.viewer.queries import (
    ActivityQuery,
    CellQuery,
    CountQuery,
    CrossQuery,
    ExportQuery,
    FailuresQuery,
    Parameters,
    ProfileQuery,
    RejectionsQuery,
    RowQuery,
    RowsQuery,
    TrendQuery,
    parse,
)
from datalake_service.viewer.row_answer import cell_text, row_entry
from datalake_service.viewer.selecting import columns_of, filter_of, order_of
from datalake_utils.clock import Clock, SystemClock


class Answers:
    """Everything that is answered about one lake. Thread-safe."""

    def __init__(
        self, lake: LiveLake, *, asking: Asking | None = None, clock: Clock | None = None, needs_token: bool = False
    ) -> None:
        """Answer about ``lake``; ``needs_token``: whether visitors had to show one."""
        self._lake = lake
        self._asking = asking or Asking(lake)
        self._clock = clock or SystemClock()
        self._needs_token = needs_token
        self._charts = Charts(self._asking)
        self._exports = Exports(self._asking)

    # Lake and datasets -------------------------------------------------------------------------------

    def lake(self) -> dict[str, Any]:
        """The whole lake."""
        now = self._clock.now()
        numbers = [count_dataset(self._lake, name) for name in self._lake.datasets()]
        return {
            "uri": text(self._lake.store.uri),
            "version": VERSION,
            "now": format_time(now),
            "token": self._needs_token,
            "datasets": [dataset_entry(one) for one in numbers],
            "leases": [lease for one in numbers for lease in operations.leases(self._lake, one.look, now)],
        }

    def activity(self, given: Parameters) -> dict[str, Any]:
        """Rows written over time, by dataset."""
        query = parse(ActivityQuery, given)
        for name in query.dataset:
            check_name(name, what="dataset")
        names = [name for name in self._lake.datasets() if not query.dataset or name in query.dataset]
        return self._charts.activity((self._lake.snapshot(name) for name in names), query, self._clock.now())

    def operations(self) -> dict[str, Any]:
        """What works and what is held, in all datasets."""
        now, lake = self._clock.now(), self._lake
        looks = [lake.look(name) for name in lake.datasets()]
        return {
            "runs": [run for look in looks for run in operations.runs(lake, look)],
            "tasks": [task for look in looks for task in operations.tasks(lake, look)],
            "leases": [lease for look in looks for lease in operations.leases(lake, look, now)],
            "stops": [stop for look in looks for stop in operations.stops(lake, look)],
        }

    def dataset(self, dataset: str) -> dict[str, Any]:
        """One dataset: its columns and batches."""
        check_name(dataset, what="dataset")
        snapshot = self._lake.snapshot(dataset)
        numbers = count_dataset(self._lake, dataset)
        return {
            **dataset_entry(numbers),
            "leftOutChunks": snapshot.left_out,
            "columns": columns_entry(snapshot),
            "batches": [
                {
                    "name": batch.name,
                    "rows": batch.rows,
                    "unmergedRows": batch.waiting_rows,
                    "bytes": batch.size,
                    "createdFrom": batch.created_from,
                    "createdTo": batch.created_to,
                    "coverage": {
                        name: coverage_entry(annotator.batches[batch.name])
                        for name, annotator in numbers.annotators.items()
                    },
                }
                for batch in numbers.batches.values()
            ],
            "version": snapshot.version,
        }

    # Rows --------------------------------------------------------------------------------------------

    def rows(self, dataset: str, given: Parameters) -> dict[str, Any]:
        """A page of rows."""
        check_name(dataset, what="dataset")
        query = parse(RowsQuery, given)
        cursor = None if query.cursor is None else Cursor.from_text(query.cursor)
        digest = question_of(query.filter, query.where, query.search, query.batch, query.sort, query.order)
        if cursor is not None and cursor.question != digest:
            raise QueryError("this cursor belongs to other filters or another order; begin at the first page", "cursor")
        began = self._clock.monotonic()
        limit = query.limit + 1 if query.sample is None else min(query.limit, query.sample)

        def ask(snapshot: Snapshot) -> tuple[list[Reference], list[LiveRow]]:
            order = order_of(snapshot.schema, query.sort, query.order, sample=query.sample, seed=query.seed)
            request = PageRequest(
                condition=self._asking.condition(snapshot, filter_of(query, snapshot.schema)),
                order=order,
                after=None if cursor is None else cursor.place,
                backwards=cursor is not None and cursor.backwards,
                batches=frozenset(query.batch) if query.batch else None,
                limit=limit,
            )
            columns = columns_of(snapshot.schema, query.columns)
            found = find_page(self._asking, snapshot, request)
            return columns, read_page(self._asking, snapshot, found, columns, cut=query.text_limit)

        version = None if cursor is None else cursor.version
        snapshot, (columns, rows) = self._asking.over(dataset, ask, version=version)
        backwards = cursor is not None and cursor.backwards
        more = len(rows) > query.limit
        if more:
            rows = rows[1:] if backwards else rows[: query.limit]

        def turn(row: LiveRow, *, back: bool) -> str:
            return Cursor(snapshot.version, row.place, back, digest).to_text()

        paged = query.sample is None and bool(rows)
        return {
            "columns": [reference.label for reference in columns],
            **rows_entry(rows),
            "next": turn(rows[-1], back=False) if paged and (more or backwards) else None,
            "previous": turn(rows[0], back=True) if paged and (more if backwards else cursor is not None) else None,
            "version": snapshot.version,
            "tookMs": round((self._clock.monotonic() - began) * 1000, 1),
        }

    def row(self, dataset: str, given: Parameters) -> dict[str, Any]:
        """Everything about one row."""
        check_name(dataset, what="dataset")
        query = parse(RowQuery, given)
        _, answer = self._asking.over(dataset, lambda snapshot: row_entry(self._asking, snapshot, query))
        return answer

    def count(self, dataset: str, given: Parameters) -> dict[str, Any]:
        """How many rows there are."""
        check_name(dataset, what="dataset")
        query = parse(CountQuery, given)
        began = self._clock.monotonic()
        batches = frozenset(query.batch) if query.batch else None

        def ask(snapshot: Snapshot) -> int:
            condition = self._asking.condition(snapshot, filter_of(query, snapshot.schema))
            return self._asking.count(snapshot, condition, batches)

        _, rows = self._asking.over(dataset, ask)
        return {"rows": rows, "exact": True, "tookMs": round((self._clock.monotonic() - began) * 1000, 1)}

    def cell(self, dataset: str, given: Parameters) -> str:
        """One value, whole."""
        check_name(dataset, what="dataset")
        query = parse(CellQuery, given)
        _, answer = self._asking.over(dataset, lambda snapshot: cell_text(self._asking, snapshot, query))
        return answer

    # Charts ------------------------------------------------------------------------------------------

    def profile(self, dataset: str, given: Parameters) -> dict[str, Any]:
        """What a column holds."""
        check_name(dataset, what="dataset")
        query = parse(ProfileQuery, given)
        return self._asking.over(dataset, lambda snapshot: self._charts.profile(snapshot, query))[1]

    def trend(self, dataset: str, given: Parameters) -> dict[str, Any]:
        """Rows over time."""
        check_name(dataset, what="dataset")
        query = parse(TrendQuery, given)
        return self._asking.over(dataset, lambda snapshot: self._charts.trend(snapshot, query))[1]

    def crosstab(self, dataset: str, given: Parameters) -> dict[str, Any]:
        """One column against another."""
        check_name(dataset, what="dataset")
        query = parse(CrossQuery, given)
        return self._asking.over(dataset, lambda snapshot: self._charts.crosstab(snapshot, query))[1]

    # What went wrong ---------------------------------------------------------------------------------

    def rejections(self, dataset: str, given: Parameters) -> dict[str, Any]:
        """What could not be used."""
        check_name(dataset, what="dataset")
        query = parse(RejectionsQuery, given)
        return operations.rejections(self._lake, self._lake.existing(dataset), query)

    def failures(self, dataset: str, given: Parameters) -> dict[str, Any]:
        """Annotations that failed."""
        check_name(dataset, what="dataset")
        query = parse(FailuresQuery, given)
        return self._asking.over(dataset, lambda snapshot: failures(self._asking, snapshot, query))[1]

    # Taking things along -----------------------------------------------------------------------------

    def export(self, dataset: str, given: Parameters) -> tuple[Generator[bytes, None, None], str, str]:
        """The pieces of a file, its media type and its name."""
        check_name(dataset, what="dataset")
        query = parse(ExportQuery, given)
        pieces = self._exports.open(dataset, query)
        return pieces, MEDIA[query.format], file_name(dataset, query.format)

    def command(self, dataset: str, given: Parameters) -> dict[str, Any]:
        """The command that makes the same file."""
        check_name(dataset, what="dataset")
        return self._exports.command(self._lake.snapshot(dataset), parse(ExportQuery, given))

    def convert(self, body: bytes) -> dict[str, Any]:
        """A filter in all its forms, from any of them."""
        try:
            node = filter_given(body)
        except FilterError as error:
            path, _, message = str(error).partition(": ")
            return {
                "filter": None,
                "python": None,
                "problems": [{"path": text(path), "message": text(message or path)}],
            }
        return {
            "filter": CellWriter().safe(node.model_dump(exclude_none=True)),
            "python": to_python(node),
            "problems": [],
        }


def dataset_entry(numbers: DatasetNumbers) -> dict[str, Any]:
    """What the lake page shows of a dataset."""
    look, batches = numbers.look, numbers.batches.values()
    return {
        "name": look.name,
        "rows": numbers.rows,
        "unmergedRows": sum(batch.waiting_rows for batch in batches),
        "batches": len(numbers.batches),
        "bytes": sum(batch.size for batch in batches),
        "columns": numbers.columns,
        "unmergedChunks": sum(batch.waiting_chunks for batch in batches),
        "rejections": sum(batch.rejected for batch in batches) + numbers.task_rejections,
        "lastActivity": None if look.last_activity is None else format_time(look.last_activity),
        "runs": numbers.live_runs,
        "annotators": [annotator_entry(annotator) for annotator in numbers.annotators.values()],
        "problems": [{"key": text(key), "message": text(why)} for key, why in numbers.problems.items()],
    }


def annotator_entry(annotator: AnnotatorNumbers) -> dict[str, Any]:
    """What the lake page shows of an annotator."""
    return {
        "name": annotator.name,
        **coverage_entry(annotator.total),
        "share": annotator.total.share,
        "cost": annotator.cost or None,
        "unmergedRows": annotator.waiting_rows,
        "lastActivity": None if annotator.last_activity is None else format_time(annotator.last_activity),
    }


def coverage_entry(coverage: Coverage) -> dict[str, int]:
    """Rows by how they stand."""
    return {
        "done": coverage.done,
        "skipped": coverage.skipped,
        "failed": coverage.failed,
        "pending": coverage.pending,
    }


def columns_entry(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Every column."""
    schema = snapshot.schema
    references = [Reference(None, name) for name in schema.base]
    references += [
        Reference(name, column) for name, columns in schema.annotators.items() for column in columns if column != "id"
    ]
    return [
        {
            "name": text(reference.label),
            "type": type_name(reference.column, snapshot.type_of(reference)),
            "annotator": reference.annotator,
            "system": reference.column.startswith("_") or (reference.annotator is None and reference.column == "id"),
        }
        for reference in references
    ]


def rows_entry(rows: Sequence[LiveRow]) -> dict[str, Any]:
    """Rows, and which of their values are not shown as they are."""
    writer = CellWriter()
    shown, cut, big = [], [], []
    for number, row in enumerate(rows):
        cells = []
        for index, cell in enumerate(row.cells):
            writer.big = False
            cells.append(writer.safe(cell.value))
            if cell.length is not None:
                cut.append([number, index, cell.length])
            if writer.big:
                big.append([number, index])
        shown.append({"id": row.id, "batch": row.batch, "merged": row.merged, "cells": cells})
    return {"rows": shown, "truncated": cut, "big": big}
