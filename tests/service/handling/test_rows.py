"""Whose ``id`` a row has: destinations other than the lake get the flat record alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_interfaces import Document
from datalake_service.handling.rows import flat_row, has_own_id
from datalake_service.pipeline.sinks.delivery_sink import outgoing


def finished(document: Document) -> dict[str, Any]:
    """The row as every handler makes it: with a derived id, if it has none."""
    row = flat_row(document)
    if row.get("id") is None:
        row["id"] = "derived"
    return row


@pytest.mark.parametrize(
    ("document", "record", "row_id"),
    [
        (Document({"text": "a"}), {"text": "a"}, "derived"),
        (Document({"text": "a"}, document_id="d"), {"documentId": "d", "text": "a"}, "d"),
        (Document({"text": "a", "id": "own"}), {"text": "a", "id": "own"}, "own"),
        (Document({"id": "own", "text": "a"}), {"id": "own", "text": "a"}, "own"),
        (Document({"id": "own"}), {"id": "own"}, "own"),
        (Document({"text": "a", "id": "d"}, document_id="d"), {"documentId": "d", "text": "a", "id": "d"}, "d"),
        (Document({"text": "a", "id": None}, document_id="d"), {"documentId": "d", "text": "a"}, "d"),
        (Document({"text": "a", "id": None}), {"text": "a"}, "derived"),
        (Document({"text": "a", "id": 7}, record_type="r"), {"recordType": "r", "text": "a", "id": 7}, "7"),
        (Document({"documentId": "mine"}, document_id="d"), {"documentId": "mine"}, "d"),
    ],
)
def test_only_an_id_of_the_users_is_written(document: Document, record: dict[str, Any], row_id: str) -> None:
    """Wherever it stands in the map, and whatever the document's id is; null is the same as none."""
    out = outgoing(finished(document), None)
    assert (out.record, out.id) == (record, row_id)


@given(
    st.dictionaries(st.sampled_from(["id", "a", "b", "documentId"]), st.sampled_from(["x", "d"]), min_size=1),
    st.sampled_from([None, "d"]),
)
def test_the_written_record_is_the_map_over_the_fields(payload: dict[str, str], document_id: str | None) -> None:
    """The user's keys win, and no key is added or lost."""
    row = finished(Document(payload, document_id=document_id))
    assert has_own_id(row) == ("id" in payload)
    fields = {} if document_id is None else {"documentId": document_id}
    assert outgoing(row, None).record == fields | payload
