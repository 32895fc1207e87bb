from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datalake_service.errors import ConfigError
from datalake_service.runtime import lambda_entry
from datalake_service.runtime.bridge import Bridge, HandlerClass
from datalake_service.runtime.bridge_calls import INTERFACES
from tests.support.json_values import VALUES
from tests.support.repository import ROOT

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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the handlers are."""
    path = tmp_path_factory.mktemp("handlers")
    (path / "handler.py").write_text(HANDLERS, encoding="utf-8")
    return path


@pytest.fixture
def bridge(folder: Path) -> Bridge:
    """A bridge that has loaded nothing yet."""
    return Bridge({"SingleFileParser": HandlerClass("handler.SingleFileParser", {"word": "x"})}, folder=folder)


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


def test_functions_of_files(bridge: Bridge) -> None:
    """Names and patterns; the interface in any case."""
    assert answered(bridge, request("SINGLEFILEPARSER", "getS3FileType")) == "LOG"
    assert answered(bridge, request("SingleFileParser", "getS3FileType", {})) == "LOG"
    names = {"s3FileType": "LOG", "fileName": "x"}
    assert answered(bridge, request("singleFileParser", "getResolvedS3FileName", names)) == "x"
    start = answered(bridge, request("SingleFileParser", "getRecordStartPattern", {"s3FileType": "LOG"}))
    assert start == {"recordHintType": "PATTERN", "pattern": "{", "offset": -1}
    binary = answered(bridge, request("SingleFileParser", "getRecordStartPattern", {"s3FileType": "B"}))
    assert binary["pattern"] == {"$base64": "/wA="}
    end = answered(bridge, request("SingleFileParser", "getRecordEndPattern", {"s3FileType": "LOG"}))
    assert end == {"recordHintType": "OFFSET", "pattern": "", "offset": 7}


def test_a_record_of_a_file(bridge: Bridge) -> None:
    """Text or bytes; the indexes may be left out; unknown keys are passed over."""
    data = record("hé", startIndex=0, endIndex=3, later="x")
    assert answered(bridge, request("SingleFileParser", "parseDocument", data, version=2)) == {
        "nextRecordType": None,
        "status": "SUCCESS",
        "document": {
            "documentType": "Document",
            "documentId": None,
            "recordType": "LOG",
            "partitionKey": None,
            "documentMetadata": None,
            "documentKeyValuesMap": {"record": {"$base64": base64.b64encode("hé".encode()).decode()}, "calls": 1},
        },
    }
    packed = record({"$base64": base64.b64encode(b"\xff\x00ab").decode()}, startIndex=2)
    document = answered(bridge, request("SingleFileParser", "parseDocument", packed))["document"]
    assert document["documentKeyValuesMap"]["record"] == {"$base64": base64.b64encode(b"ab").decode()}


def test_errors_and_skips_are_results(bridge: Bridge) -> None:
    """With the original's names for their fields, capital letters included."""
    error = answered(bridge, request("SingleFileParser", "parseDocument", record("error")))
    assert (error["status"], error["document"]["documentType"]) == ("ERROR", "ErrorDoc")
    assert error["document"]["errorMessage"] == "bad"
    assert error["document"]["errorStartoffsetMap"] == {"LOG": 3}
    assert error["document"]["errorEndoffsetMap"] is None
    skip = answered(bridge, request("SingleFileParser", "parseDocument", record("skip")))
    assert (skip["status"], skip["nextRecordType"], skip["document"]["skipMessage"]) == ("SKIP", "NEXT", "why")


