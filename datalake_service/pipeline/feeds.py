"""The feed for a task: the user's class loaded, and put before its input."""

from __future__ import annotations

from typing import TypeVar

from datalake_interfaces import Generator, QueueMessageReader, SingleFileParser
from datalake_service.handling.load import load_handler
from datalake_service.pipeline.engine import GeneratorInput, QueueInput, TaskJob
from datalake_service.pipeline.feed import Feed
from datalake_service.pipeline.files import FileRecords
from datalake_service.pipeline.generated import GeneratedRows
from datalake_utils.clock import Clock

T = TypeVar("T")


def make_feed(job: TaskJob, *, clock: Clock) -> Feed:
    """Load the handler of a task; nothing is read yet.

    Raises:
        HandlerLoadError: It cannot be loaded.
    """
    if isinstance(job.input, GeneratorInput):
        return GeneratedRows(_load(job, Generator), job)  # type: ignore[type-abstract]
    if isinstance(job.input, QueueInput):
        from datalake_service.pipeline.queue_feed import QueueMessages

        return QueueMessages(_load(job, QueueMessageReader), job, job.input, clock=clock)  # type: ignore[type-abstract]
    return FileRecords(_load(job, SingleFileParser), job, job.input)  # type: ignore[type-abstract]


def _load(job: TaskJob, interface: type[T]) -> T:
    spec = job.handler
    return load_handler(spec.reference, folder=spec.folder, interface=interface, parameters=spec.parameters)
