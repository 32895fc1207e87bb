"""What the tasks of streams and tables read. Everything here can be pickled."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from datalake_service.aws.clients import AwsClients
from datalake_service.readers.segments import ScanFilter
from datalake_service.readers.shards import Place


class StreamService(StrEnum):
    """Whose stream it is."""

    KINESIS = "kinesis"
    DYNAMODB = "dynamodb"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardInput:
    """The records of one shard, through a ``KinesisRecordReader`` or a ``DynamoDBStreamsRecordReader``."""

    ends: ClassVar[bool] = True
    """A shard that is closed gets no more records."""
    endless: ClassVar[bool] = True
    """One that is open does not end by itself."""
    clients: AwsClients
    service: StreamService
    stream: str
    """Its ARN."""
    shard: str
    begin: Place
    """Where a task begins that has no checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentInput:
    """The items of one segment of a table, through a ``DynamoDBTableItemReader``."""

    ends: ClassVar[bool] = True
    clients: AwsClients
    table: str
    segment: int
    segments: int
    continuous: bool
    """Whether to scan again and again."""
    only: ScanFilter | None = None

    @property
    def endless(self) -> bool:
        """Whether the task does not end by itself."""
        return self.continuous
