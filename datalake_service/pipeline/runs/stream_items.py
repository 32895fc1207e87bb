"""What a dataset file names of streams and tables: shards and segments, as inputs of tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from datalake_service.aws.clients import AwsClients
from datalake_service.config.dataset import DatasetConfig
from datalake_service.config.manifest import (
    DynamoDBManifest,
    DynamoDBStreamsManifest,
    KinesisManifest,
    StreamStart,
    TableCompletion,
)
from datalake_service.config.problems import json_path
from datalake_service.config.read import DynamoDBReadConnector, DynamoDBStreamsReadConnector, KinesisReadConnector
from datalake_service.errors import ConfigError
from datalake_service.pipeline.jobs.stream_inputs import SegmentInput, ShardInput, StreamService
from datalake_service.readers.dynamodb_values import typed
from datalake_service.readers.segments import ScanFilter, open_table
from datalake_service.readers.shards import KinesisStream, Place, Stream, TableStream, in_order
from datalake_utils.clock import SystemClock

StreamConnector = KinesisReadConnector | DynamoDBStreamsReadConnector


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamItem:
    """One shard or segment."""

    name: str
    """For people: what it is part of, and which part."""
    source: str
    """The stable name that ids of rows are derived from."""
    input: ShardInput | SegmentInput
    parents: tuple[str, ...] = ()
    """Names of the items that have to be read before."""

    @property
    def start(self) -> object:
        """The checkpoint that a new task begins with: later shards of the stream begin at the same time."""
        since = self.input.begin.since if isinstance(self.input, ShardInput) else None
        return None if since is None else {"since": since}


def handler_of(connector: StreamConnector | DynamoDBReadConnector) -> str:
    """The class that reads records, as ``module.Class``; the dataset file has been checked."""
    if isinstance(connector, KinesisReadConnector):
        reference = connector.kinesis_record_reader_implementation_class_name
    elif isinstance(connector, DynamoDBStreamsReadConnector):
        reference = connector.dynamo_db_streams_record_reader_implementation_class_name
    else:
        reference = connector.dynamo_db_table_item_reader_implementation_class_name
    assert reference is not None  # check_available
    return reference


def shard_items(config: DatasetConfig, connector: StreamConnector) -> list[StreamItem]:
    """The shards of a stream that exist now, parents before children.

    Raises:
        StoreError: The stream does not exist or cannot be read.
    """
    clients = AwsClients(region=config.region)
    is_kinesis = isinstance(connector, KinesisReadConnector)
    stream: Stream = (KinesisStream if is_kinesis else TableStream)(clients, connector.stream_arn, clock=SystemClock())
    shards, answered_at = stream.shards()
    begin = _Beginning.of(config, answered_at)
    prefix = stream_prefix(connector)
    existing = {shard.id for shard in shards}
    return [
        StreamItem(
            name=f"{prefix}{shard.id}",
            source=f"{connector.stream_arn}/{shard.id}",
            input=ShardInput(
                clients=clients,
                service=StreamService.KINESIS if is_kinesis else StreamService.DYNAMODB,
                stream=connector.stream_arn,
                shard=shard.id,
                begin=begin.place(shard.id),
            ),
            parents=tuple(f"{prefix}{parent}" for parent in shard.parents if parent in existing),
        )
        for shard in in_order(shards)
    ]


def stream_prefix(connector: StreamConnector) -> str:
    """How the names of a stream's items begin: the stream, or the table and the label of its stream."""
    return (
        connector.stream_arn.partition(":stream/" if isinstance(connector, KinesisReadConnector) else ":table/")[2]
        + "/"
    )


def segment_items(config: DatasetConfig, connector: DynamoDBReadConnector) -> list[StreamItem]:
    """The segments of the scan of a table.

    Raises:
        ConfigError: A value of the filter is none of DynamoDB's.
        StoreError: The table does not exist or cannot be read.
    """
    manifest = cast("DynamoDBManifest", config.manifest_file)
    clients = AwsClients(region=config.region)
    table = open_table(clients, connector.table_name, clock=SystemClock())
    only = None if manifest.filter_expression is None else _filter(manifest)
    continuous = manifest.completion_mode is TableCompletion.CONTINUOUS
    return [
        StreamItem(
            name=f"{table.name}#{segment} of {manifest.segments}",
            source=f"dynamodb://{table.name}",  # however many segments there are, an item is the same
            input=SegmentInput(
                clients=clients,
                table=table.name,
                segment=segment,
                segments=manifest.segments,
                continuous=continuous,
                only=only,
            ),
        )
        for segment in range(manifest.segments)
    ]


def _filter(manifest: DynamoDBManifest) -> ScanFilter:
    values = {}
    for name, value in (manifest.expression_attribute_values or {}).items():
        try:
            values[name] = typed(value)
        except ValueError as error:
            path = json_path(("manifestFile", "expressionAttributeValues", name))
            raise ConfigError(f"{path}: {error}") from None
    return ScanFilter(
        expression=str(manifest.filter_expression), names=manifest.expression_attribute_names or {}, values=values
    )


@dataclass(frozen=True, slots=True)
class _Beginning:
    """Where shards begin to be read that have no checkpoint."""

    since: float | None
    numbers: Mapping[str, str]

    @classmethod
    def of(cls, config: DatasetConfig, answered_at: float | None) -> _Beginning:
        """What the manifest says. "Latest" is the time of the service at the first planning."""
        manifest = config.manifest_file
        if isinstance(manifest, KinesisManifest):
            start = manifest.kinesis_reader_task_start_from_condition
            time = manifest.kinesis_reader_task_start_from_timestamp
            numbers = manifest.kinesis_reader_task_start_from_sequence_numbers
        else:
            manifest = cast("DynamoDBStreamsManifest", manifest)
            start, time = manifest.start_from_condition, manifest.start_from_timestamp
            numbers = manifest.start_from_sequence_numbers
        if start is StreamStart.LATEST:
            now = SystemClock().now().timestamp() if answered_at is None else answered_at
            return cls(now, {})
        return cls(None if time is None else time.timestamp(), numbers or {})

    def place(self, shard: str) -> Place:
        return Place(at=self.numbers[shard]) if shard in self.numbers else Place(since=self.since)


def begins_latest(config: DatasetConfig) -> bool:
    """Whether shards are read from the time on at which the dataset was planned first."""
    starts = ("kinesis_reader_task_start_from_condition", "start_from_condition")
    return any(getattr(config.manifest_file, name, None) is StreamStart.LATEST for name in starts)


def earliest(checkpoints: Iterable[object]) -> float | None:
    """The earliest time at which shards of a stream began to be read; ``None``: none began at a time."""
    times = [
        checkpoint["since"] for checkpoint in checkpoints if isinstance(checkpoint, Mapping) and "since" in checkpoint
    ]
    return min(times, default=None)
