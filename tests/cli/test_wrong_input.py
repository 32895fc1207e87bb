"""What users and services get wrong, through the real command: a line that says what to change, or a rejection."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.cli.commands import Done, datalake
from tests.support.aws import REGION, Aws, fresh_name
from tests.support.loopback import QuietHandler, running, server_of
from tests.support.tasks import write_module

HANDLERS = """
import random

from datalake_interfaces import (
    DynamoDBTableItemReader, KinesisRecordReader, RecordHintType, RecordParseHint, SingleFileParser
)

class Odd(SingleFileParser):
    # Each line says what is wrong with its answer.
    def get_record_start_pattern(self, s3_file_type):
        return RecordParseHint(RecordHintType.OFFSET, offset=0)

    def get_record_end_pattern(self, s3_file_type):
        return RecordParseHint(RecordHintType.PATTERN, "\\n")

    def parse_document(self, s3_file_type, s3_filename, offset_bytes, byte_arr, start_index, end_index):
        text = byte_arr.decode().strip()
        if text == "a list":
            return [text]
        if text == "nothing":
            return None
        if text == "a dict":
            return {"text": text}
        if text == "a coroutine":
            return self.later(text)
        if text == "a megabyte":
            return Document({"text": random.Random(1).randbytes(1 << 20).hex()})
        if text == "a long key":
            return Document({"text": text}, partition_key="k" * 4000)
        if text == "bytes":
            return Document({"text": text, "data": b"\\xff\\xfe"})
        return Document({"text": text})

    async def later(self, text):
        return Document({"text": text})

class Records(KinesisRecordReader):
    def parse_message(self, stream_arn, shard_id, partition_key, sequence_number, timestamp, data):
        return Document({"text": data.decode()})

class Items(DynamoDBTableItemReader):
    def parse_dynamo_db_item(self, table_name, segment_number, keys, item):
        return Document(dict(item))
