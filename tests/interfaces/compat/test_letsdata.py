from __future__ import annotations

import json
import subprocess
import sys
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from datalake_interfaces import Document as OurDocument
from datalake_interfaces import (
    DynamoDBStreamsRecordReader,
    DynamoDBTableItemReader,
    KinesisRecordReader,
    QueueMessageReader,
    SagemakerVectorsInterface,
    SingleFileParser,
)
from datalake_interfaces.compat import letsdata
from datalake_interfaces.readers import SparkMapperInterface, SparkReducerInterface
from datalake_interfaces.testing import check_parser
from datalake_service.catalog.tasks import TaskCounts, TaskStatus
from datalake_service.errors import HandlerLoadError
from datalake_service.handling.apply import FileHandler
from datalake_service.handling.load import load_class, load_handler
from datalake_service.handling.records import Record, RecordHandler
from datalake_service.storage import FolderStore
from tests.support.repository import ROOT
from tests.support.tasks import TickingClock, after, file_job, merged_rows, run_here, stored_rejections

IMPORTS = """
import json, uuid
from datalake_interfaces.compat.letsdata import (
    Document, DocumentType, ErrorDoc, ParseDocumentResult, ParseDocumentResultStatus, RecordHintType, RecordParseHint,
    SkipDoc, logger,
)
"""
FILES = """
class LogFileParser:
    # Written as the original's examples are: no base class, positional constructors, getters, plain strings.
    def getS3FileType(self):
        return "LOGFILE"

    def getResolvedS3FileName(self, s3FileType, fileName):
        return fileName

    def getRecordStartPattern(self, s3FileType):
        return RecordParseHint(RecordHintType.PATTERN, '{"ts"', -1)

    def getRecordEndPattern(self, s3FileType):
        return RecordParseHint("PATTERN", "}\\n", -1)

    def parseDocument(self, s3FileType, s3Filename, offsetBytes, byteArr, startIndex, endIndex):
        start, end = {s3FileType: str(offsetBytes)}, {s3FileType: str(offsetBytes + endIndex - startIndex)}
        record = json.loads(byteArr[startIndex:endIndex].decode("utf-8"))
        byteArr[:] = b""
        if record.get("level") == "debug":
            return ParseDocumentResult(None, SkipDoc(None, None, None, None, None, start, end, "debug"), "SKIP")
        if record.get("level") == "bad":
            error = ErrorDoc(None, "LOG", None, {}, record, start, end, "bad level")
            return ParseDocumentResult(None, error, ParseDocumentResultStatus.ERROR)
        if record.get("level") == "odd":
            error = ErrorDoc("7", "LOG", None, None, record, [1, 2], {"keys": {"a": 1}}, "odd offsets")
            return ParseDocumentResult(None, error, "ERROR")
        key = record.get("id")
        document = Document(DocumentType.Document, key, "LOG", key, {"file": s3Filename}, record)
        assert document.getDocumentKeyValuesMap() is record
        result = ParseDocumentResult(None, document, ParseDocumentResultStatus.SUCCESS)
        assert result.getStatus() == "SUCCESS"
        return result
"""
LOG = b"""# begin
{"ts": 1, "id": "a", "text": "one"}
{"ts": 2, "level": "debug"}
{"ts": 3, "level": "bad"}
{"ts": 4, "text": "no id"}
{"ts": 5, "level": "odd"}
{"ts": 6, "id": }
"""


def folder_with(tmp_path: Path, code: str) -> Path:
    """A folder with a handler of the original's kind."""
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "handler.py").write_text(IMPORTS + code, encoding="utf-8")
    return tmp_path


def loaded(tmp_path: Path, code: str, name: str, interface: type, **parameters: Any) -> Any:
    """A handler, constructed."""
    folder = folder_with(tmp_path, code)
    return load_handler(f"handler.{name}", folder=folder, interface=interface, parameters=parameters)


