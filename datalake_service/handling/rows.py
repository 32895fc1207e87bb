"""A document as the flat row that is written. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from datalake_interfaces import Document
from datalake_service.handling.answers import AnswerError


def flat_row(document: Document) -> dict[str, Any]:
    """Return the row of a document: its own fields, overlaid by its key-value map (the user's keys win).

    Fields that are ``None`` are left out. ``id`` is the map's ``id`` key, else the document id, else missing.

    Raises:
        AnswerError: The key-value map is no mapping.
    """
    row: dict[str, Any] = {}
    document_id = document.document_id
    if document_id is not None:
        row["id"] = row["documentId"] = document_id
    if document.record_type is not None:
        row["recordType"] = document.record_type
    if document.partition_key is not None:
        row["partitionKey"] = document.partition_key
    if document.document_metadata is not None:
        row["documentMetadata"] = document.document_metadata
    payload = document.document_key_values_map
    if type(payload) is not dict and not isinstance(payload, Mapping):
        raise AnswerError(f"document_key_values_map is {type(payload).__name__}; it has to be a mapping")
    row.update(payload)
    if row.get("id") is None and document_id is not None:  # the map's own id is null, which is the same as missing
        row["id"] = document_id
    return row


def derived_ids(source: str) -> str:
    """Return the part that the ids of all rows derived from ``source`` share; see ``derived_id``.

    The name of the source is hashed because it may be long, and an id is repeated in every annotation.
    """
    return hashlib.blake2b(source.encode("utf-8", "surrogateescape"), digest_size=10).hexdigest()


def derived_id(prefix: str, offset: int) -> str:
    """Return the id of the row whose record starts at ``offset``: the same for the same input, in file order."""
    return f"{prefix}-{offset:012x}"
