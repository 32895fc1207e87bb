"""Destinations behind their real protocols: emulators of AWS over HTTP, read back by plain clients."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer

from datalake_service.catalog.tasks import TaskStatus
from datalake_service.pipeline.jobs.engine import TaskJob
from datalake_service.pipeline.jobs.outputs import FileKind, FilesOutput, QueueOutput, StreamOutput, TableOutput
from datalake_service.storage import FolderStore
from datalake_service.storage.s3 import S3Store
from datalake_service.writers.queues import LONGEST_ID
from datalake_utils.clock import SystemClock
from tests.support.aws import REGION, Aws, fresh_name
from tests.support.tasks import generator_job, run_here, stored_rejections, write_module

ROWS = """
from decimal import Decimal

class Rows(Generator):
    def __init__(self, count=60):
        self.count = count

    def generate(self):
        for number in range(self.count):
            yield Document(
                {
                    "pk": f"k{number % 20}",
                    "n": number,
                    "exact": Decimal("0.1") + number,
                    "big": 10**30 + number,
                    "data": bytes([number]),
                    "tags": {"a", "b"},
                    "nested": {"list": [1, 1.5, None, True]},
                },
                document_id=f"d{number}",
                partition_key="g" * 300 if number % 2 else f"g{number % 4}",
            )
"""


def job(folder: Path, output: Any) -> TaskJob:
    """A task that writes there."""
    lake = FolderStore(folder / "lake", durable=False)
    return replace(generator_job(lake, write_module(folder / "code", ROWS)), output=output)


def run(folder: Path, output: Any) -> None:
    """Run it to its end."""
    task = job(folder, output)
    result = run_here(task, clock=SystemClock())
    assert result.status is TaskStatus.COMPLETED, result.error
    assert (result.counts.documents, result.counts.rejections) == (60, 0), stored_rejections(task.store)


def test_items_of_a_table_are_exact(aws: Aws, tmp_path: Path) -> None:
    """Numbers, bytes, sets and nested values come back as they were; the last document of a key is the item."""
    client, name = aws.client("dynamodb"), fresh_name()
    client.create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    run(tmp_path, TableOutput(clients=aws.clients(), table=name))
    plain = TypeDeserializer()
    items = [
        {key: plain.deserialize(value) for key, value in item.items()} for item in client.scan(TableName=name)["Items"]
    ]
    assert len(items) == 20
    item = next(item for item in items if item["pk"] == "k7")
    assert item["n"] == 47
    assert (item["exact"], item["big"]) == (Decimal("47.1"), 10**30 + 47)
    assert (item["data"].value, item["tags"]) == (bytes([47]), {"a", "b"})
    assert item["nested"] == {"list": [1, Decimal("1.5"), None, True]}
    assert item["documentId"] == "d47"
    assert "id" not in item


@pytest.mark.parametrize("fifo", ["true", "false"])
def test_messages_of_a_queue(aws: Aws, tmp_path: Path, fifo: str) -> None:
    """All of them, each once; those of a group of a FIFO queue in their order."""
    name = aws.make_queue(fifo=fifo)
    run(tmp_path, QueueOutput(clients=aws.clients(), queue=name))
    client, url, bodies = aws.client("sqs"), aws.queue_url(name), []
    while True:
        found = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["All"]).get("Messages", [])
        if not found:
            break
        for message in found:
            bodies.append(json.loads(message["Body"]))
            client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            assert len(message["Attributes"].get("MessageGroupId", "")) <= LONGEST_ID
    assert sorted(body["n"] for body in bodies) == list(range(60))
    if fifo == "true":
        for key in {body["partitionKey"] for body in bodies}:
            numbers = [body["n"] for body in bodies if body["partitionKey"] == key]
            assert numbers == sorted(numbers)


def test_records_of_a_stream(aws: Aws, tmp_path: Path) -> None:
    """All of them, with a key that is short enough, in the order of each key."""
    client, name = aws.client("kinesis"), fresh_name()
    client.create_stream(StreamName=name, ShardCount=2)
    arn = client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamARN"]
    assert REGION in arn
    run(tmp_path, StreamOutput(clients=aws.clients(), stream_arn=arn, keep_order=True))
    records: list[dict[str, Any]] = []
    for shard in client.list_shards(StreamName=name)["Shards"]:
        where = {"StreamName": name, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        records += client.get_records(ShardIterator=client.get_shard_iterator(**where)["ShardIterator"])["Records"]
    documents = [(record["PartitionKey"], json.loads(gzip.decompress(record["Data"]))) for record in records]
    assert sorted(document["n"] for _, document in documents) == list(range(60))
    assert max(len(key) for key, _ in documents) == 256
    for key in {key for key, _ in documents}:
        numbers = [document["n"] for one, document in documents if one == key]
        assert numbers == sorted(numbers)


@pytest.mark.parametrize("kind", FileKind)
def test_files_of_a_bucket(s3_store: S3Store, tmp_path: Path, kind: FileKind) -> None:
    """Complete, below the prefix of the store."""
    output = FilesOutput(store=s3_store, kind=kind, rows_per_file=25)
    run(tmp_path, output)
    keys = [meta.key for meta in s3_store.list("d/b/t1/")]
    assert keys == [f"d/b/t1/{first:012d}-1.{kind}" for first in (0, 25, 50)]
    if kind is FileKind.JSONL:
        rows = [json.loads(line) for key in keys for line in s3_store.get(key)[0].splitlines()]
        assert [row["n"] for row in rows] == list(range(60))


def test_a_missing_destination_fails_the_task_with_one_clear_line(aws: Aws, tmp_path: Path) -> None:
    """It names what is missing, where, and which setting to correct."""
    arn = f"arn:aws:kinesis:{REGION}:000000000000:stream/nowhere"
    expected = {
        "queue 'nowhere'": (QueueOutput(clients=aws.clients(), queue="nowhere"), "writeConnector.queueName"),
        "stream 'nowhere'": (StreamOutput(clients=aws.clients(), stream_arn=arn), "writeConnector.streamArn"),
        "table 'nowhere'": (TableOutput(clients=aws.clients(), table="nowhere"), "writeConnector.tableName"),
    }
    for number, (what, (output, setting)) in enumerate(expected.items()):
        result = run_here(job(tmp_path / str(number), output), clock=SystemClock())
        assert result.status is TaskStatus.FAILED
        assert f"the {what} does not exist" in (result.error or "")
        assert setting in (result.error or "")
