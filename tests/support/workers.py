"""A worker in this process: tasks run one after the other, claimed as the product claims them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from datalake_service.catalog import layout
from datalake_service.catalog.claims import ClaimsBelow
from datalake_service.catalog.tasks import TaskStatus
from datalake_service.config.load import load_dataset as read_config
from datalake_service.pipeline.jobs.engine import TaskProgress, TaskResult
from datalake_service.pipeline.jobs.job_queue import JobQueue
from datalake_service.pipeline.runs.report import RunReport
from datalake_service.pipeline.tasks.task import run_task
from datalake_service.pipeline.workers.worker import work_in
from datalake_service.storage import open_store
from datalake_service.storage.base import ObjectStore
from tests.support.project import Project
from tests.support.tasks import TickingClock


class InlineDrain:
    """Runs tasks in this thread."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        """The sources of the tasks that were run, in order."""
        self.before: Callable[[str], None] = lambda _source: None
        """Called before each."""

    def drain(
        self,
        queue: JobQueue,
        *,
        on_event: Callable[[TaskProgress | TaskResult], None],
        stop: threading.Event,
        tick: Callable[[], None],
    ) -> list[TaskResult]:
        results = []
        while not stop.is_set() and (job := queue.take()) is not None:
            tick()
            self.ran.append(job.source)
            self.before(job.source)
            result = run_task(job, stop=stop.is_set, report=on_event, clock=TickingClock(0.01))
            on_event(result)
            results.append(result)
        return [*results, *(TaskResult(job.task, TaskStatus.CREATED) for job in queue.rest())]


def work(
    project: Project,
    store: ObjectStore | None = None,
    *,
    engine: InlineDrain | None = None,
    stop: threading.Event | None = None,
) -> RunReport:
    """Be a worker of a project's dataset file, in a lake that is seen through ``store``."""
    return work_in(
        read_config(project.document, folder=project.folder),
        store=store or project.store,
        opener=open_store,
        engine=engine or InlineDrain(),
        stop=stop,
        clock=project.clock,
    )


def held_claims(store: ObjectStore, dataset: str = "d") -> list[str]:
    """Tasks that somebody has, or had when it died."""
    claims = ClaimsBelow(store, layout.task_claims_prefix(dataset))
    found = [claims.read(task) for task in claims.versions()]
    return [claim.batch for claim in found if claim is not None and not claim.record.released]


def leases(store: ObjectStore, dataset: str = "d") -> list[str]:
    """The leases of workers that are there."""
    return [meta.key for meta in store.list(layout.task_workers_prefix(dataset))]