def test_any_value_that_a_document_may_hold(bridge: Bridge) -> None:
    """Documents in lists and maps, bytes, dates, numbers with digits to keep."""
    found = answered(bridge, request("SingleFileParser", "parseDocument", record("values")))["document"]
    assert found["documentMetadata"]["opened"] == {"word": "x"}
    values = found["documentKeyValuesMap"]
    assert values["inner"][0]["documentKeyValuesMap"] == {"a": 1}
    assert values["inner"][1]["doc"]["errorMessage"] == "e"
    del values["inner"]
    assert values == {
        "bytes": {"$base64": base64.b64encode(b"values").decode()},
        "when": "2026-11-21",
        "money": "1.10",
        "set": [1, 2],
        "3": [1, 2],
        "id": "00000000-0000-0000-0000-000000000001",
    }


def test_handlers_are_made_once(bridge: Bridge) -> None:
    """And keep their state between calls, also within a batch."""
    calls = [
        answered(bridge, request("SingleFileParser", "parseDocument", record("x")))["document"]["documentKeyValuesMap"]
        for _ in range(2)
    ]
    batch = answered(bridge, request("SingleFileParser", "parseDocument", batchedData=[record("y"), record("z")]))
    calls += [one["data"]["document"]["documentKeyValuesMap"] for one in batch]
    assert [call["calls"] for call in calls] == [1, 2, 3, 4]


def test_messages_and_records_of_streams(bridge: Bridge) -> None:
    """What may be null may be missing; what stands for bytes is bytes."""
    message = {
        "messageId": "m",
        "messageAttributes": {"a": {"$base64": "AA=="}},
        "messageBody": "b",
        "messageGroupId": None,
    }
    found = answered(bridge, request("QueueMessageReader", "parseMessage", message))
    assert found["document"]["documentKeyValuesMap"]["arguments"] == ["m", None, None, {"a": {"$base64": "AA=="}}, "b"]
    kinesis = {
        "streamArn": "arn",
        "shardId": "s",
        "partitionKey": "p",
        "sequenceNumber": "4" * 50,
        "approximateArrivalTimestamp": 1_700_000_000_000,
        "data": "text",
    }
    found = answered(bridge, request("KinesisRecordReader", "parseMessage", kinesis))
    arguments = found["document"]["documentKeyValuesMap"]["arguments"]
    assert arguments[3:] == ["4" * 50, 1_700_000_000_000, {"$base64": base64.b64encode(b"text").decode()}]


def test_changes_and_items_of_tables(bridge: Bridge) -> None:
    """Images may be null, or not be there: streams have views without them."""
    changes = request(
        "DynamoDBStreamsRecordReader", "parseRecord", {**STREAM, "data": {"keys": {"id": 1}, "oldImage": None}}
    )
    arguments = answered(bridge, changes)["document"]["documentKeyValuesMap"]["arguments"]
    assert arguments[:3] + arguments[-3:] == ["arn", "s", "e", {"id": 1}, None, None]
    item = {
        "tableName": "t",
        "segmentNumber": 0,
        "data": {"keys": {"id": 1}, "item": {"id": 1, "b": {"$base64": "AA=="}}},
    }
    found = answered(bridge, request("DynamoDBTableItemReader", "parseDynamoDBItem", item))
    assert found["document"]["documentKeyValuesMap"]["arguments"][2:] == [
        {"id": 1},
        {"id": 1, "b": {"$base64": "AA=="}},
    ]


def test_vectors(bridge: Bridge) -> None:
    """Texts out, vectors in; the second answers with a document."""
    texts = answered(
        bridge,
        request(
            "SagemakerVectorsInterface", "extractDocumentElementsForVectorization", {"document": {"text": "words"}}
        ),
    )
    assert texts == {"text": "words"}
    data = {"documentInterface": {"text": "words", "id": 1}, "vectorsMap": {"text": [0.5, 1]}}
    made = answered(bridge, request("SagemakerVectorsInterface", "constructVectorDoc", data))
    assert (made["recordType"], made["documentKeyValuesMap"]) == ("Vectors", {"text": [0.5, 1], "id": 1})


