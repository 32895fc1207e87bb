"""Resume the annotation of a half-done dataset: how long until the first call, and what is read and held for it.

Ten batches. The first half of the rows is annotated: most of it merged, the last ``--unmerged`` rows in chunks, as a
run that was killed leaves them. The peer does what is usually done: a set of the finished ids, then all rows in order
until one is not in it. Ours must find the same row. ``datalake, ranges`` reads as from a bucket, and says what of.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import io
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from benchmarks.measure import Comparison, Side, main, timed
from datalake_interfaces import DataItem
from datalake_service.storage.base import ObjectMeta, ObjectStore, Overwrite, PutMode

if TYPE_CHECKING:
    import pyarrow as pa

    from datalake_service.storage.folder import FolderStore
    from datalake_service.tables.formats.schema import MergedKind, TableSchema

DATASET, ANNOTATOR, BATCHES = "bench", "lang", 10
CHUNK = 1_000
BLOCK = 50_000
MOMENT = "2026-11-20T13:00:00.000000Z"


def batch(number: int) -> str:
    """The name of a batch."""
    return f"b{number}"


def row_id(number: int) -> str:
    """The id of a row: as long as a UUID, in no order."""
    return blake2b(number.to_bytes(8, "big"), digest_size=16).hexdigest()


def lake(arguments: argparse.Namespace) -> Path:
    """The half-done dataset; made once, in a process of its own."""
    base = Path(os.environ.get("BENCH_SCRATCH") or tempfile.gettempdir())
    made = base / f"bench-resume-{arguments.rows}-{arguments.text}-{arguments.unmerged}"
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
    """Merged objects as a merge writes them, and chunks of a run that was killed."""
    from datalake_service.catalog import layout
    from datalake_service.storage.folder import FolderStore

    unfinished = made.with_suffix(".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    store = FolderStore(unfinished, durable=False)
    each = arguments.rows // BATCHES
    merged = max(0, arguments.rows // 2 - arguments.unmerged)
    for number in range(BATCHES):
        rows = range(number * each, (number + 1) * each)
        put_base(store, number, rows, arguments.text)
        finished = range(rows.start, min(rows.stop, merged))
        if finished:
            put_annotations(store, number, finished)
    prefix = layout.annotator_temp_prefix(DATASET, ANNOTATOR)
    for chunk, start in enumerate(range(merged, arguments.rows // 2, CHUNK)):
        lines = (annotation(number, batch(number // each)) for number in range(start, start + CHUNK))
        store.put(layout.chunk_key(prefix, "a1b2c3", chunk), b"".join(lines), mode=Overwrite())
    unfinished.rename(made)


def annotation(number: int, name: str) -> bytes:
    """A line of a chunk."""
    import orjson

    row = {"id": row_id(number), "_batch": name, "_status": "done", "_error": None, "_metadata": None,
           "_annotated_at": MOMENT, "language": "en", "score": number / 7}  # fmt: skip
    return orjson.dumps(row) + b"\n"


def put_base(store: ObjectStore, number: int, rows: range, text: int) -> None:
    """The merged rows of a batch; texts are as good as random, so that they don't shrink."""
    import numpy as np
    import pyarrow as pa

    from datalake_service.catalog import layout
    from datalake_service.tables.formats.schema import row_schema

    schema = row_schema({"text": "s"})
    source = np.random.default_rng(number)

    def tables() -> Iterator[pa.Table]:
        for start in range(rows.start, rows.stop, BLOCK):
            block = range(start, min(start + BLOCK, rows.stop))
            letters = source.integers(97, 123, len(block) * text, np.uint8).tobytes().decode()
            yield pa.Table.from_pydict(
                {
                    "id": [row_id(one) for one in block],
                    "_batch": [batch(number)] * len(block),
                    "_created_at": [MOMENT] * len(block),
                    "text": [letters[at * text : (at + 1) * text] for at in range(len(block))],
                },
                schema=schema.arrow(),
            )

    _put(store, layout.batch_prefix(DATASET, batch(number)), "rows", schema, tables())


def put_annotations(store: ObjectStore, number: int, rows: range) -> None:
    """The merged annotations of a batch."""
    import pyarrow as pa

    from datalake_service.catalog import layout
    from datalake_service.tables.formats.schema import annotation_schema

    schema = annotation_schema({"language": "s", "score": "f"})

    def tables() -> Iterator[pa.Table]:
        for start in range(rows.start, rows.stop, BLOCK):
            block = range(start, min(start + BLOCK, rows.stop))
            columns: dict[str, list[Any]] = {
                "id": [row_id(one) for one in block],
                "_batch": [batch(number)] * len(block),
                "_status": ["done"] * len(block),
                "_error": [None] * len(block),
                "_metadata": [None] * len(block),
                "_annotated_at": [MOMENT] * len(block),
                "language": ["en"] * len(block),
                "score": [one / 7 for one in block],
            }
            yield pa.Table.from_pydict(columns, schema=schema.arrow())

    _put(store, layout.annotation_prefix(DATASET, ANNOTATOR, batch(number)), "annotations", schema, tables())


def _put(store: ObjectStore, prefix: str, kind: MergedKind, schema: TableSchema, tables: Iterable[pa.Table]) -> None:
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


