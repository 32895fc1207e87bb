from __future__ import annotations

import threading
from pathlib import Path

import pytest

from datalake_service.catalog.tasks import TaskStatus
from datalake_service.engines.ray import RayEngine
from datalake_service.engines.spark import SparkEngine
from datalake_service.pipeline.engine import Engine, TaskProgress, TaskResult
from datalake_service.storage import FolderStore
from tests.support.aws import Aws
from tests.support.queue_tasks import MESSAGES, queue_job
from tests.support.tasks import merged_rows, write_module

pytestmark = pytest.mark.filterwarnings("ignore")


def takes_turns(engine: Engine, aws: Aws, tmp_path: Path) -> None:
    """Three queues that are read for ever, two places: all three are read, until somebody says stop."""
    store = FolderStore(tmp_path / "lake", durable=False)
    folder = write_module(tmp_path / "code", MESSAGES)
    jobs = []
    for number in range(3):
        queue = aws.make_queue()
        aws.send(queue, [f"doc {number}-{message}" for message in range(4)])
        job = queue_job(store, folder, aws.clients(), queue=queue, task=f"t{number}", empty_receives=None)
        jobs.append(job)
    stop = threading.Event()
    seen: dict[str, int] = {}

    def hear(event: TaskProgress | TaskResult) -> None:
        seen[event.task] = event.counts.documents
        if sum(seen.values()) == 12:
            stop.set()

    results = engine.run(jobs, on_event=hear, stop=stop)
    assert {result.task for result in results} == {"t0", "t1", "t2"}
    assert {result.status for result in results} <= {TaskStatus.STOPPED, TaskStatus.CREATED}
    assert len(merged_rows(store)) == 12


def test_queues_take_turns_on_ray(ray_engine: RayEngine, aws: Aws, tmp_path: Path) -> None:
    """An actor is told to let the next one have its place."""
    takes_turns(ray_engine, aws, tmp_path)


def test_queues_take_turns_on_spark(spark_engine: SparkEngine, aws: Aws, tmp_path: Path) -> None:
    """A task ends by itself when its turn is over."""
    takes_turns(spark_engine, aws, tmp_path)
