"""What a task, a chunk, a byte and a merge cost, and what that makes of a crawl: the arithmetic of ``docs/scaling.md``.

Files like Common Crawl's WET files (a gzip member for each page, text of about 7 KB) are read with a state machine into
a batch of a lake, and the batch is merged; every call of a store is counted as S3 would count requests. Then the
costs are multiplied by the sizes of two plans. The lake is a folder: what a client of S3 takes for each request and for
each byte is added, from options, as are prices, which are not ours.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import math
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.rows import texts
from datalake_interfaces import Document, SingleFileStateMachineReader, SystemFileReader
from datalake_service.storage.observed import Observation, ObservedStore

NOW = datetime(2026, 11, 20, 13, tzinfo=UTC)
WRITES = frozenset({"put", "list", "list_folders"})
"""Verbs that S3 prices as the dear kind of request; deletes cost nothing, the rest is the cheap kind."""


class Pages(SingleFileStateMachineReader):
    """A row for each page: its address and its text."""

    def parse_document(
        self,
        s3_file_type: str,
        last_processed_record_type: str | None,
        last_processed_doc: Document | None,
        file_reader: SystemFileReader,
    ) -> Document:
        """Both records of a page in one document."""
        header, body = file_reader.next_record(), file_reader.next_record()
        assert header is not None
        assert header.document is not None
        assert body is not None
        assert body.document is not None
        uri: bytes = header.document.document_key_values_map["uri"]
        text: bytes = body.document.document_key_values_map["payload"]
        return Document({"uri": uri.decode(), "text": text.decode()})

    def get_next_record_type(self, *_: object) -> str:
        """One kind."""
        return "PAGE"


def wet_file(path: Path, pages: int, seed: int) -> int:
    """Write an archive of so many pages; returns the size of what is in it."""
    rng, bodies, size = random.Random(seed), texts(500, seed=seed, words=400), 0
    with path.open("wb") as file:
        for number in range(pages):
            body = f"\r\n\r\n{number} {' '.join(rng.choices(bodies, k=rng.randint(1, 6)))}".encode()
            record = (
                b"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: https://example.org/%d/%d\r\n"
                b"Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b\r\n\r\n" % (seed, number, len(body), body)
            )
            size += len(record)
            file.write(gzip.compress(record, 6, mtime=0))
    return size


@dataclass
class Cost:
    """What one step took."""

    cpu: float = 0.0
    requests: Counter[str] | None = None
    written: int = 0
    read: int = 0

    @property
    def dear(self) -> int:
        """Requests of the dear kind."""
        return sum(count for verb, count in (self.requests or {}).items() if verb in WRITES)

    @property
    def cheap(self) -> int:
        """Requests of the cheap kind."""
        return sum(
            count for verb, count in (self.requests or {}).items() if verb not in WRITES and "delete" not in verb
        )


class Meter:
    """Counts what stores are asked while a step runs."""

    def __init__(self) -> None:
        """Start from nothing."""
        self.cost = Cost(requests=Counter())

    def __call__(self, call: Observation) -> None:
        """Count one call."""
        assert self.cost.requests is not None
        self.cost.requests[call.verb] += call.requests
        self.cost.written += call.bytes_written
        self.cost.read += call.bytes_read

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Keep what the block takes."""
        cpu = time.process_time()
        yield
        self.cost.cpu = time.process_time() - cpu


def read(folder: Path, name: str) -> Cost:
    """Run the task of one archive."""
    from datalake_service.catalog.tasks import TaskState, create_task
    from datalake_service.pipeline.jobs.engine import HandlerSpec, LakeOutput, MachineInput, TaskJob
    from datalake_service.pipeline.tasks.task import run_task
    from datalake_service.storage.folder import FolderStore
    from datalake_utils.clock import SystemClock

    meter = Meter()
    lake = ObservedStore(FolderStore(folder / "lake"), meter)
    source = ObservedStore(FolderStore(folder / "input"), meter)
    job = TaskJob(
        task=name,
        source=name,
        input=MachineInput(store=source, files={"": name}, parsers={"": "benchmarks.warc.Warc"}),
        output=LakeOutput(chunk_size=1_000),
        handler=HandlerSpec("benchmarks.scaling.Pages", folder),
        store=lake,
        dataset="crawl",
        batch="b",
    )
    with meter.running():
        create_task(lake, "crawl", TaskState(id=name, item=name, batch="b", created_at=NOW))
        result = run_task(job, stop=lambda: False, report=lambda _: None, clock=SystemClock())
    assert str(result.status) == "COMPLETED", result
    return meter.cost


