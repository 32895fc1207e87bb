"""What an engine costs for each task, beyond the task itself: N empty tasks on each engine that is installed.

The task itself (``run_task`` in this process, without an engine) is measured too and taken off. Engines are warm: the
first round starts what they need and is not counted. On one machine, with as many workers as are asked for; figures are
wall seconds of the run times workers over tasks, so that they can be compared with one after the other.

    ./build.sh bench engines --tasks 200 --rounds 5            LOCAL
    ENGINES=1 ./build.sh bench engines --tasks 200 --rounds 5  RAY and SPARK as well
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from datalake_service.catalog.tasks import TaskState, TaskStatus, create_tasks
from datalake_service.config.compute import RayEngine as RaySettings
from datalake_service.config.compute import SparkEngine as SparkSettings
from datalake_service.engines.local import LocalEngine
from datalake_service.engines.ray import RayEngine
from datalake_service.engines.spark import SparkEngine
from datalake_service.pipeline.jobs.engine import Engine, GeneratorInput, HandlerSpec, LakeOutput, TaskJob
from datalake_service.pipeline.tasks.task import run_task
from datalake_service.storage.folder import FolderStore
from datalake_utils.clock import SystemClock

HANDLER = """
from datalake_interfaces import Generator

class Nothing(Generator):
    def generate(self):
        return iter(())
"""
NOW = datetime(2026, 11, 20, 13, tzinfo=UTC)
LIMITS = {"LOCAL": 5.0, "RAY": 20.0, "SPARK": 50.0}
"""Milliseconds that are tolerated."""


def new_jobs(folder: Path, count: int) -> list[TaskJob]:
    """Tasks that read nothing, in a lake of their own."""
    store = FolderStore(tempfile.mkdtemp(dir=folder), durable=False)
    names = [f"t{number}" for number in range(count)]
    create_tasks(store, "d", [TaskState(id=name, item=name, batch="b", created_at=NOW) for name in names])
    handler, output = HandlerSpec("handler.Nothing", folder), LakeOutput(chunk_size=100)
    return [
        TaskJob(
            task=name,
            source=name,
            input=GeneratorInput(),
            output=output,
            handler=handler,
            store=store,
            dataset="d",
            batch="b",
        )
        for name in names
    ]


def alone(jobs: Sequence[TaskJob]) -> None:
    """The tasks themselves, one after the other."""
    clock = SystemClock()
    for job in jobs:
        run_task(job, stop=lambda: False, report=lambda _: None, clock=clock)


def on(engine: Engine) -> Callable[[Sequence[TaskJob]], None]:
    """The same on an engine."""

    def run(jobs: Sequence[TaskJob]) -> None:
        results = engine.run(jobs, on_event=lambda _: None, stop=threading.Event())
        assert {result.status for result in results} == {TaskStatus.COMPLETED}

    return run


def milliseconds(run: Callable[[Sequence[TaskJob]], None], folder: Path, tasks: int, rounds: int) -> float:
    """The median of a task, over rounds after one that does not count."""
    taken = []
    for _ in range(rounds + 1):
        jobs = new_jobs(folder, tasks)
        began = time.perf_counter()
        run(jobs)
        taken.append(time.perf_counter() - began)
    return 1_000 * statistics.median(taken[1:]) / tasks


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--engines", default="LOCAL,RAY,SPARK")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="engines-"))
    (folder / "handler.py").write_text(HANDLER, encoding="utf-8")
    workers = asked.workers
    known: dict[str, Callable[[], Engine]] = {"LOCAL": lambda: LocalEngine(concurrency=workers)}
    if importlib.util.find_spec("ray") is not None:
        ray = {"computeEngineType": "RAY", "concurrency": workers}
        known["RAY"] = lambda: RayEngine(RaySettings.model_validate(ray))
    if importlib.util.find_spec("pyspark") is not None:
        spark = {"computeEngineType": "SPARK", "master": f"local[{workers}]"}
        known["SPARK"] = lambda: SparkEngine(SparkSettings.model_validate(spark))
    try:
        itself = milliseconds(alone, folder, asked.tasks, asked.rounds)
        print(f"the task itself  {itself:7.2f} ms")
        for name in asked.engines.split(","):
            if name not in known:
                print(f"{name:<15}  not installed: ENGINES=1 ./build.sh bench engines")
                continue
            engine = known[name]()
            overhead = milliseconds(on(engine), folder, asked.tasks, asked.rounds) * workers - itself
            getattr(engine, "close", lambda: None)()
            print(f"{name:<15}  {overhead:7.2f} ms more for each task; tolerated: {LIMITS[name]:g}")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
