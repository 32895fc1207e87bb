"""Classes with the original's camelCase methods, made into ours. Loaded when the first such class is met.

A class is taken for one of the original's if it does not implement the interface that is needed and has all of its
methods under their camelCase names. It is constructed as any other, ``Class(**parameters)``, and called positionally.
What it is given is its own to change; what it answers may be of this package or of ours.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from datalake_interfaces.documents import Document, ErrorDoc, SkipDoc
from datalake_interfaces.model import ParseDocumentResult, ParseDocumentResultStatus, RecordHintType, RecordParseHint
from datalake_interfaces.readers import (
    DynamoDBStreamsRecordReader,
    DynamoDBTableItemReader,
    KinesisRecordReader,
    QueueMessageReader,
    SagemakerVectorsInterface,
    SingleFileParser,
    SparkMapperInterface,
    SparkReducerInterface,
)

Answer = ParseDocumentResult | Document | ErrorDoc | SkipDoc


class _Adapter:
    """Holds a handler of the original's kind."""

    original: type
    """Its class; set in a subclass for each."""

    def __init__(self, **parameters: Any) -> None:
        """Construct it."""
        self._inner: Any = self.original(**parameters)


class _SingleFileParser(_Adapter, SingleFileParser):
    def get_s3_file_type(self) -> str:
        file_type: str = self._inner.getS3FileType()
        return file_type

    def get_resolved_s3_file_name(self, s3_file_type: str, file_name: str) -> str:
        name: str = self._inner.getResolvedS3FileName(s3_file_type, file_name)
        return name

    def get_record_start_pattern(self, s3_file_type: str) -> RecordParseHint:
        return _hint(self._inner.getRecordStartPattern(s3_file_type))

    def get_record_end_pattern(self, s3_file_type: str) -> RecordParseHint:
        return _hint(self._inner.getRecordEndPattern(s3_file_type))

    def parse_document(
        self,
        s3_file_type: str,
        s3_filename: str,
        offset_bytes: int,
        byte_arr: bytes,
        start_index: int,
        end_index: int,
    ) -> Answer:
        return _answer(
            self._inner.parseDocument(
                s3_file_type, s3_filename, offset_bytes, bytearray(byte_arr), start_index, end_index
            )
        )


class _QueueMessageReader(_Adapter, QueueMessageReader):
    def parse_message(
        self,
        message_id: str,
        message_group_id: str | None,
        message_deduplication_id: str | None,
        message_attributes: Mapping[str, str | bytes],
        message_body: str,
    ) -> Answer:
        return _answer(
            self._inner.parseMessage(
                message_id, message_group_id, message_deduplication_id, dict(message_attributes), message_body
            )
        )


class _KinesisRecordReader(_Adapter, KinesisRecordReader):
    def parse_message(
        self,
        stream_arn: str,
        shard_id: str,
        partition_key: str,
        sequence_number: str,
        approximate_arrival_timestamp: int,
        data: bytes,
    ) -> Answer:
        return _answer(
            self._inner.parseMessage(
                stream_arn, shard_id, partition_key, sequence_number, approximate_arrival_timestamp, bytearray(data)
            )
        )


class _DynamoDBStreamsRecordReader(_Adapter, DynamoDBStreamsRecordReader):
    def parse_record(  # noqa: PLR0913, PLR0917 - what the original passes
        self,
        stream_arn: str,
        shard_id: str,
        event_id: str,
        event_name: str,
        identity_principal_id: str | None,
        identity_type: str | None,
        sequence_number: str,
        size_bytes: int,
        stream_view_type: str,
        approximate_creation_date_time: int,
        keys: Mapping[str, Any],
        old_image: Mapping[str, Any] | None,
        new_image: Mapping[str, Any] | None,
    ) -> Answer:
        # The original never passes null images: what is not there is empty.
        keys, old_image, new_image = copy.deepcopy((dict(keys), dict(old_image or {}), dict(new_image or {})))
        return _answer(
            self._inner.parseRecord(
                stream_arn,
                shard_id,
                event_id,
                event_name,
                identity_principal_id,
                identity_type,
                sequence_number,
                size_bytes,
                stream_view_type,
                approximate_creation_date_time,
                keys,
                old_image,
                new_image,
            )
        )


class _DynamoDBTableItemReader(_Adapter, DynamoDBTableItemReader):
    def parse_dynamo_db_item(
        self, table_name: str, segment_number: int, keys: Mapping[str, Any], item: Mapping[str, Any]
    ) -> Answer:
        keys, item = copy.deepcopy((dict(keys), dict(item)))
        return _answer(self._inner.parseDynamoDBItem(table_name, segment_number, keys, item))


class _SagemakerVectorsInterface(_Adapter, SagemakerVectorsInterface):
    def extract_document_elements_for_vectorization(self, document: Mapping[str, Any]) -> Mapping[str, str]:
        elements: Mapping[str, str] = self._inner.extractDocumentElementsForVectorization(copy.deepcopy(dict(document)))
        return elements

    def construct_vector_doc(self, document: Mapping[str, Any], vectors_map: Mapping[str, Sequence[float]]) -> Answer:
        vectors = {name: list(vector) for name, vector in vectors_map.items()}
        return _answer(self._inner.constructVectorDoc(copy.deepcopy(dict(document)), vectors))


class _SparkMapperInterface(_Adapter, SparkMapperInterface):
    def mapper(self, *arguments: Any) -> None:
        self._inner.mapper(*arguments)


