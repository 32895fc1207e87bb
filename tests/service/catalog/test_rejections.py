from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_service.catalog.rejections import MAX_KEPT_BYTES, Rejection, RejectionKind

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=8,
)
REJECTIONS = st.builds(
    Rejection,
    source=st.text(),
    start_offset=st.none() | st.from_regex(r"\d{1,60}", fullmatch=True),
    end_offset=st.none() | st.from_regex(r"\d{1,60}", fullmatch=True),
    kind=st.sampled_from(RejectionKind),
    message=st.text(),
    record_type=st.none() | st.text(),
    document_id=st.none() | st.text(),
    data=st.none() | st.binary(),
    document=st.none() | st.dictionaries(st.text(), JSON),
)


def rejection(**fields: Any) -> Rejection:
    """A rejection with the fields that every one has."""
    return Rejection(**({"source": "a.log", "kind": RejectionKind.PARSE, "message": "no"} | fields))


@given(REJECTIONS)
def test_a_rejection_reads_back_as_it_was(original: Rejection) -> None:
    """Bytes, texts of any kind and JSON documents survive the line."""
    line = original.to_json_line()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert Rejection.from_json_line(line) == original


def test_bytes_that_are_text_are_readable() -> None:
    """A person sees UTF-8 as text; anything else is base64."""
    assert json.loads(rejection(data="größe".encode()).to_json_line())["text"] == "größe"
    assert json.loads(rejection(data=b"\xff\x00").to_json_line())["base64"] == "/wA="


def test_the_line_has_the_documented_fields() -> None:
    """The names are part of the format."""
    line = rejection(start_offset="1", end_offset="5", data=b"", document={}).to_json_line()
    assert set(json.loads(line)) == {
        "source", "startOffset", "endOffset", "kind", "message", "recordType", "documentId", "text", "document",
    }  # fmt: skip


def test_only_the_beginning_of_a_huge_record_is_kept() -> None:
    """A rejection file stays readable; the offsets say where the rest is."""
    line = rejection(data=b"x" * (MAX_KEPT_BYTES + 1)).to_json_line()
    assert len(json.loads(line)["text"]) == MAX_KEPT_BYTES


class Hostile(Mapping[str, Any]):
    """A mapping of a user whose every method fails."""

    def __getitem__(self, key: str) -> object:
        raise RuntimeError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    def __len__(self) -> int:
        return 1


def itself() -> dict[str, Any]:
    """A document that contains itself."""
    document: dict[str, Any] = {}
    document["again"] = document
    return document


@pytest.mark.parametrize(
    "document",
    [
        {"a": object()},
        {"a": b"\xff"},
        {"a": float("nan")},
        {"a": 10**5000},
        {1: {2: 3}},
        {"a": "\ud800"},
        {"a": {1, 2}},
        itself(),
        Hostile(),
    ],
    ids=["object", "bytes", "nan", "huge", "keys", "surrogate", "set", "cycle", "hostile"],
)
def test_no_document_can_hide_its_rejection(document: Mapping[Any, Any]) -> None:
    """Whatever a handler returned, the line is valid JSON and holds the message."""
    line = rejection(document=document).to_json_line()
    assert json.loads(line, parse_constant=pytest.fail)["message"] == "no"


@pytest.mark.parametrize("line", ["", "[]", "{}", '{"source": "a"}', "null", '{"kind": "other"}'])
def test_another_line_is_refused(line: str) -> None:
    """Reading a foreign file says so instead of inventing a rejection."""
    with pytest.raises(ValueError, match=r".+"):
        Rejection.from_json_line(line)
