"""What the acceptance suite runs on every engine: the examples, with names of their own for what they write to.

Sources are made once and shared, so that ids derived from them are the same on every engine; only a queue, which is
empty once it was read, is made for each run. Destinations are always new.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from datalake_service.config.dataset import DatasetConfig
from datalake_service.config.load import load_dataset
from datalake_service.pipeline.exports.export import export_lines
from datalake_service.pipeline.views.plan import ViewRequest
from datalake_service.pipeline.views.views import DatasetView
from datalake_service.storage.base import ObjectStore
from tests.engines.lakes import lasting, rows_of
from tests.support.aws import Aws, fresh_name
from tests.support.repository import ROOT
from tests.support.servers import S3Server

EXAMPLES: Final = ROOT / "example_configs"
Document = dict[str, Any]


class World:
    """The services around all engines."""

    def __init__(self, aws: Aws, s3: S3Server) -> None:
        self.aws = aws
        self.s3 = s3
        self._made: dict[str, str] = {}

    @property
    def environment(self) -> dict[str, str]:
        """What tasks need to reach queues, streams, tables and models, wherever they run."""
        return self.aws.environment | {"AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": self.aws.models_url}

    def once(self, name: str, make: Callable[[World], str]) -> str:
        """What was made under a name, by whoever asked first."""
        if name not in self._made:
            self._made[name] = make(self)
        return self._made[name]

    def stream(self, *, shards: int = 1) -> str:
        """A new Kinesis stream."""
        name, client = fresh_name(), self.aws.client("kinesis")
        client.create_stream(StreamName=name, ShardCount=shards)
        client.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
        return name

    def table(self, key: str, **more: Any) -> str:
        """A new DynamoDB table."""
        name, client = fresh_name(), self.aws.client("dynamodb")
        client.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            **more,
        )
        client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
        return name

    def records(self, stream: str) -> list[str]:
        """Every record of a stream of ours: its key and its text."""
        client, shard = self.aws.client("kinesis"), "shardId-000000000000"
        start = {"StreamName": stream, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"}
        found = client.get_records(ShardIterator=client.get_shard_iterator(**start)["ShardIterator"])["Records"]
        return [f"{record['PartitionKey']} {gzip.decompress(record['Data']).decode()}" for record in found]

    def messages(self, queue: str) -> list[str]:
        """The body of every message of a queue."""
        client, url, found = self.aws.client("sqs"), self.aws.queue_url(queue), []
        while got := client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            found += [message["Body"] for message in got]
        return found


def arn_of(stream: str) -> str:
    """The name of a Kinesis stream in a dataset file."""
    return f"arn:aws:kinesis:eu-west-1:000000000000:stream/{stream}"


@dataclass(frozen=True, slots=True)
class Target:
    """What one run writes to, beside the lake."""

    delivered: Callable[[], list[str]] = list
    """Looks at it."""
    made_up: Mapping[str, str] = field(default_factory=dict)
    """Names that this run alone has, and what stands in their place in every line."""


def _only_the_lake(_world: World, _document: Document) -> Target:
    return Target()


@dataclass(frozen=True, slots=True)
class Scenario:
    """An example."""

    name: str
    least: int
    """So many lines it makes at least: rows, rejections, what was delivered, what is exported."""
    prepare: Callable[[World, Document], Target] = _only_the_lake
    """Makes what a run needs, and writes its names into the dataset file."""
    records: int | None = None
    """The run does not end by itself: it is stopped when so many records were read."""

    def config(self, world: World) -> tuple[DatasetConfig, Target]:
        """The dataset file for one run; every row is kept.

        Which of two duplicates stays depends on the names of runs, which are random.
        """
        folder = EXAMPLES / self.name
        document = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        document.get("writeConnector", {}).pop("deduplicateOn", None)
        target = self.prepare(world, document)
        return load_dataset(document, folder=folder), target


def everything(lake: ObjectStore, config: DatasetConfig, target: Target) -> list[str]:
    """What a run has made, as lines: merged rows, rejections, the export, what was delivered elsewhere."""
    found = [*rows_of(lake), *rejections_of(lake), *target.delivered()]
    found += _exported(lake, config) if config.annotators else ()
    for name, instead in target.made_up.items():
        found = [line.replace(name, instead) for line in found]
    return sorted(found)


def rejections_of(store: ObjectStore) -> Iterator[str]:
    """The rejections below a store."""
    for meta in store.list(""):
        if "/rejected/" in meta.key and meta.key.endswith(".jsonl"):
            place = meta.key.partition("/rejected/")[0]
            yield from (f"{place} rejected {line.decode()}" for line in store.get(meta.key)[0].splitlines())


def _exported(lake: ObjectStore, config: DatasetConfig) -> Iterator[str]:
    with DatasetView(lake, ViewRequest(dataset=config.dataset_name)) as view:
        written = io.BytesIO()
        export_lines(view, written)
    for line in written.getvalue().splitlines():
        yield "export " + json.dumps(lasting(json.loads(line)), sort_keys=True)


# ---------------------------------------------------------------------------------------------- the examples


def _lines_of(name: str) -> list[str]:
    (path,) = (EXAMPLES / name / "input").iterdir()
    return path.read_text(encoding="utf-8").splitlines()


def _quickstart(_world: World, document: Document) -> Target:
    document["manifestFile"]["globs"] = ["json/*.py", "urllib/*.py"]  # a part of it shows the same
    return Target()


def _s3_to_kinesis(world: World, document: Document) -> Target:
    def upload(world: World) -> str:
        bucket = world.s3.make_bucket()
        for path in (EXAMPLES / "s3_to_kinesis" / "input").iterdir():
            world.s3.client().put_object(Bucket=bucket, Key=path.name, Body=path.read_bytes())
        return bucket

    bucket, stream, archive = world.once("observations", upload), world.stream(), fresh_name()
    document["readConnector"]["bucketName"] = bucket
    document["writeConnector"]["streamArn"] = arn_of(stream)
    document["errorConnector"] |= {"bucketName": bucket, "prefix": archive}
    return Target(lambda: [*world.records(stream), *rejections_of(world.s3.store_in(bucket, archive))])


def _sqs_to_kinesis(world: World, document: Document) -> Target:
    queue, stream = world.aws.make_queue(), world.stream()
    names = world.aws.send(queue, _lines_of("sqs_to_kinesis"))
    document["readConnector"]["queueName"] = queue
    document["writeConnector"]["streamArn"] = arn_of(stream)

    def delivered() -> list[str]:
        assert world.aws.depth(queue) == (0, 0)
        return world.records(stream)

    made_up = {name: f"message {number}" for number, name in enumerate(names)} | {queue: "the queue"}
    return Target(delivered, made_up)


def _kinesis_vectors_sqs(world: World, document: Document) -> Target:
    def put(world: World) -> str:
        stream = world.stream()
        for line in _lines_of("kinesis_vectors_sqs"):
            data, key = gzip.compress(line.encode()), json.loads(line)["documentId"]
            world.aws.client("kinesis").put_record(StreamName=stream, PartitionKey=key, Data=data)
        return stream

    queue = world.aws.make_queue()
    document["readConnector"]["streamArn"] = arn_of(world.once("articles", put))
    document["writeConnector"]["queueName"] = queue
    return Target(lambda: world.messages(queue))


def _dynamodb_table(world: World, document: Document) -> Target:
    def put(world: World) -> str:
        table = world.table("isbn")
        for line in _lines_of("dynamodb_table"):
            world.aws.client("dynamodb").put_item(TableName=table, Item=json.loads(line))
        return table

    document["readConnector"]["tableName"] = world.once("books", put)
    return Target()


def _dynamodb_streams(world: World, document: Document) -> Target:
    def change(world: World) -> str:
        client = world.aws.client("dynamodb")
        images = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
        table = world.table("ticket", StreamSpecification=images)
        for one in map(json.loads, _lines_of("dynamodb_streams")):
            if "put" in one:
                client.put_item(TableName=table, Item=one["put"])
            else:
                client.delete_item(TableName=table, Key=one["delete"])
        return str(client.describe_table(TableName=table)["Table"]["LatestStreamArn"])

    document["readConnector"]["streamArn"] = world.once("tickets", change)
    return Target()


SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        Scenario("quickstart", 100, _quickstart),
        Scenario("s3_to_kinesis", 71, _s3_to_kinesis),
        Scenario("kinesis_vectors_sqs", 7, _kinesis_vectors_sqs, records=7),
        Scenario("sqs_to_kinesis", 21, _sqs_to_kinesis),
        Scenario("dynamodb_table", 8, _dynamodb_table),
        Scenario("dynamodb_streams", 9, _dynamodb_streams, records=10),
        Scenario("web_archive", 90),
        Scenario("tracebacks", 220),
        Scenario("characters", 1_400),
    )
}
"""By name: the quickstart, the six examples of connectors, and what reads logs and makes rows itself."""
