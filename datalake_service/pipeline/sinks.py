"""The sink for a task: where its rows go."""

from __future__ import annotations

from datalake_service.pipeline.engine import TaskJob
from datalake_service.pipeline.lake_sink import LakeSink
from datalake_service.pipeline.sink import Sink
from datalake_utils.clock import Clock


def make_sink(job: TaskJob, *, clock: Clock) -> Sink:
    """Make the sink of a task; nothing is written, and no connection opened, before its first row."""
    return LakeSink(job, job.output, clock=clock)
