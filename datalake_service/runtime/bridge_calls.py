"""The functions of the bridge: for each interface what may be called, with which keys, and how. A table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from datalake_interfaces import (
    Document,
    DynamoDBStreamsRecordReader,
    DynamoDBTableItemReader,
    ErrorDoc,
    KinesisRecordReader,
    ParseDocumentResult,
    ParseDocumentResultStatus,
    QueueMessageReader,
    SagemakerVectorsInterface,
    SingleFileParser,
    SkipDoc,
)
from datalake_interfaces.readers import SparkMapperInterface, SparkReducerInterface
from datalake_service.handling.answers import settle
from datalake_service.runtime.bridge_values import as_bytes, decoded


class RequestError(Exception):
    """The request is none that can be answered; the message names each key that is wrong."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a request's data."""

    name: str
    kind: str = "text"
    """``text``, ``integer``, ``bytes``, ``object`` or ``list`` (of texts)."""
    nullable: bool = False
    """Whether it may be null or missing."""

    def read(self, data: Mapping[str, object], path: str, problems: list[str]) -> object:
        """Return its value; what is wrong with it is added to ``problems``."""
        value = data.get(self.name)
        place = f"{path}.{self.name}"
        if value is None:
            if not self.nullable:
                problems.append(f"{place}: {'null' if self.name in data else 'missing'}; {_KINDS[self.kind]} is needed")
            return None
        try:
            return _READERS[self.kind](value)
        except (TypeError, ValueError) as error:
            problems.append(f"{place}: {error}")
        return None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"has to be text, not {_told(value)}")
    return value


def _integer(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"has to be an integer, not {_told(value)}")
    return value


def _object(value: object) -> dict[str, Any]:
    found = decoded(value)
    if not isinstance(found, dict):
        raise TypeError(f"has to be an object, not {_told(value)}")
    return found


