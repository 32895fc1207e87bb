"""Answers of models: the schema that they get, and the check that they do not escape."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from datalake_service.annotating.llm_answer import AnswerReader
from datalake_service.config.llm import ColumnConfig

COLUMNS: dict[str, Any] = {
    "label": {"type": "string", "values": ["good", "bad"], "description": "how it is"},
    "score": {"type": "integer", "minimum": 1, "maximum": 5},
    "share": {"type": "number", "nullable": True},
    "sure": {"type": "boolean"},
    "tags": {"type": "array", "items": "string", "maximum": 2},
    "title": {"type": "string", "minimum": 1},
    "odd name.1": {"type": "string", "nullable": True, "values": ["x"]},
}
GOOD: dict[str, Any] = {
    "label": "good", "score": 3, "share": 0.5, "sure": True, "tags": ["a"], "title": "t", "odd name.1": None,
}  # fmt: skip


def reader(columns: dict[str, Any] = COLUMNS) -> AnswerReader:
    """A reader for some columns."""
    return AnswerReader({name: ColumnConfig.model_validate(column) for name, column in columns.items()})


@pytest.mark.parametrize("text", [json.dumps(GOOD), f"```json\n{json.dumps(GOOD)}\n```", f"\n {json.dumps(GOOD)} "])
def test_a_good_answer_is_its_columns(text: str) -> None:
    """Also in the marks of a code block."""
    assert reader().read(text) == GOOD


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"label": "secret text"}, "label: Input should be 'good' or 'bad'"),
        ({"score": 6}, "score: Input should be less than or equal to 5"),
        ({"score": "3"}, "score: Input should be a valid integer"),
        ({"score": True}, "score: "),
        ({"share": "secret text"}, "share: "),
        ({"sure": 1}, "sure: "),
        ({"tags": ["a", "b", "c"]}, "tags: "),
        ({"tags": [1]}, "tags: "),
        ({"title": ""}, "title: "),
        ({"title": None}, "title: "),
        ({"secret text": 1}, "it has a column that was not asked for"),
    ],
)
def test_an_answer_that_does_not_fit_says_why_without_its_values(change: dict[str, Any], fault: str) -> None:
    """The words are for the model, for the row and for logs."""
    found = reader().read(json.dumps(GOOD | change))
    assert isinstance(found, str)
    assert fault in found
    assert "secret" not in found


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "no JSON"),
        ("Sure! Here it is:", "no JSON"),
        (json.dumps(GOOD)[:-5], "no JSON"),
        ("[]", "answer: "),
        ("null", "answer: "),
        ("{}", "label: Field required"),
        (json.dumps(GOOD).replace("0.5", "NaN"), "share: "),
        (json.dumps(GOOD).replace("0.5", "1e999"), "share: "),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_what_is_no_answer_is_told(text: str, fault: str) -> None:
    """Nothing, prose, halves of JSON, other JSON."""
    found = reader().read(text)
    assert isinstance(found, str)
    assert fault in found


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-10, 10), st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["good", "bad", "x", "", "other"]), st.lists(st.sampled_from(["a", 1, None]), max_size=3),
)  # fmt: skip


@given(answer=st.fixed_dictionaries({}, optional=dict.fromkeys([*COLUMNS, "more"], VALUES)) | st.just(GOOD))
@settings(max_examples=60, deadline=None)
def test_the_schema_and_the_check_say_the_same(answer: dict[str, Any]) -> None:
    """A service that keeps to the schema is never told that its answer does not fit, and the other way round."""
    one = reader()
    fits = not isinstance(one.read(json.dumps(answer)), str)
    valid = Draft202012Validator(one.schema).is_valid(answer)
    if type(answer.get("score")) is float and answer["score"] == int(answer["score"]):
        return  # 3.0 is an integer for JSON Schema; we want one that is written as one
    assert fits == valid
