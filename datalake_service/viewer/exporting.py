"""What is on the screen as a file, streamed; and the command that makes the same file."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Generator
from contextlib import closing
from typing import Any, Final

from datalake_service.config.filters import FilterNode
from datalake_service.errors import DatasetNotMergedError
from datalake_service.pipeline.live_dataset import Snapshot
from datalake_service.pipeline.view_plan import ViewRequest
from datalake_service.pipeline.views import DatasetView
from datalake_service.storage.base import ObjectStore
from datalake_service.tables.engine import EngineLimits
from datalake_service.tables.sql import Reference
from datalake_service.viewer.problems import BusyError
from datalake_service.viewer.queries import ExportQuery
from datalake_service.viewer.selecting import columns_of, filter_of

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

    def __init__(self, store: ObjectStore, limits: EngineLimits) -> None:
        """Export from ``store``."""
        self._store = store
        self._limits = limits
        self._turns = threading.BoundedSemaphore(AT_ONCE)

    def open(self, snapshot: Snapshot, query: ExportQuery) -> Generator[bytes, None, None]:
        """The pieces of a file. Everything that can be wrong with the question is found before the first one.

        Raises:
            BusyError: Others are exporting.
            FilterError: The filter cannot be used.
        """
        if not self._turns.acquire(blocking=False):
            raise BusyError(f"{AT_ONCE} exports are running; try again when one has ended, or use the command line")
        try:
            if not any(row.merged for row in snapshot.rows):
                raise DatasetNotMergedError(f"nothing of dataset {snapshot.dataset!r} is merged yet; merge it first")
            view = DatasetView(self._store, request_of(snapshot, query), limits=self._limits)
        except BaseException:
            self._turns.release()
            raise
        return self._pieces(view, query.format)

    def _pieces(self, view: DatasetView, kind: str) -> Generator[bytes, None, None]:
        try:
            with closing(view):
                if kind == "parquet":
                    yield from view.parquet()
                else:
                    for _, lines in view.csv() if kind == "csv" else view.lines():
                        yield lines
        finally:
            self._turns.release()

    def command(self, snapshot: Snapshot, query: ExportQuery) -> dict[str, Any]:
        """The command that makes the same file, and what is different from the screen."""
        request = request_of(snapshot, query)
        words = ["datalake", "export", "--uri", self._store.uri, "--datasetName", snapshot.dataset]
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
        notes = []
        waiting = sum(row.file.footer.rows for row in snapshot.rows if not row.merged)
        if waiting:
            notes.append(f"{waiting:,} rows are not merged yet: they are on the screen, but not in the file.")
        if query.sort is not None:
            notes.append("Rows come batch by batch in the order in which they were merged, not sorted.")
        return {"command": shlex.join(words), "notes": notes}


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


def _names(names: Any) -> str:  # noqa: ANN401 - a list of names
    """Names as the command reads them."""
    plain = all(name and "," not in name and not name.startswith("[") for name in names)
    return ",".join(names) if plain and names else json.dumps(list(names))


def file_name(dataset: str, kind: str) -> str:
    """What a browser calls the file: a name of a dataset is portable."""
    return f"{''.join(character for character in dataset if character not in _UNSAFE)}.{kind}"