def test_a_parser_of_the_original_runs_a_task(tmp_path: Path) -> None:
    """Rows, ids, skips and rejections are what its author meant; also when the task goes on in the middle."""
    folder = folder_with(tmp_path / "code", FILES)
    (folder / "input").mkdir()
    (folder / "input/in.log").write_bytes(LOG)
    store = FolderStore(tmp_path / "lake", durable=False)
    job = file_job(store, folder, name="in.log", reference="handler.LogFileParser")
    while (result := run_here(job, stop=after(0), clock=TickingClock())).status is TaskStatus.STOPPED:
        pass
    assert result.counts == TaskCounts(6, 2, 1, 3, len(LOG))
    first, second = merged_rows(store).values()
    if first["id"] != "a":
        first, second = second, first
    assert first == {
        "id": "a",
        "documentId": "a",
        "recordType": "LOG",
        "partitionKey": "a",
        "documentMetadata": {"file": "in.log"},
        "ts": 1,
        "text": "one",
    }
    assert second["text"] == "no id"
    place = LOG.index(b'{"ts": 4')
    assert second["id"].endswith(f"-{place:012x}")
    rejected = [line for _, lines in sorted(stored_rejections(store).items()) for line in lines]
    assert [(line["message"].partition(":")[0], line["startOffset"]) for line in rejected] == [
        ("bad level", str(LOG.index(b'{"ts": 3'))),
        ("odd offsets", str(LOG.index(b'{"ts": 5'))),
        ("LogFileParser.parse_document raised JSONDecodeError", str(LOG.index(b'{"ts": 6'))),
    ]
    assert rejected[1]["document"]["documentMetadata"] == {
        "documentMetadata": None,
        "errorStartoffsetMap": [1, 2],
        "errorEndoffsetMap": {"keys": {"a": 1}},
    }
    assert rejected[2]["text"] == '{"ts": 6, "id": }\n'


def test_it_keeps_the_contract_of_ours(tmp_path: Path) -> None:
    """The kit for handler authors takes it as it takes any other."""
    parser = loaded(tmp_path, FILES, "LogFileParser", SingleFileParser)
    report = check_parser(parser, LOG)
    assert report.ok, report
    assert len(report.rows) == 2
    assert type(parser).__name__ == "LogFileParser"


OTHERS = """
class Messages:
    def __init__(self, *, word="w"):
        self.word = word
    def parseMessage(self, messageId, messageGroupId, messageDeduplicationId, messageAttributes, messageBody):
        messageAttributes["seen"] = True
        values = {"body": messageBody, "attributes": messageAttributes, "word": self.word}
        return ParseDocumentResult(None, Document("Document", messageId, None, None, None, values), "success")

class Records:
    def parseMessage(self, streamArn, shardId, partitionKey, sequenceNumber, approximateArrivalTimestamp, data):
        data.extend(b"!")
        values = {"data": data.decode(), "number": sequenceNumber}
        return ParseDocumentResult(None, Document(DocumentType.Document, None, 7, 8, None, values), None)

class Changes:
    def parseRecord(self, streamArn, shardId, eventId, eventName, identityPrincipalId, identityType, sequenceNumber,
                    sizeBytes, streamViewType, approximateCreationDateTime, keys, oldImage, newImage):
        newImage["seen"] = len(oldImage)
        keys.clear()
        document = Document(DocumentType.Document, eventId, eventName, None, None, newImage)
        return ParseDocumentResult(None, document, ParseDocumentResultStatus.SUCCESS)

class Items:
    def parseDynamoDBItem(self, tableName, segmentNumber, keys, item):
        item["tags"].append("seen")
        document = Document(DocumentType.Document, keys["id"], tableName, None, None, item)
        return ParseDocumentResult(None, document, "SUCCESS")

class Vectors:
    def extractDocumentElementsForVectorization(self, document):
        return {"text": document.pop("text")}
    def constructVectorDoc(self, document, vectorsMap):
        document.update(vectorsMap)
        return Document(DocumentType.Document, document["documentId"], "Vectors", None, None, document)
"""


def row(handler: Any, method: str, *arguments: object) -> Any:
    """The row that a handler makes of a record."""
    record = Record("derived", "0", arguments, lambda: b"")
    outcome = RecordHandler(handler, method, source="s").outcome(record)
    assert isinstance(outcome, dict), outcome
    return outcome


def test_messages_of_queues(tmp_path: Path) -> None:
    """Attributes are the handler's own to change; parameters reach the constructor."""
    handler = loaded(tmp_path, OTHERS, "Messages", QueueMessageReader, word="x")
    attributes = {"a": "1"}
    assert row(handler, "parse_message", "m1", None, None, attributes, "hello") == {
        "id": "m1",
        "documentId": "m1",
        "body": "hello",
        "attributes": {"a": "1", "seen": True},
        "word": "x",
    }
    assert attributes == {"a": "1"}


