"""Records to a queue and to a stream, against the bare loop of the client library: the same emulator, the same batches.

The bare loop encodes (and for the stream, compresses) records and sends full batches, one after the other; it looks at
no answer. Ours cuts batches by size as well, looks at the answer for every record, keeps order where there is one to
keep, and sends a few batches at a time. Each side starts an emulator of its own.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measure import Comparison, main, timed
from tests.support.aws import Aws, ministack

TEXT = "the harbour lies behind old walls and every evening boats return with nets and stories from the open sea " * 9


def rows(count: int) -> Iterator[dict[str, Any]]:
    """Records of about 1 KB, each with its id at the end, as a handler's."""
    for number in range(count):
        yield {"documentId": f"d{number}", "partitionKey": f"p{number % 100}", "text": TEXT, "id": f"d{number}"}


@contextmanager
def prepared(folder: Path, target: str) -> Iterator[tuple[Aws, str]]:
    """An emulator with a queue, or with a stream of one shard."""
    with ministack(folder) as aws:
        if target == "sqs":
            yield aws, aws.make_queue()
            return
        client = aws.client("kinesis")
        client.create_stream(StreamName="bench", ShardCount=1)
        yield aws, client.describe_stream_summary(StreamName="bench")["StreamDescriptionSummary"]["StreamARN"]


def bare(folder: Path, arguments: argparse.Namespace) -> object:
    """``boto3``: encode, send, repeat."""
    from isal import igzip

    with prepared(folder, arguments.target) as (aws, name):
        queue = arguments.target == "sqs"
        client = aws.client("sqs" if queue else "kinesis")
        url, size = aws.queue_url(name) if queue else "", 10 if queue else 500
        batch: list[dict[str, Any]] = []
        sent = 0
        with timed():
            for row in rows(arguments.records):
                del row["id"]
                body = json.dumps(row)
                if queue:
                    batch.append({"Id": str(len(batch)), "MessageBody": body})
                else:
                    batch.append({"Data": igzip.compress(body.encode(), 1), "PartitionKey": row["partitionKey"]})
                if len(batch) == size:
                    sent += len(batch)
                    _ = (
                        client.send_message_batch(QueueUrl=url, Entries=batch)
                        if queue
                        else client.put_records(StreamARN=name, Records=batch)
                    )
                    batch = []
    return sent


def ours(folder: Path, arguments: argparse.Namespace) -> object:
    """The sink of a task, flushed in the end."""
    from datalake_service.aws.service import AwsService
    from datalake_service.chunks.convert import convert
    from datalake_service.pipeline.sinks.delivery_sink import DeliverySink
    from datalake_service.pipeline.sinks.sink import Origin
    from datalake_service.pipeline.sinks.sinks import SENDERS
    from datalake_service.writers.outgoing import Writer
    from datalake_service.writers.queues import QueueWriter
    from datalake_service.writers.records import RecordText
    from datalake_service.writers.streams import StreamWriter
    from datalake_utils.clock import SystemClock

    with prepared(folder, arguments.target) as (aws, name):
        clients, text = aws.clients(), RecordText(convert)
        service = "sqs" if arguments.target == "sqs" else "kinesis"
        clients.client(service)
        asked = AwsService(clients, service, name=name, setting="")
        writer: Writer = (
            QueueWriter(asked, name, text, group="t", id_key=None)
            if service == "sqs"
            else StreamWriter(asked, name, text, keep_order=False)
        )
        sink = DeliverySink(writer, senders=SENDERS, clock=SystemClock())
        origin = Origin(None)
        sent = 0
        with timed():
            for row in rows(arguments.records):
                sink.add(row, origin)
                sent += 1
                if sink.saturated:
                    sink.wait_for_room()
            sink.close()
        assert not sink.refused()
    return sent


def options(parser: argparse.ArgumentParser) -> None:
    """Which destination, and how much."""
    parser.add_argument("--target", choices=("sqs", "kinesis"), default="sqs", help="the destination")
    parser.add_argument("--records", type=int, default=5_000, help="how many records there are")


if __name__ == "__main__":
    main(
        __file__,
        Comparison(
            "Records to a queue or a stream, in an emulator",
            {"bare boto3 loop": bare, "datalake": ours},
            options,
            by="inner_wall",
            rows=lambda arguments: arguments.records,
        ),
    )
