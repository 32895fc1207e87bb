"""Death at any operation of writing, merging and annotating damages nothing: the check finds at most leftovers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from datalake_service.pipeline.ingest import ingest_iterator
from datalake_service.pipeline.merging.merge import merge_annotator, merge_batch
from datalake_service.pipeline.upkeep.fsck import check_dataset
from datalake_service.storage.base import ObjectStore, Overwrite
from datalake_service.storage.folder import FolderStore
from tests.crash.deaths import every_death
from tests.support.annotations import ListRows, run
from tests.support.faulty_store import Crash, FaultyStore


def ingest(store: ObjectStore, start: int, count: int) -> None:
    """Rows in chunks of four; every other one has the text of the one before."""
    rows = [{"id": f"r{n:04d}", "text": n // 2} for n in range(start, start + count)]
    asyncio.run(
        ingest_iterator(store, rows, dataset="posts", batch="b1", chunk_size=4, deduplicate_on=["text"]),
    )


def annotate(store: ObjectStore, *ids: str) -> None:
    """Annotate rows, and leave the chunk."""
    run(store, ListRows({"b1": ids}), lambda item: {"ok": True})


def prepare(store: ObjectStore) -> None:
    """Something merged, and something that waits."""
    store.put("posts/b1/foreign.jsonl", b'{"text": "f"}\nno row\n', mode=Overwrite())
    ingest(store, 0, 6)
    merge_batch(store, "posts", "b1")
    annotate(store, "r0000")
    merge_annotator(store, "posts", "lang")
    annotate(store, "r0002")
    ingest(store, 6, 6)


WORK: dict[str, Callable[[ObjectStore], object]] = {
    "ingest": lambda store: ingest(store, 20, 6),
    "merge": lambda store: merge_batch(store, "posts", "b1"),
    "merge of annotations": lambda store: merge_annotator(store, "posts", "lang"),
}


def damage(store: ObjectStore) -> list[str]:
    """What is wrong, but for what is left over."""
    return [str(found.to_dict()) for found in check_dataset(store, "posts", older_than=timedelta(0)) if found.is_damage]


@pytest.mark.parametrize("name", WORK)
def test_no_death_does_damage(tmp_path: Path, name: str) -> None:
    """At each operation that changes anything; nor does the next run find any."""
    clean = FolderStore(tmp_path / "clean", durable=False)
    prepare(clean)
    watched = FaultyStore(clean)
    WORK[name](watched)
    assert damage(clean) == []
    deaths = every_death(watched)
    assert len(deaths) > 4
    for number, fault in deaths:
        store = FolderStore(tmp_path / f"{number}-{fault.name}", durable=False)
        prepare(store)
        with contextlib.suppress(Crash):
            WORK[name](FaultyStore(store, {number: fault}))
        assert damage(store) == [], (number, fault)
        WORK[name](store)
        assert damage(store) == [], (number, fault)