class _SparkReducerInterface(_Adapter, SparkReducerInterface):
    def reducer(self, *arguments: Any) -> None:
        self._inner.reducer(*arguments)


_ADAPTERS: Mapping[type, tuple[type[_Adapter], Mapping[str, int]]] = {
    SingleFileParser: (
        _SingleFileParser,
        {
            "getS3FileType": 0,
            "getResolvedS3FileName": 2,
            "getRecordStartPattern": 1,
            "getRecordEndPattern": 1,
            "parseDocument": 6,
        },
    ),
    QueueMessageReader: (_QueueMessageReader, {"parseMessage": 5}),
    KinesisRecordReader: (_KinesisRecordReader, {"parseMessage": 6}),
    DynamoDBStreamsRecordReader: (_DynamoDBStreamsRecordReader, {"parseRecord": 13}),
    DynamoDBTableItemReader: (_DynamoDBTableItemReader, {"parseDynamoDBItem": 4}),
    SagemakerVectorsInterface: (
        _SagemakerVectorsInterface,
        {"extractDocumentElementsForVectorization": 1, "constructVectorDoc": 2},
    ),
    SparkMapperInterface: (_SparkMapperInterface, {"mapper": 11}),
    SparkReducerInterface: (_SparkReducerInterface, {"reducer": 11}),
}
"""For each interface its adapter, and the original's methods with the number of arguments they are called with."""


def why_not(original: type, interface: type) -> str | None:
    """What keeps a class with some of the original's methods from being one of its handlers: the rest of a sentence."""
    _, methods = _ADAPTERS[interface]
    missing = [name for name in methods if not callable(getattr(original, name, None))]
    if missing:
        return f"lacks {', '.join(missing)}, which the original's {interface.__name__} has"
    for name, count in methods.items():
        method = inspect.getattr_static(original, name)
        bound = 0 if isinstance(method, staticmethod | classmethod) else 1
        try:
            inspect.signature(getattr(original, name)).bind(*range(count + bound))
        except TypeError:
            return (
                f"has a {name} that cannot be called with {count} arguments, as the original's {interface.__name__} is"
            )
        except ValueError:  # no signature: the call itself will tell
            continue
    return None


@functools.cache
def adapted(original: type, interface: type) -> type:
    """Return a class that implements ``interface`` with the methods of ``original``, under the same name."""
    adapter, _ = _ADAPTERS[interface]
    namespace: dict[str, Any] = {"original": original, "__module__": original.__module__, "__doc__": original.__doc__}
    with contextlib.suppress(TypeError, ValueError):  # a class of an extension module may have none
        namespace["__signature__"] = inspect.signature(original)
    return type(original.__name__, (adapter,), namespace)


def _hint(hint: Any) -> RecordParseHint:
    if isinstance(hint, RecordParseHint) or not hasattr(hint, "recordHintType"):
        given: RecordParseHint = hint
        return given
    kind = RecordHintType(_word(hint.recordHintType).upper())
    if kind is RecordHintType.PATTERN:
        return RecordParseHint(kind, hint.pattern)
    return RecordParseHint(kind, offset=hint.offset)


def _answer(answer: Any) -> Answer:
    """Ours for the original's; what is neither is returned as it is, and refused by name."""
    if hasattr(answer, "status") and hasattr(answer, "nextRecordType"):
        status: Any = ParseDocumentResultStatus.SUCCESS if answer.status is None else _word(answer.status)
        document = _document(answer.document)
        return ParseDocumentResult(_text(answer.nextRecordType), document, status)
    bare: Answer = _document(answer)
    return bare


def _document(document: Any) -> Any:
    if not hasattr(document, "documentKeyValuesMap"):
        return document
    values = {} if document.documentKeyValuesMap is None else document.documentKeyValuesMap
    own: dict[str, Any] = {
        "document_id": _text(document.documentId),
        "record_type": _text(document.recordType),
        "partition_key": _text(document.partitionKey),
        "document_metadata": document.documentMetadata,
    }
    kind = _word(getattr(document, "documentType", "")).lower()
    if hasattr(document, "errorMessage") or kind == "errordoc":
        offsets = _offsets(document, own)
        return ErrorDoc(values, error_message=_text(getattr(document, "errorMessage", None)), **offsets, **own)
    if hasattr(document, "skipMessage") or kind == "skipdoc":
        return SkipDoc(values, skip_message=_text(getattr(document, "skipMessage", None)), **own)
    return Document(values, **own)


def _offsets(document: Any, own: dict[str, Any]) -> dict[str, Any]:
    """Offset maps; those that do not say a place for each file type are kept in the metadata instead."""
    offsets = {}
    for name, attribute in (
        ("error_start_offset_map", "errorStartoffsetMap"),
        ("error_end_offset_map", "errorEndoffsetMap"),
    ):
        found = getattr(document, attribute, None)
        if isinstance(found, Mapping) and all(isinstance(place, str | int) for place in found.values()):
            offsets[name] = found
        elif found is not None:
            metadata = own["document_metadata"]
            metadata = dict(metadata) if isinstance(metadata, Mapping) else {"documentMetadata": metadata}
            own["document_metadata"] = {**metadata, attribute: found}
    return offsets


def _text(value: object) -> str | None:
    return None if value is None else _word(value)


def _word(value: object) -> str:
    """The text of an enum's member, or of anything else."""
    return str(getattr(value, "value", value))
