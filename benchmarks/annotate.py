"""Annotate every row of a merged batch with an async function, against bare workers on one shared iterator.

The limit reads the same Parquet, awaits the same function and writes one JSON line a row into one file. Ours also
takes the lease, finds what is done, keeps status, batch and time of each row, takes the census, stores chunks on disk
(fsync), and gives every row a deadline. With ``--latency-ms`` the function waits, and the first side is what nobody
can beat: rows x latency / concurrency. The event loop's timers are late by up to a millisecond, and by more while other
processes want the processor; so each side also says how much of its time the workers were in calls, by how long the
calls took. ``--rows 100000 --copies 100`` is ten million rows in a hundred batches, for their memory.
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
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from benchmarks.annotate_peers import peers
from benchmarks.measure import Comparison, Side, main, timed
from benchmarks.rows import rows
from datalake_interfaces import BatchAnnotator, BatchAnswers, DataItem

DATASET, BATCH = "bench", "b1"
LINES = 1_000


def lake(arguments: argparse.Namespace) -> Path:
    """A lake with the rows in one merged batch; made once, in a process of its own, by our own ingest and merge."""
    base = Path(os.environ.get("BENCH_SCRATCH") or tempfile.gettempdir())
    made = base / f"bench-annotate-{arguments.rows}-{arguments.copies}"
    with (base / f"{made.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            maker = multiprocessing.get_context("spawn").Process(
                target=make_lake, args=(made, arguments.rows, arguments.copies)
            )
            maker.start()
            maker.join()
            if maker.exitcode:
                sys.exit(f"could not make {made}")
    return made


def make_lake(made: Path, count: int, copies: int) -> None:
    """Make the lake; it appears when it is complete. The other batches are the first one, once more on no more disk."""
    from datalake_service.pipeline.ingest import ingest_iterator
    from datalake_service.pipeline.merging.merge import merge_batch
    from datalake_service.storage.folder import FolderStore

    unfinished = made.with_suffix(".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    store = FolderStore(unfinished, durable=False)
    asyncio.run(ingest_iterator(store, rows(count, duplicates=0), dataset=DATASET, batch=BATCH, chunk_size=1_000))
    merge_batch(store, DATASET, BATCH)
    for number in range(1, copies):
        shutil.copytree(unfinished / DATASET / BATCH, unfinished / DATASET / f"c{number}", copy_function=os.link)
    unfinished.rename(made)


class Waited:
    """How long all calls of this process took, added up."""

    seconds = 0.0


async def wait(latency: float) -> None:
    """Wait as a service lets one wait."""
    began = time.perf_counter()
    await asyncio.sleep(latency)
    Waited.seconds += time.perf_counter() - began


@contextmanager
def busy(arguments: argparse.Namespace) -> Iterator[None]:
    """Say how much of the time of the work the workers were in calls."""
    began = time.perf_counter()
    yield
    if Waited.seconds:
        share = Waited.seconds / arguments.concurrency / (time.perf_counter() - began)
        mean = Waited.seconds / all_rows(arguments)
        print(f"  workers in calls: {share:.1%} of the time; a call took {mean * 1_000:.2f} ms", file=sys.stderr)


def asked(latency: float) -> Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]:
    """What is asked of the data of each row."""

    async def at_once(data: dict[str, Any]) -> dict[str, Any]:
        return {"n": len(data["text"])}

    async def after_a_while(data: dict[str, Any]) -> dict[str, Any]:
        await wait(latency)
        return {"n": len(data["text"])}

    return after_a_while if latency else at_once


def asked_of_items(latency: float) -> Callable[[DataItem], Awaitable[dict[str, Any]]]:
    """The same of an item."""

    async def at_once(item: DataItem) -> dict[str, Any]:
        return {"n": len(item.data["text"])}

    async def after_a_while(item: DataItem) -> dict[str, Any]:
        await wait(latency)
        return {"n": len(item.data["text"])}

    return after_a_while if latency else at_once


def asked_of_batches(latency: float, size: int) -> BatchAnnotator:
    """The same of many items at once."""

    class Batches(BatchAnnotator):
        max_batch_size = size

        async def annotate_batch(self, items: Sequence[DataItem]) -> BatchAnswers:
            if latency:
                await wait(latency)
            return [{"n": len(item.data["text"])} for item in items]

    return Batches()


class Lines:
    """One JSON line a row, written in blocks."""

    def __init__(self, file: BinaryIO) -> None:
        import orjson

        self._file, self._dumps, self._options = file, orjson.dumps, orjson.OPT_APPEND_NEWLINE
        self._buffer: list[bytes] = []
        self.written = 0

    def add(self, row: dict[str, Any]) -> None:
        """Add one."""
        self._buffer.append(self._dumps(row, None, self._options))
        if len(self._buffer) == LINES:
            self.flush()

    def flush(self) -> None:
        """Write what is left."""
        self._file.write(b"".join(self._buffer))
        self.written += len(self._buffer)
        self._buffer.clear()


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file as small dicts."""
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(path).iter_batches(2_048, columns=["id", "text"]):
        for row_id, text in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
            yield {"id": row_id, "text": text}


