"""Values of the bridge: what a request may hold, and what an answer can be written as. Pure."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from typing import Any, Final

from datalake_interfaces import Document, ErrorDoc, ParseDocumentResult, RecordHintType, RecordParseHint, SkipDoc
from datalake_service.chunks.convert import convert, key_text
from datalake_service.handling.answers import AnswerError

BYTES_KEY: Final = "$base64"
"""An object with this key alone stands for bytes."""


def decoded(value: object) -> Any:  # noqa: ANN401 - any JSON
    """Return a value of a request with its bytes in place.

    Raises:
        ValueError: What should be base64 is not.
    """
    if isinstance(value, dict):
        if value.keys() == {BYTES_KEY}:
            return as_bytes(value)
        return {key: decoded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [decoded(item) for item in value]
    return value


def as_bytes(value: object) -> bytes:
    """Return what text, or an object that stands for bytes, holds.

    Raises:
        ValueError: It is neither.
    """
    if isinstance(value, str):
        try:
            return value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError("text that has no UTF-8 form") from error
    if not isinstance(value, dict) or value.keys() != {BYTES_KEY} or not isinstance(value[BYTES_KEY], str):
        raise ValueError(f'has to be text, or {{"{BYTES_KEY}": "…"}}')
    try:
        return base64.b64decode(value[BYTES_KEY], validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{BYTES_KEY} is no base64: {error}") from error


def rendered(value: object, path: str = "data") -> object:
    """Return the JSON form of an answer.

    Raises:
        AnswerError: A value in it has none; the message has its path.
    """
    if value is None or type(value) in (str, bool, int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise AnswerError(f"{path} is {value!r}, which JSON cannot hold")
        return float(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return {BYTES_KEY: base64.b64encode(value).decode("ascii")}
    if isinstance(value, Document | ParseDocumentResult | RecordParseHint):
        value = _fields(value)
    return _rendered_container(value, path)


def _rendered_container(value: object, path: str) -> object:
    if isinstance(value, Mapping):
        return {name: rendered(item, f"{path}.{name}") for name, item in _items(value, path)}
    if isinstance(value, list | tuple):
        return [rendered(item, f"{path}[{number}]") for number, item in enumerate(value)]
    if isinstance(value, set | frozenset):
        return [rendered(item, path) for item in sorted(value, key=repr)]
    try:
        converted = convert(value)
    except (TypeError, ValueError) as error:
        raise AnswerError(f"{path}: {error}") from error
    return rendered(converted, path)


def _items(value: Mapping[Any, object], path: str) -> list[tuple[str, object]]:
    try:
        return [(key_text(key), item) for key, item in value.items()]
    except TypeError as error:
        raise AnswerError(f"{path}: {error}") from error


def _fields(value: Document | ParseDocumentResult | RecordParseHint) -> dict[str, object]:
    """The fields of one of our values, under the original's names."""
    if isinstance(value, ParseDocumentResult):
        return {"nextRecordType": value.next_record_type, "document": value.document, "status": str(value.status)}
    if isinstance(value, RecordParseHint):
        by_pattern = value.record_hint_type is RecordHintType.PATTERN
        pattern = _text_or_bytes(value.pattern_bytes) if by_pattern else ""
        offset = -1 if value.offset is None else value.offset
        return {"recordHintType": str(value.record_hint_type), "pattern": pattern, "offset": offset}
    fields: dict[str, object] = {
        "documentType": value.document_type,
        "documentId": value.document_id,
        "recordType": value.record_type,
        "partitionKey": value.partition_key,
        "documentMetadata": value.document_metadata,
        "documentKeyValuesMap": value.document_key_values_map,
    }
    if isinstance(value, ErrorDoc):
        fields["errorStartoffsetMap"] = value.error_start_offset_map
        fields["errorEndoffsetMap"] = value.error_end_offset_map
        fields["errorMessage"] = value.error_message
    elif isinstance(value, SkipDoc):
        fields["skipMessage"] = value.skip_message
    return fields


def _text_or_bytes(value: bytes) -> str | bytes:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value