def test_spark(bridge: Bridge) -> None:
    """They write by themselves: the answer is null, whatever they return."""
    mapper = {**SPARK, "readUri": "s3a://b/i", "sparkCredentialsSecretArn": "arn"}
    assert answered(bridge, request("SparkMapperInterface", "mapper", mapper)) is None
    assert answered(bridge, request("SparkReducerInterface", "reducer", {**SPARK, "readUris": ["a", "b"]})) is None


def test_each_of_a_batch_has_its_own_answer(bridge: Bridge) -> None:
    """In the order of the request; a bad one spoils no other."""
    batch = [record("a"), record("raise"), {"s3FileType": "LOG"}, record("b")]
    found = answered(bridge, request("SingleFileParser", "parseDocument", batchedData=batch))
    assert [one["statusCode"] for one in found] == ["SUCCESS", "EXCEPTION", "EXCEPTION", "SUCCESS"]
    assert found[1]["exception"]["errorType"] == "KeyError"
    assert found[2]["errorMessage"] == (
        "batchedData[2].fileName: missing; text is needed; batchedData[2].offsetBytes: missing; an integer is needed; "
        "batchedData[2].content: missing; text or bytes is needed"
    )
    assert answered(bridge, request("SingleFileParser", "getS3FileType", batchedData=[])) == "LOG"


def test_what_a_handler_raises_is_told_with_its_own_frames(bridge: Bridge, folder: Path) -> None:
    """Type, message and place; nothing of ours."""
    answer: Any = bridge.answer(request("SingleFileParser", "parseDocument", record("raise")))
    exception = answer["body"]["exception"]
    assert (exception["errorType"], exception["errorMessage"]) == ("KeyError", "'secret'")
    (frame,) = exception["stackTrace"]
    assert frame.startswith(f"{folder / 'handler.py'}:")
    assert frame.endswith(" in parse_document")
    left = failed(bridge, request("SingleFileParser", "parseDocument", record("exit")))
    assert left == ("RuntimeError", "the handler called exit(3)")


WRONG: list[tuple[object, str, str]] = [
    (None, "RequestError", "the request has to be an object"),
    ([], "RequestError", "the request has to be an object"),
    ({}, "RequestError", "requestId: missing; interface: missing; function: missing"),
    (request("SingleFileParser", "getS3FileType", requestId=7), "RequestError", "requestId: has to be text"),
    (
        request("SingelFileParser", "x"),
        "RequestError",
        "interface: there is no 'SingelFileParser'; did you mean SingleFileParser?",
    ),
    (
        request("SingleFileParser", "parsedocument"),
        "RequestError",
        "function: there is no 'parsedocument'; did you mean parseDocument?",
    ),
    (
        request("SagemakerVectorsInterface", "zzz"),
        "RequestError",
        "function: there is no 'zzz'; there are extractDocument",
    ),
    (
        request("SingleFileParser", "getS3FileType", letsdataAuth=[]),
        "RequestError",
        "letsdataAuth: has to be an object",
    ),
    (request("SingleFileParser", "getS3FileType", batchedData={}), "RequestError", "batchedData: has to be a list"),
    (
        request("SingleFileParser", "parseDocument", record("x"), batchedData=[record("x")]),
        "RequestError",
        "data and batchedData: give one of them",
    ),
    (request("SingleFileParser", "parseDocument", [1]), "RequestError", "data: has to be an object, not a list"),
    (
        request("SingleFileParser", "parseDocument", record("x", offsetBytes=True)),
        "RequestError",
        "data.offsetBytes: has to be an integer, not a boolean",
    ),
    (
        request("SingleFileParser", "parseDocument", record("x", endIndex=2)),
        "RequestError",
        "data: startIndex 0 and endIndex 2 do not lie in the 1 bytes of content",
    ),
    (
        request("SingleFileParser", "parseDocument", record({"$base64": "%%"})),
        "RequestError",
        "data.content: $base64 is no base64: ",
    ),
    (
        request("SingleFileParser", "parseDocument", record("\ud800")),
        "RequestError",
        "data.content: text that has no UTF-8 form",
    ),
    (request("SingleFileParser", "parseDocument", record(7)), "RequestError", "data.content: has to be text, or {"),
    (
        request("DynamoDBStreamsRecordReader", "parseRecord", STREAM),
        "RequestError",
        "data.data: missing; an object is needed",
    ),
    (
        request("SagemakerVectorsInterface", "constructVectorDoc", {"documentInterface": {}, "vectorsMap": None}),
        "RequestError",
        "data.vectorsMap: null; an object is needed",
    ),
    (
        request("SparkReducerInterface", "reducer", {**SPARK, "readUris": "a"}),
        "RequestError",
        "data.readUris: has to be a list of texts",
    ),
    (
        request("SingleFileParser", "parseDocument", record("none")),
        "AnswerError",
        "parse_document returned nothing (None)",
    ),
    (
        request("SingleFileParser", "parseDocument", record("nan")),
        "AnswerError",
        "data.document.documentKeyValuesMap.deep[0].x is nan, which JSON cannot hold",
    ),
    (
        request("SingleFileParser", "parseDocument", record("unwritable")),
        "AnswerError",
        "data.document.documentKeyValuesMap.x: a value of type object cannot be stored as JSON",
    ),
]