def ideal(_folder: Path, arguments: argparse.Namespace) -> None:
    """Only the waiting."""
    with timed():
        time.sleep(all_rows(arguments) * arguments.latency_ms / 1_000 / arguments.concurrency)


def bare(folder: Path, arguments: argparse.Namespace) -> object:
    """The limit."""
    import pyarrow.parquet  # noqa: F401 - loading it is not part of the work

    ask = asked(arguments.latency_ms / 1_000)
    source = chain.from_iterable(read(rows_of(arguments)) for _ in range(arguments.copies))

    async def worker(lines: Lines) -> None:
        for row in source:
            result = await ask(row)
            result["id"] = row["id"]
            lines.add(result)

    async def run(lines: Lines) -> None:
        await asyncio.gather(*(worker(lines) for _ in range(arguments.concurrency)))
        lines.flush()

    with timed(), busy(arguments), (folder / "result.jsonl").open("wb") as file:
        lines = Lines(file)
        asyncio.run(run(lines))
    return lines.written


def ours(_folder: Path, arguments: argparse.Namespace) -> object:
    """A view and ``annotate`` below the facade."""
    import duckdb  # noqa: F401 - loading it is not part of the work
    import pyarrow.parquet  # noqa: F401 - as above

    from datalake_service.annotating.limits import Limit
    from datalake_service.annotating.policy import CallPolicy
    from datalake_service.annotating.usage import Budget
    from datalake_service.pipeline.annotation.annotate import annotate
    from datalake_service.pipeline.annotation.job import AnnotationJob, AnnotationOptions
    from datalake_service.pipeline.views.plan import ViewRequest
    from datalake_service.pipeline.views.views import DatasetView
    from datalake_service.storage.folder import FolderStore

    store = FolderStore(lake(arguments))
    batches = [BATCH, *(f"c{number}" for number in range(1, arguments.copies))]
    job = AnnotationJob(DATASET, f"run-{os.getpid()}", batches)
    many = 10**9
    calls = (
        CallPolicy(requests=Limit(many), tokens=Limit(many), budget=Budget(calls=many)) if arguments.polite else None
    )
    options = AnnotationOptions(
        max_concurrency=arguments.concurrency,
        timeout_seconds=arguments.timeout,
        chunk_size=arguments.chunk,
        calls=calls,
    )
    latency = arguments.latency_ms / 1_000
    ask = asked_of_batches(latency, arguments.batch) if arguments.batch else asked_of_items(latency)
    with timed(), busy(arguments), DatasetView(store, ViewRequest(dataset=DATASET, base_columns=["text"])) as view:
        report = asyncio.run(annotate(store, job, rows=view, function=ask, options=options))
    shutil.rmtree(store.root / DATASET / "annotations" / job.annotator)
    return report.annotated


def options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--copies", type=int, default=1, help="batches of so many rows each (default: 1)")
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--latency-ms", type=float, default=0, help="how long the function waits (default: not at all)")
    parser.add_argument("--timeout", type=float, default=60, help="seconds for each row (default: 60)")
    parser.add_argument(
        "--polite", action="store_true", help="with attempts, limits, adaptive concurrency and a budget"
    )
    parser.add_argument("--batch", type=int, default=0, help="rows in a call of ours (default: one, and no batches)")
    parser.add_argument("--chunk", type=int, default=1_000, help="rows in a chunk of results (default: 1,000)")


def all_rows(arguments: argparse.Namespace) -> int:
    """Rows of all batches."""
    rows: int = arguments.rows
    copies: int = arguments.copies
    return rows * copies


def rows_of(arguments: argparse.Namespace) -> Path:
    """The merged object."""
    return lake(arguments) / DATASET / BATCH / "merged.parquet"


WORKERS: dict[str, Side] = {"limit: workers on one shared iterator": bare, "datalake": ours, **peers(rows_of)}
WAITS = any(argument.startswith("--latency-ms") for argument in sys.argv)

if __name__ == "__main__":
    main(
        __file__,
        Comparison(
            "Annotate with an async function",
            {"ideal: rows x latency / concurrency": ideal, **WORKERS} if WAITS else WORKERS,
            options,
            by="inner_wall" if WAITS else "inner_cpu",
            rows=all_rows,
        ),
    )
