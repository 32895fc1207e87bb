"""The user's own mappers and reducers on the session of a run: mappers side by side, then the reducer."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Final

from datalake_service.catalog.tasks import TaskStatus, load_task
from datalake_service.engines.scheduler import signals_told
from datalake_service.engines.spark_session import SparkConnection
from datalake_service.engines.spark_tables import Surroundings, surrounded
from datalake_service.pipeline.jobs.engine import TaskJob, TaskProgress, TaskResult
from datalake_service.pipeline.jobs.spark_inputs import SparkProgramInput
from datalake_service.pipeline.tasks.spark_program import run_program
from datalake_utils.clock import SystemClock

SIDE_BY_SIDE: Final = 4
"""Calls that are made at once, unless the settings say otherwise: Spark shares its cores among them."""


def run_programs(
    spark: SparkConnection,
    jobs: Sequence[TaskJob],
    *,
    concurrency: int | None,
    on_event: Callable[[TaskProgress | TaskResult], None],
    stop: threading.Event,
) -> list[TaskResult]:
    """Make the calls of mappers, then of reducers whose mappers are all completed; see ``Engine.run``."""
    session = spark.session()
    programs = [(job, job.input) for job in jobs if isinstance(job.input, SparkProgramInput)]
    rounds = ([pair for pair in programs if not pair[1].after], [pair for pair in programs if pair[1].after])
    results: list[TaskResult] = []
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True
        stop.set()
        spark.cancel_all()

    def run(job: TaskJob, call: SparkProgramInput) -> TaskResult:
        if stop.is_set() or not _is_possible(job, call):
            return TaskResult(job.task, TaskStatus.CREATED)
        around = Surroundings(session, {"read": call.store, "write": call.target}, stage=spark.stages_files())
        with surrounded(around):
            return run_program(job, call, stopped=stop.is_set, clock=SystemClock())

    # Programs print; standard output belongs to the report.
    with signals_told(interrupt), contextlib.redirect_stdout(sys.stderr):
        for calls in rounds:
            with ThreadPoolExecutor(concurrency or SIDE_BY_SIDE, thread_name_prefix="program") as pool:
                for done in as_completed([pool.submit(run, *pair) for pair in calls]):
                    results.append(done.result())
                    on_event(results[-1])
    return results


def _is_possible(job: TaskJob, call: SparkProgramInput) -> bool:
    """Whether all mappers are done: a reducer of less would make a result that lacks something."""
    states = (load_task(job.store, job.dataset, task).state for task in call.after)
    return all(state.status is TaskStatus.COMPLETED for state in states)