def test_records_of_streams(tmp_path: Path) -> None:
    """Data can be changed; a null status is that of the document; kinds and keys become text."""
    handler = loaded(tmp_path, OTHERS, "Records", KinesisRecordReader)
    data = b"bytes"
    assert row(handler, "parse_message", "arn", "shard", "p", "49" * 20, 1_700_000_000_000, data) == {
        "id": "derived",
        "recordType": "7",
        "partitionKey": "8",
        "data": "bytes!",
        "number": "49" * 20,
    }
    assert data == b"bytes"


def test_changes_of_tables(tmp_path: Path) -> None:
    """Images that are not there are empty, as the original has it; what is changed is a copy."""
    handler = loaded(tmp_path, OTHERS, "Changes", DynamoDBStreamsRecordReader)
    keys, new = {"id": "k"}, {"id": "k", "n": 1}
    common = ("arn", "shard", "e1", "INSERT", None, None, "1", 10, "NEW_IMAGE", 1_700_000_000)
    made = row(handler, "parse_record", *common, keys, None, new)
    assert made == {"id": "k", "documentId": "e1", "recordType": "INSERT", "n": 1, "seen": 0}
    assert (keys, new) == ({"id": "k"}, {"id": "k", "n": 1})


def test_items_of_tables(tmp_path: Path) -> None:
    """Also what is nested is a copy."""
    handler = loaded(tmp_path, OTHERS, "Items", DynamoDBTableItemReader)
    item: dict[str, Any] = {"id": "k", "tags": ["a"]}
    assert row(handler, "parse_dynamo_db_item", "table", 0, {"id": "k"}, item)["tags"] == ["a", "seen"]
    assert item == {"id": "k", "tags": ["a"]}


def test_vectors(tmp_path: Path) -> None:
    """The document may be taken apart, and the bare document be returned."""
    handler = loaded(tmp_path, OTHERS, "Vectors", SagemakerVectorsInterface)
    document = {"documentId": "d", "text": "words"}
    assert handler.extract_document_elements_for_vectorization(document) == {"text": "words"}
    made = handler.construct_vector_doc(document, {"text": (0.5, 1.0)})
    assert type(made) is OurDocument
    assert made.document_key_values_map == {"documentId": "d", "text": [0.5, 1.0]}
    assert document == {"documentId": "d", "text": "words"}


def test_mappers_and_reducers(tmp_path: Path) -> None:
    """Their methods have the same names; they need no base class."""
    code = "class Both:\n    def mapper(self, *a):\n        self.seen = a\n    reducer = mapper\n"
    interfaces: dict[str, type] = {"mapper": SparkMapperInterface, "reducer": SparkReducerInterface}
    for method, interface in interfaces.items():
        handler: Any = loaded(tmp_path, code, "Both", interface)
        assert isinstance(handler, interface)
        getattr(handler, method)(*range(11))
        inner: Any = vars(handler)["_inner"]
        assert inner.seen == tuple(range(11))


RANDOM = (
    FILES
    + """
class Unsteady(LogFileParser):
    def parseDocument(self, s3FileType, s3Filename, offsetBytes, byteArr, startIndex, endIndex):
        result = super().parseDocument(s3FileType, s3Filename, offsetBytes, byteArr, startIndex, endIndex)
        result.document.recordType = str(uuid.uuid4())
        return result
"""
)


def test_random_kinds_of_records_make_no_second_row(tmp_path: Path) -> None:
    """Ids do not depend on them, so a record that is read again is the same row."""
    parser = loaded(tmp_path, RANDOM, "Unsteady", SingleFileParser)
    ids = []
    for _ in range(2):
        handler = FileHandler(parser)
        outcomes = handler.apply([(0, b'{"ts": 1, "text": "x"}\n')], source="in.log", file_name="in.log")
        ids += [outcome["id"] for outcome in outcomes if isinstance(outcome, dict)]
    assert len(ids) == 2
    assert len(set(ids)) == 1


def failure(tmp_path: Path, code: str, name: str, interface: type) -> str:
    """Why a class is not loaded."""
    with pytest.raises(HandlerLoadError) as caught:
        loaded(tmp_path, code, name, interface)
    return str(caught.value)


