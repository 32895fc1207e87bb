"""One stream, of Kinesis or of a DynamoDB table: its shards, and the records of each. Knows nothing of handlers.

Both services cut a stream into shards that are read with iterators. A shard is closed when the stream is scaled; its
children begin where it ends. Records are handed out as the service gives them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Protocol

from datalake_service.aws.clients import AwsClients
from datalake_service.aws.service import AwsService
from datalake_service.errors import AccessDeniedError, StoreError
from datalake_utils.clock import Clock

RECORDS: Final = 1_000
"""Records of one request at most: the limit of DynamoDB Streams, and 10 MB at most of Kinesis."""


class IteratorExpiredError(Exception):
    """The iterator was not used for minutes; another one begins behind the last record."""


class RecordsTrimmedError(Exception):
    """The place is older than what the stream keeps."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One part of a stream, in which records have an order."""

    id: str
    parents: tuple[str, ...]
    """What has to be read before, if it still exists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where reading a shard begins. Without any of the three: with the oldest record there is."""

    after: str | None = None
    """Behind this sequence number."""
    at: str | None = None
    """With this sequence number."""
    since: float | None = None
    """With the first record that came at this time or later, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Page:
    """The answer to one request."""

    records: Sequence[Mapping[str, Any]]
    iterator: str | None
    """Where it goes on; ``None``: the shard is closed and this was its end."""
    up_to_date: bool
    """Whether there was nothing newer, as far as the service says."""
    at: float | None
    """When the service answered, by its own clock, in seconds since 1970; ``None``: it does not say."""


class Stream(Protocol):
    """A stream. Thread-safe. What the methods raise is said by ``AwsService.call``."""

    def shards(self) -> tuple[list[Shard], float | None]:
        """All shards that exist, and when the service said so."""
        ...

    def iterator(self, shard: str, place: Place) -> str:
        """Begin to read a shard.

        Raises:
            RecordsTrimmedError: The place is older than what the stream keeps.
        """
        ...

    def read(self, iterator: str) -> Page:
        """Read on; answers at once, also when there is nothing.

        Raises:
            IteratorExpiredError: The iterator is too old.
            RecordsTrimmedError: What it stands at is older than what the stream keeps.
        """
        ...

    def keeps_seconds(self) -> float | None:
        """How long records are kept; ``None``: that may not be asked, or reading tells."""
        ...


class KinesisStream:
    """A Kinesis data stream."""

    def __init__(self, clients: AwsClients, arn: str, *, clock: Clock) -> None:
        """Prepare; nothing is asked yet."""
        setting = "readConnector.streamArn"
        self._service = AwsService(clients, "kinesis", name=f"the stream {arn!r}", setting=setting, clock=clock)
        self._stream: dict[str, Any] = {"StreamARN": arn, "StreamName": arn.rpartition("/")[2]}

    def shards(self) -> tuple[list[Shard], float | None]:
        """All shards that exist; see ``Stream.shards``."""
        found: list[Shard] = []
        page: dict[str, Any] = {}
        while True:
            # A token stands for the stream, and must not come with its name.
            which: dict[str, Any] = {"NextToken": page["NextToken"]} if page else self._stream
            page = self._service.call("list_shards", action="kinesis:ListShards", **which)
            found += [
                Shard(
                    shard["ShardId"],
                    tuple(shard[key] for key in ("ParentShardId", "AdjacentParentShardId") if shard.get(key)),
                )
                for shard in page["Shards"]
            ]
            if not page.get("NextToken"):
                return found, _answered_at(page)

    def iterator(self, shard: str, place: Place) -> str:
        """Begin to read a shard; see ``Stream.iterator``."""
        begin = _begin(place, name="StartingSequenceNumber")
        if place.since is not None:
            begin = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": datetime.fromtimestamp(place.since, UTC)}
        answer = self._service.call(
            "get_shard_iterator", action="kinesis:GetShardIterator", **self._stream, ShardId=shard, **begin
        )
        return str(answer["ShardIterator"])

    def read(self, iterator: str) -> Page:
        """Read on; see ``Stream.read``."""
        try:
            answer = self._service.call(
                "get_records",
                action="kinesis:GetRecords",
                StreamARN=self._stream["StreamARN"],
                ShardIterator=iterator,
                Limit=RECORDS,
            )
        except StoreError as error:
            raise _told(error) from error
        behind = answer.get("MillisBehindLatest") or 0
        return Page(answer["Records"], answer.get("NextShardIterator"), behind == 0, _answered_at(answer))

    def keeps_seconds(self) -> float | None:
        """The stream's retention period."""
        try:
            answer = self._service.call(
                "describe_stream_summary", action="kinesis:DescribeStreamSummary", **self._stream
            )
        except AccessDeniedError:
            return None
        return float(answer["StreamDescriptionSummary"]["RetentionPeriodHours"]) * 3600


