"""Export of base rows joined with annotations, filtered to 30 %, as Python dicts; the peer: DuckDB to Arrow to pylist.

Whole processes are compared: start, imports and planning count. The lake is made once, through ingest, annotation and
merge; the peer gets the same rows as two Parquet files as it would write them (nested metadata as a struct). The peer
returns rows in any order and knows no versions; our side keeps the order of rows and reads one version of each object.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import random
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.measure import Comparison, Side, main, timed
from benchmarks.rows import rows

DATA = "BENCH_EXPORT_DATA"
"""The environment variable that tells children where the data is."""
MISSING, KEPT = 0.05, 0.3158
"""Shares of rows without an annotation, and of annotations that say ``keep``."""


def annotation(row_id: str) -> dict[str, Any] | None:
    """The columns of one row's annotation, always the same; ``None``: it has none."""
    source = random.Random(row_id)
    if source.random() < MISSING:
        return None
    return {
        "keep": source.random() < KEPT,
        "quality": source.random(),
        "label": f"label-{source.randrange(20)}",
        "n_tokens": source.randrange(50, 500),
    }


async def make_lake(folder: Path, count: int) -> None:
    """Ingest, merge, annotate, merge."""
    from datalake_interfaces import Annotation, DataItem, SkipDoc
    from datalake_service import S3DataTool
    from datalake_service.errors import MergeError

    async def annotate(item: DataItem) -> Annotation | SkipDoc:
        columns = annotation(item.id)
        return SkipDoc() if columns is None else Annotation(data=columns)

    tool = S3DataTool(folder / "lake")
    configs = S3DataTool.StreamingConfigs(chunk_size=1_000)
    async with tool.dataset_generator as generator:
        await generator.from_async_iterator(
            rows(count, duplicates=0.0, seed=5), name="d", batch="b", streaming_configs=configs
        )
    await tool.clean_up()
    async with tool.filter_for_annotation("d", "ann", base_columns=[]) as view:
        await view.annotate(annotate, max_concurrency=16)
    for result in await tool.clean_up():
        if result.error is not None:
            raise MergeError(result.error)


def make_files(folder: Path, count: int) -> None:
    """The same rows as somebody without a lake would keep them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = list(rows(count, duplicates=0.0, seed=5))
    pq.write_table(
        pa.Table.from_pylist(source),
        folder / "base.parquet",
        compression="zstd",
        compression_level=3,
        row_group_size=20_000,
    )
    annotations = [(row["id"], annotation(row["id"])) for row in source]
    random.Random(9).shuffle(annotations)
    table = pa.Table.from_pylist([{"id": row_id, **columns} for row_id, columns in annotations if columns is not None])
    pq.write_table(table, folder / "ann.parquet", compression="zstd", compression_level=3, row_group_size=100_000)


def make(folder: Path, count: int) -> None:
    """Make the data of both sides."""
    make_files(folder, count)
    asyncio.run(make_lake(folder, count))


def consume(found: Iterable[dict[str, Any]], tokens: str) -> list[int]:
    """Use every row, and say what was there."""
    count = total = nested = 0
    for row in found:
        count += 1
        total += len(row["text"]) + (row[tokens] or 0)
        nested += row["metadata"]["pos"]
    return [count, total, nested]


def peer(_folder: Path, _arguments: argparse.Namespace) -> object:
    """DuckDB joins and filters, Arrow turns rows into dicts."""
    import duckdb

    data = os.environ[DATA]
    query = (
        "SELECT b.id, b.text, b.source_id, b.timestamp, b.metadata, a.quality, a.label, a.n_tokens "
        f"FROM read_parquet('{data}/base.parquet') b JOIN read_parquet('{data}/ann.parquet') a ON a.id = b.id "
        "WHERE a.keep"
    )
    with timed():
        connection = duckdb.connect()
        batches = connection.sql(query).to_arrow_reader(10_000)
        return consume((row for batch in batches for row in batch.to_pylist()), "n_tokens")


def ours(_folder: Path, _arguments: argparse.Namespace) -> object:
    """``filter_for_export``, by its documented surface."""
    from datalake_service import BooleanFilter, S3DataTool

    with timed():
        context = S3DataTool(Path(os.environ[DATA]) / "lake").filter_for_export(
            "d",
            base_columns=["text", "source_id", "timestamp", "metadata"],
            annotator_columns={"ann": ["quality", "label", "n_tokens"]},
            filter=BooleanFilter(field="ann.keep", value=True),
        )
        with context as view:
            return consume(view, "ann.n_tokens")


def options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--rows", type=int, default=100_000)


SIDES: dict[str, Side] = {"peer: DuckDB, Arrow, to_pylist": peer, "datalake": ours}


def run() -> None:
    """Make the data, then compare; children find it made."""
    comparison = Comparison("Export: 30 % of base ⋈ annotation as dict rows", SIDES, options, by="wall")
    if DATA in os.environ:
        main(__file__, comparison)
        return
    parser = argparse.ArgumentParser(add_help=False)
    options(parser)
    count = parser.parse_known_args()[0].rows
    with tempfile.TemporaryDirectory(prefix="bench-", dir=os.environ.get("BENCH_SCRATCH")) as folder:
        if not {"-h", "--help"} & set(sys.argv):
            # In a process of its own: a child's peak memory counts from its parent's.
            maker = multiprocessing.get_context("spawn").Process(target=make, args=(Path(folder), count))
            maker.start()
            maker.join()
            if maker.exitcode:
                sys.exit("could not make the data")
        os.environ[DATA] = folder
        main(__file__, comparison)


if __name__ == "__main__":
    run()
