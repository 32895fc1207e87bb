"""A dataset that reads the stream of ``stream_server``, as far as it goes, in this process."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from datalake_service.catalog.tasks import TaskState, load_tasks
from datalake_service.config.load import load_dataset
from datalake_service.engines.local import LocalEngine
from datalake_service.pipeline.jobs.engine import TaskJob, TaskProgress, TaskResult
from datalake_service.pipeline.merging.merge import merge_batch
from datalake_service.pipeline.runs.report import RunReport
from datalake_service.pipeline.runs.run import run_dataset
from datalake_service.pipeline.tasks.task import run_task
from datalake_service.pipeline.views.plan import ViewRequest
from datalake_service.pipeline.views.views import DatasetView
from datalake_service.storage import FolderStore, open_store
from datalake_service.storage.base import ObjectStore
from datalake_utils.clock import ManualClock
from tests.support.stream_server import ARN, StreamServer
from tests.support.tasks import TickingClock, write_module

READER = """
from datalake_interfaces import KinesisRecordReader

class Texts(KinesisRecordReader):
    def parse_message(self, stream_arn, shard_id, partition_key, sequence_number, timestamp, data):
        text = data.decode()
        if text.startswith("bad"):
            raise ValueError("a bad record")
        if text.startswith("skip"):
            return SkipDoc()
        return Document({"text": text, "shard": shard_id})
"""
_QUIET = 2
"""After so many answers in a row without a record everything has been read that there is."""


class UntilQuiet:
    """An engine that reads each shard in this process until nothing new comes, and stops it then."""

    def __init__(self, stream: StreamServer, *, started: float) -> None:
        self._stream = stream
        self._started = started
        self.handled: list[str] = []
        """The shards, in the order in which their tasks were run."""

    def run(
        self,
        jobs: Sequence[TaskJob],
        *,
        on_event: Callable[[TaskProgress | TaskResult], None],
        stop: threading.Event,
        more: Callable[[TaskResult], Sequence[TaskJob]] | None = None,
    ) -> list[TaskResult]:
        del stop
        results, waiting = [], list(jobs)
        for job in waiting:
            self.handled.append(job.source.rpartition("/")[2])
            self._stream.quiet = 0
            clock = TickingClock(0.05, start=datetime.fromtimestamp(self._started, UTC))
            result = run_task(job, stop=lambda: self._stream.quiet >= _QUIET, report=on_event, clock=clock)
            on_event(result)
            results.append(result)
            waiting.extend(more(result) if more is not None else ())
        return results


class Streaming:
    """A dataset file, a lake, and the stream that is read."""

    def __init__(self, folder: Path, stream: StreamServer, *, chunk_size: int = 3) -> None:
        self.folder = write_module(folder / "project", READER)
        self.store = FolderStore(folder / "lake", durable=False)
        self.stream = stream
        self.now = stream.now
        self.order: list[str] = []
        """The shards, as tasks of all runs were begun."""
        self.document: dict[str, Any] = {
            "datasetName": "d",
            "readConnector": {
                "connectorDestination": "KINESIS",
                "streamArn": ARN,
                "kinesisRecordReaderImplementationClassName": "handler.Texts",
            },
            "writeConnector": {"batch": "b", "chunkSize": chunk_size},
        }

    def start_from(self, condition: str, **settings: object) -> None:
        """Say where shards begin to be read."""
        self.document["manifestFile"] = {"kinesisReaderTaskStartFromCondition": condition} | {
            f"kinesisReaderTaskStartFrom{name}": value for name, value in settings.items()
        }

    def run(self, store: ObjectStore | None = None) -> RunReport:
        """Read everything that there is now; ``store`` is how the lake is seen."""
        engine = UntilQuiet(self.stream, started=self.now)
        config = load_dataset(self.document, folder=self.folder)
        clock = ManualClock(datetime.fromtimestamp(self.now, UTC))
        try:
            return run_dataset(config, store=store or self.store, opener=open_store, engine=engine, clock=clock)
        finally:
            self.order += engine.handled

    def run_in_processes(self, stop: threading.Event, **options: Any) -> RunReport:
        """Read until ``stop`` is set, as a user does."""
        config = load_dataset(self.document, folder=self.folder)
        engine = LocalEngine(concurrency=2, **options)
        return run_dataset(config, store=self.store, opener=open_store, engine=engine, stop=stop)

    def states(self) -> dict[str, TaskState]:
        """The tasks, by shard."""
        return {stored.state.item.rpartition("/")[2]: stored.state for stored in load_tasks(self.store, "d")}

    def texts(self) -> list[str]:
        """The column ``text`` of everything, sorted; repetitions would show."""
        merge_batch(self.store, "d", "b")
        return sorted(row["text"] for row in DatasetView(self.store, ViewRequest(dataset="d")))

    def rejected(self) -> list[dict[str, Any]]:
        """All rejections."""
        metas = [meta for meta in self.store.list("d/b/rejected/") if meta.key.endswith(".jsonl")]
        return [json.loads(line) for meta in metas for line in self.store.get(meta.key)[0].splitlines()]
