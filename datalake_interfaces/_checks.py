"""What ``testing`` looks at in an answer, told in words. The service has code of its own; a test compares."""

from __future__ import annotations

import dataclasses
import inspect
import json
import traceback
from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from datalake_interfaces.documents import Document, ErrorDoc, SkipDoc
from datalake_interfaces.model import ParseDocumentResult, ParseDocumentResultStatus

_RESERVED = ("_batch", "_created_at")


def told(error: BaseException) -> str:
    """The error's type, message and innermost line."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"


def settled(answer: object) -> Document | str:
    """Return the document that an answer holds, or why it cannot be used."""
    if isinstance(answer, ParseDocumentResult):
        return _unwrapped(answer)
    if isinstance(answer, Document):
        return answer
    if inspect.iscoroutine(answer):
        answer.close()
        return "the method is async; it has to be a plain one"
    hint = "; wrap it: Document(row)" if isinstance(answer, dict) else ""
    return f"the answer is {type(answer).__name__}, not a Document, an ErrorDoc or a SkipDoc{hint}"


def _unwrapped(result: ParseDocumentResult) -> Document | str:
    status = str(getattr(result.status, "value", result.status)).upper()
    document: object = result.document
    if status not in set(ParseDocumentResultStatus):
        return f"the result's status is {status!r}, none of {', '.join(ParseDocumentResultStatus)}"
    if isinstance(document, ErrorDoc | SkipDoc) or (isinstance(document, Document) and status == "SUCCESS"):
        return document
    if document is not None and not isinstance(document, Document):
        return f"the result's document is {type(document).__name__}"
    if status == "SUCCESS":
        return "the result has the status SUCCESS and no document"
    return ErrorDoc() if status == "ERROR" else SkipDoc()


def flat(document: Document) -> dict[str, Any]:
    """Return the row that is written for a document."""
    own = {
        "id": document.document_id,
        "documentId": document.document_id,
        "recordType": document.record_type,
        "partitionKey": document.partition_key,
        "documentMetadata": document.document_metadata,
    }
    row = {name: value for name, value in own.items() if value is not None} | dict(document.document_key_values_map)
    if row.get("id") is None:
        row.pop("id", None)
        if document.document_id is not None:
            row["id"] = document.document_id
    return row


class RowChecks:
    """Looks at rows one after the other and collects what is wrong with them, each kind of fault once for a column."""

    def __init__(self, *, own_columns: bool = False) -> None:
        """Begin; ``own_columns``: they are an annotator's, which may not be called ``id`` or begin with ``_``."""
        self._own_columns = own_columns
        self._told: set[tuple[str, str]] = set()
        self._contents: dict[str, str] = {}
        self.problems: list[str] = []

    def look_at(self, row: Mapping[str, Any], place: str) -> None:
        """Check one row."""
        for name, value in row.items():
            fault = self._name_fault(name) or _value_fault(value)
            if fault and (str(name), fault) not in self._told:
                self._told.add((str(name), fault))
                self.problems.append(f"{place}: column {name!r} {fault}")
        row_id = row.get("id")
        if row_id is None or self._own_columns:
            return
        if not isinstance(row_id, str | int) or isinstance(row_id, bool):
            self.problems.append(f"{place}: the id is {type(row_id).__name__}; an id is text or an integer")
        elif self._contents.setdefault(str(row_id), repr(row)) != repr(row):
            self.problems.append(f"{place}: the id {row_id!r} was used before, for another row")

    def _name_fault(self, name: object) -> str | None:
        if not isinstance(name, str):
            return "has a name that is no text"
        if self._own_columns and (name == "id" or name.startswith("_")):
            return "has a name that is reserved: an annotator's column is not called id and does not begin with _"
        return "has a name that is reserved" if name in _RESERVED else None


def _value_fault(value: object) -> str | None:
    try:
        json.dumps(value, default=_converted)
    except (TypeError, ValueError, RecursionError) as error:
        return f"cannot be written as JSON: {error}"
    return None


def _converted(value: object) -> object:
    """What the service converts, as far as the standard library knows it."""
    if isinstance(value, date | time | UUID | Decimal | bytes | bytearray | memoryview):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    for method in ("tolist", "model_dump"):  # numpy, pydantic
        convert = getattr(type(value), method, None)
        if convert is not None:
            return convert(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
