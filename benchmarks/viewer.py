"""The viewer over 10 million rows of 1 KB in 200 batches: pages, rows, filters, memory with ten people, requests.

The lake is written directly in the lake's format (merging it is another benchmark). The server is the command; it is
asked over a socket, by clients in other processes. The peer of the filter is DuckDB over the same files, in one query.

    ./build.sh bench viewer [--rows 10000000] [--batches 200] [--folder DIR] [--keep]
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

REPEATS = 9
CLIENTS, CLICKS = 10, 15
BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
TEXT_BYTES, TEXTS, SHARE = 1_000, 5_000, 0.3
OK, GIVEN_UP = 200, 422


def make_lake(folder: Path, *, rows: int, batches: int) -> None:
    """Merged rows, and the annotations of one annotator."""
    import numpy as np
    import pyarrow as pa

    from datalake_service.catalog.manifests import format_time
    from datalake_service.tables.formats.schema import (
        MergedKind,
        MergedMetadata,
        TableSchema,
        annotation_schema,
        row_schema,
    )
    from datalake_service.tables.objects.parquet import MergedWriter

    random_source = np.random.default_rng(1)
    words = ["".join(chr(97 + number) for number in random_source.integers(0, 26, 7)) for _ in range(5_000)]
    chosen = random_source.integers(0, len(words), (TEXTS, TEXT_BYTES // 8))
    texts = pa.array([" ".join(words[number] for number in line) for line in chosen], pa.large_string())

    def write(path: Path, kind: MergedKind, schema: TableSchema, columns: dict[str, Any], count: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        arrow = schema.arrow()
        arrays = [
            columns[column.name].cast(field.type) if column.name in columns else pa.nulls(count, field.type)
            for column, field in zip(schema.columns, arrow, strict=True)
        ]
        table = pa.table(arrays, schema=arrow)
        writer = MergedWriter(path, schema)
        for start in range(0, count, 5_000):
            writer.add(table.slice(start, 5_000))
        counts = {"rows": count, "done": count, "skipped": 0, "failed": 0}
        writer.finish(
            MergedMetadata(kind=kind, attempt="0" * 12, merged_at=BEGIN, columns=schema.columns, counts=counts)
        )

    base = row_schema({"text": "s", "n": "i", "url": "s", "meta": "j"})
    added = annotation_schema({"label": "s", "score": "f", "is_ok": "b"})
    count = rows // batches
    for number in range(batches):
        batch = f"b{number:04d}"
        digits = random_source.bytes(8 * count).hex()
        ids = pa.array([digits[at : at + 16] for at in range(0, len(digits), 16)])
        times = [
            format_time(BEGIN + timedelta(hours=number, seconds=3600 * (at // 100 * 100) / count))
            for at in range(count)
        ]
        same = {"id": ids, "_batch": pa.array([batch] * count)}
        picked = pa.array(random_source.integers(0, TEXTS, count))
        labels = np.array(["en", "de", "fr", "rare"])[random_source.choice(4, count, p=[0.5, 0.3, 0.199, 0.001])]
        write(
            folder / "posts" / batch / "merged.parquet",
            "rows",
            base,
            {
                **same,
                "text": texts.take(picked),
                "n": pa.array(random_source.integers(0, 1_000_000, count)),
                "url": pa.array([f"https://example.org/{number}/{at}" for at in range(count)]),
                "meta": pa.array([f'{{"a":{at % 7},"b":["x"]}}' for at in range(count)]),
                "_created_at": pa.array(times),
            },
            count,
        )
        write(
            folder / "posts" / "annotations" / "lang" / batch / "merged.parquet",
            "annotations",
            added,
            {
                **same,
                "_status": pa.array(["done"] * count),
                "_annotated_at": pa.array(times),
                "label": pa.array(labels),
                "score": pa.array(random_source.random(count)),
                "is_ok": pa.array(random_source.random(count) < SHARE),
            },
            count,
        )


@contextmanager
def serving(folder: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The command, and its port."""
    command = [sys.executable, "-m", "datalake_service", "viewer", "--root", str(folder), "--port", "0", "--no-open"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        text = b""
        while b"http://" not in text or not text.rstrip().endswith((b"}", b"Ctrl+C", b"/")):
            line = process.stdout.readline()
            if not line:
                raise SystemExit("the viewer did not start")
            text += line
        yield int(text.decode().split("http://127.0.0.1:")[1].split("/")[0]), process
    finally:
        process.terminate()
        process.wait()


class Client:
    """One person."""

    def __init__(self, port: int) -> None:
        self._port = port

    def ask(self, path: str, query: dict[str, Any] | None = None) -> tuple[float, Any]:
        """Seconds and answer."""
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        connection.request("GET", path + ("?" + urlencode(query, doseq=True) if query else ""))
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        seconds = time.perf_counter() - began
        if answer.status == GIVEN_UP:
            print(f"given up after {seconds:.0f} s, too busy a machine: {path} {query}", file=sys.stderr, flush=True)
            return seconds, None
        if answer.status != OK:
            raise SystemExit(f"{path}: {answer.status}: {body[:300]!r}")
        return seconds, json.loads(body)


POSTS = "/api/datasets/posts"
FILTER = json.dumps({"type": "equals", "field": "lang.label", "value": "rare"})
BROAD = json.dumps({"type": "all", "filters": [{"type": "equals", "field": "lang.label", "value": "de"}]})


def seconds_of(work: Callable[[], float]) -> float:
    """The median."""
    return statistics.median(work() for _ in range(REPEATS))


def seconds_to_ask(client: Client, what: str, query: dict[str, Any]) -> float:
    """Of one question about the posts."""
    return client.ask(f"{POSTS}/{what}", query)[0]


def processor_ms(process: subprocess.Popen[bytes], work: Callable[[], float]) -> tuple[float, float]:
    """Milliseconds of one question: by the clock (median), and of processor time of the server (mean)."""
    import psutil

    def used() -> float:
        times = psutil.Process(process.pid).cpu_times()
        return times.user + times.system

    before = used()
    seconds = seconds_of(work)
    return 1e3 * seconds, 1e3 * (used() - before) / REPEATS


def raw_duckdb(folder: Path, sql: str, *, repeats: int = 3) -> float:
    """The same question in one query over the same files, by a process that has DuckDB loaded."""
    import duckdb

    base, added = f"'{folder}/posts/b*/merged.parquet'", f"'{folder}/posts/annotations/lang/*/merged.parquet'"
    connection = duckdb.connect(config={"threads": 2, "memory_limit": "1GB"})
    text = sql.replace("$base", f"read_parquet({base})").replace("$added", f"read_parquet({added})")
    connection.execute("SET enable_progress_bar = false")

    def once() -> float:
        began = time.perf_counter()
        connection.execute(text).fetchall()
        return time.perf_counter() - began

    return statistics.median(once() for _ in range(repeats))


def memory(process: subprocess.Popen[bytes]) -> float:
    """MiB of the server and its helpers, shared pages counted once."""
    import psutil

    server = psutil.Process(process.pid)
    total = 0
    for one in [server, *server.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.Error:
            continue
    return total / 2**20


def click_around(port: int, seed: int) -> list[float]:
    """One person who looks at this and that."""
    source, client = random.Random(seed), Client(port)
    seconds = []
    clicks: list[tuple[str, dict[str, Any]]] = [
        (f"{POSTS}/rows", {"limit": 50}),
        (f"{POSTS}/rows", {"limit": 50, "filter": FILTER}),
        (f"{POSTS}/rows", {"limit": 50, "sort": "n"}),
        (f"{POSTS}/rows", {"limit": 50, "where": "n % 1000 = 7 AND lang.score > 0.5"}),
        (f"{POSTS}/count", {"filter": FILTER}),
        (f"{POSTS}/profile", {"column": "n"}),
        (f"{POSTS}/profile", {"column": "lang.label"}),
        (f"{POSTS}/trend", {"column": "lang.label", "bucket": "day"}),
        ("/api/lake", {}),
    ]
    for _ in range(CLICKS):
        path, query = source.choice(clicks)
        seconds.append(client.ask(path, query)[0])
    return seconds


def requests_in_idle_hours(folder: Path) -> dict[str, float]:
    """What a viewer that is left open asks of the store in an hour in which nothing happens: counted, clock turned."""
    from datalake_service.storage.folder import FolderStore
    from datalake_service.viewer.events import LOCAL_PACE, REMOTE_PACE
    from tests.support.idle_hour import requests_in_an_hour

    found: dict[str, float] = {}
    for name, pace, max_age in (("folder", LOCAL_PACE, 0.5), ("bucket", REMOTE_PACE, 2.0)):
        for page, dataset in (("dataset's", "posts"), ("lake's", None)):
            counted = requests_in_an_hour(FolderStore(folder), pace, max_age=max_age, dataset=dataset)
            found[f"requests in an idle hour, {name}, {page} page"] = counted.total() - counted["looks"]
    return found


def first_bytes(port: int, query: dict[str, Any], *, size: int) -> tuple[float, float]:
    """Seconds until an export begins, and MiB a second of the beginning of it."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("GET", f"{POSTS}/export?{urlencode(query)}")
    answer = connection.getresponse()
    read = len(answer.read(1))
    first = time.perf_counter() - began
    while read < size and (piece := answer.read(1 << 16)):
        read += len(piece)
    connection.close()
    return first, read / 2**20 / (time.perf_counter() - began)


class Figures(dict[str, float]):
    """What was measured, told at once: on a busy machine the rest takes a while."""

    def __setitem__(self, what: str, value: float) -> None:
        super().__setitem__(what, value)
        print(f"{what:<60} {value:>10.1f}   load {os.getloadavg()[0]:.0f}", flush=True)


def measure(folder: Path) -> None:
    """Everything that is measured."""
    figures = Figures()
    with serving(folder) as (port, process):
        client = Client(port)
        figures["very first page, ms (a server that knows nothing)"] = (
            1e3 * client.ask(f"{POSTS}/rows", {"limit": 50})[0]
        )

        def note(what: str, limit: int, work: Callable[[], float]) -> None:
            wall, used = processor_ms(process, work)
            figures[f"{what}, ms (limit {limit})"] = wall
            figures[f"{what}, ms of processor time"] = used

        note("first page", 300, lambda: client.ask(f"{POSTS}/rows", {"limit": 50})[0])
        page = client.ask(f"{POSTS}/rows", {"limit": 50})[1]
        cursors = [page["next"]]

        def turn() -> float:
            seconds, answer = client.ask(f"{POSTS}/rows", {"limit": 50, "cursor": cursors[-1]})
            cursors.append(answer["next"])
            return seconds

        note("next page", 100, turn)
        row = page["rows"][20]
        name = {"batch": row["batch"], "id": row["id"]}
        note("row by id", 50, lambda: client.ask(f"{POSTS}/row", name)[0])
        figures["memory before ten people click, MiB"] = most = memory(process)
        with multiprocessing.get_context("spawn").Pool(CLIENTS) as pool:
            clicking = pool.starmap_async(click_around, [(port, seed) for seed in range(CLIENTS)])
            while not clicking.ready():
                most = max(most, memory(process))
                time.sleep(0.1)
            seconds = sorted(second for one in clicking.get() for second in one)
        figures["memory with ten people clicking, MiB (limit 1,024)"] = most
        figures["their clicks, median s"] = statistics.median(seconds)
        figures["their clicks, slowest s"] = seconds[-1]
        for what, given, raw in (("rare", FILTER, "rare"), ("30 %", BROAD, "de")):
            ours = seconds_of(partial(seconds_to_ask, client, "count", {"filter": given}))
            theirs = raw_duckdb(
                folder, f"SELECT count(*) FROM $base AS b JOIN $added AS a USING (id, _batch) WHERE a.label = '{raw}'"
            )
            figures[f"count by annotation, {what}, ms"] = 1e3 * ours
            figures[f"… times raw DuckDB, {what} (limit 1.5)"] = ours / theirs
            ours = seconds_of(partial(seconds_to_ask, client, "rows", {"limit": 50, "filter": given}))
            theirs = raw_duckdb(
                folder,
                "SELECT b.* FROM $base AS b JOIN $added AS a USING (id, _batch) "
                f"WHERE a.label = '{raw}' ORDER BY b._created_at DESC LIMIT 50",
                repeats=1,
            )
            figures[f"page by annotation, {what}, ms"] = 1e3 * ours
            figures[f"… times raw DuckDB, page {what} (limit 1.5)"] = ours / theirs
        trend = {"column": "lang.label", "bucket": "day"}
        ours = client.ask(f"{POSTS}/trend", trend)[0]
        theirs = raw_duckdb(
            folder,
            "SELECT substr(b._created_at, 1, 10), a.label, count(*) FROM $base AS b LEFT JOIN $added AS a "
            "USING (id, _batch) GROUP BY ALL",
            repeats=1,
        )
        figures["an annotation over time, s"] = ours
        figures["… times raw DuckDB, over time"] = ours / theirs
        first, speed = first_bytes(port, {"format": "jsonl"}, size=200 << 20)
        figures["export, newest first: first byte, s"] = first
        figures["export, newest first: MiB/s of JSON lines"] = speed
    for what, count in requests_in_idle_hours(folder).items():
        figures[what] = count


def main() -> None:
    """Make the lake, ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="where the lake is, or is made; default: a temporary folder")
    parser.add_argument("--keep", action="store_true", help="leave the lake where it is")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="bench-viewer-"))
    try:
        if not (folder / "posts").exists():
            began = time.perf_counter()
            make_lake(folder, rows=given.rows, batches=given.batches)
            print(f"made the lake in {time.perf_counter() - began:.0f} s", flush=True)
        print(f"{os.cpu_count()} cores, {resource.getpagesize()} bytes a page")
        measure(folder)
    finally:
        if not given.keep and given.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
