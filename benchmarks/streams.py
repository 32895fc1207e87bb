"""Records of a Kinesis stream into a lake, against the bare loop of the client library, on the same emulator.

The bare loop gets records, 1,000 at a time, and goes on with the next iterator; it parses nothing and keeps no place.
Ours calls a handler, stores chunks durably and makes checkpoints. A third side is the bare loop with our clients, whose
parser of times is quicker than the library's: what we owe to that. Each side starts an emulator of its own and fills a
stream of one shard before the clock starts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measure import Comparison, main, timed
from tests.support.aws import Aws, fresh_name, ministack

HANDLER = """
from datalake_interfaces import Document, KinesisRecordReader
import json

class Records(KinesisRecordReader):
    def parse_message(self, stream_arn, shard_id, partition_key, sequence_number, timestamp, data):
        return Document(json.loads(data))
"""
_PAGE = 500


@contextmanager
def filled(folder: Path, records: int) -> Iterator[tuple[Aws, str, str]]:
    """An emulator, the ARN of a stream with so many records of 1 KB, and its shard."""
    with ministack(folder) as aws:
        client, name = aws.client("kinesis"), fresh_name()
        client.create_stream(StreamName=name, ShardCount=1)
        client.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
        for start in range(0, records, _PAGE):
            page = [
                {"Data": json.dumps({"number": number, "text": "x" * 1000}).encode(), "PartitionKey": "key"}
                for number in range(start, min(start + _PAGE, records))
            ]
            assert client.put_records(StreamName=name, Records=page)["FailedRecordCount"] == 0
        found = client.describe_stream(StreamName=name)["StreamDescription"]
        yield aws, found["StreamARN"], found["Shards"][0]["ShardId"]


def bare(folder: Path, arguments: argparse.Namespace) -> object:
    """``boto3``: get records until all have come."""
    with filled(folder, arguments.records) as (aws, arn, shard):
        return _loop(aws.client("kinesis"), arn, shard, arguments.records)


def bare_with_ours(folder: Path, arguments: argparse.Namespace) -> object:
    """The same loop, with the client that the product makes."""
    with filled(folder, arguments.records) as (aws, arn, shard):
        return _loop(aws.clients().client("kinesis"), arn, shard, arguments.records)


def _loop(client: Any, arn: str, shard: str, records: int) -> int:  # noqa: ANN401 - boto3 makes its classes at run time
    seen = 0
    with timed():
        iterator = client.get_shard_iterator(StreamARN=arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
        following = iterator["ShardIterator"]
        while seen < records:
            answer = client.get_records(ShardIterator=following, Limit=1000)
            seen += len(answer["Records"])
            following = answer["NextShardIterator"]
    return seen


def ours(folder: Path, arguments: argparse.Namespace) -> object:
    """A task of the dataset, in this process."""
    from datalake_service.catalog.tasks import TaskState, create_task
    from datalake_service.pipeline.jobs.engine import HandlerSpec, LakeOutput, TaskJob
    from datalake_service.pipeline.jobs.stream_inputs import ShardInput, StreamService
    from datalake_service.pipeline.tasks.task import run_task
    from datalake_service.readers.shards import Place
    from datalake_service.storage.folder import FolderStore
    from datalake_utils.clock import SystemClock

    clock = SystemClock()
    (folder / "handler.py").write_text(HANDLER, encoding="utf-8")
    with filled(folder, arguments.records) as (aws, arn, shard):
        store = FolderStore(folder / "lake")
        create_task(store, "d", TaskState(id="t", item=shard, batch="b", created_at=clock.now()))
        clients = aws.clients()
        clients.client("kinesis")
        source = ShardInput(clients=clients, service=StreamService.KINESIS, stream=arn, shard=shard, begin=Place())
        job = TaskJob(
            task="t",
            source=f"{arn}/{shard}",
            input=source,
            output=LakeOutput(chunk_size=1000),
            handler=HandlerSpec("handler.Records", folder),
            store=store,
            dataset="d",
            batch="b",
        )
        seen = 0

        def done() -> bool:
            return seen == int(arguments.records)  # the stream has no end

        def watch(progress: object) -> None:
            nonlocal seen
            seen = progress.counts.records  # type: ignore[attr-defined]  # a TaskProgress, imported with the work

        with timed():
            result = run_task(job, stop=done, report=watch, clock=clock)
    return result.counts.documents


def options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--records", type=int, default=20_000, help="how many records there are")


if __name__ == "__main__":
    main(
        __file__,
        Comparison(
            "Records of a Kinesis stream, from an emulator",
            {"bare boto3 loop": bare, "datalake": ours, "bare loop, our client": bare_with_ours},
            options,
            by="inner_wall",
            rows=lambda arguments: arguments.records,
        ),
    )
