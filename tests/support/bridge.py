"""Requests of the bridge, and handlers that answer them."""

from __future__ import annotations

import json
from typing import Any

from datalake_service.runtime.bridge import Bridge

HANDLERS = """
import datetime, decimal, enum, uuid
from datalake_interfaces import *
from datalake_interfaces.readers.spark import SparkMapperInterface as Mapper, SparkReducerInterface as Reducer
from datalake_interfaces import (SingleFileParser as Parser, QueueMessageReader as Queue,
    KinesisRecordReader as Kinesis,
    DynamoDBStreamsRecordReader as Streams, DynamoDBTableItemReader as Table, SagemakerVectorsInterface as Vectors)

CREATED = []

class SingleFileParser(Parser):
    def __init__(self, *, word="w"):
        CREATED.append(word)
        self.calls = 0
    def open(self, context):
        self.opened = dict(context.parameters)
    def get_s3_file_type(self):
        return "LOG"
    def get_record_start_pattern(self, s3_file_type):
        return RecordParseHint("PATTERN", "{" if s3_file_type == "LOG" else b"\\xff\\x00")
    def get_record_end_pattern(self, s3_file_type):
        return RecordParseHint("OFFSET", offset=7)
    def parse_document(self, s3_file_type, s3_filename, offset_bytes, byte_arr, start_index, end_index):
        self.calls += 1
        record = byte_arr[start_index:end_index]
        if record == b"raise":
            raise KeyError("secret")
        if record == b"exit":
            raise SystemExit(3)
        if record == b"error":
            return ErrorDoc(error_message="bad", error_start_offset_map={s3_file_type: offset_bytes})
        if record == b"skip":
            return ParseDocumentResult("NEXT", SkipDoc(skip_message="why"), "SKIP")
        if record == b"none":
            return None
        if record == b"nan":
            return Document({"deep": [{"x": float("nan")}]})
        if record == b"unwritable":
            return Document({"x": object()})
        if record == b"values":
            return Document({
                "inner": [Document({"a": 1}), {"doc": ErrorDoc(error_message="e")}], "bytes": record,
                "when": datetime.date(2026, 11, 21), "money": decimal.Decimal("1.10"), "set": {2, 1}, 3: (1, 2),
                "id": uuid.UUID(int=1),
            }, document_id="d", document_metadata={"opened": self.opened, "created": len(CREATED)})
        return Document({"record": record, "calls": self.calls}, record_type="LOG")

class QueueMessageReader(Queue):
    def parse_message(self, *arguments):
        return Document({"arguments": list(arguments)})

class KinesisRecordReader(Kinesis):
    def parse_message(self, *arguments):
        return Document({"arguments": list(arguments)})

class DynamoDBStreamsRecordReader(Streams):
    def parse_record(self, *arguments):
        return Document({"arguments": list(arguments)})

class DynamoDBTableItemReader(Table):
    def parse_dynamo_db_item(self, *arguments):
        return Document({"arguments": list(arguments)})

class SagemakerVectorsInterface(Vectors):
    def extract_document_elements_for_vectorization(self, document):
        return {"text": document["text"]}
    def construct_vector_doc(self, document, vectors_map):
        return Document({**document, **vectors_map}, record_type="Vectors")

class SparkMapperInterface(Mapper):
    def mapper(self, *arguments):
        assert len(arguments) == 11
        return "not this"

class SparkReducerInterface(Reducer):
    def reducer(self, app_name, read_destination, read_uris, *arguments):
        assert read_uris == ["a", "b"]
"""


def request(interface: str, function: str, data: object = None, **more: object) -> dict[str, object]:
    """A request as the original's callers make it."""
    auth = {"tenantId": "t", "userId": "u", "datasetName": "d", "datasetId": "i"}
    envelope = {"requestId": "r1", "interface": interface, "function": function, "letsdataAuth": auth, **more}
    return envelope if data is None else {**envelope, "data": data}


def answered(bridge: Bridge, event: object) -> Any:
    """The data of an answer that has to be good; it went through JSON."""
    answer = json.loads(json.dumps(bridge.answer(event), allow_nan=False))
    assert answer["StatusCode"] == 200, answer
    assert answer["headers"] == {"Content-Type": "application/json"}
    assert (answer["body"]["statusCode"], answer["body"]["requestId"]) == ("SUCCESS", "r1")
    return answer["body"].get("data", answer["body"].get("batchedData"))


def failed(bridge: Bridge, event: object) -> tuple[str, str]:
    """The type and the message of an answer that has to be bad."""
    answer = json.loads(json.dumps(bridge.answer(event), allow_nan=False))
    body = answer["body"]
    assert (answer["StatusCode"], body["statusCode"]) == (500, "EXCEPTION")
    assert body["errorMessage"] == body["exception"]["errorMessage"]
    return body["exception"]["errorType"], body["errorMessage"]


def record(content: object, **fields: object) -> dict[str, object]:
    """The data of ``parseDocument``."""
    return {"s3FileType": "LOG", "fileName": "a.log", "offsetBytes": 3, "content": content, **fields}


SPARK = {
    "appName": "a",
    "readDestination": "S3",
    "readFormat": "json",
    "readOptions": {},
    "writeDestination": "S3",
    "writeUri": "s3a://b/o",
    "writeFormat": "json",
    "writeMode": "overwrite",
    "writeOptions": {"compression": "gzip"},
}


STREAM = {
    "streamArn": "arn",
    "shardId": "s",
    "eventId": "e",
    "eventName": "INSERT",
    "identityPrincipalId": None,
    "sequenceNumber": "1" * 40,
    "sizeBytes": 9,
    "streamViewType": "KEYS_ONLY",
    "approximateCreationDateTime": 1_700_000_000,
}
