"""Sources that never end: tasks take turns where places are fewer, and go to another worker when theirs dies."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from datalake_service.catalog.tasks import TaskStatus, load_tasks
from datalake_service.config.load import load_dataset
from datalake_service.errors import UsageError
from datalake_service.pipeline.jobs.engine import TaskJob, TaskProgress, TaskResult
from datalake_service.storage import FolderStore
from datalake_service.storage.base import ObjectStore
from tests.cli.commands import datalake, environment
from tests.engines.places import Place, stopped
from tests.engines.scenarios import World, arn_of
from tests.support import warm
from tests.support.aws import REGION, Aws
from tests.support.lambda_service import LambdaService
from tests.support.queue_tasks import MESSAGES, queue_job
from tests.support.stream_server import ARN, StreamServer, stream_server
from tests.support.streaming import READER
from tests.support.tasks import merged_rows, write_module

pytestmark = pytest.mark.filterwarnings("ignore")

_SECONDS = 120.0


@pytest.mark.parametrize("place", ["ray", "spark"], indirect=True)
def test_queues_take_turns(place: Place, aws: Aws, tmp_path: Path) -> None:
    """Three queues that are read for ever, two places: all three are read, until somebody says stop.

    An actor is told to let the next one have its place; a task of Spark ends by itself.
    """
    store = FolderStore(tmp_path / "lake", durable=False)
    folder = write_module(tmp_path / "code", MESSAGES)
    jobs = _queue_jobs(store, folder, aws)
    stop = threading.Event()
    seen: dict[str, int] = {}

    def hear(event: TaskProgress | TaskResult) -> None:
        seen[event.task] = event.counts.documents
        if sum(seen.values()) == 12:
            stop.set()

    results = place.engine.run(jobs, on_event=hear, stop=stop)
    assert {result.task: result.error for result in results} == dict.fromkeys(("t0", "t1", "t2"))
    assert {result.status for result in results} <= {TaskStatus.STOPPED, TaskStatus.CREATED}
    assert len(merged_rows(store)) == 12


def test_a_function_that_is_too_short_for_queues_is_refused(
    lambda_place: Place, function: LambdaService, aws: Aws, tmp_path: Path
) -> None:
    """It would be ended while it waits for messages; the line says how long it has to be."""
    folder = write_module(tmp_path / "code", MESSAGES)
    jobs = _queue_jobs(FolderStore(tmp_path / "lake", durable=False), folder, aws)
    function.seconds = 59
    with pytest.raises(UsageError, match=r"has a time-out of 59 s, .* raise the time-out to 60 s at least"):
        lambda_place.engine.run(jobs, on_event=lambda _event: None, stop=threading.Event())


def _queue_jobs(store: ObjectStore, folder: Path, aws: Aws) -> list[TaskJob]:
    jobs = []
    for number in range(3):
        queue = aws.make_queue()
        aws.send(queue, [f"doc {number}-{message}" for message in range(4)])
        jobs.append(queue_job(store, folder, aws.clients(), queue=queue, task=f"t{number}", empty_receives=None))
    return jobs


def test_shards_take_turns_in_functions(
    lambda_place: Place, function: LambdaService, world: World, tmp_path: Path
) -> None:
    """Two shards that are read for ever, one invocation at a time: it ends by itself, then the other shard's begins."""
    stream = world.stream(shards=2)
    for number in range(12):
        key = str(number * 2**128 // 12)
        world.aws.client("kinesis").put_record(
            StreamName=stream, PartitionKey="key", ExplicitHashKey=key, Data=f"text {number}".encode()
        )
    folder = write_module(tmp_path / "code", READER)
    config = load_dataset(_document(arn_of(stream)), folder=folder)
    lake = lambda_place.lake()
    function.told = 4.0
    with stopped(lake, "d", after=12):
        report = lambda_place.run(config, lake)
    assert (report.failures, report.tasks.counts.documents) == ((), 12)
    rows = [row["text"] for row in merged_rows(lake).values()]
    assert sorted(rows) == sorted(f"text {number}" for number in range(12))


def _document(stream_arn: str) -> dict[str, Any]:
    return {
        "datasetName": "d",
        "region": REGION,
        "readConnector": {
            "connectorDestination": "KINESIS",
            "streamArn": stream_arn,
            "kinesisRecordReaderImplementationClassName": "handler.Texts",
        },
        "manifestFile": {"kinesisReaderTaskStopCondition": "Continuous"},
        "writeConnector": {"batch": "b", "chunkSize": 5},
    }


class Shards:
    """A stream of two shards, and ``datalake worker`` processes that read it for ever, one shard each."""

    def __init__(self, folder: Path, stream: StreamServer) -> None:
        self.folder = write_module(folder, READER)
        self.stream = stream
        stream.now = time.time()  # the workers' clocks are real, and what is old is gone
        self.store = FolderStore(folder / "lake", durable=False)
        self.workers: list[warm.Running | subprocess.Popen[bytes]] = []
        (folder / "dataset.json").write_text(json.dumps(_document(ARN)), encoding="utf-8")

    def write(self, word: str) -> None:
        """Write twenty records to each shard."""
        for number, shard in enumerate(self.stream.shards):
            self.stream.put(shard, *(f"{word} {number}-{record}" for record in range(20)))

    def start(self) -> int:
        """Start a worker with room for one shard; returns its number."""
        number = len(self.workers)
        arguments = ("worker", "--configFile", "dataset.json", "--concurrency", "1")
        out, err = self.folder / f"{number}.out", self.folder / f"{number}.err"
        env = environment(**self.stream.environment)
        self.workers.append(warm.popen(arguments, cwd=self.folder, env=env, out=out, err=err))
        return number

    def kill(self, number: int) -> None:
        """End a worker without a word."""
        self.workers[number].kill()
        self.workers[number].wait(_SECONDS)

    def report(self, number: int) -> Any:
        """What a worker says in the end."""
        self.workers[number].wait(_SECONDS)
        return json.loads((self.folder / f"{number}.out").read_text(encoding="utf-8"))

    def wait_for(self, records: int) -> None:
        """Wait until both shards' tasks have read so many records and say so in the lake."""
        until = time.monotonic() + _SECONDS
        while [stored.state.counts.records for stored in load_tasks(self.store, "d")] != [records] * 2:
            assert any(worker.poll() is None for worker in self.workers), list(self.folder.glob("*.err"))
            assert time.monotonic() < until
            time.sleep(0.1)


@contextmanager
def _shards(folder: Path) -> Iterator[Shards]:
    with stream_server(2) as stream:
        shards = Shards(folder, stream)
        try:
            yield shards
        finally:
            for number in range(len(shards.workers)):
                shards.kill(number)


def test_workers_share_a_stream(tmp_path: Path) -> None:
    """Each has a shard; when one is killed another takes its shard over, and every record is a row once."""
    with _shards(tmp_path) as shards:
        shards.write("first")
        killed, stays = shards.start(), shards.start()
        shards.wait_for(20)
        shards.kill(killed)
        replaced = shards.start()
        shards.write("second")
        shards.wait_for(40)
        stopped = datalake("datasets", "stop", "--datasetName", "d", cwd=tmp_path)
        assert stopped.status == 0, stopped.err
        reports = [shards.report(worker) for worker in (stays, replaced)]
    assert [report["status"] for report in reports] == ["STOPPED"] * 2
    assert sorted(row["text"] for row in merged_rows(shards.store).values()) == sorted(shards.stream.texts())
