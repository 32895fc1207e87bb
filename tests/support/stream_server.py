"""A server with one Kinesis stream, which can be scaled, trimmed, and told to misbehave.

The emulators cannot show closed shards: one never ends them, another forgets them with their records. This one speaks
as much of the protocol as a reader needs, as AWS documents it, over HTTP on 127.0.0.1.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from datalake_service.aws.clients import AwsClients
from tests.support.aws import ACCESS_KEY, REGION, SECRET_KEY
from tests.support.loopback import QuietHandler, running, server_of

STREAM = "events"
ARN = f"arn:aws:kinesis:{REGION}:123456789012:stream/{STREAM}"
PAGE = 7
"""Records of an answer at most: pages end in the middle of everything."""


@dataclass
class Shard:
    """A shard and its records, oldest first."""

    parents: tuple[str, ...] = ()
    records: list[dict[str, Any]] = field(default_factory=list)
    trimmed: int = 0
    """So many of the oldest records are gone."""
    closed: bool = False


class StreamServer:
    """The stream. The test's thread scales and writes while the product reads."""

    def __init__(self, shards: int = 1) -> None:
        self.shards = {f"shardId-{number:012d}": Shard() for number in range(shards)}
        self.requests: list[str] = []
        """The names of all requests so far."""
        self.errors: list[str] = []
        """Codes that the next requests are answered with; an empty one lets a request through."""
        self.deleted = False
        self.quiet = 0
        """Answers in a row that held no record."""
        self.port = 0
        self.now = 1_763_000_000.0
        self.date: float | None = None
        """What the answers say the time is; ``None``: nothing."""
        self._lock = threading.Lock()
        self._written = 0
        self._stale: set[str] = set()

    @property
    def environment(self) -> dict[str, str]:
        """What a process of the product needs to reach it."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": REGION,
        }

    def clients(self) -> AwsClients:
        """The product's clients."""
        endpoint = f"http://127.0.0.1:{self.port}"
        return AwsClients(region=REGION, endpoint_url=endpoint, access_key=ACCESS_KEY, secret_key=SECRET_KEY)

    def put(self, shard: str, *texts: str) -> None:
        """Write records, each a second after the one before."""
        self.put_bytes(shard, *(text.encode() for text in texts))

    def put_bytes(self, shard: str, *records: bytes) -> None:
        """Write records of bytes."""
        with self._lock:
            assert not self.shards[shard].closed
            for data in records:
                self._written += 1
                self.now += 1
                self.shards[shard].records.append(
                    {
                        "SequenceNumber": str(10**40 + self._written),
                        "ApproximateArrivalTimestamp": self.now,
                        "Data": base64.b64encode(data).decode(),
                        "PartitionKey": "key",
                    }
                )

    def split(self, shard: str) -> tuple[str, str]:
        """Close a shard; returns its two children."""
        left, right = self._scale((shard,), 2)
        return left, right

    def merge(self, first: str, second: str) -> str:
        """Close two shards; returns their child."""
        return self._scale((first, second), 1)[0]

    def trim(self, shard: str, count: int) -> None:
        """Forget the oldest records."""
        self.shards[shard].trimmed = count

    def expire_iterators(self) -> None:
        """Nobody can go on with an iterator that was given out."""
        self._stale.update(f"{shard}:{index}" for shard in self.shards for index in range(10_000))

    def texts(self) -> list[str]:
        """Everything that was written, shard by shard."""
        return [base64.b64decode(record["Data"]).decode() for shard in self.shards.values() for record in shard.records]

    def _scale(self, parents: tuple[str, ...], children: int) -> list[str]:
        with self._lock:
            for parent in parents:
                self.shards[parent].closed = True
            names = [f"shardId-{len(self.shards) + number:012d}" for number in range(children)]
            self.shards |= {name: Shard(parents) for name in names}
            return names

    # The protocol ----------------------------------------------------------------------------------------------------

    def answer(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        """What the service says to a request.

        Raises:
            KeyError: With the code of an error.
        """
        with self._lock:
            self.requests.append(operation)
            error = self.errors.pop(0) if self.errors else ""
            if error or self.deleted:
                raise KeyError(error or "ResourceNotFoundException")
            return {
                "ListShards": self._list_shards,
                "GetShardIterator": self._get_shard_iterator,
                "GetRecords": self._get_records,
                "DescribeStreamSummary": self._describe,
            }[operation](body)

    def _list_shards(self, body: dict[str, Any]) -> dict[str, Any]:
        names = list(self.shards)
        start = int(body.get("NextToken") or 0)
        assert ("NextToken" in body) != ("StreamName" in body), "the service refuses both together"
        page = [{"ShardId": name, **self._parents(name)} for name in names[start : start + 3]]
        token = {"NextToken": str(start + 3)} if start + 3 < len(names) else {}
        return {"Shards": page, **token}

    def _parents(self, name: str) -> dict[str, str]:
        return dict(zip(("ParentShardId", "AdjacentParentShardId"), self.shards[name].parents, strict=False))

    def _get_shard_iterator(self, body: dict[str, Any]) -> dict[str, Any]:
        shard, kind = self.shards[body["ShardId"]], body["ShardIteratorType"]
        index = shard.trimmed
        if kind in {"AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"}:
            numbers = [record["SequenceNumber"] for record in shard.records]
            index = max(index, numbers.index(body["StartingSequenceNumber"]) + (kind == "AFTER_SEQUENCE_NUMBER"))
        elif kind == "AT_TIMESTAMP":
            times = [record["ApproximateArrivalTimestamp"] for record in shard.records]
            index = max(index, sum(time < body["Timestamp"] for time in times))
        return {"ShardIterator": self._iterator(body["ShardId"], index)}

    def _get_records(self, body: dict[str, Any]) -> dict[str, Any]:
        if body["ShardIterator"] in self._stale:
            raise KeyError("ExpiredIteratorException")
        name, _, index = body["ShardIterator"].partition(":")
        shard, start = self.shards[name], int(index.partition("/")[0])
        found = shard.records[start : start + PAGE]
        end = start + len(found)
        self.quiet = 0 if found else self.quiet + 1
        at_end = end >= len(shard.records)
        following = {} if at_end and shard.closed else {"NextShardIterator": self._iterator(name, end)}
        return {"Records": found, "MillisBehindLatest": 0 if at_end else 1000, **following}

    def _iterator(self, shard: str, index: int) -> str:
        fresh = f"{shard}:{index}"
        while fresh in self._stale:
            fresh += "/again"
        return fresh

    def _describe(self, body: dict[str, Any]) -> dict[str, Any]:
        del body
        summary = {
            "StreamName": STREAM,
            "StreamARN": ARN,
            "StreamStatus": "ACTIVE",
            "RetentionPeriodHours": 24,
            "StreamCreationTimestamp": 0,
            "EnhancedMonitoring": [],
            "OpenShardCount": 1,
        }
        return {"StreamDescriptionSummary": summary}


@contextmanager
def stream_server(shards: int = 1) -> Iterator[StreamServer]:
    """Run a server on a free port."""
    stream = StreamServer(shards)

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                status, answer = HTTPStatus.OK, stream.answer(self.headers["X-Amz-Target"].partition(".")[2], body)
            except KeyError as error:
                status, answer = HTTPStatus.BAD_REQUEST, {"__type": error.args[0], "message": "as it was told"}
            data = json.dumps(answer).encode()
            self.send_response_only(status)
            if stream.date is not None:
                self.send_header("Date", formatdate(stream.date, usegmt=True))
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = server_of(Handler)
    stream.port = server.server_port
    with running(server, "stream-server"):
        yield stream