class TableStream:
    """The stream of changes of a DynamoDB table."""

    def __init__(self, clients: AwsClients, arn: str, *, clock: Clock) -> None:
        """Prepare; nothing is asked yet."""
        name, setting = f"the stream {arn!r}", "readConnector.streamArn"
        self._service = AwsService(clients, "dynamodbstreams", name=name, setting=setting, clock=clock)
        self._arn = arn

    def shards(self) -> tuple[list[Shard], float | None]:
        """All shards that exist; see ``Stream.shards``."""
        found: list[Shard] = []
        following: dict[str, Any] = {}
        while True:
            answer = self._service.call(
                "describe_stream", action="dynamodb:DescribeStream", StreamArn=self._arn, **following
            )
            page = answer["StreamDescription"]
            found += [
                Shard(shard["ShardId"], (shard["ParentShardId"],) if shard.get("ParentShardId") else ())
                for shard in page["Shards"]
            ]
            if not page.get("LastEvaluatedShardId"):
                return found, _answered_at(answer)
            following = {"ExclusiveStartShardId": page["LastEvaluatedShardId"]}

    def iterator(self, shard: str, place: Place) -> str:
        """Begin to read a shard; see ``Stream.iterator``. Times are not known here: the reader leaves records out."""
        try:
            answer = self._service.call(
                "get_shard_iterator",
                action="dynamodb:GetShardIterator",
                StreamArn=self._arn,
                ShardId=shard,
                **_begin(place, name="SequenceNumber"),
            )
        except StoreError as error:
            raise _told(error) from error
        return str(answer["ShardIterator"])

    def read(self, iterator: str) -> Page:
        """Read on; see ``Stream.read``."""
        try:
            answer = self._service.call(
                "get_records", action="dynamodb:GetRecords", ShardIterator=iterator, Limit=RECORDS
            )
        except StoreError as error:
            raise _told(error) from error
        return Page(answer["Records"], answer.get("NextShardIterator"), not answer["Records"], _answered_at(answer))

    def keeps_seconds(self) -> float | None:
        """A day; but the service itself says when a place is too old."""
        return None


def in_order(shards: Sequence[Shard]) -> Iterator[Shard]:
    """Yield shards so that each comes behind those of its parents that still exist."""
    by_id = {shard.id: shard for shard in shards}
    yielded: set[str] = set()
    waiting = list(shards)
    while waiting:
        ready = [
            shard for shard in waiting if all(name in yielded or name not in by_id for name in shard.parents)
        ] or waiting  # a circle: no service makes one, and nothing must hang on it
        yield from ready
        yielded.update(shard.id for shard in ready)
        waiting = [shard for shard in waiting if shard.id not in yielded]


def _begin(place: Place, *, name: str) -> dict[str, Any]:
    if place.after is not None:
        return {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", name: place.after}
    if place.at is not None:
        return {"ShardIteratorType": "AT_SEQUENCE_NUMBER", name: place.at}
    return {"ShardIteratorType": "TRIM_HORIZON"}


def _told(error: StoreError) -> Exception:
    """Which of the two it is, or the error as it is."""
    from datalake_service.aws.answers import code_of

    code = code_of(error)
    if code == "ExpiredIteratorException":
        return IteratorExpiredError()
    return RecordsTrimmedError() if code == "TrimmedDataAccessException" else error


def _answered_at(answer: Mapping[str, Any]) -> float | None:
    text = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except ValueError:
        return None
