"""Writers that die at any operation of the store, and merges that die in between: what was acknowledged is there."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.pipeline.ingest import ingest_iterator
from datalake_service.pipeline.merging.merge import merge_batch
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.folder import FolderStore
from tests.crash.deaths import Death, deaths, dies, examples
from tests.support.faulty_store import Crash, FaultyStore
from tests.support.merging import read_merged

BATCHES = ("b1", "b10")
UPLOADS = 8
"""Chunks on their way at once."""
NESTED = {"text": "ü\u2028", "list": [1, None, {"x": 2**70}], "": 0.1}


class BrokenSourceError(Exception):
    """What a source raises in the middle."""


@dataclass(frozen=True)
class Writer:
    """Some rows, and how often their writer dies before they are stored."""

    batch: str
    rows: int
    chunk_size: int
    kind: str
    """``ids``: rows bring theirs. ``twice``: each comes twice, and one is to stay. ``plain``: new rows each time."""
    deaths: Sequence[Death]
    merge: Sequence[Death]
    """After each death; none: no merge."""
    breaks_at: int | None
    """Row before which the source of the last attempt raises."""


@dataclass
class Model:
    """What was handed over and what was promised, by batch."""

    offered: dict[str, set[str]] = field(default_factory=lambda: {batch: set() for batch in BATCHES})
    promised: dict[str, set[str]] = field(default_factory=lambda: {batch: set() for batch in BATCHES})


writers = st.builds(
    Writer,
    batch=st.sampled_from(BATCHES),
    rows=st.integers(0, 30),
    chunk_size=st.integers(1, 9),
    kind=st.sampled_from(["ids", "twice", "plain"]),
    deaths=deaths(15),
    merge=deaths(25),
    breaks_at=st.none() | st.integers(0, 30),
)


@settings(max_examples=examples(12))
@given(st.lists(writers, min_size=1, max_size=4))
def test_what_was_acknowledged_is_there_once(planned: list[Writer]) -> None:
    """And nothing that nobody wrote; a death costs the chunk being filled and those on their way."""
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(Path(folder), durable=False)
        model = Model()
        for number, writer in enumerate(planned):
            write(store, model, number, writer)
        for batch in BATCHES:
            merge_batch(store, "d", batch)
            merge_batch(store, "d", batch)
            check(store, model, batch)


def write(store: ObjectStore, model: Model, number: int, writer: Writer) -> None:
    """Let the writer die as often as it shall, then let it come to its end, or its source break."""
    for attempt, death in enumerate(writer.deaths):
        before = stored(store, writer.batch)
        values = values_of(writer, number, attempt)
        handed: list[str] = []
        with suppress(Crash):
            ingest(FaultyStore(store, dict([death])), writer, values, handed)
            model.promised[writer.batch].update(values)
        model.offered[writer.batch].update(handed)
        lost = len(handed) - (stored(store, writer.batch) - before)
        assert lost <= (UPLOADS + 2) * writer.chunk_size
        for merge_death in writer.merge[:1]:
            dies(store, lambda lake: merge_batch(lake, "d", writer.batch), merge_death)
    values = values_of(writer, number, len(writer.deaths))
    handed = []
    broken = None if writer.breaks_at is None else min(writer.breaks_at, len(values))
    with suppress(BrokenSourceError):
        ingest(store, writer, values, handed, broken=broken)
    model.offered[writer.batch].update(handed)
    model.promised[writer.batch].update(handed)
    for merge_death in writer.merge[1:]:
        dies(store, lambda lake: merge_batch(lake, "d", writer.batch), merge_death)


def values_of(writer: Writer, number: int, attempt: int) -> list[str]:
    """What tells the rows apart: the same in each attempt if they may be repeated."""
    again = f"-{attempt}" if writer.kind == "plain" else ""
    return [f"{number}-{row}{again}" for row in range(writer.rows)]


def ingest(
    store: ObjectStore, writer: Writer, values: list[str], handed: list[str], *, broken: int | None = None
) -> None:
    """Write the rows; ``handed`` tells which of them the product took."""

    def rows() -> Iterator[dict[str, Any]]:
        for place, value in enumerate(values):
            if place == broken:
                raise BrokenSourceError
            handed.append(value)
            yield {"value": value, **NESTED} | ({"id": value} if writer.kind == "ids" else {})
            if writer.kind == "twice":
                yield {"value": value, **NESTED}
        if broken == len(values):
            raise BrokenSourceError

    columns = ["value"] if writer.kind == "twice" else None
    asyncio.run(
        ingest_iterator(
            store, rows(), dataset="d", batch=writer.batch, chunk_size=writer.chunk_size, deduplicate_on=columns
        )
    )


def stored(store: ObjectStore, batch: str) -> int:
    """How many lines lie in chunks, and in the merged object with its duplicates and repetitions."""
    lines = 0
    for meta in store.list(f"d/{batch}/"):
        name = meta.key.rpartition("/")[2]
        if "_chunk_" in name:
            lines += store.get(meta.key)[0].count(b"\n")
    return lines


def check(store: ObjectStore, model: Model, batch: str) -> None:
    """Compare a merged batch with what was promised."""
    keys = [meta.key for meta in store.list(f"d/{batch}/")]
    assert not [key for key in keys if "_chunk_" in key]
    if f"d/{batch}/merged.parquet" not in keys:
        assert not model.promised[batch]
        return
    rows = read_merged(store, f"d/{batch}/merged.parquet")
    found = Counter(row["value"] for row in rows)
    assert set(found.values()) <= {1}
    assert model.promised[batch] <= set(found) <= model.offered[batch]
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        assert {name: row[name] for name in NESTED} == NESTED
