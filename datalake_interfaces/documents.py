"""What a handler answers for a record: a document, an error, or a decision to leave the record out.

These are plain values. They know nothing of files, offsets that the framework can work out by itself, or of how
a row is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar


@dataclass(slots=True)
class Document:
    """One document: the row that will be written.

    The row is one flat JSON object: ``documentId``, ``recordType``, ``partitionKey`` and ``documentMetadata``,
    overlaid by every key of ``document_key_values_map`` (your keys win). What is ``None`` is left out.

    The row's ``id`` is the ``id`` key of the map, else ``document_id``, else derived from the source and the
    offset of the record, so that reading the same input twice yields the same id.
    """

    document_type: ClassVar[str] = "Document"
    """The name that the original gives this kind of answer."""

    document_key_values_map: Mapping[str, Any]
    """The payload: column names and values that JSON can hold."""
    _: KW_ONLY
    document_id: str | None = None
    """Identifies the document in its batch."""
    record_type: str | None = None
    """Your own word for the kind of record."""
    partition_key: str | None = None
    """Which documents belong together, for destinations that are sharded."""
    document_metadata: Mapping[str, Any] | None = None
    """What you want to keep about the document besides its payload."""


@dataclass(slots=True)
class ErrorDoc(Document):
    """The record could not be used. It is written to the rejections with its bytes and counted, never lost.

    Everything is optional: the framework fills in the source, the offsets and a message.
    """

    document_type: ClassVar[str] = "ErrorDoc"

    document_key_values_map: Mapping[str, Any] = field(default_factory=dict)
    """What was understood of the record, if anything."""
    _: KW_ONLY
    error_message: str | None = None
    """What is wrong with the record, for the person who reads the rejections."""
    error_start_offset_map: Mapping[str, str | int] | None = None
    """Where the record starts, by file type: ``{"LOGFILE": "1024"}``."""
    error_end_offset_map: Mapping[str, str | int] | None = None
    """Where the record ends (exclusive), by file type."""


@dataclass(slots=True)
class SkipDoc(Document):
    """The record is fine and not wanted. It is counted, and nothing is written."""

    document_type: ClassVar[str] = "SkipDoc"

    document_key_values_map: Mapping[str, Any] = field(default_factory=dict)
    """Not written anywhere."""
    _: KW_ONLY
    skip_message: str | None = None
    """Why the record is not wanted."""
