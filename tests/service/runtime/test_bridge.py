from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datalake_service.runtime.bridge import Bridge
from datalake_service.runtime.bridge_calls import INTERFACES
from tests.support.bridge import HANDLERS, SPARK, STREAM, answered, failed, record, request
from tests.support.json_values import VALUES


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
