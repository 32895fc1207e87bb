"""The feed for a task: the user's class loaded, and put before its input."""

from __future__ import annotations

from datalake_interfaces import Generator, SingleFileParser
from datalake_service.handling.load import load_handler
from datalake_service.pipeline.engine import GeneratorInput, TaskJob
from datalake_service.pipeline.feed import Feed
from datalake_service.pipeline.files import FileRecords
from datalake_service.pipeline.generated import GeneratedRows


def make_feed(job: TaskJob) -> Feed:
    """Load the handler of a task; nothing is read yet.

    Raises:
        HandlerLoadError: It cannot be loaded.
    """
    spec = job.handler
    if isinstance(job.input, GeneratorInput):
        generator = load_handler(
            spec.reference,
            folder=spec.folder,
            interface=Generator,  # type: ignore[type-abstract]
            parameters=spec.parameters,
        )
        return GeneratedRows(generator, job)
    parser = load_handler(
        spec.reference,
        folder=spec.folder,
        interface=SingleFileParser,  # type: ignore[type-abstract]
        parameters=spec.parameters,
    )
    return FileRecords(parser, job, job.input)
