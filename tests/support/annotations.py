"""Rows to annotate without a view, and what an annotation run left behind, read from the files themselves.

``merge_by_hand`` is a model of the merge that shares no code with the product's.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from datalake_interfaces.annotators import DataItem
from datalake_service.catalog import layout
from datalake_service.catalog.makers import Maker
from datalake_service.catalog.parts import Part
from datalake_service.errors import ObjectNotFoundError
from datalake_service.events import FIELDS
from datalake_service.pipeline.annotation.annotate import annotate
from datalake_service.pipeline.annotation.job import AnnotationJob, AnnotationOptions, AnnotationReport
from datalake_service.storage.base import ObjectStore, Overwrite
from datalake_service.tables.formats.schema import MergedMetadata, annotation_schema
from datalake_service.tables.formats.values import to_arrow
from datalake_service.tables.objects.parquet import MergedWriter

if TYPE_CHECKING:
    import pytest

DATASET, ANNOTATOR, BATCH = "posts", "lang", "b1"
FINISHED = ("done", "skipped")


@dataclass
class ListRows:
    """Rows of batches held in memory, read in small blocks."""

    batches: Mapping[str, Sequence[str]]
    """Ids by batch."""
    block: int = 7
    fail_after: int | None = None
    """Rows after which reading raises."""
    part_rows: int | None = None
    """Rows of each part of a batch; ``None``: one part."""
    read_batches: list[str] = field(default_factory=list)
    """Batches (or parts) that were asked for, in order."""
    closed: int = 0

    def selection(self, batch: str) -> str:
        return ",".join(self.batches[batch])

    def size(self, batch: str) -> int:
        return len(self.batches[batch])

    def parts(self, batch: str) -> list[Part]:
        if self.part_rows is None:
            return [Part(batch, rows=self.size(batch))]
        count = max(1, -(-len(self.batches[batch]) // self.part_rows))
        return [Part(batch, n, n * self.part_rows, (n + 1) * self.part_rows, self.part_rows) for n in range(count)]

    def read(
        self,
        batch: str,
        *,
        leave_out: Collection[str],
        part: Part | None = None,
        left_out: Callable[[int], None] | None = None,
    ) -> Iterator[list[DataItem]]:
        self.read_batches.append(batch if part is None else part.name)
        rows = self.batches[batch] if part is None else self.batches[batch][part.first : part.end]
        left = [name for name in rows if name not in leave_out]
        if left_out is not None:
            left_out(len(rows) - len(left))
        given = 0
        try:
            for start in range(0, len(left), self.block):
                rows = left[start : start + self.block]
                if self.fail_after is not None and given + len(rows) > self.fail_after:
                    raise ReadError("the query failed")
                given += len(rows)
                yield [DataItem({"id": name, "text": f"text of {name}"}, name, batch) for name in rows]
        finally:
            self.closed += 1


class ReadError(Exception):
    """What a failing view raises."""


def ids(count: int, prefix: str = "r") -> list[str]:
    """So many ids."""
    return [f"{prefix}{number:04d}" for number in range(count)]


def chunk_rows(store: ObjectStore, dataset: str = DATASET, annotator: str = ANNOTATOR) -> list[dict[str, Any]]:
    """Every row in chunks that are not merged, in the order of their names."""
    prefix = layout.annotator_temp_prefix(dataset, annotator)
    keys = [meta.key for meta in store.list(prefix) if meta.key.endswith(".jsonl")]
    return [json.loads(line) for key in keys for line in store.get(key)[0].splitlines()]


def statuses(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Status by id; fails if an id has two finished rows."""
    found: dict[str, str] = {}
    for row in rows:
        assert found.get(row["id"]) not in FINISHED, f"{row['id']} has a row after its finished one"
        found[row["id"]] = row["_status"]
    return found


