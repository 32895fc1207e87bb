"""A lake that somebody writes while others look: chunks, merges, annotations, and a model of what is there."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from datalake_service.catalog import layout
from datalake_service.catalog.columns import kind_of, merge_censuses
from datalake_service.catalog.manifests import ChunkEntry, RunManifest, format_time
from datalake_service.pipeline.live.asking import Asking
from datalake_service.pipeline.live.lake import LiveLake
from datalake_service.pipeline.merging.merge import merge_batch
from datalake_service.storage.base import CreateOnly, ObjectStore, Overwrite
from datalake_service.storage.folder import FolderStore
from datalake_service.viewer.answering import Answers

START = datetime(2026, 11, 20, 13, tzinfo=UTC)
DATASET = "posts"


@dataclass
class Written:
    """A dataset as it is written, and what must be seen of it."""

    store: ObjectStore
    rows: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    """By (batch, id): the columns of a row, ``_created_at`` among them."""
    annotations: dict[tuple[str, str, str], dict[str, Any] | str] = field(default_factory=dict)
    """By (annotator, batch, id): columns, or a status that is not ``done``."""
    merged: set[tuple[str, str]] = field(default_factory=set)
    runs: int = 0

    def write(self, batch: str, rows: Sequence[Mapping[str, Any]], *, minutes: int = 0, own: bool = False) -> None:
        """Store one chunk of a run; ``own``: rows bring their ids."""
        run = f"{self.runs:06x}"
        self.runs += 1
        prefix = layout.batch_prefix(DATASET, batch)
        sealed = START + timedelta(minutes=minutes)
        lines = [dict(row) | ({"id": f"own-{run}-{number}"} if own else {}) for number, row in enumerate(rows)]
        body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        census = merge_censuses({name: kind_of(value) for name, value in row.items()} for row in lines)
        manifest = RunManifest(
            run=run,
            kind="rows",
            created_at=sealed,
            deduplicate_on=None,
            chunk_size=len(rows),
            chunks=[ChunkEntry(len(rows), len(body), census, sealed)],
            completed_at=sealed,
        )
        self.store.put(layout.run_manifest_key(prefix, run), manifest.to_json(), mode=CreateOnly())
        self.store.put(layout.chunk_key(prefix, run, 0), body, mode=CreateOnly())
        for number, row in enumerate(rows):
            row_id = f"own-{run}-{number}" if own else f"{run}-00000-{number}"
            self.rows[batch, row_id] = {**row, "_created_at": format_time(sealed)}

    def merge(self, batch: str) -> None:
        """Merge a batch."""
        if any(name == batch for name, _ in self.rows):
            merge_batch(self.store, DATASET, batch)
            self.merged |= {key for key in self.rows if key[0] == batch}

    def annotate(self, annotator: str, rows: Mapping[tuple[str, str], Mapping[str, Any] | str]) -> None:
        """Store one chunk of annotations; those that have a final answer keep it."""
        run = f"{self.runs:06x}"
        self.runs += 1
        lines = []
        for (batch, row_id), said in rows.items():
            status = said if isinstance(said, str) else "done"
            columns = {} if isinstance(said, str) else dict(said)
            system = {"id": row_id, "_batch": batch, "_status": status, "_annotated_at": format_time(START)}
            error = {"_error": "it broke", "_kind": "timeout"} if status == "failed" else {}
            lines.append(json.dumps({**system, **error, **columns}).encode() + b"\n")
            known = self.annotations.get((annotator, batch, row_id))
            if known is None or known == "failed":
                self.annotations[annotator, batch, row_id] = said if isinstance(said, str) else dict(said)
        prefix = layout.annotator_temp_prefix(DATASET, annotator)
        self.store.put(layout.chunk_key(prefix, run, 0), b"".join(lines), mode=Overwrite())

    def merge_annotations(self, annotator: str) -> None:
        """Merge what an annotator said."""
        from datalake_service.pipeline.merging.merge import merge_annotator

        merge_annotator(self.store, DATASET, annotator)

    def full(self, key: tuple[str, str]) -> dict[str, Any]:
        """A row with everything that is known of it; unmerged rows have no annotations."""
        batch, row_id = key
        row = {"id": row_id, "_batch": batch, **self.rows[key]}
        if key in self.merged:
            for (annotator, of_batch, of_id), said in self.annotations.items():
                if (of_batch, of_id) == key:
                    row[f"{annotator}._status"] = said if isinstance(said, str) else "done"
                    if not isinstance(said, str):
                        row |= {f"{annotator}.{name}": value for name, value in said.items()}
        return row

    def ordered(self, column: str, *, descending: bool) -> list[tuple[str, str]]:
        """All rows in an order."""
        return sorted(self.rows, key=lambda key: order_key(self.full(key), column, descending), reverse=descending)


def order_key(row: Mapping[str, Any], column: str, descending: bool) -> tuple[Any, ...]:
    """Where a row stands: nulls last in both directions, NaN above all numbers, then batch and id."""
    value = row.get(column)
    if value is None:
        rank: tuple[Any, ...] = (-1 if descending else 2, 0)
    elif isinstance(value, float) and math.isnan(value):
        rank = (1, 0)
    else:
        rank = (0, value)
    return (*rank, row["_batch"], row["id"])


@contextmanager
def looking(store: ObjectStore, **settings: Any) -> Iterator[Answers]:
    """What a viewer answers about a lake; every listing is new."""
    with tempfile.TemporaryDirectory() as folder:
        lake = LiveLake(store, Path(folder), max_age=-1.0)
        asking = Asking(lake, **settings)
        try:
            yield Answers(lake, asking=asking)
        finally:
            asking.close()


@contextmanager
def written() -> Iterator[Written]:
    """An empty dataset in a folder."""
    with tempfile.TemporaryDirectory() as folder:
        yield Written(FolderStore(Path(folder), durable=False))


def pages(answers: Answers, query: Mapping[str, list[str]], *, between: Any = None) -> list[dict[str, Any]]:
    """Every page from the first to the last; ``between`` is called after each."""
    found = []
    cursor: str | None = None
    for number in range(1000):
        given = {**query, **({} if cursor is None else {"cursor": [cursor]})}
        page = answers.rows(DATASET, given)
        found.append(page)
        cursor = page["next"]
        if cursor is None:
            return found
        if between is not None:
            between(number)
    msg = "pages without end"
    raise AssertionError(msg)


def keys(some: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The rows of pages, in order."""
    return [(row["batch"], row["id"]) for page in some for row in page["rows"]]
