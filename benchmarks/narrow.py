"""Read the rows that an annotation chose: how much of the texts is read for them, from a bucket and from a folder.

One batch of texts, and an annotator that chose one row in a hundred: together (``--choice near``), or each by chance
(``far``). Before, a row group of which one row was needed was read as a whole, as DuckDB does; now small columns
choose, and pages are read. Bytes of a bucket are those that were asked for; of a folder, what came from the disk after
the system forgot the file.
"""

from __future__ import annotations

import argparse
import fcntl
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Comparison, Side, main, timed
from benchmarks.resume import MOMENT, Ranges, row_id
from datalake_service.storage.base import ObjectStore, Overwrite

if TYPE_CHECKING:
    import pyarrow as pa

    from datalake_service.tables.formats.schema import MergedKind, TableSchema

DATASET, BATCH, ANNOTATOR = "bench", "b1", "pick"
BLOCK_BYTES = 32 << 20
POOL = 64 << 20
NEVER = 1 << 62


def count_of(arguments: argparse.Namespace) -> int:
    """How many rows there are."""
    text: int = arguments.text
    return int(arguments.gigabytes * 1e9) // text


def lake(arguments: argparse.Namespace) -> Path:
    """The dataset; made once, in a process of its own."""
    base = Path(os.environ.get("BENCH_SCRATCH") or tempfile.gettempdir())
    made = base / f"bench-narrow-{arguments.gigabytes:g}-{arguments.text}"
    with (base / f"{made.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            maker = multiprocessing.get_context("spawn").Process(target=make_lake, args=(made, arguments))
            maker.start()
            maker.join()
            if maker.exitcode:
                sys.exit(f"could not make {made}")
    return made


def make_lake(made: Path, arguments: argparse.Namespace) -> None:
    """Merged objects as a merge writes them."""
    import numpy as np
    import pyarrow as pa

    from datalake_service.catalog import layout
    from datalake_service.storage.folder import FolderStore
    from datalake_service.tables.formats.schema import annotation_schema, row_schema

    unfinished = made.with_suffix(".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    store = FolderStore(unfinished, durable=False)
    source = np.random.default_rng(1)
    sizes = source.integers(2, 11, 30_000)
    words = np.array(["".join(chr(97 + letter) for letter in source.integers(0, 26, size)) for size in sizes])
    pool = " ".join(words[np.minimum(source.zipf(1.3, POOL // 6), 30_000) - 1])
    rows, step = count_of(arguments), max(1, BLOCK_BYTES // arguments.text)
    of_rows, of_annotations = row_schema({"text": "s", "n": "i"}), annotation_schema({"near": "b", "far": "b"})

    def texts() -> Iterator[pa.Table]:
        for start in range(0, rows, step):
            block = range(start, min(start + step, rows))
            starts = source.integers(0, len(pool) - arguments.text, len(block))
            columns = {
                "id": [row_id(one) for one in block],
                "_batch": [BATCH] * len(block),
                "_created_at": [MOMENT] * len(block),
                "text": [pool[at : at + arguments.text] for at in starts],
                "n": list(block),
            }
            yield pa.Table.from_pydict(columns, schema=of_rows.arrow())

    def picks() -> Iterator[pa.Table]:
        first, some = rows // 3, rows // 100
        for start in range(0, rows, 100_000):
            block = range(start, min(start + 100_000, rows))
            columns = {
                "id": [row_id(one) for one in block],
                "_batch": [BATCH] * len(block),
                "_status": ["done"] * len(block),
                "_annotated_at": [MOMENT] * len(block),
                "near": [first <= one < first + some for one in block],
                "far": [by_chance(one) for one in block],
            }
            schema = of_annotations.arrow()
            nothing = {name: [None] * len(block) for name in schema.names if name not in columns}
            yield pa.Table.from_pydict(columns | nothing, schema=schema)

    put(store, layout.batch_prefix(DATASET, BATCH), "rows", of_rows, texts())
    put(store, layout.annotation_prefix(DATASET, ANNOTATOR, BATCH), "annotations", of_annotations, picks())
    unfinished.rename(made)


def by_chance(number: int) -> bool:
    """One in a hundred."""
    return blake2b(number.to_bytes(8, "big"), digest_size=8, key=b"far").digest() < (2**64 // 100).to_bytes(8, "big")


def put(store: ObjectStore, prefix: str, kind: MergedKind, schema: TableSchema, tables: Iterator[pa.Table]) -> None:
    """Write one merged object."""
    from datalake_service.catalog import layout
    from datalake_service.storage.scratch import scratch_folder
    from datalake_service.tables.formats.schema import MergedMetadata
    from datalake_service.tables.objects.parquet import MergedWriter

    with scratch_folder(store) as folder:
        path = folder / "merged.parquet"
        writer = MergedWriter(path, schema)
        for table in tables:
            writer.add(table)
        counts = {"rows": writer.rows}
        writer.finish(MergedMetadata(kind, "f" * 12, datetime(2026, 11, 20, 13, tzinfo=UTC), schema.columns, counts))
        store.put(layout.merged_key(prefix), path, mode=Overwrite())


def read(_folder: Path, arguments: argparse.Namespace, *, bucket: bool, steps: int) -> object:
    """Read the texts of the rows that were chosen."""
    import duckdb  # noqa: F401 - loading it is not part of the work

    from datalake_service.config.filters import BooleanFilter
    from datalake_service.pipeline.views.plan import ViewRequest
    from datalake_service.pipeline.views.views import DatasetView
    from datalake_service.storage.folder import FolderStore
    from datalake_service.tables.database.engine import EngineLimits

    folder = FolderStore(lake(arguments))
    store: ObjectStore = Ranges(folder) if bucket else folder
    texts = folder.root / DATASET / BATCH / "merged.parquet"
    forget(folder.root)
    before = from_disk()
    limits = EngineLimits(narrow_bytes=NEVER) if steps == 1 else EngineLimits()
    request = ViewRequest(
        dataset=DATASET,
        base_columns=["text", "n"],
        annotator_columns={},
        filter=BooleanFilter(field=f"{ANNOTATOR}.{arguments.choice}", value=True),
    )
    found = characters = 0
    with timed(), DatasetView(store, request, limits=limits) as view:
        for row in view:
            found += 1
            characters += len(row["text"])
    if isinstance(store, Ranges):
        what = f"bucket, {steps} step: {sum(store.read.values()) / 1e6:,.1f} MB in {store.requests:,} requests"
    else:
        what = f"folder, {steps} step: {(from_disk() - before) / 1e6:,.1f} MB"
    print(f"  {what}, of {texts.stat().st_size / 1e6:,.1f}", file=sys.stderr)
    return [found, characters]


def forget(folder: Path) -> None:
    """Let the system forget the files, so that reading them is reading the disk."""
    for path in folder.rglob("*.parquet"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def from_disk() -> int:
    """Bytes that this process has caused to be read from a disk."""
    return int(dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())["read_bytes"])


def options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--gigabytes", type=float, default=1.0, help="of text (default: 1)")
    parser.add_argument("--text", type=int, default=1_000, help="bytes of text in a row (default: 1,000)")
    parser.add_argument("--choice", choices=("near", "far"), default="far", help="rows that lie together, or scattered")


SIDES: dict[str, Side] = {
    "a bucket, before: row groups": partial(read, bucket=True, steps=1),
    "a bucket: pages": partial(read, bucket=True, steps=2),
    "a folder, before: row groups": partial(read, bucket=False, steps=1),
    "a folder: pages": partial(read, bucket=False, steps=2),
}

if __name__ == "__main__":
    main(__file__, Comparison("Read one row in a hundred", SIDES, options, by="inner_wall"))
