"""The LOCAL engine: tasks in worker processes on this machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence

from datalake_service.engines.process import WorkerProcess
from datalake_service.engines.scheduler import MAX_DEATHS, TURN_SECONDS, Rules, run_in_slots
from datalake_service.pipeline.jobs.engine import TaskJob, TaskProgress, TaskResult
from datalake_service.pipeline.jobs.job_queue import JobQueue


class LocalEngine:
    """Runs tasks in spawned processes; see ``Engine``."""

    def __init__(
        self, *, concurrency: int | None = None, max_deaths: int = MAX_DEATHS, turn_seconds: float = TURN_SECONDS
    ) -> None:
        """Use at most ``concurrency`` processes (default: one for each core that this process may use)."""
        self._concurrency = concurrency or cores()
        self._rules = Rules(WorkerProcess, max_deaths=max_deaths, turn_seconds=turn_seconds)

    def run(
        self,
        jobs: Sequence[TaskJob],
        *,
        on_event: Callable[[TaskProgress | TaskResult], None],
        stop: threading.Event,
        more: Callable[[TaskResult], Sequence[TaskJob]] | None = None,
    ) -> list[TaskResult]:
        """Run every job to its end; see ``Engine.run``."""
        return run_in_slots(jobs, slots=self._concurrency, rules=self._rules, on_event=on_event, stop=stop, more=more)

    def drain(
        self,
        queue: JobQueue,
        *,
        on_event: Callable[[TaskProgress | TaskResult], None],
        stop: threading.Event,
        tick: Callable[[], None],
    ) -> list[TaskResult]:
        """Run jobs as long as a queue has any; see ``Engine.run``. ``tick`` is called a few times a second."""
        rules, slots = self._rules, self._concurrency
        return run_in_slots(queue, slots=slots, rules=rules, on_event=on_event, stop=stop, tick=tick)


def cores() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):  # what a container or taskset leaves us
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
