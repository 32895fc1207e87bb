"""The sink for a task: where its rows go."""

from __future__ import annotations

from typing import Final

from datalake_service.pipeline.jobs.engine import TaskJob
from datalake_service.pipeline.jobs.outputs import Elsewhere, FilesOutput, QueueOutput, StreamOutput, VectorStep
from datalake_service.pipeline.sinks.lake_sink import LakeSink
from datalake_service.pipeline.sinks.sink import Sink
from datalake_utils.clock import Clock

SENDERS: Final = 4
"""Requests at a time to a queue, a stream or a table."""


def make_sink(job: TaskJob, *, clock: Clock) -> Sink:
    """Make the sink of a task; nothing is written, and no connection opened, before its first row.

    Raises:
        HandlerLoadError: What makes vectors cannot be loaded or opened.
    """
    output = job.output
    sink = _elsewhere(job, output, clock) if isinstance(output, Elsewhere) else LakeSink(job, output, clock=clock)
    return sink if job.vectors is None else _with_vectors(sink, job, job.vectors, clock)


def _with_vectors(sink: Sink, job: TaskJob, step: VectorStep, clock: Clock) -> Sink:
    from datalake_service.pipeline.sinks.vector_sink import VectorSink
    from datalake_service.pipeline.vectorizing import make_vectorizer

    vectorizer = make_vectorizer(step, clock=clock)
    vectorizer.open(dataset=job.dataset, task=job.task)
    return VectorSink(sink, vectorizer, batch_size=step.batch_size, concurrency=step.concurrency, clock=clock)


def _elsewhere(job: TaskJob, output: Elsewhere, clock: Clock) -> Sink:
    """The modules of a destination are loaded by tasks that write to it."""
    if isinstance(output, FilesOutput):
        from datalake_service.pipeline.sinks.file_sink import FileSink

        return FileSink(job, output)
    from datalake_service.aws.service import AwsService
    from datalake_service.chunks.convert import convert
    from datalake_service.pipeline.sinks.delivery_sink import DeliverySink
    from datalake_service.writers.outgoing import Writer
    from datalake_service.writers.records import RecordText

    writer: Writer
    if isinstance(output, QueueOutput):
        from datalake_service.writers.queues import QueueWriter

        service = AwsService(
            output.clients, "sqs", name=f"the queue {output.queue!r}", setting="writeConnector.queueName", clock=clock
        )
        writer = QueueWriter(service, output.queue, RecordText(convert), group=job.task, id_key=output.id_key)
    elif isinstance(output, StreamOutput):
        from datalake_service.writers.streams import StreamWriter

        name = output.stream_arn.rpartition("/")[2]
        service = AwsService(
            output.clients, "kinesis", name=f"the stream {name!r}", setting="writeConnector.streamArn", clock=clock
        )
        writer = StreamWriter(service, output.stream_arn, RecordText(convert), keep_order=output.keep_order)
    else:
        from datalake_service.writers.items import ItemEncoder
        from datalake_service.writers.table_items import TableWriter

        service = AwsService(
            output.clients,
            "dynamodb",
            name=f"the table {output.table!r}",
            setting="writeConnector.tableName",
            clock=clock,
        )
        writer = TableWriter(service, output.table, ItemEncoder(convert))
    return DeliverySink(writer, senders=SENDERS, clock=clock)