@pytest.mark.parametrize(("event", "kind", "message"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_named(bridge: Bridge, event: object, kind: str, message: str) -> None:
    """In one line, with the path of the key."""
    found_kind, found = failed(bridge, event)
    assert found_kind == kind
    assert found.startswith(message), found
    assert "\n" not in found


def test_a_handler_that_cannot_be_loaded_is_an_answer(tmp_path: Path) -> None:
    """One that comes later is found: nothing is kept of the failure."""
    bridge = Bridge({}, folder=tmp_path)
    kind, message = failed(bridge, request("SingleFileParser", "getS3FileType"))
    assert kind == "HandlerLoadError"
    assert message.startswith("handler.SingleFileParser: there is no module 'handler'")
    (tmp_path / "handler.py").write_text(HANDLERS, encoding="utf-8")
    assert answered(bridge, request("SingleFileParser", "getS3FileType")) == "LOG"


def test_a_handler_of_the_original_will_do(tmp_path: Path) -> None:
    """With its import lines changed, under the fixed name that its image had."""
    code = """
from datalake_interfaces.compat.letsdata import *

class QueueMessageReader:
    def parseMessage(self, messageId, messageGroupId, messageDeduplicationId, messageAttributes, messageBody):
        document = Document(DocumentType.Document, messageId, "M", None, {}, {"body": messageBody})
        return ParseDocumentResult(None, document, ParseDocumentResultStatus.SUCCESS)
"""
    (tmp_path / "handler.py").write_text(code, encoding="utf-8")
    message = {"messageId": "m", "messageAttributes": {}, "messageBody": "b"}
    found = answered(Bridge({}, folder=tmp_path), request("QueueMessageReader", "parseMessage", message))
    assert found["document"]["documentId"] == "m"


NAMES = [(interface.name, name) for interface in INTERFACES.values() for name in interface.functions]
KEYS = sorted(
    {
        key.name
        for interface in INTERFACES.values()
        for f in interface.functions.values()
        for key in (*f.keys, *f.nested)
    }
)


@st.composite
def requests(draw: st.DrawFn) -> object:
    """Anything, from what is no request at all to one that is nearly right."""
    any_json = VALUES
    if draw(st.booleans()):
        return draw(any_json)
    interface, function = draw(st.sampled_from(NAMES))
    data = st.dictionaries(st.sampled_from([*KEYS, "data", "$base64"]), any_json, max_size=12)
    event = {"requestId": "r", "interface": interface, "function": function, "data": draw(st.one_of(data, any_json))}
    for key in draw(st.sets(st.sampled_from(["requestId", "interface", "function", "batchedData", "letsdataAuth"]))):
        event[key] = draw(any_json)
    return event


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests())
def test_any_json_has_an_answer(bridge: Bridge, event: object) -> None:
    """Well formed, and JSON that every reader takes; never an exception."""
    answer: Any = json.loads(json.dumps(bridge.answer(event), allow_nan=False))
    assert answer.keys() == {"StatusCode", "headers", "body"}
    body = answer["body"]
    if answer["StatusCode"] == 200:
        assert body["statusCode"] == "SUCCESS"
        assert ("data" in body) != ("batchedData" in body)
    else:
        assert (answer["StatusCode"], body["statusCode"]) == (500, "EXCEPTION")
        assert isinstance(body["exception"]["stackTrace"], list)
        assert "\n" not in body["errorMessage"]
        if body["exception"]["errorType"] == "RequestError":
            assert body["exception"]["stackTrace"] == []


def test_nesting_without_end_has_an_answer(bridge: Bridge) -> None:
    """Deeper than Python goes."""
    deep: object = {}
    for _ in range(20_000):
        deep = {"a": deep}
    item = {"tableName": "t", "segmentNumber": 0, "data": {"keys": {}, "item": deep}}
    assert failed(bridge, request("DynamoDBTableItemReader", "parseDynamoDBItem", item))[0] == "RecursionError"


# The function ------------------------------------------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The environment of a function, which starts afresh."""
    lambda_entry.bridge.cache_clear()
    yield monkeypatch
    lambda_entry.bridge.cache_clear()


class _Invocation:
    def get_remaining_time_in_millis(self) -> int:
        return 60_000


def test_the_function_finds_its_handlers(environment: pytest.MonkeyPatch, folder: Path) -> None:
    """By the variables, or under the fixed names in the folder that Lambda unpacks to."""
    environment.setenv("LAMBDA_TASK_ROOT", str(folder))
    answer: Any = lambda_entry.handler(request("SingleFileParser", "getS3FileType"), _Invocation())
    assert answer["body"]["data"] == "LOG"
    lambda_entry.bridge.cache_clear()
    environment.setenv("DATALAKE_HANDLER_FOLDER", str(folder))
    environment.setenv("LAMBDA_TASK_ROOT", "/nowhere")
    said = {"singlefileparser": {"class": "handler.SingleFileParser", "parameters": {"word": "y"}}}
    environment.setenv("DATALAKE_HANDLERS", json.dumps(said))
    answer = lambda_entry.handler(request("SingleFileParser", "parseDocument", record("values")), _Invocation())
    assert answer["body"]["data"]["document"]["documentMetadata"]["opened"] == {"word": "y"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "DATALAKE_HANDLERS is no JSON"),
        ("[]", "has to be an object"),
        ('{"SingleFileParsr": "a.B"}', "there is no interface 'SingleFileParsr'"),
        ('{"SingleFileParser": 7}', 'SingleFileParser: has to be "module.Class", or'),
        ('{"SingleFileParser": {"class": "a.B", "parameters": []}}', "SingleFileParser: has to be"),
    ],
)
def test_a_wrong_variable_is_told(text: str, told: str) -> None:
    """Before anything is called."""
    with pytest.raises(ConfigError) as caught:
        lambda_entry.handler_classes(text)
    assert told in str(caught.value)


def test_the_function_starts_light() -> None:
    """A cold start is mostly imports: none of the large libraries is among them."""
    code = (
        "import sys, datalake_service.runtime.lambda_entry\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & set(sys.argv[1:])))"
    )
    heavy = [
        "boto3",
        "botocore",
        "pydantic",
        "pyarrow",
        "duckdb",
        "numpy",
        "orjson",
        "click",
        "isal",
        "structlog",
        "asyncio",
    ]
    done = subprocess.run([sys.executable, "-c", code, *heavy], check=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
