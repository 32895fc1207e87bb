"""The feed for a task: the user's class loaded, and put before its input."""

from __future__ import annotations

from typing import TypeVar

from datalake_interfaces import (
    DynamoDBStreamsRecordReader,
    DynamoDBTableItemReader,
    Generator,
    KinesisRecordReader,
    QueueMessageReader,
    SingleFileParser,
)
from datalake_service.errors import HandlerLoadError
from datalake_service.handling.load import load_handler
from datalake_service.pipeline.feeds.feed import Feed
from datalake_service.pipeline.feeds.files import FileRecords
from datalake_service.pipeline.feeds.generated import GeneratedRows
from datalake_service.pipeline.jobs.engine import GeneratorInput, MachineInput, QueueInput, TaskJob
from datalake_service.pipeline.jobs.spark_inputs import SparkProgramInput
from datalake_service.pipeline.jobs.stream_inputs import SegmentInput, ShardInput, StreamService
from datalake_utils.clock import Clock

T = TypeVar("T")


def make_feed(job: TaskJob, *, clock: Clock) -> Feed:
    """Load the handler of a task; nothing is read yet.

    Raises:
        HandlerLoadError: It cannot be loaded.
    """
    if isinstance(job.input, GeneratorInput):
        return GeneratedRows(_load(job, Generator), job)
    if isinstance(job.input, QueueInput):
        from datalake_service.pipeline.feeds.queue_feed import QueueMessages

        return QueueMessages(_load(job, QueueMessageReader), job, job.input, clock=clock)
    if isinstance(job.input, MachineInput):
        from datalake_service.pipeline.feeds.machines import MachineSteps, load_machine

        return MachineSteps(load_machine(job, job.input), job, job.input)
    if isinstance(job.input, ShardInput):
        return _shard(job, job.input, clock)
    if isinstance(job.input, SegmentInput):
        from datalake_service.pipeline.feeds.segment_feed import SegmentItems

        return SegmentItems(_load(job, DynamoDBTableItemReader), job, job.input, clock=clock)
    if isinstance(job.input, SparkProgramInput):
        raise HandlerLoadError("readerType SPARKREADER needs computeEngineType SPARK")
    return FileRecords(_load(job, SingleFileParser), job, job.input)


def _shard(job: TaskJob, shard: ShardInput, clock: Clock) -> Feed:
    from datalake_service.pipeline.feeds.shard_feed import ShardRecords

    if shard.service is StreamService.KINESIS:
        return ShardRecords(_load(job, KinesisRecordReader), job, shard, clock=clock)
    return ShardRecords(_load(job, DynamoDBStreamsRecordReader), job, shard, clock=clock)


def _load(job: TaskJob, interface: type[T]) -> T:
    spec = job.handler
    return load_handler(spec.reference, folder=spec.folder, interface=interface, parameters=spec.parameters)
