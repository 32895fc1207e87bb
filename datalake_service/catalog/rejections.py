"""Rejections: what could not be used, where it came from, why, and its bytes; one JSON line each.

Knows nothing of who rejected it. A rejection file is written for people and for a re-drive: nothing that was read is
lost, whatever a handler returned.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from datalake_service.jsontext import dumps_exact

MAX_KEPT_BYTES = 1 << 20
"""How much of a rejected record is kept: one that is larger is found by its offsets. Bounds a rejection file."""
_MAX_DEPTH = 50
"""A document that is nested deeper is shown as text from there on; it may even contain itself."""
_MAX_INTEGER_BITS = 4096
"""Python refuses to write integers of many thousand digits; a larger one is shown in hexadecimal."""


class RejectionKind(StrEnum):
    """Which step could not use the record."""

    READ = "read"
    """The bytes could not be read, decompressed or cut into a record."""
    PARSE = "parse"
    """The handler raised, or answered with an error document."""
    TRANSFORM = "transform"
    """The handler's answer is no document."""
    WRITE = "write"
    """The document cannot be stored as a row."""
    LINE = "line"
    """A line of a chunk or of a foreign file is no usable row (found by a merge)."""
    CONFLICT = "conflict"
    """An earlier row of the batch has the same id and other content (found by a merge)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """One record, or one stretch of input, that was not used."""

    source: str
    """Where it came from: the task's item, as people know it."""
    start_offset: str | None = None
    """Where it starts in the source: a byte offset in the decompressed file, or a sequence number. Text, because
    sequence numbers are larger than what JSON readers keep exactly."""
    end_offset: str | None = None
    """Where it ends (exclusive); ``None``: not known."""
    kind: RejectionKind
    message: str
    """One line that says what is wrong."""
    record_type: str | None = None
    document_id: str | None = None
    data: bytes | None = None
    """The bytes, at most the first ``MAX_KEPT_BYTES`` of them; ``None``: there are none to keep."""
    document: Mapping[str, Any] | None = None
    """What the handler made of it, if anything; values that JSON has no form for are kept as text."""

    def to_json_line(self) -> bytes:
        """Return one line of JSON in UTF-8, with its line feed. Never fails, whatever the document holds."""
        fields: dict[str, Any] = {
            "source": self.source,
            "startOffset": self.start_offset,
            "endOffset": self.end_offset,
            "kind": str(self.kind),
            "message": self.message,
            "recordType": self.record_type,
            "documentId": self.document_id,
        }
        if self.data is not None:
            fields |= _data_field(self.data)
        if self.document is not None:
            fields["document"] = _shown(self.document)
        return dumps_exact(fields) + b"\n"

    @classmethod
    def from_json_line(cls, line: bytes | str) -> Rejection:
        """Read a line that ``to_json_line`` wrote.

        Raises:
            ValueError: Not such a line.
        """
        try:
            fields = json.loads(line)
            text, encoded = fields.get("text"), fields.get("base64")
            return cls(
                source=fields["source"],
                start_offset=fields["startOffset"],
                end_offset=fields["endOffset"],
                kind=RejectionKind(fields["kind"]),
                message=fields["message"],
                record_type=fields["recordType"],
                document_id=fields["documentId"],
                data=base64.b64decode(encoded) if encoded is not None else _encoded(text),
                document=fields.get("document"),
            )
        except (AttributeError, KeyError, TypeError) as error:
            msg = f"not a rejection ({type(error).__name__}: {error})"
            raise ValueError(msg) from error


def _data_field(data: bytes) -> dict[str, str]:
    kept = data[:MAX_KEPT_BYTES]
    try:
        return {"text": kept.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(kept).decode("ascii")}


def _encoded(text: str | None) -> bytes | None:
    return None if text is None else text.encode("utf-8")


def _shown(document: Mapping[str, Any]) -> object:
    """The JSON form of whatever a handler put into its document, for people to read."""
    try:
        return _plain(document, 0)
    except Exception as error:  # noqa: BLE001 - methods of the user's own classes run here; the rejection has to be kept
        return {"": f"cannot be shown: {type(error).__name__}"}


def _plain(value: object, depth: int) -> object:
    shown: object = value
    if isinstance(value, str):
        shown = str.__str__(value)
    elif isinstance(value, float) and not math.isfinite(value):
        shown = float.__repr__(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        shown = int(value) if value.bit_length() <= _MAX_INTEGER_BITS else hex(value)
    elif depth < _MAX_DEPTH and isinstance(value, Mapping):
        shown = {_text(key): _plain(item, depth + 1) for key, item in value.items()}
    elif depth < _MAX_DEPTH and isinstance(value, list | tuple):
        shown = [_plain(item, depth + 1) for item in value]
    elif value is not None and not isinstance(value, bool | float):
        shown = _text(value)
    return shown


def _text(value: object) -> str:
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes | bytearray):
        return bytes(value[:MAX_KEPT_BYTES]).decode("utf-8", "backslashreplace")
    return repr(value)[:MAX_KEPT_BYTES]
