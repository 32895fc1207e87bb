"""``llm`` and ``calls``: what is refused, where, and with which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_service.config.llm import columns_of, filled
from datalake_service.config.load import load_dataset
from datalake_service.errors import ConfigError

LLM: dict[str, Any] = {
    "endpoint": "https://models.example/v1/",
    "model": "m",
    "prompt": "{{text}}",
    "response": {"label": {"type": "string"}},
}


def document(**annotator: Any) -> dict[str, Any]:
    """A dataset file with one annotator."""
    return {
        "datasetName": "posts",
        "readConnector": {"connectorDestination": "GENERATOR", "generatorImplementationClassName": "handler.Rows"},
        "annotators": [{"annotatorName": "judge", **annotator}],
    }


def test_a_good_file_loads_with_its_defaults() -> None:
    """And the slash at the end of the endpoint does not count."""
    (annotator,) = load_dataset(document(llm=LLM), folder=Path()).annotators
    assert annotator.llm is not None
    assert (annotator.llm.endpoint, annotator.llm.repairs) == ("https://models.example/v1", 1)
    assert (annotator.llm.columns, annotator.calls) == (("text",), None)


@pytest.mark.parametrize(
    ("annotator", "problem"),
    [
        ({"llm": LLM | {"endpoint": "models.example"}}, "llm.endpoint: found"),
        ({"llm": LLM | {"endpoint": "https://h/v1/chat/completions/"}}, "without /chat/completions"),
        ({"llm": LLM | {"parameters": {"max_completion_tokens": "9"}}}, "parameters.max_completion_tokens: found"),
        ({"llm": LLM | {"endpoint": "https://h/v1?key=abc"}}, "the key comes from apiKeyVariable"),
        ({"llm": LLM | {"prompt": "{{text}} {{"}}, "each {{ needs a name and }}"),
        ({"llm": LLM | {"prompt": "{{ }}"}}, "each {{ needs a name and }}"),
        ({"llm": LLM | {"response": {}}}, "llm.response"),
        ({"llm": LLM | {"response": {"id": {"type": "string"}}}}, "llm.response.id: found"),
        ({"llm": LLM | {"response": {"a": {"type": "text"}}}}, "llm.response.a.type: found"),
        ({"llm": LLM | {"response": {"a": {"type": "integer", "values": ["x"]}}}}, "llm.response.a.values: found"),
        ({"llm": LLM | {"response": {"a": {"type": "string", "items": "string"}}}}, "llm.response.a.items: found"),
        ({"llm": LLM | {"response": {"a": {"type": "number", "minimum": 2, "maximum": 1}}}}, "at least the minimum, 2"),
        ({"llm": LLM | {"parameters": {"stream": True}}}, "llm.parameters.stream: found"),
        ({"llm": LLM | {"apiKeyVariable": "the key itself"}}, "the name of an environment variable"),
        ({"llm": LLM | {"apiKey": "the key itself"}}, "unknown setting"),
        ({"llm": LLM, "baseColumns": ["title"]}, "neither in baseColumns nor in annotatorColumns"),
        ({"llm": LLM, "annotatorImplementationClassName": "a.B"}, "llm says another way to annotate"),
        ({"llm": LLM, "calls": {"budget": {"cost": 1}}}, "needs llm.price"),
        (
            {"llm": LLM | {"price": dict.fromkeys(("inputPerMillion", "outputPerMillion"), 0)}}
            | {"calls": {"budget": {"cost": 1}}},
            "needs llm.price",
        ),
        (
            {"embedding": {"column": "text"}, "calls": {"budget": {"cost": 1}}},
            "budget.cost: found 1.0; embedding reports",
        ),
        (
            {"embedding": {"column": "text"}, "calls": {"budget": {"tokens": 1}}},
            "budget.tokens: found 1; embedding",
        ),
        ({"llm": LLM, "calls": {"budget": {"calls": 0}}}, "calls.budget.calls: found 0; allowed: at least 1"),
        ({"llm": LLM, "calls": {"requestsPerMinute": 0}}, "calls.requestsPerMinute: found 0"),
        ({}, "the `Annotator`"),
    ],
)
def test_a_mistake_is_told_with_its_place(annotator: dict[str, Any], problem: str) -> None:
    """And never with a key."""
    with pytest.raises(ConfigError) as caught:
        load_dataset(document(**annotator), folder=Path())
    assert problem in str(caught.value)
    assert "the key itself" not in str(caught.value)


def test_columns_of_other_annotators_are_seen() -> None:
    """By their qualified names."""
    llm = LLM | {"prompt": "{{text}} {{lang.label}}"}
    load_dataset(document(llm=llm, baseColumns=["text"], annotatorColumns={"lang": ["label"]}), folder=Path())


@given(st.dictionaries(st.sampled_from(["a", "b.c", "d e"]), st.text(st.sampled_from("{}ab. \n\\1")), min_size=3))
def test_what_stands_in_a_text_is_never_a_place(texts: dict[str, str]) -> None:
    """Texts go in as they are, whatever they look like."""
    template = "{x} {{a}}{{ b.c }} {{\nd e}} }} {{a}}"
    assert columns_of(template) == ("a", "b.c", "d e")
    assert filled(template, texts) == f"{{x}} {texts['a']}{texts['b.c']} {texts['d e']} }}}} {texts['a']}"