class Ranges:
    """A folder that is read as a bucket is: by ranges; it adds up what was read of which object."""

    def __init__(self, behind: ObjectStore) -> None:
        self._behind = behind
        self.read: Counter[str] = Counter()
        self.requests = 0

    @property
    def uri(self) -> str:
        """Not a folder's."""
        return "bucket:lake"

    def get(self, key: str, *, etag: str | None = None) -> tuple[bytes, ObjectMeta]:
        """Passed on."""
        return self._behind.get(key, etag=etag)

    def head(self, key: str) -> ObjectMeta:
        """Passed on."""
        return self._behind.head(key)

    def open(self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None) -> BinaryIO:
        """Passed on, and counted."""
        with self._behind.open(key, start=start, end=end, etag=etag) as stream:
            data = stream.read()
        self.read[key] += len(data)
        self.requests += 1
        return io.BytesIO(data)

    def put(self, key: str, body: bytes | Path, *, mode: PutMode) -> ObjectMeta:
        """Passed on."""
        return self._behind.put(key, body, mode=mode)

    def delete(self, key: str, *, etag: str | None = None) -> None:
        """Passed on."""
        self._behind.delete(key, etag=etag)

    def delete_many(self, keys: Iterable[str]) -> None:
        """Passed on."""
        self._behind.delete_many(keys)

    def list(self, prefix: str) -> Iterator[ObjectMeta]:
        """Passed on."""
        return self._behind.list(prefix)

    def list_folders(self, prefix: str) -> Iterator[str]:
        """Passed on."""
        return self._behind.list_folders(prefix)


def peer(_folder: Path, arguments: argparse.Namespace) -> object:
    """A set of ids, and all rows."""
    import orjson
    import pyarrow.parquet as pq

    root = lake(arguments) / DATASET
    with timed():
        done: set[tuple[str, str]] = set()
        for path in sorted((root / "annotations" / ANNOTATOR / ".temp").glob("*.jsonl")):
            for line in path.read_bytes().splitlines():
                row = orjson.loads(line)
                done.add((row["_batch"], row["id"]))
        for path in sorted((root / "annotations" / ANNOTATOR).glob("b*/merged.parquet")):
            for block in pq.ParquetFile(path).iter_batches(columns=["id", "_status"]):
                done.update((path.parent.name, one) for one in block.column(0).to_pylist())
        for path in sorted(root.glob("b*/merged.parquet")):
            for block in pq.ParquetFile(path).iter_batches(2_048, columns=["id", "text"]):
                for name, _text in zip(block.column(0).to_pylist(), block.column(1).to_pylist(), strict=True):
                    if (path.parent.name, name) not in done:
                        return [path.parent.name, name]
    return None


def first_call(store: ObjectStore) -> object:
    """Annotate until the first call."""
    from datalake_service.config.streaming import StreamingConfigs
    from datalake_service.pipeline.annotation.view import AnnotationView
    from datalake_service.pipeline.views.plan import ViewRequest

    first: list[list[str]] = []

    async def run() -> None:
        called = asyncio.Event()

        async def ask(item: DataItem) -> dict[str, Any]:
            if not first:
                first.append([item.batch, item.id])
                called.set()
            await asyncio.sleep(3_600)
            return {}

        request = ViewRequest(dataset=DATASET, base_columns=["text"], annotator_columns={})
        view = AnnotationView(store, request, ANNOTATOR)
        annotating = asyncio.ensure_future(view.annotate(ask, streaming_configs=StreamingConfigs(chunk_size=CHUNK)))
        await asyncio.wait([annotating, asyncio.ensure_future(called.wait())], return_when=asyncio.FIRST_COMPLETED)
        annotating.cancel()
        await asyncio.wait([annotating])
        view.close()

    asyncio.run(run())
    return first[0]


def copy(folder: Path, arguments: argparse.Namespace) -> Path:
    """The lake under names of its own, because a run leaves a lease and a manifest."""
    made = folder / "lake"
    shutil.copytree(lake(arguments), made, copy_function=os.link)
    return made


def from_folder(folder: Path, arguments: argparse.Namespace) -> object:
    """Ours."""
    from datalake_service.storage.folder import FolderStore

    store = FolderStore(copy(folder, arguments))
    with timed():
        return first_call(store)


def from_ranges(folder: Path, arguments: argparse.Namespace) -> object:
    """Ours, as from a bucket."""
    from datalake_service.storage.folder import FolderStore

    behind = FolderStore(copy(folder, arguments))
    store = Ranges(behind)
    with timed():
        found = first_call(store)
    print_read(store, behind)
    return found


def print_read(store: Ranges, behind: FolderStore) -> None:
    """What was read of the base, the annotations and the chunks, in MiB, and how much there was."""
    sizes = {meta.key: meta.size for meta in behind.list(f"{DATASET}/")}
    half = BATCHES // 2
    groups = {
        "base of batches that are done": [f"{DATASET}/{batch(number)}/merged.parquet" for number in range(half)],
        "base of the batch that goes on": [f"{DATASET}/{batch(half)}/merged.parquet"],
        "base of the batches behind it": [f"{DATASET}/{batch(n)}/merged.parquet" for n in range(half + 1, BATCHES)],
        "annotations": [key for key in sizes if f"/{ANNOTATOR}/b" in key],
        "chunks": [key for key in sizes if "_chunk_" in key],
    }
    for name, keys in groups.items():
        read, there = (sum(counts.get(key, 0) for key in keys) / 2**20 for counts in (store.read, sizes))
        print(f"  {name}: {read:,.1f} of {there:,.1f} MiB read", file=sys.stderr)


def options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--text", type=int, default=100, help="bytes of text in a row (default: 100)")
    parser.add_argument("--unmerged", type=int, default=500_000, help="annotations in chunks (default: 500,000)")


SIDES: dict[str, Side] = {
    "peer: a set of ids, all rows": peer,
    "datalake, folder": from_folder,
    "datalake, ranges": from_ranges,
}

if __name__ == "__main__":
    main(__file__, Comparison("Resume a half-done dataset", SIDES, options, by="inner_wall"))
