"""Two real processes share one annotator; one of them is killed, the other one finishes."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from datalake_service.catalog import layout
from datalake_service.pipeline.ingest import ingest_iterator
from datalake_service.pipeline.merging.merge import merge_annotator, merge_batch
from datalake_service.storage import FolderStore
from tests.cli.commands import datalake, environment
from tests.support import warm
from tests.support.annotations import chunk_rows
from tests.support.repository import ROOT
from tests.support.tasks import write_module

BATCHES = [f"b{number}" for number in range(10)]
ROWS = 20
WORKER = """
import asyncio, json, sys
from datalake_service import S3DataTool
from datalake_service.pipeline.annotation import rows_to_ask

folder, name, hangs_after = sys.argv[1], sys.argv[2], int(sys.argv[3])
rows_to_ask._LOOK_AGAIN_SECONDS = 0.1

async def main():
    with open(f"{folder}/asked-{name}", "a", buffering=1) as asked:
        count = 0

        async def function(item):
            nonlocal count
            count += 1
            print(json.dumps([item.batch, item.id]), file=asked)
            if count > hangs_after:
                await asyncio.Event().wait()
            return {"n": 1}

        async with S3DataTool(f"{folder}/lake").filter_for_annotation(
            "posts", "lang", lock_ttl_ms=2_000, shared=True
        ) as view:
            report = await view.annotate(
                function, max_concurrency=2, streaming_configs=S3DataTool.StreamingConfigs(chunk_size=4)
            )
    print(json.dumps([report.annotated, report.already_done, report.remaining]))

asyncio.run(main())
"""


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """A lake with some merged batches."""
    store = FolderStore(tmp_path / "lake", durable=False)
    for batch in BATCHES:
        rows = ({"id": f"r{number}", "n": number} for number in range(ROWS))
        asyncio.run(ingest_iterator(store, rows, dataset="posts", batch=batch, chunk_size=100, deduplicate_on=None))
        merge_batch(store, "posts", batch)
    return store


Start = Callable[[str, int], "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a worker; nothing of it survives the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(name: str, hangs_after: int) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", WORKER, str(tmp_path), name, str(hangs_after)],
                cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def asked(folder: Path, name: str) -> list[tuple[str, str]]:
    """What a worker asked."""
    path = folder / f"asked-{name}"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [(batch, row) for batch, row in map(json.loads, lines)]


def stored(store: FolderStore) -> Counter[tuple[str, str]]:
    """The annotations that are there, by row."""
    return Counter((row["_batch"], row["id"]) for row in chunk_rows(store, "posts", "lang"))


def test_a_killed_worker_is_taken_over(tmp_path: Path, store: FolderStore, start: Start) -> None:
    """Nothing is missing, nothing is there twice, and only what was in flight is paid for twice."""
    killed = start("killed", 2 * ROWS + 10)
    while len(stored(store)) < 2 * ROWS:
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.01)
    other = start("other", sys.maxsize)
    while len(asked(tmp_path, "other")) < 3 * ROWS:
        assert other.poll() is None, other.communicate()
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    output, errors = other.communicate(timeout=60)
    assert other.returncode == 0, errors
    rows = {(batch, f"r{number}") for batch in BATCHES for number in range(ROWS)}
    assert set(stored(store)) == rows
    assert max(stored(store).values()) == 1
    annotated, already_done, remaining = json.loads(output)
    assert (annotated + already_done, remaining) == (len(rows), 0)
    twice = [row for row, times in Counter(asked(tmp_path, "killed") + asked(tmp_path, "other")).items() if times > 1]
    assert len(twice) <= 2 + 10 * 4  # calls, chunks on their way and the one being filled
    assert list(store.list(layout.worker_leases_prefix("posts", "lang"))) == []
    merge_annotator(store, "posts", "lang")


# Runs of one dataset file -----------------------------------------------------------------------------------------

HANDLER = """
import asyncio
from datalake_interfaces import Annotation, Annotator

class Rows(Generator):
    def generate(self):
        for number in range(40):
            yield {"id": str(number), "n": number}

class Double(Annotator):
    async def annotate(self, item):
        await asyncio.sleep(0.02)
        return Annotation({"n": 2 * item.data["n"]})
"""


def test_two_runs_of_a_dataset_file_share_its_annotator(tmp_path: Path) -> None:
    """Neither is refused, both end well, every row is annotated once."""
    write_module(tmp_path, HANDLER)
    annotator = {"annotatorName": "double", "annotatorImplementationClassName": "handler.Double", "maxConcurrency": 1}
    document = {
        "datasetName": "d",
        "readConnector": {"connectorDestination": "GENERATOR", "generatorImplementationClassName": "handler.Rows"},
        "writeConnector": {"batch": "b", "chunkSize": 10},
    }
    first = ("datasets", "create", "--configFile", "dataset.json")
    (tmp_path / "dataset.json").write_text(json.dumps(document), encoding="utf-8")
    assert datalake(*first, cwd=tmp_path).status == 0
    (tmp_path / "dataset.json").write_text(
        json.dumps({**document, "annotators": [{**annotator, "shared": True}]}), encoding="utf-8"
    )
    said = [(tmp_path / f"{number}.out", tmp_path / f"{number}.err") for number in range(2)]
    runs = [warm.popen(first, cwd=tmp_path, env=environment(), out=out, err=err) for out, err in said]
    try:
        ended = [process.wait(100) for process in runs]
    finally:
        for process in runs:
            process.kill()
            process.wait()
    assert ended == [0, 0], [err.read_text(encoding="utf-8") for _, err in said]
    reports = [json.loads(out.read_text(encoding="utf-8"))["annotators"][0] for out, _ in said]
    assert sum(report["annotated"] for report in reports) == 40
    exported = datalake("export", "--datasetName", "d", "--output", "-", cwd=tmp_path)
    rows = sorted(json.loads(line)["double.n"] for line in exported.out.splitlines())
    assert rows == [2 * number for number in range(40)]