def merge(folder: Path) -> tuple[Cost, int]:
    """Merge the batch."""
    from datalake_service.pipeline.merging.merge import merge_batch
    from datalake_service.storage.folder import FolderStore

    meter = Meter()
    lake = ObservedStore(FolderStore(folder / "lake"), meter)
    with meter.running():
        merge_batch(lake, "crawl", "b")
    return meter.cost, sum(path.stat().st_size for path in (folder / "lake").rglob("merged.parquet"))


@dataclass
class Units:
    """What was measured, per unit."""

    task_cpu: float
    """CPU seconds of a task without records."""
    task_dear: float
    task_cheap: float
    cpu_per_gb: float
    """CPU seconds for a GB of uncompressed input: read, handled, encoded, stored."""
    dear_per_gb: float
    cheap_per_gb: float
    written_per_byte: float
    """Bytes of chunks for each byte of uncompressed input."""
    compressed_per_byte: float
    """Bytes of the archives for each byte that is in them."""
    merge_cpu_per_gb: float
    """CPU seconds of the merge for a GB of chunks."""
    merge_cheap_per_gb: float
    merge_dear: float
    """Dear requests of a merge, however large."""
    parquet_per_byte: float
    """Bytes of Parquet for each byte of chunks."""
    peak_mib: float


