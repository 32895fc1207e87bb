"""SQS, Kinesis, DynamoDB and SageMaker as far as writers use them, in memory or over HTTP, with faults on request.

Strict about the documented limits: a request that is over one is refused as a whole, and noted in ``violations``.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from botocore.exceptions import ClientError

from datalake_service.aws.clients import AwsClients
from tests.support.faulty_store import Crash
from tests.support.loopback import QuietHandler, running, server_of

STREAM = "arn:aws:kinesis:us-east-1:123456789012:stream/pages"
Action = Literal["throttle", "broken", "lose", "crash_before", "crash_after", "partial", "hang"]
"""What goes wrong with a request. ``lose``: it is applied, and the answer never comes. ``partial``: every third record
is not taken. ``hang``: the answer takes a second."""


class AnswerError(Exception):
    """An answer that is an error."""

    def __init__(self, code: str, message: str = "", status: int = 400, *, original: int | None = None) -> None:
        super().__init__(code)
        self.code, self.message, self.status, self.original = code, message, status, original


@dataclass
class MemoryAws:
    """The services, and what was sent to them."""

    faults: dict[int, Action] = field(default_factory=dict)
    """By the number of the writing request, counted from 1."""
    most_bytes: int = 1 << 20
    """Of a message or a record."""
    keys: Mapping[str, str] = field(default_factory=lambda: {"pk": "S"})
    """The table's primary key: name to type, the partition key first."""
    messages: list[dict[str, Any]] = field(default_factory=list)
    """What the queue holds."""
    records: list[dict[str, Any]] = field(default_factory=list)
    """What the stream holds."""
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the table holds, by primary key."""
    puts: int = 0
    violations: list[str] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    """Records of each writing request."""
    poison: str = ""
    """A record that contains this text makes its whole request invalid."""
    refuse: str = ""
    """A message that contains this text is refused for good; over a text that contains it, the model breaks."""
    vectors: bytes | None = None
    """What the model answers to everything."""
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def bodies(self) -> list[Any]:
        """The messages, decoded."""
        return [json.loads(message["MessageBody"]) for message in self.messages]

    @property
    def documents(self) -> list[Any]:
        """The records of the stream, decoded."""
        return [json.loads(gzip.decompress(record["Data"])) for record in self.records]

    def answer(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """One request."""
        with self._lock:
            look = getattr(self, f"_{operation}", None)
            if look is not None:
                answer: dict[str, Any] = look(request)
                return answer
            write: Callable[..., dict[str, Any]] = getattr(self, f"_write_{operation}")
            self.puts += 1
            fault = self.faults.get(self.puts)
            if fault == "throttle":
                raise AnswerError("ThrottlingException")
            if fault == "broken":
                raise AnswerError("InternalFailure", status=500)
            if fault == "crash_before":
                raise Crash
            if fault == "hang":
                time.sleep(1)
            answer = write(request, partial=fault == "partial")
            if fault == "crash_after":
                raise Crash
            if fault == "lose":
                raise AnswerError("ServiceUnavailable", status=503)
            return answer

    def _get_queue_url(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"QueueUrl": f"http://127.0.0.1/1/{request['QueueName']}"}

    def _get_queue_attributes(self, _request: dict[str, Any]) -> dict[str, Any]:
        return {"Attributes": {"MaximumMessageSize": str(self.most_bytes)}}

    def _describe_stream_summary(self, _request: dict[str, Any]) -> dict[str, Any]:
        return {"StreamDescriptionSummary": {"StreamName": "pages", "MaxRecordSizeInKiB": self.most_bytes >> 10}}

    def _describe_table(self, _request: dict[str, Any]) -> dict[str, Any]:
        roles = zip(self.keys, ("HASH", "RANGE"), strict=False)
        return {
            "Table": {
                "KeySchema": [{"AttributeName": name, "KeyType": role} for name, role in roles],
                "AttributeDefinitions": [
                    {"AttributeName": name, "AttributeType": kind} for name, kind in self.keys.items()
                ],
            }
        }

    def _write_send_message_batch(self, request: dict[str, Any], *, partial: bool) -> dict[str, Any]:
        entries = request["Entries"]
        sizes = [len(entry["MessageBody"].encode()) for entry in entries]
        self._check("messages", len(entries), 10)
        self._check("bytes of messages", sum(sizes), 1 << 20)
        self._check("ids", len(entries) - len({entry["Id"] for entry in entries}), 0)
        self._check("bytes of a message", max(sizes), self.most_bytes)
        if self.poison and any(self.poison in entry["MessageBody"] for entry in entries):
            raise AnswerError("InvalidMessageContents", "a character is not allowed")
        successful, failed = [], []
        for number, entry in enumerate(entries):
            if self.refuse and self.refuse in entry["MessageBody"]:
                code, fault = "InvalidAttributeValue", True
            elif partial and number % 3 == 0:
                code, fault = "InternalError", False
            else:
                self.messages.append(entry)
                successful.append({"Id": entry["Id"], "MessageId": str(len(self.messages)), "MD5OfMessageBody": ""})
                continue
            failed.append({"Id": entry["Id"], "SenderFault": fault, "Code": code, "Message": "no"})
        return {"Successful": successful, "Failed": failed}

    def _write_put_records(self, request: dict[str, Any], *, partial: bool) -> dict[str, Any]:
        records = request["Records"]
        sizes = [len(record["Data"]) + len(record["PartitionKey"].encode()) for record in records]
        self._check("records", len(records), 500)
        self._check("bytes of records", sum(sizes), 10 << 20)
        self._check("bytes of a record", max(sizes), self.most_bytes)
        self._check("characters of a key", max(len(record["PartitionKey"]) for record in records), 256)
        answers: list[dict[str, Any]] = []
        for number, record in enumerate(records):
            if partial and number % 3 == 0:
                answers.append({"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow down"})
            else:
                self.records.append(record)
                answers.append({"ShardId": "shardId-000000000000", "SequenceNumber": str(len(self.records))})
        return {"FailedRecordCount": sum("ErrorCode" in answer for answer in answers), "Records": answers}

    def _write_batch_write_item(self, request: dict[str, Any], *, partial: bool) -> dict[str, Any]:
        ((table, requests),) = request["RequestItems"].items()
        items = [entry["PutRequest"]["Item"] for entry in requests]
        keys = [json.dumps([item[name] for name in self.keys], default=repr) for item in items]
        self._check("items", len(items), 25)
        self._check("equal keys", len(keys) - len(set(keys)), 0)
        if self.poison and any(self.poison in repr(item) for item in items):
            raise AnswerError("ValidationException", "one of the items is wrong")
        left = []
        for number, (key, item) in enumerate(zip(keys, items, strict=True)):
            if partial and number % 3 == 0:
                left.append({"PutRequest": {"Item": item}})
            else:
                self.items[key] = item
        return {"UnprocessedItems": {table: left} if left else {}}

    def _write_invoke_endpoint(self, request: dict[str, Any], *, partial: bool) -> dict[str, Any]:
        texts = json.loads(request["Body"])["inputs"]
        self.batches.append(len(texts))
        if self.poison and any(self.poison in text for text in texts):
            raise AnswerError("ModelError", "too long", 424, original=400)
        if partial or (self.refuse and any(self.refuse in text for text in texts)):
            raise AnswerError("ModelError", "out of memory", 424, original=500)
        answer = json.dumps([[float(len(text)), 0.5] for text in texts]).encode()
        return {"Body": io.BytesIO(answer if self.vectors is None else self.vectors)}

    def _check(self, what: str, found: int, limit: int) -> None:
        if what in {"messages", "records", "items"}:
            self.batches.append(found)
        if found > limit:
            self.violations.append(f"{found} {what}, {limit} are allowed")
            raise AnswerError("ValidationException", f"{found} {what}")


class _Client:
    """What boto3 would have made for one of the services."""

    def __init__(self, aws: MemoryAws) -> None:
        self._aws = aws
        self.meta = self
        self.region_name, self.endpoint_url = "us-east-1", "http://127.0.0.1"

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        def call(**request: Any) -> dict[str, Any]:
            try:
                return self._aws.answer(operation, request)
            except AnswerError as error:
                answer: dict[str, Any] = {"Error": {"Code": error.code, "Message": error.message}}
                answer["ResponseMetadata"] = {"HTTPStatusCode": error.status}
                if error.original is not None:
                    answer["OriginalStatusCode"] = error.original
                raise ClientError(answer, operation) from error

        return call


class MemoryClients(AwsClients):
    """Clients of services in memory."""

    def __init__(self, aws: MemoryAws) -> None:
        super().__init__(region="us-east-1")
        self._aws = aws

    def client(self, service: str) -> Any:
        return _Client(self._aws)


@contextmanager
def aws_over_http(aws: MemoryAws) -> Iterator[str]:
    """Serve ``aws`` on 127.0.0.1; gives the address."""

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            target, code = self.headers.get("X-Amz-Target"), ""
            request = _decoded(json.loads(body)) if target else {"Body": body}
            operation = _snake(target.rpartition(".")[2]) if target else "invoke_endpoint"
            try:
                status, answer = 200, aws.answer(operation, request)
            except AnswerError as error:
                status, code = error.status, error.code
                answer = {"__type": code, "message": error.message, "Message": error.message}
                answer |= {} if error.original is None else {"OriginalStatusCode": error.original}
            except Crash:  # nobody hears of it
                self.close_connection = True
                return
            data = json.dumps(answer, default=_encoded).encode() if "Body" not in answer else answer["Body"].read()
            self.send_response(status)
            if code:
                self.send_header("x-amzn-ErrorType", code)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    with running(server_of(Handler), "memory-aws") as address:
        yield address


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).removeprefix("_")


def _decoded(request: dict[str, Any]) -> dict[str, Any]:
    for record in request.get("Records", ()):
        record["Data"] = base64.b64decode(record["Data"])
    return request


def _encoded(value: object) -> str:
    assert isinstance(value, bytes)
    return base64.b64encode(value).decode("ascii")