"""


class Odd:
    """A folder with handlers, an emulator, and commands."""

    def __init__(self, folder: Path, aws: Aws) -> None:
        self.folder = write_module(folder, HANDLERS)
        self.aws = aws
        self.endpoint = aws.endpoint_url

    def create(self, read: dict[str, Any], write: dict[str, Any] | None = None, **sections: Any) -> Done:
        """Run a dataset file with these connectors."""
        document = {"datasetName": "d", "region": REGION, "readConnector": read} | sections
        document["writeConnector"] = {"batch": "b"} | (write or {})
        document["computeEngine"] = {"computeEngineType": "local", "concurrency": 1}
        (self.folder / "dataset.json").write_text(json.dumps(document), encoding="utf-8")
        return self.run("datasets", "create", "--configFile", "dataset.json")

    def run(self, *arguments: str) -> Done:
        """Run a command."""
        settings = self.aws.environment | {"AWS_ENDPOINT_URL": self.endpoint}
        return datalake(*arguments, cwd=self.folder, **settings)

    def errors(self) -> dict[str, dict[str, Any]]:
        """The rejections, each as ``errors view`` shows it, by the text of its record."""
        listed = self.run("errors", "list", "--datasetName", "d").json["errors"]
        views = [self.run("errors", "view", "--datasetName", "d", "--error", one["error"]).json for one in listed]
        return {str(view.get("text", view.get("base64", ""))).strip(): view for view in views}

    def rows(self) -> list[dict[str, Any]]:
        """Everything in the lake."""
        done = self.run("export", "--datasetName", "d", "--output", "rows.jsonl")
        assert done.status == 0, done.err
        return [json.loads(line) for line in (self.folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]

    def stream(self) -> str:
        """A stream with one shard; returns its ARN."""
        client, name = self.aws.client("kinesis"), fresh_name()
        client.create_stream(StreamName=name, ShardCount=1)
        client.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
        return str(client.describe_stream(StreamName=name)["StreamDescription"]["StreamARN"])

    def table(self) -> str:
        """A table with the key ``id``; returns its name."""
        name = fresh_name()
        self.aws.client("dynamodb").create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        return name


@pytest.fixture
def odd(tmp_path: Path, aws: Aws) -> Odd:
    """A project with nothing in it."""
    return Odd(tmp_path, aws)


def files(odd: Odd, *lines: str) -> dict[str, Any]:
    """The read connector of a file with these lines; its enums in mixed case."""
    (odd.folder / "input").mkdir()
    (odd.folder / "input" / "a.log").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return {
        "connectorDestination": "fOLdEr",
        "path": "input",
        "singleFileParserImplementationClassName": "handler.Odd",
    }


def kinesis(arn: str, **more: Any) -> dict[str, Any]:
    """The read connector of a stream."""
    reader = {"kinesisRecordReaderImplementationClassName": "handler.Records"}
    return {"connectorDestination": "kinesis", "streamArn": arn} | reader | more


STREAM = f"arn:aws:kinesis:{REGION}:123456789012:stream/clicks"
TABLE = {
    "connectorDestination": "DynamoDB",
    "tableName": "items",
    "dynamoDBTableItemReaderImplementationClassName": "handler.Items",
}


@pytest.mark.parametrize(
    ("read", "sections", "told"),
    [
        (kinesis(STREAM, connectorDestination="Kinesys"), {}, 'readConnector.connectorDestination: found "Kinesys"'),
        (kinesis(STREAM, connectorDestination="Kinesys"), {}, "did you mean KINESIS?"),
        (
            kinesis(STREAM),
            {"manifestFile": {"kinesisReaderTaskStartFromCondition": "earlyest"}},
            "did you mean Earliest?",
        ),
        (TABLE, {"manifestFile": {"completionMode": "SingleTabelScan"}}, "did you mean SingleTableScan?"),
        (kinesis(f"arn:aws:sqs:{REGION}:123456789012:orders"), {}, "readConnector.streamArn"),
        (kinesis(f"arn:aws:dynamodb:{REGION}:123456789012:table/t/stream/2026-11-20T00:00:00.000"), {}, "streamArn"),
        (TABLE | {"tableName": "nowhere-at-all"}, {}, "the table 'nowhere-at-all' does not exist"),
        (kinesis(STREAM), {}, f"the stream '{STREAM}' does not exist"),
    ],
)
def test_what_is_wrong_in_a_dataset_file_is_told(
    odd: Odd, read: dict[str, Any], sections: dict[str, Any], told: str
) -> None:
    """With its path, what was found, what is allowed or nearest; never a traceback."""
    done = odd.create(read, **sections)
    assert done.status in {1, 2}
    said = done.err + done.out
    assert told in said
    assert "Traceback" not in said


def test_a_class_of_the_wrong_interface_is_told(odd: Odd) -> None:
    """What it is, and what is needed; nothing is read."""
    reader = {"tableName": odd.table(), "dynamoDBTableItemReaderImplementationClassName": "handler.Records"}
    done = odd.create(TABLE | reader)
    assert done.status == 2
    told = "handler.Records is a KinesisRecordReader, but a DynamoDBTableItemReader is needed: write class Records("
    assert told in done.err
    assert "Traceback" not in done.err


def test_answers_that_are_none_become_rejections(odd: Odd) -> None:
    """Of a handler that returns a list, nothing, a dict or a coroutine; the others are written."""
    done = odd.create(files(odd, "good", "a list", "nothing", "a dict", "a coroutine", "bytes"))
    assert done.status == 0, done.err
    assert (done.json["documents"], done.json["errors"]) == (2, 4)
    found = {text: (error["kind"], error["message"]) for text, error in odd.errors().items()}
    assert found == {
        "a list": ("transform", "parse_document returned list; return a Document, an ErrorDoc or a SkipDoc"),
        "nothing": ("transform", "parse_document returned nothing (None); return a Document, an ErrorDoc or a SkipDoc"),
        "a dict": ("transform", "parse_document returned dict; wrap it: Document(row)"),
        "a coroutine": ("transform", "parse_document is async; it has to be a plain method: def parse_document"),
    }
    rows = {row["text"]: row for row in odd.rows()}
    assert set(rows) == {"good", "bytes"}
    assert base64.b64decode(rows["bytes"]["data"]) == b"\xff\xfe"
    assert "never awaited" not in done.err


def test_a_stream_gets_what_it_can_hold(odd: Odd) -> None:
    """A megabyte that does not compress is a rejection that names the limit; a key of 4,000 characters is shortened."""
    arn = odd.stream()
    done = odd.create(
        files(odd, "good", "a megabyte", "a long key"),
        {"connectorDestination": "KINESIS", "streamArn": arn, "kinesisShardCount": 15},
    )
    assert done.status == 0, done.err
    assert (done.json["documents"], done.json["errors"]) == (2, 1)
    assert any("writeConnector.kinesisShardCount: 15 is not applied" in note for note in done.json["notes"])
    (error,) = odd.errors().values()
    assert error["kind"] == "write"
    assert error["message"].endswith("; the stream takes 1048576")
    client = odd.aws.client("kinesis")
    (shard,) = client.list_shards(StreamARN=arn)["Shards"]
    begin = {"ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
    iterator = client.get_shard_iterator(StreamARN=arn, **begin)["ShardIterator"]
    records = client.get_records(ShardIterator=iterator)["Records"]
    keys = {json.loads(gzip.decompress(record["Data"]))["text"]: record["PartitionKey"] for record in records}
    assert len(keys["a long key"]) == 256
    assert keys["a long key"].startswith("kkk")
    assert "~" in keys["a long key"]


def test_bytes_that_are_no_text_are_told_and_a_megabyte_is_read(odd: Odd) -> None:
    """Records of a stream; the one that its handler cannot decode is named, and kept with its bytes."""
    arn = odd.stream()
    name = arn.rpartition("/")[2]
    large = b"x" * ((1 << 20) - 100)
    records = [{"Data": data, "PartitionKey": "key"} for data in (large, b"good", b"\xff\xfe\x00")]
    assert odd.aws.client("kinesis").put_records(StreamName=name, Records=records)["FailedRecordCount"] == 0
    done = odd.create(kinesis(arn), onError={"policy": "continue", "maxErrors": 0})  # else a stream has no end
    assert done.status == 1, done.err
    assert done.out, done.err
    assert done.json["documents"] == 2, done.out
    assert odd.run("clean-up", "--dataset", "d").status == 0
    assert sorted(len(row["text"]) for row in odd.rows()) == [4, len(large)]
    (error,) = odd.errors().values()
    assert base64.b64decode(error["base64"]) == b"\xff\xfe\x00"
    assert "Records.parse_message raised UnicodeDecodeError" in error["message"]


def test_sets_and_binary_attributes_arrive(odd: Odd) -> None:
    """Sets as lists, binary as base64, numbers exact."""
    name = odd.table()
    item = {
        "id": {"S": "1"},
        "tags": {"SS": ["b", "a"]},
        "numbers": {"NS": ["3", "12345678901234567890123456789012345678"]},
        "data": {"B": b"\xff\xfe"},
        "parts": {"BS": [b"\x00", b"\xff"]},
    }
    odd.aws.client("dynamodb").put_item(TableName=name, Item=item)
    done = odd.create(TABLE | {"tableName": name})
    assert done.status == 0, done.err
    (row,) = odd.rows()
    assert sorted(row["tags"]) == ["a", "b"]
    assert 12345678901234567890123456789012345678 in row["numbers"]
    assert base64.b64decode(row["data"]) == b"\xff\xfe"
    assert sorted(base64.b64decode(part) for part in row["parts"]) == [b"\x00", b"\xff"]


def test_no_permission_on_one_of_two_tables_is_told(odd: Odd) -> None:
    """The one that is read may be read; the one that is written may not be written: which, and which action."""
    source, target = odd.table(), odd.table()
    odd.aws.client("dynamodb").put_item(TableName=source, Item={"id": {"S": "1"}})
    write = {"connectorDestination": "DynamoDB", "tableName": target}
    with denying(odd.aws, target) as endpoint:
        odd.endpoint = endpoint
        done = odd.create(TABLE | {"tableName": source}, write)
        assert done.status == 1
        (failure,) = done.json["failures"]
        assert f"the table '{target}'" in failure["error"]
        assert "add it to their policy" in failure["error"]
        assert "do not allow dynamodb:" in failure["error"]
        assert source not in failure["error"]
    odd.endpoint = odd.aws.endpoint_url
    again = odd.run("tasks", "redrive", "--configFile", "dataset.json")
    assert again.status == 0, again.err
    assert odd.aws.client("dynamodb").scan(TableName=target)["Count"] == 1


@contextmanager
def denying(aws: Aws, table: str) -> Iterator[str]:
    """The emulator seen by somebody who has no permission on a table; yields its address."""
    target = urlsplit(aws.endpoint_url)

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if table.encode() in body:
                said = {"__type": "com.amazon.coral.service#AccessDeniedException", "Message": "not authorized"}
                self._answer(400, json.dumps(said).encode())
                return
            connection = http.client.HTTPConnection(str(target.hostname), target.port)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            connection.request("POST", self.path, body, headers)
            answer = connection.getresponse()
            self._answer(answer.status, answer.read())
            connection.close()

        def _answer(self, status: int, data: bytes) -> None:
            self.send_response_only(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    with running(server_of(Handler), "service") as address:
        yield address