def measure(pages: int, files: int) -> Units:
    """Read an empty archive and some full ones, and merge."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        (folder / "input").mkdir()
        sizes = [wet_file(folder / "input" / f"f{number}.warc.wet.gz", pages, number) for number in range(files)]
        wet_file(folder / "input" / "warm.warc.wet.gz", 1, 98)
        wet_file(folder / "input" / "empty.warc.wet.gz", 1, 99)
        archives = sum((folder / "input" / f"f{number}.warc.wet.gz").stat().st_size for number in range(files))
        read(folder, "warm.warc.wet.gz")
        empty = read(folder, "empty.warc.wet.gz")
        costs = [read(folder, f"f{number}.warc.wet.gz") for number in range(files)]
        merged, parquet = merge(folder)
    total = sum(sizes) / 1e9
    chunks = sum(cost.written for cost in costs)
    return Units(
        task_cpu=empty.cpu,
        task_dear=empty.dear,
        task_cheap=empty.cheap,
        cpu_per_gb=sum(cost.cpu - empty.cpu for cost in costs) / total,
        dear_per_gb=sum(cost.dear - empty.dear for cost in costs) / total,
        cheap_per_gb=sum(cost.cheap - empty.cheap for cost in costs) / total,
        written_per_byte=chunks / sum(sizes),
        compressed_per_byte=archives / sum(sizes),
        merge_cpu_per_gb=merged.cpu / (chunks / 1e9),
        merge_cheap_per_gb=merged.cheap / (chunks / 1e9),
        merge_dear=merged.dear,
        parquet_per_byte=parquet / chunks,
        peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


@dataclass
class Plan:
    """What is to be done, and how long it may take."""

    title: str
    files: int
    terabytes: float
    """Uncompressed."""
    hours: float
    batch_gb: float = 20.0
    """Uncompressed input for each batch."""


def project(plan: Plan, units: Units, rates: argparse.Namespace) -> list[tuple[str, str]]:
    """Multiply."""
    gigabytes = plan.terabytes * 1e3
    batches = math.ceil(gigabytes / plan.batch_gb)
    chunk_gb = gigabytes * units.written_per_byte
    parquet = chunk_gb * units.parquet_per_byte
    dear = plan.files * units.task_dear + gigabytes * units.dear_per_gb + batches * units.merge_dear
    cheap = plan.files * units.task_cheap + gigabytes * units.cheap_per_gb + chunk_gb * units.merge_cheap_per_gb
    read_cpu = plan.files * units.task_cpu + gigabytes * units.cpu_per_gb
    read_cpu += gigabytes * units.compressed_per_byte * rates.get_gb + chunk_gb * rates.put_gb
    merge_cpu = chunk_gb * (units.merge_cpu_per_gb + rates.get_gb) + parquet * rates.put_gb
    request_cpu = (dear + cheap) * rates.request
    seconds = plan.hours * 3600
    cpu = read_cpu + merge_cpu + request_cpu
    one_merge = merge_cpu / batches
    held_days = plan.hours / 24 / 2
    dollars = {
        "processors": cpu / 3600 * rates.core_hour,
        "requests": dear / 1e3 * rates.dear + cheap / 1e3 * rates.cheap,
        "chunks, until they are merged": chunk_gb * rates.gb_month * held_days / 30,
    }
    return [
        ("tasks", f"{plan.files:,}"),
        ("batches", f"{batches:,} of {plan.batch_gb:g} GB"),
        ("CPU, reading", f"{read_cpu / 3600:,.0f} core hours"),
        ("CPU, merging", f"{merge_cpu / 3600:,.0f} core hours"),
        ("CPU, requests", f"{request_cpu / 3600:,.0f} core hours"),
        (f"cores for {plan.hours:g} h", f"{cpu / seconds:,.0f}"),
        ("bytes in, from the archives", f"{gigabytes * units.compressed_per_byte * 8 / seconds:,.1f} Gbit/s"),
        ("bytes of chunks, out and in again", f"{2 * chunk_gb * 8 / seconds:,.1f} Gbit/s"),
        ("PUT and LIST", f"{dear:,.0f}, {dear / seconds:,.1f}/s"),
        ("GET and HEAD", f"{cheap:,.0f}, {cheap / seconds:,.1f}/s"),
        ("tasks that end", f"{plan.files / seconds:,.2f}/s"),
        ("one merge", f"{one_merge / 60:,.1f} min on one core"),
        ("merges side by side, to keep up", f"{math.ceil(merge_cpu / seconds):,}"),
        ("planning, one process", f"{plan.files * 2 * rates.request / 60:,.1f} min"),
        ("merged objects", f"{parquet / 1e3:,.1f} TB"),
        ("what it costs", ", ".join(f"{what} ${amount:,.0f}" for what, amount in dollars.items())),
        ("kept, a month", f"${parquet * rates.gb_month:,.0f}"),
    ]


def show(rows: Sequence[tuple[str, str]], title: str) -> None:
    """A table."""
    print(f"\n### {title}\n\n| | |\n| --- | --: |")
    for what, figure in rows:
        print(f"| {what} | {figure} |")


def main() -> None:
    """Measure, multiply, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=6_000, help="pages of an archive (default: 6000)")
    parser.add_argument("--files", type=int, default=4, help="archives (default: 4)")
    parser.add_argument("--core-hour", type=float, default=0.04, help="dollars for a core and an hour (default: 0.04)")
    parser.add_argument("--dear", type=float, default=0.005, help="dollars for 1,000 PUT or LIST (default: 0.005)")
    parser.add_argument("--cheap", type=float, default=0.0004, help="dollars for 1,000 GET or HEAD (default: 0.0004)")
    parser.add_argument("--gb-month", type=float, default=0.023, help="dollars for a GB and a month (default: 0.023)")
    parser.add_argument("--request", type=float, default=0.002, help="CPU seconds of a request (default: 0.002)")
    parser.add_argument("--put-gb", type=float, default=1.4, help="CPU seconds to send a GB (default: 1.4)")
    parser.add_argument("--get-gb", type=float, default=2.7, help="CPU seconds to receive a GB (default: 2.7)")
    parser.add_argument("--json", action="store_true", help="print only what was measured, as JSON")
    arguments = parser.parse_args()
    units = measure(arguments.pages, arguments.files)
    if arguments.json:
        json.dump(asdict(units), sys.stdout)
        return
    measured: dict[str, Any] = asdict(units)
    show([(what.replace("_", " "), f"{figure:,.3f}") for what, figure in measured.items()], "Measured")
    show(project(Plan("WET", 90_000, 20, 24), units, arguments), "90,000 WET files, 20 TB, in 24 hours")
    show(project(Plan("seed", 477_000, 477, 48), units, arguments), "477 TB in files of 1 GB, in 48 hours")


if __name__ == "__main__":
    main()
