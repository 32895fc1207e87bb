"""Clean-up of many batches of which few changed, against nothing but listing them.

Every batch has a merged object, its manifest for people, and duplicates. Each request takes ``--latency-ms``, as over a
network; requests are counted as S3 would be asked (a listing costs one for 1,000 objects).
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Comparison, Side, main, timed
from benchmarks.rows import rows

if TYPE_CHECKING:
    from datalake_service.storage.base import ObjectStore

DATASET, KEYS = "bench", ["text", "source_id"]


def lake(arguments: argparse.Namespace) -> Path:
    """A lake in which every batch is merged; made once, in a process of its own."""
    base = Path(os.environ.get("BENCH_SCRATCH") or tempfile.gettempdir())
    made = base / f"bench-clean-up-{arguments.batches}"
    with (base / f"{made.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            maker = multiprocessing.get_context("spawn").Process(target=make_lake, args=(made, arguments.batches))
            maker.start()
            maker.join()
            if maker.exitcode:
                sys.exit(f"could not make {made}")
    return made


def make_lake(made: Path, batches: int) -> None:
    """One batch by our own ingest and merge, and copies of it: what is in them is not looked at."""
    from datalake_service.pipeline.merging.merge import merge_batch
    from datalake_service.storage.folder import FolderStore

    unfinished = made.with_suffix(".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    store = FolderStore(unfinished, durable=False)
    add_rows(store, "b0")
    merge_batch(store, DATASET, "b0")
    for number in range(1, batches):
        shutil.copytree(unfinished / DATASET / "b0", unfinished / DATASET / f"b{number}", copy_function=os.link)
    unfinished.rename(made)


def add_rows(store: ObjectStore, batch: str) -> None:
    """A run of 200 rows in two chunks, some of them duplicates."""
    from datalake_service.pipeline.ingest import ingest_iterator

    asyncio.run(ingest_iterator(store, rows(200, duplicates=0.1), dataset=DATASET, batch=batch, deduplicate_on=KEYS))


def counted(folder: Path, arguments: argparse.Namespace, changed: int) -> tuple[ObjectStore, list[int]]:
    """A copy of the lake in which some batches have new rows; what it is asked is counted, and takes its time."""
    from datalake_service.storage.folder import FolderStore
    from datalake_service.storage.observed import Observation, ObservedStore

    made = folder / "lake"
    shutil.copytree(lake(arguments), made, copy_function=os.link)
    store = FolderStore(made, durable=False)
    for number in range(changed):
        add_rows(store, f"b{number}")
    requests = [0]

    def observe(call: Observation) -> None:
        requests[0] += call.requests
        time.sleep(call.requests * arguments.latency_ms / 1_000)

    return ObservedStore(store, observe), requests


def listing(folder: Path, arguments: argparse.Namespace) -> None:
    """The limit."""
    store, requests = counted(folder, arguments, 0)
    with timed():
        objects = sum(1 for _ in store.list(f"{DATASET}/"))
    print(f"  listing: {objects:,} objects, {requests[0]} requests", file=sys.stderr)


def clean_up_with(changed: int) -> Side:
    """Ours, when so many batches changed."""

    def side(folder: Path, arguments: argparse.Namespace) -> None:
        from datalake_service.pipeline.merging import attempt as merge_attempt  # noqa: F401 - loading them is not the work
        from datalake_service.pipeline.upkeep import cleanup

        store, requests = counted(folder, arguments, changed)
        with timed():
            results = list(cleanup.clean_up(store))
        assert [result.error for result in results] == [None] * changed
        print(f"  {changed} changed: {requests[0]} requests", file=sys.stderr)

    return side


def options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--batches", type=int, default=1_000)
    parser.add_argument("--latency-ms", type=float, default=20, help="how long a request takes (default: 20)")


SIDES: dict[str, Side] = {
    "limit: one listing": listing,
    "datalake, nothing changed": clean_up_with(0),
    "datalake, 10 batches changed": clean_up_with(10),
}

if __name__ == "__main__":
    main(__file__, Comparison("Clean up 1,000 batches", SIDES, options, by="inner_wall"))