def _list(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError("has to be a list of texts")
    return value


def _told(value: object) -> str:
    names = {str: "text", int: "an integer", float: "a number", bool: "a boolean", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


_READERS: Final[Mapping[str, Callable[[object], object]]] = {
    "text": _text,
    "integer": _integer,
    "bytes": as_bytes,
    "object": _object,
    "list": _list,
}
_KINDS: Final = {
    "text": "text",
    "integer": "an integer",
    "bytes": "text or bytes",
    "object": "an object",
    "list": "a list of texts",
}

Values = list[Any]
"""The values of a function's keys, in their order."""


@dataclass(frozen=True, slots=True)
class Function:
    """Something that may be called."""

    keys: tuple[Key, ...]
    call: Callable[[Any, Values], object]
    """Calls a handler with the values of the keys."""
    nested: tuple[Key, ...] = ()
    """Keys of the object ``data`` within the data; their values follow."""

    def arguments(self, data: object, path: str) -> Values:
        """Read the data of a request.

        Raises:
            RequestError: Keys are missing or wrong; each is named.
        """
        if data is None:
            data = {}
        if not isinstance(data, dict):
            raise RequestError(f"{path}: has to be an object, not {_told(data)}")
        problems: list[str] = []
        values = [key.read(data, path, problems) for key in self.keys]
        if self.nested:
            inner = data.get("data")
            if isinstance(inner, dict):
                values += [key.read(inner, f"{path}.data", problems) for key in self.nested]
            else:
                told = "missing; an object is needed" if inner is None else f"has to be an object, not {_told(inner)}"
                problems.append(f"{path}.data: {told}")
        if problems:
            raise RequestError("; ".join(problems))
        return values


def _parsed(answer: object, method: str) -> ParseDocumentResult:
    """A parse result, whatever form the handler gave its answer."""
    next_type = answer.next_record_type if isinstance(answer, ParseDocumentResult) else None
    document = settle(answer, method=method)
    status = ParseDocumentResultStatus.SUCCESS
    if isinstance(document, ErrorDoc):
        status = ParseDocumentResultStatus.ERROR
    elif isinstance(document, SkipDoc):
        status = ParseDocumentResultStatus.SKIP
    return ParseDocumentResult(next_type, document, status)


def _parse_document(handler: SingleFileParser, values: Values) -> ParseDocumentResult:
    file_type, name, offset, content, start, end = values
    start = 0 if start is None else start
    end = len(content) if end is None else end
    if not 0 <= start <= end <= len(content):
        raise RequestError(
            f"data: startIndex {start} and endIndex {end} do not lie in the {len(content)} bytes of content"
        )
    return _parsed(handler.parse_document(file_type, name, offset, content, start, end), "parse_document")


def _method(name: str) -> Callable[[Any, Values], object]:
    return lambda handler, values: getattr(handler, name)(*values)


def _parsing(name: str) -> Callable[[Any, Values], object]:
    return lambda handler, values: _parsed(getattr(handler, name)(*values), name)


def _vectored(handler: SagemakerVectorsInterface, values: Values) -> Document | ErrorDoc | SkipDoc:
    return settle(handler.construct_vector_doc(*values), method="construct_vector_doc")


def _spark(name: str) -> Callable[[Any, Values], object]:
    def call(handler: object, values: Values) -> None:
        getattr(handler, name)(*values)

    return call


def _texts(*names: str) -> tuple[Key, ...]:
    return tuple(Key(name) for name in names)


_SPARK_WRITING: Final = (
    Key("readFormat"),
    Key("readOptions", "object"),
    *_texts("writeDestination", "writeUri", "writeFormat", "writeMode"),
    Key("writeOptions", "object"),
    Key("sparkCredentialsSecretArn", nullable=True),
)


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface of handlers, and what may be called of it."""

    type: type
    functions: Mapping[str, Function]

    @property
    def name(self) -> str:
        """Its name."""
        return self.type.__name__


_INTERFACES: Final = (
    Interface(
        SingleFileParser,
        {
            "getS3FileType": Function((), _method("get_s3_file_type")),
            "getResolvedS3FileName": Function(_texts("s3FileType", "fileName"), _method("get_resolved_s3_file_name")),
            "getRecordStartPattern": Function(_texts("s3FileType"), _method("get_record_start_pattern")),
            "getRecordEndPattern": Function(_texts("s3FileType"), _method("get_record_end_pattern")),
            "parseDocument": Function(
                (
                    *_texts("s3FileType", "fileName"),
                    Key("offsetBytes", "integer"),
                    Key("content", "bytes"),
                    Key("startIndex", "integer", nullable=True),
                    Key("endIndex", "integer", nullable=True),
                ),
                _parse_document,
            ),
        },
    ),
    Interface(
        QueueMessageReader,
        {
            "parseMessage": Function(
                (
                    Key("messageId"),
                    Key("messageGroupId", nullable=True),
                    Key("messageDeduplicationId", nullable=True),
                    Key("messageAttributes", "object"),
                    Key("messageBody"),
                ),
                _parsing("parse_message"),
            )
        },
    ),
    Interface(
        KinesisRecordReader,
        {
            "parseMessage": Function(
                (
                    *_texts("streamArn", "shardId", "partitionKey", "sequenceNumber"),
                    Key("approximateArrivalTimestamp", "integer"),
                    Key("data", "bytes"),
                ),
                _parsing("parse_message"),
            )
        },
    ),
    Interface(
        DynamoDBStreamsRecordReader,
        {
            "parseRecord": Function(
                (
                    *_texts("streamArn", "shardId", "eventId", "eventName"),
                    Key("identityPrincipalId", nullable=True),
                    Key("identityType", nullable=True),
                    Key("sequenceNumber"),
                    Key("sizeBytes", "integer"),
                    Key("streamViewType"),
                    Key("approximateCreationDateTime", "integer"),
                ),
                _parsing("parse_record"),
                (
                    Key("keys", "object"),
                    Key("oldImage", "object", nullable=True),
                    Key("newImage", "object", nullable=True),
                ),
            )
        },
    ),
    Interface(
        DynamoDBTableItemReader,
        {
            "parseDynamoDBItem": Function(
                (Key("tableName"), Key("segmentNumber", "integer")),
                _parsing("parse_dynamo_db_item"),
                (Key("keys", "object"), Key("item", "object")),
            )
        },
    ),
    Interface(
        SagemakerVectorsInterface,
        {
            "extractDocumentElementsForVectorization": Function(
                (Key("document", "object"),), _method("extract_document_elements_for_vectorization")
            ),
            "constructVectorDoc": Function(
                (Key("documentInterface", "object"), Key("vectorsMap", "object")), _vectored
            ),
        },
    ),
    Interface(
        SparkMapperInterface,
        {"mapper": Function((*_texts("appName", "readDestination", "readUri"), *_SPARK_WRITING), _spark("mapper"))},
    ),
    Interface(
        SparkReducerInterface,
        {
            "reducer": Function(
                (*_texts("appName", "readDestination"), Key("readUris", "list"), *_SPARK_WRITING), _spark("reducer")
            )
        },
    ),
)
INTERFACES: Final[Mapping[str, Interface]] = {interface.name.lower(): interface for interface in _INTERFACES}
"""By name, in lower case."""
