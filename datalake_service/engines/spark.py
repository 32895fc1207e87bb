"""The SPARK engine: tasks as jobs of a Spark cluster. See ``docs/design/020-engines.md``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from datalake_service.config.compute import SparkEngine as Settings
from datalake_service.engines.scheduler import MAX_DEATHS
from datalake_service.engines.spark_annotator import annotate_on_spark
from datalake_service.engines.spark_programs import run_programs
from datalake_service.engines.spark_run import SparkRun
from datalake_service.engines.spark_session import SparkConnection
from datalake_service.pipeline.annotation.job import AnnotationReport
from datalake_service.pipeline.jobs.engine import TaskJob, TaskProgress, TaskResult
from datalake_service.pipeline.jobs.spark_inputs import SparkProgramInput
from datalake_service.pipeline.runs.annotators import AnnotatorWork, annotate_here
from datalake_utils.clock import Clock

TURN_SECONDS = 30.0
"""So long a task works that does not end by itself; then others have their turn."""


class SparkEngine:
    """Runs tasks in the Python workers of Spark; see ``Engine``."""

    def __init__(self, settings: Settings, *, max_deaths: int = MAX_DEATHS, turn_seconds: float = TURN_SECONDS) -> None:
        """Connect at first use."""
        self._settings = settings
        self._max_deaths = max_deaths
        self._turn_seconds = turn_seconds
        self._spark = SparkConnection(settings)

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
        self._spark.session()  # what is wrong with it is known before a thread waits for it
        if isinstance(jobs[0].input, SparkProgramInput):  # a dataset file has tasks of one kind
            concurrency = self._settings.concurrency
            return run_programs(self._spark, jobs, concurrency=concurrency, on_event=on_event, stop=stop)
        run = SparkRun(self._spark, on_event=on_event, stop=stop, more=more)
        return run.until_all_ended(jobs, max_deaths=self._max_deaths, turn_seconds=self._turn_seconds)

    def annotate(
        self, work: AnnotatorWork, *, tell: Callable[[AnnotationReport], None], clock: Clock
    ) -> AnnotationReport:
        """Run an annotator as workers that share it; see ``AnnotatesElsewhere``.

        Language models are asked from here: they are somewhere else anyway, and their keys are here.
        """
        if work.annotator.llm is not None:
            return annotate_here(work, tell=tell, clock=clock)
        return annotate_on_spark(self._spark, work, tell=tell, clock=clock)

    def close(self) -> None:
        """Part with the cluster."""
        self._spark.close()
