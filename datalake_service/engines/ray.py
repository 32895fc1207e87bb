"""The RAY engine: tasks and annotators as actors of a Ray cluster. See ``docs/design/020-engines.md``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from datalake_service.config.compute import ActorResources
from datalake_service.config.compute import RayEngine as Settings
from datalake_service.engines.code import collect_code
from datalake_service.engines.parcels import code_of, make_folders, pack
from datalake_service.engines.ray_annotator import Actors, RemoteAnnotator, RemoteBatchAnnotator
from datalake_service.engines.ray_cluster import RayCluster, needs_of
from datalake_service.engines.ray_worker import RayWorker, put_code
from datalake_service.engines.scheduler import MAX_DEATHS, TURN_SECONDS, Rules, run_in_slots
from datalake_service.pipeline.annotation.job import AnnotationReport
from datalake_service.pipeline.jobs.engine import TaskJob, TaskProgress, TaskResult
from datalake_service.pipeline.runs.annotators import AnnotatorWork, annotate_here
from datalake_utils.clock import Clock


class RayEngine:
    """Runs tasks in actors, one task at a time in each; see ``Engine``."""

    def __init__(self, settings: Settings, *, max_deaths: int = MAX_DEATHS, turn_seconds: float = TURN_SECONDS) -> None:
        """Connect at first use."""
        self._settings = settings
        self._max_deaths = max_deaths
        self._turn_seconds = turn_seconds
        self._cluster = RayCluster(settings)

    def run(
        self,
        jobs: Sequence[TaskJob],
        *,
        on_event: Callable[[TaskProgress | TaskResult], None],
        stop: threading.Event,
        more: Callable[[TaskResult], Sequence[TaskJob]] | None = None,
    ) -> list[TaskResult]:
        """Run every job to its end; see ``Engine.run``."""
        if not jobs:
            return []
        make_folders(jobs)
        settings, cluster = self._settings, self._cluster
        needs = needs_of(cpus=settings.num_cpus, gpus=settings.num_gpus, megabytes=settings.memory_in_megabytes)
        slots = settings.concurrency or cluster.slots(needs)
        code = put_code(cluster, code_of(jobs))

        def new_worker() -> RayWorker:
            return RayWorker(cluster, code=code, needs=needs)

        rules = Rules(new_worker, pack=pack, max_deaths=self._max_deaths, turn_seconds=self._turn_seconds)
        return run_in_slots(jobs, slots=slots, rules=rules, on_event=on_event, stop=stop, more=more)

    def annotate(
        self, work: AnnotatorWork, *, tell: Callable[[AnnotationReport], None], clock: Clock
    ) -> AnnotationReport:
        """Run an annotator with its calls made in actors; see ``AnnotatesElsewhere``.

        Language models are asked from here: they are somewhere else anyway, and their keys are here.
        """
        if work.annotator.llm is not None:
            return annotate_here(work, tell=tell, clock=clock)
        name = work.annotator.annotator_name
        resources = self._settings.annotator_resources.get(name, ActorResources())
        code = put_code(self._cluster, collect_code([work.config.folder]))
        actors = Actors(self._cluster, work, resources, code=code)
        try:
            facts = actors.start()
            instance = RemoteBatchAnnotator(actors, facts) if facts.takes_batches else RemoteAnnotator(actors)
            return annotate_here(work, tell=tell, clock=clock, instance=instance)
        finally:
            actors.end()

    def close(self) -> None:
        """Part with the cluster."""
        self._cluster.close()