def merge_by_hand(store: ObjectStore, folder: Path, dataset: str = DATASET, annotator: str = ANNOTATOR) -> None:
    """Bring every chunk into one merged object per batch, and remove the chunks."""
    prefix = layout.annotator_temp_prefix(dataset, annotator)
    chunks = [meta.key for meta in store.list(prefix) if meta.key.endswith(".jsonl")]
    new: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in chunk_rows(store, dataset, annotator):
        new[row["_batch"]].append(row)
    for batch, rows in new.items():
        merged: dict[str, dict[str, Any]] = {}
        for row in [*merged_rows(store, batch, dataset, annotator), *rows]:
            if merged.get(row["id"], {}).get("_status") not in FINISHED:
                merged[row["id"]] = row
        _write(store, batch, list(merged.values()), folder, dataset, annotator)
    for key in chunks:
        store.delete(key)


def merged_rows(
    store: ObjectStore, batch: str, dataset: str = DATASET, annotator: str = ANNOTATOR
) -> list[dict[str, Any]]:
    """The ids and statuses in a merged object of annotations; none if there is no object."""
    try:
        data, _ = store.get(layout.merged_key(layout.annotation_prefix(dataset, annotator, batch)))
    except ObjectNotFoundError:
        return []
    rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(data), columns=["id", "_batch", "_status"]).to_pylist()
    return rows


def _write(
    store: ObjectStore, batch: str, rows: list[dict[str, Any]], folder: Path, dataset: str, annotator: str
) -> None:
    schema = annotation_schema({})
    path = folder / "merged.tmp"
    path.unlink(missing_ok=True)
    writer = MergedWriter(path, schema)
    columns = [
        to_arrow([None if column.name == "_metadata" else row.get(column.name) for row in rows], column.type)
        for column in schema.columns
    ]
    writer.add(pa.Table.from_arrays(columns, schema=schema.arrow()))
    writer.finish(MergedMetadata("annotations", "f" * 12, datetime(2026, 1, 1, tzinfo=UTC), schema.columns, {}))
    key = layout.merged_key(layout.annotation_prefix(dataset, annotator, batch))
    store.put(key, path, mode=Overwrite())


def run(
    store: ObjectStore, rows: ListRows, function: Any, *, annotator: str = ANNOTATOR, **options: Any
) -> AnnotationReport:
    """Annotate every batch of ``rows``."""
    return asyncio.run(start(store, rows, function, annotator=annotator, **options))


async def start(
    store: ObjectStore, rows: ListRows, function: Any, *, annotator: str = ANNOTATOR, **options: Any
) -> AnnotationReport:
    """The same, on an event loop that runs already."""
    # Workers that share an annotator have the same code; here functions differ in what they do to the test.
    job = AnnotationJob(DATASET, annotator, list(rows.batches), maker=Maker(code="0" * 12))
    return await annotate(store, job, rows=rows, function=function, options=AnnotationOptions(**options))


def one_batch(count: int = 100, **settings: Any) -> ListRows:
    """So many rows in one batch."""
    return ListRows({BATCH: ids(count)}, **settings)


class Asked:
    """An async annotator that remembers what it was asked and answers by a rule."""

    def __init__(self, rule: Callable[[DataItem], object] = lambda item: {"length": len(item.data["text"])}) -> None:
        self.rule = rule
        self.ids: list[str] = []

    async def __call__(self, item: DataItem) -> object:
        self.ids.append(item.id)
        await asyncio.sleep(0)
        return self.rule(item)


async def until(condition: Callable[[], bool]) -> None:
    """Let others work until it holds."""
    while not condition():  # noqa: ASYNC110 - whatever it is, it has no event
        await asyncio.sleep(0.001)


def failed_rows(store: ObjectStore) -> list[dict[str, Any]]:
    """The rows in chunks that say that their row failed."""
    return [row for row in chunk_rows(store) if row["_status"] == "failed"]


def raising(error: BaseException) -> Callable[[DataItem], object]:
    """A rule that raises."""

    def rule(item: DataItem) -> object:
        raise error

    return rule


def events(caplog: pytest.LogCaptureFixture, name: str) -> list[dict[str, Any]]:
    """The fields of every event of a name."""
    return [getattr(record, FIELDS) for record in caplog.records if record.getMessage() == name]
