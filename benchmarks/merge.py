"""Merge the chunks of a batch into one Parquet object, against raw DuckDB on the same files.

DuckDB is told the columns, removes duplicates with ``DISTINCT ON`` (any of them stays) and writes zstd Parquet. Ours
also gives every row its id and system columns, looks for repeated ids, keeps the first duplicate and puts the others
aside, checks the file, waits for the disk (fsync) before the commit, and deletes the chunks.

``--big GIB`` shows the memory that a merge of one large batch takes under the default limit of 512 MiB instead.
"""

from __future__ import annotations

import argparse
import asyncio
import compileall
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Comparison, Side, main, own_peak_mib, timed
from benchmarks.rows import rows

DATASET, BATCH = "bench", "b1"
KEYS = ["text", "source_id"]
COLUMNS = (
    "{id: 'VARCHAR', text: 'VARCHAR', source_id: 'VARCHAR', timestamp: 'VARCHAR', "
    "metadata: 'STRUCT(url VARCHAR, lang VARCHAR, score DOUBLE, pos BIGINT, tags VARCHAR[])'}"
)
BYTES_PER_ROW = 915
"""About what ``rows`` takes as JSON, for ``--big``."""


def scratch() -> Path:
    """Where everything lies that the sides share."""
    return Path(os.environ.get("BENCH_SCRATCH") or tempfile.gettempdir())


def source(arguments: argparse.Namespace) -> Path:
    """The lake whose chunks are merged; no side changes it."""
    return scratch() / f"bench-merge-{arguments.rows}-{arguments.chunk}"


def make_lake(made: Path, count: int, chunk: int) -> None:
    """Chunks of one finished run, written by our own ingest; the lake appears when it is complete."""
    from datalake_service.pipeline.ingest import ingest_iterator
    from datalake_service.storage.folder import FolderStore

    unfinished = made.with_suffix(".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    store = FolderStore(unfinished, durable=False)
    source_rows = rows(count, pool=20_000)
    asyncio.run(
        ingest_iterator(store, source_rows, dataset=DATASET, batch=BATCH, chunk_size=chunk, deduplicate_on=KEYS)
    )
    unfinished.rename(made)


def in_a_process(function: object, *arguments: object) -> None:
    """Run something that must leave no trace in this process."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)  # type: ignore[arg-type]  # a function
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(f"{function} failed")


def prepare(arguments: argparse.Namespace) -> None:
    """Make the lake once, and a copy of it for every merge: a merge deletes what it merged.

    Our modules are compiled, as an installation does it; the peer's are. Compiling takes a tenth of a second.
    """
    for package in ("datalake_service", "datalake_utils"):
        compileall.compile_dir(Path(__file__).parent.parent / package, quiet=1)
    lake = source(arguments)
    if not lake.exists():
        in_a_process(make_lake, lake, arguments.rows, arguments.chunk)
    for number in range(arguments.rounds):
        copy = lake.with_name(f"{lake.name}.copy{number}")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(lake, copy)
    os.sync()  # what is still to be written is nobody's work


def a_copy(arguments: argparse.Namespace, folder: Path) -> Path:
    """One of the copies; nobody else gets it."""
    lake = source(arguments)
    copy = next(lake.parent.glob(f"{lake.name}.copy*"))
    return copy.rename(folder / "lake")


def duckdb_side(folder: Path, arguments: argparse.Namespace) -> int:
    """``read_json`` with explicit columns, ``DISTINCT ON``, ``COPY``."""
    import duckdb

    chunks = source(arguments) / DATASET / BATCH / "*.jsonl"
    target = folder / "merged.parquet"
    with timed():
        connection = duckdb.connect(config={"temp_directory": str(folder / "spill")})
        connection.execute(
            f"COPY (SELECT DISTINCT ON ({', '.join(KEYS)}) * FROM read_json('{chunks}', columns={COLUMNS}, "
            f"format='newline_delimited')) TO '{target}' (FORMAT parquet, COMPRESSION zstd)"
        )
    (found,) = connection.execute(f"SELECT count(*) FROM '{target}'").fetchall()
    print(f"{target.stat().st_size / 1e6:.1f} MB", file=sys.stderr)
    return int(found[0])


def datalake_side(folder: Path, arguments: argparse.Namespace) -> int:
    """``merge_batch``, as ``datalake clean-up`` calls it."""
    lake = a_copy(arguments, folder)
    from datalake_service.pipeline.merging.merge import merge_batch
    from datalake_service.storage.folder import FolderStore

    with timed():
        result = merge_batch(FolderStore(lake), DATASET, BATCH)
    print(f"{(lake / result.key).stat().st_size / 1e6:.1f} MB", file=sys.stderr)
    return result.rows


def big(gib: float) -> None:
    """One batch of so many GiB of JSONL, merged in a process of its own; everything is deleted afterwards."""
    count = int(gib * 2**30 / BYTES_PER_ROW)
    lake = scratch() / "bench-merge-big"
    shutil.rmtree(lake, ignore_errors=True)
    try:
        in_a_process(make_lake, lake, count, 1_000)
        size = sum(file.stat().st_size for file in (lake / DATASET / BATCH).iterdir())
        print(f"\n### Merge of one batch of {size / 2**30:.2f} GiB, {count:,} rows, in 512 MiB\n")
        in_a_process(merge_big, lake)
    finally:
        shutil.rmtree(lake, ignore_errors=True)


def merge_big(lake: Path) -> None:
    """The merge, and what it took."""
    from datalake_service.pipeline.merging.merge import merge_batch
    from datalake_service.storage.folder import FolderStore

    started, before = time.perf_counter(), time.process_time()
    result = merge_batch(FolderStore(lake), DATASET, BATCH)
    wall, cpu = time.perf_counter() - started, time.process_time() - before
    print("| rows | duplicates | wall s | CPU s | MB/s | peak MiB |\n| --: | --: | --: | --: | --: | --: |")
    speed = result.size / wall / 1e6
    print(f"| {result.rows:,} | {result.duplicates:,} | {wall:.0f} | {cpu:.0f} | {speed:.0f} | {own_peak_mib():.0f} |")


def options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--chunk", type=int, default=100, help="rows in a chunk")
    parser.add_argument("--big", type=float, metavar="GIB", help="merge one batch of this size, and nothing else")


SIDES: dict[str, Side] = {"duckdb DISTINCT ON": duckdb_side, "datalake": datalake_side}

if __name__ == "__main__":
    parsing = argparse.ArgumentParser(add_help=False)
    parsing.add_argument("--rounds", type=int, default=5)
    options(parsing)
    given, other = parsing.parse_known_args()
    if given.big:
        big(given.big)
    else:
        if not any(word in other for word in ("--side", "-h", "--help")):
            prepare(given)
        main(__file__, Comparison("Merge: 100-row chunks to one Parquet object", SIDES, options))
