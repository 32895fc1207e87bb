"""A document as the flat row that is written. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from datalake_interfaces import Document
from datalake_service.handling.answers import AnswerError


def flat_row(document: Document) -> dict[str, Any]:
    """Return the row of a document: its own fields, overlaid by its key-value map (the user's keys win).

    Fields that are ``None`` are left out. ``id`` is the map's ``id`` key, else the document id, else missing. It is the
    last key exactly if it is not the map's own: see ``has_own_id``.

    Raises:
        AnswerError: The key-value map is no mapping.
    """
    row: dict[str, Any] = {}
    document_id = document.document_id
    if document_id is not None:
        row["documentId"] = document_id
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
    if "id" in row:
        row = own_id_first(row)
    if document_id is not None and "id" not in row:
        row["id"] = document_id
    return row


def own_id_first(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the user's whose ``id`` is not the last key, so that one that is added later can be told from it.

    An ``id`` that is null is the same as none: it is taken out.
    """
    own = row.get("id")
    if own is None:
        row.pop("id", None)
    elif next(reversed(row)) == "id":
        del row["id"]
        return {"id": own, **row}
    return row


def has_own_id(row: dict[str, Any]) -> bool:
    """Whether the ``id`` of a row is a key of the user's, and not one that was added for the lake."""
    return len(row) == 1 or next(reversed(row), None) != "id"


def derived_ids(source: str) -> str:
    """Return the part that the ids of all rows derived from ``source`` share; see ``derived_id``.

    The name of the source is hashed because it may be long, and an id is repeated in every annotation.
    """
    return hashlib.blake2b(source.encode("utf-8", "surrogateescape"), digest_size=10).hexdigest()


def derived_id(prefix: str, offset: int) -> str:
    """Return the id of the row whose record starts at ``offset``: the same for the same input, in file order."""
    return f"{prefix}-{offset:012x}"
