"""Runs of annotators with versions, written by hand, and a model of what merges must make of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from datalake_service.catalog import layout
from datalake_service.catalog.generations import Generations
from datalake_service.catalog.makers import Maker, RunMaker
from datalake_service.catalog.manifests import claim_run
from datalake_service.errors import ObjectNotFoundError
from datalake_service.storage.base import CreateOnly, ObjectStore
from tests.support.annotations import ANNOTATOR, DATASET
from tests.support.merging import read_merged, read_record

Row = dict[str, Any]
FINAL = ("done", "skipped")


def stored_generations(store: ObjectStore) -> Generations:
    """The record of the annotator's generations."""
    key = layout.generations_key(DATASET, ANNOTATOR)
    return Generations.from_json(store.get(key)[0], key=key)


@dataclass(frozen=True)
class Made:
    """One annotation, and who made it."""

    row_id: str
    status: str
    value: int
    version: str | None = None
    code: str | None = None
    generation: int | None = None

    @property
    def age(self) -> int:
        return self.generation or 0


def put_run(
    store: ObjectStore,
    run: str,
    rows: Iterable[Row],
    maker: RunMaker | None,
    *,
    dataset: str = DATASET,
    annotator: str = ANNOTATOR,
) -> None:
    """A run that has written one chunk."""
    prefix = layout.annotator_temp_prefix(dataset, annotator)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    claim_run(
        store, prefix, kind="annotation", deduplicate_on=None, chunk_size=9, now=now, draw=lambda: run, maker=maker
    )
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    store.put(layout.chunk_key(prefix, run, 0), lines, mode=CreateOnly())


def run_maker(version: str | None, code: str | None, generation: int) -> RunMaker:
    """Who makes the rows of a run."""
    return RunMaker(Maker(version=version, code=code), generation)


def line(made: Made, batch: str = "b1") -> dict[str, Any]:
    """An annotation as a run writes it."""
    row = {"id": made.row_id, "_batch": batch, "_status": made.status, "_annotated_at": "2026-01-01T00:00:00.000000Z"}
    return row | ({"n": made.value} if made.status == "done" else {"_error": f"no {made.value}"})


def merged(store: ObjectStore, batch: str = "b1") -> tuple[list[Row], list[Row]]:
    """What counts in a batch, and what is kept beside it."""
    key = layout.merged_key(layout.annotation_prefix(DATASET, ANNOTATOR, batch))
    older = read_record(store, key)["older"]
    kept = [] if older is None else read_merged(store, layout.older_key(DATASET, ANNOTATOR, batch, older))
    return read_merged(store, key), kept


def as_made(rows: Iterable[Row]) -> set[Made]:
    """Rows of a merged object, compared by what matters."""
    return {
        Made(
            row["id"],
            row["_status"],
            row["n"] if row["_status"] == "done" else int(row["_error"].split()[1]),
            row.get("_version"),
            row.get("_code"),
            row.get("_generation"),
        )
        for row in rows
    }


def older_objects(store: ObjectStore, batch: str = "b1") -> list[str]:
    """The keys of all side objects of a batch."""
    try:
        return [meta.key for meta in store.list(layout.older_prefix(DATASET, ANNOTATOR, batch))]
    except ObjectNotFoundError:
        return []


def expected(rows: Sequence[Made]) -> tuple[set[Made], set[Made]]:
    """What must count of rows in the order in which they came, and what must be kept besides."""
    current: dict[str, Made] = {}
    best: dict[tuple[str, str | None, str | None], Made] = {}
    failures: dict[str, Made] = {}
    for row in rows:
        _take(current, row.row_id, row)
        _take(best, (row.row_id, row.version, row.code), row)
        if row.status not in FINAL and row.age >= failures.get(row.row_id, row).age:
            failures[row.row_id] = row
    kept = {row for row in best.values() if row.status in FINAL}
    for name, failure in failures.items():
        finals = [row.age for row in rows if row.row_id == name and row.status in FINAL]
        if finals and failure.age > max(finals):
            kept.add(failure)
    counting = set(current.values())
    return counting, kept - counting


def _take(best: dict[Any, Made], key: object, row: Made) -> None:
    known = best.get(key)
    if known is None:
        best[key] = row
    elif row.status in FINAL:
        if known.status not in FINAL or row.age > known.age:
            best[key] = row
    elif known.status not in FINAL and row.age >= known.age:
        best[key] = row