def test_a_class_that_is_not_quite_one_is_refused_with_what_it_lacks(tmp_path: Path) -> None:
    """By the names that its author knows."""
    half = "class Half:\n    def parseDocument(self, a, b, c, d, e, f):\n        pass\n"
    assert failure(tmp_path / "a", half, "Half", SingleFileParser) == (
        "handler.Half lacks getS3FileType, getResolvedS3FileName, getRecordStartPattern, getRecordEndPattern, "
        "which the original's SingleFileParser has"
    )
    assert failure(tmp_path / "b", OTHERS, "Records", QueueMessageReader) == (
        "handler.Records has a parseMessage that cannot be called with 5 arguments, "
        "as the original's QueueMessageReader is"
    )
    assert "is no SingleFileParser" in failure(tmp_path / "c", OTHERS, "Records", SingleFileParser)
    assert "parameters do not fit the constructor" in wrong_parameters(tmp_path / "d")


def wrong_parameters(tmp_path: Path) -> str:
    """What is told of a parameter that the class does not take."""
    with pytest.raises(HandlerLoadError) as caught:
        loaded(tmp_path, OTHERS, "Messages", QueueMessageReader, wodr="x")
    return str(caught.value)


def test_static_methods_will_do(tmp_path: Path) -> None:
    """A class may be no more than a namespace."""
    code = "class Plain:\n    @staticmethod\n    def parseMessage(a, b, c, d, e):\n        return [1]\n"
    assert loaded(tmp_path, code, "Plain", QueueMessageReader).parse_message("", None, None, {}, "") == [1]


def test_values_have_the_names_of_the_original() -> None:
    """Attributes, and accessors for each of them."""
    error = letsdata.ErrorDoc("i", "r", "p", {"m": 1}, {"k": 1}, {"F": "0"}, {"F": "9"}, "wrong")
    assert (error.documentType, error.getDocumentType()) == ("ErrorDoc", "ErrorDoc")
    assert [error.getDocumentId(), error.getRecordType(), error.getPartitionKey()] == ["i", "r", "p"]
    assert [error.getErrorStartOffsetMap(), error.getErrorEndOffsetMap()] == [{"F": "0"}, {"F": "9"}]
    assert (error.getErrorMessage(), error.getDocumentMetadata()) == ("wrong", {"m": 1})
    skip = letsdata.SkipDoc(None, None, None, None, None, None, None, "why")
    assert (skip.getSkipMessage(), skip.documentType) == ("why", letsdata.DocumentType.SkipDoc)
    hint = letsdata.RecordParseHint("OFFSET", "", 12)
    assert [hint.getRecordHintType(), hint.getPattern(), hint.getOffset()] == ["OFFSET", "", 12]
    result = letsdata.ParseDocumentResult("next", skip, "SKIP")
    assert [result.getNextRecordType(), result.getDocument(), result.getStatus()] == ["next", skip, "SKIP"]
    assert json.loads(error.serialize())["k"] == 1


class Foreign(Enum):
    """An enum of somebody else's."""

    PATTERN = "PATTERN"


def test_hints_may_be_of_either_kind(tmp_path: Path) -> None:
    """And their type an enum of any make."""
    parser = loaded(tmp_path, FILES, "LogFileParser", SingleFileParser)
    parser._inner.getRecordStartPattern = lambda _: letsdata.RecordParseHint(Foreign.PATTERN, b"<", -1)
    assert parser.get_record_start_pattern("F").pattern_bytes == b"<"
    parser._inner.getRecordStartPattern = lambda _: letsdata.RecordParseHint("offset", "", 9)
    assert parser.get_record_start_pattern("F").offset == 9


def test_a_class_is_adapted_once(tmp_path: Path) -> None:
    """Loading it again gives the same class."""
    folder = folder_with(tmp_path, OTHERS)
    interface: Any = QueueMessageReader
    first = load_class("handler.Messages", folder=folder, interface=interface)
    assert load_class("handler.Messages", folder=folder, interface=interface) is first


def test_it_costs_nothing_to_those_who_do_not_use_it(tmp_path: Path) -> None:
    """Nothing of it is imported."""
    code = (
        "import sys, pathlib, datalake_interfaces, datalake_interfaces.testing\n"
        "from datalake_service.handling.load import load_class\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "(folder / 'handler.py').write_text('class P: pass')\n"
        "load_class('handler.P', folder=folder, interface=object)\n"
        "print([name for name in sys.modules if 'compat' in name and name.startswith('datalake')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], check=True, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
