"""A language model as an annotator: requests, prices, repairs, and every trouble that a service can make."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tenacity.wait import wait_random_exponential

from datalake_interfaces import Annotation, DataItem, HandlerContext
from datalake_service.annotating.attempts import Attempts
from datalake_service.annotating.deadlines import Slot
from datalake_service.annotating.llm_annotator import LlmAnnotator
from datalake_service.annotating.policy import CallPolicy
from datalake_service.annotating.results import Failure
from datalake_service.annotating.usage import Spent
from datalake_service.config.llm import LlmConfig
from datalake_service.errors import LimitExceededError
from datalake_utils.clock import SystemClock
from datalake_utils.secret import Secret
from tests.support.llm_server import Answer, Asked, Reply, ScriptedModel, in_turn, scripted_model

KEY = "test-key-that-nobody-shows"
GOOD = Reply({"label": "good"})


def configured(model: ScriptedModel, **more: Any) -> LlmConfig:
    """An annotator with one column."""
    return LlmConfig.model_validate(
        {
            "endpoint": model.endpoint,
            "model": "m",
            "prompt": 'Judge {{ text }} of {{lang.label}}, as {"label": …}',
            "response": {"label": {"type": "string", "values": ["good", "bad"]}},
            "price": {"inputPerMillion": 1_000_000, "outputPerMillion": 2_000_000},
            "parameters": {"temperature": 0},
            **more,
        }
    )


def item(text: object = "some text", number: int = 0) -> DataItem:
    """A row."""
    return DataItem({"text": text, "lang.label": "en"}, f"r{number}", "b")


async def _ask(
    model: ScriptedModel, rows: list[DataItem], policy: CallPolicy, more: dict[str, Any]
) -> tuple[list[object], Spent]:
    annotator = LlmAnnotator(configured(model, **more), api_key=Secret(KEY))
    attempts = Attempts(policy, workers=8, timeout=None, clock=SystemClock(), estimate_tokens=annotator.estimate_tokens)
    await annotator.open(HandlerContext())

    async def one(row: DataItem) -> object:
        try:
            return await attempts.around(annotator.annotate, Slot())(row)
        except LimitExceededError as error:
            return error

    try:
        return await asyncio.gather(*(one(row) for row in rows)), attempts.spent()
    finally:
        await annotator.close()


def ask(answer: Answer, rows: list[DataItem] | None = None, **more: Any) -> tuple[list[object], Spent, list[Asked]]:
    """Ask about rows; answers, what it cost, and what the service was asked."""
    policy = CallPolicy(
        wait=wait_random_exponential(multiplier=0.01, max=0.05), max_attempts=more.pop("max_attempts", 5)
    )
    with scripted_model(answer) as model:
        answers, spent = asyncio.run(_ask(model, rows or [item()], policy, more))
        return answers, spent, model.asked


def test_a_request_says_what_the_file_says() -> None:
    """Prompt with the row's texts, schema, parameters, and the key in its header only."""
    answers, spent, asked = ask(in_turn(GOOD), [item("{{lang.label}} ${x} {y}")], system="Be brief.")
    assert answers == [
        Annotation({"label": "good"}, {"model": "scripted-1", "input_tokens": 10, "output_tokens": 5, "cost": 20.0})
    ]
    assert (spent.calls, spent.usage.tokens, spent.usage.cost) == (1, 15, 20.0)
    body = asked[0].body
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": 'Judge {{lang.label}} ${x} {y} of en, as {"label": …}'},
    ]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("m", 0, 1_000)
    assert body["response_format"]["json_schema"]["schema"]["required"] == ["label"]
    assert asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in json.dumps(body)


@pytest.mark.parametrize("answer_format", ["jsonObject", "prompt"])
def test_services_without_schemas_get_it_in_the_prompt(answer_format: str) -> None:
    """And their answers are checked all the same."""
    answers, _, asked = ask(in_turn(Reply({"label": "?"}), GOOD), answerFormat=answer_format)
    assert isinstance(answers[0], Annotation)
    assert '"enum"' in asked[0].body["messages"][0]["content"]
    assert ("response_format" in asked[0].body) == (answer_format == "jsonObject")


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (Reply({"label": "neither"}), "label: "),
        (Reply('{"label": "go', finish_reason="length"), "cut off at 1000 tokens"),
        (Reply("Sure!"), "no JSON"),
        (Reply({"label": "good", "more": 1}), "not asked for"),
    ],
)
def test_an_answer_that_does_not_fit_is_repaired_once(bad: Reply, fault: str) -> None:
    """The model sees its answer and what is wrong; both calls are paid for, and counted."""
    answers, spent, asked = ask(in_turn(bad, GOOD))
    assert isinstance(answers[0], Annotation)
    assert answers[0].metadata is not None
    assert answers[0].metadata["cost"] == 40.0
    assert (spent.calls, spent.repeated, spent.usage.cost) == (2, 1, 40.0)
    before, again = asked[1].body["messages"][-2:]
    assert before["role"] == "assistant"
    assert fault in again["content"]


@pytest.mark.parametrize("repairs", [0, 1, 3])
def test_a_schema_that_the_model_never_meets_is_an_error_after_so_many_repairs(repairs: int) -> None:
    """No more calls than allowed; the failure names the column."""
    answers, spent, _ = ask(in_turn(then=Reply({"label": "neither"})), repairs=repairs)
    assert spent.calls == 1 + repairs
    assert isinstance(answers[0], Failure)
    assert "label: Input should be 'good' or 'bad'" in answers[0].message


@pytest.mark.parametrize("repairs", [1, 2])
def test_trouble_of_the_service_is_no_repair_and_loses_none(repairs: int) -> None:
    """The service fails while the model is being corrected: the correction is sent again, and counted once."""
    bad, busy = Reply({"label": "?"}), Reply(status=500)
    answers, spent, asked = ask(in_turn(bad, busy, busy, bad, GOOD), repairs=repairs)
    assert isinstance(answers[0], Annotation if repairs == 2 else Failure)
    assert spent.calls == 4 + (repairs == 2)
    assert [len(one.body["messages"]) for one in asked[:4]] == [1, 3, 3, 3]


@pytest.mark.parametrize(
    "trouble",
    [
        Reply(status=429),
        Reply(status=429, headers={"Retry-After": "0.05"}),
        Reply(status=500),
        Reply(status=503),
        Reply(status=529),
        Reply(reset=True),
        Reply(GOOD.content, cut=20),
        Reply(raw=b'{"choices": [{"mess'),
        Reply(raw=b"<html>busy</html>"),
        Reply(raw=b'{"choices": []}'),
        Reply(raw=b"[" * 50_000),
    ],
    ids=repr,
)
def test_trouble_that_passes_is_waited_out(trouble: Reply) -> None:
    """Twice trouble, then the answer."""
    answers, spent, _ = ask(in_turn(trouble, trouble, GOOD))
    assert isinstance(answers[0], Annotation), answers
    assert spent.calls == 3


@pytest.mark.parametrize(
    "trouble",
    [
        Reply(status=400),
        Reply(status=404),
        Reply(status=307, headers={"Location": "http://127.0.0.1:9/elsewhere"}, raw=b""),
        Reply(status=429, error={"code": "insufficient_quota"}),
        Reply(None, refusal="I would rather not"),
        Reply("", finish_reason="content_filter"),
    ],
    ids=repr,
)
def test_trouble_that_stays_is_asked_once(trouble: Reply) -> None:
    """Nobody pays for it again."""
    answers, spent, _ = ask(in_turn(then=trouble))
    assert isinstance(answers[0], Failure)
    assert spent.calls == 1


def test_a_revoked_key_ends_the_run_and_is_not_shown() -> None:
    """Services quote keys in their errors; we do not quote the services."""
    revoked = Reply(status=401, error={"message": f"Incorrect API key provided: {KEY}", "code": "invalid_api_key"})
    answers, spent, _ = ask(in_turn(*[GOOD] * 5, then=revoked), [item(number=number) for number in range(100)])
    ends = [answer for answer in answers if isinstance(answer, LimitExceededError)]
    assert ends
    assert "401 (invalid_api_key)" in str(ends[0])
    assert spent.calls <= 5 + 10 + 8 + 8
    assert KEY not in repr(answers)


def test_models_that_want_it_are_told_the_limit_by_its_other_name() -> None:
    """They refuse a request with the usual one; estimates and repairs go by what was said."""
    answers, _, asked = ask(in_turn(Reply("{", finish_reason="length"), GOOD), parameters={"max_completion_tokens": 70})
    assert isinstance(answers[0], Annotation)
    assert asked[0].body["max_completion_tokens"] == 70
    assert "max_tokens" not in asked[0].body
    assert "cut off at 70 tokens" in asked[1].prompt


@pytest.mark.parametrize("trouble", [Reply(status=404), Reply(status=307, raw=b""), Reply(status=405)], ids=repr)
def test_a_wrong_address_or_model_ends_the_run(trouble: Reply) -> None:
    """No row is at fault: the other million need not be asked."""
    answers, spent, _ = ask(in_turn(then=trouble), [item(number=number) for number in range(100)])
    assert any(isinstance(answer, LimitExceededError) for answer in answers)
    assert spent.calls <= 10 + 8
    told = {str(answer) for answer in answers}
    assert any(f"the service answered {trouble.status}" in one for one in told)


def test_a_storm_of_429_costs_no_row() -> None:
    """Every second answer is a refusal, with and without a time; every row is annotated in the end."""

    def stormy(asked: Asked) -> Reply:
        if asked.number % 2:
            return GOOD
        return Reply(status=429, headers={"Retry-After": "0.02"} if asked.number % 4 else {})

    answers, spent, asked = ask(stormy, [item(number=number) for number in range(40)], max_attempts=20)
    assert all(isinstance(answer, Annotation) for answer in answers)
    assert spent.calls == len(asked)
    assert spent.usage.cost == 40 * 20.0


def test_tokens_that_a_service_does_not_count_are_estimated() -> None:
    """A budget must not be blind to such a service."""
    _, spent, _ = ask(in_turn(Reply({"label": "good"}, usage={})), [item("x" * 3_000)])
    assert 1_000 < spent.usage.input_tokens < 1_100
    assert spent.usage.output_tokens > 0


@pytest.mark.parametrize(("value", "text"), [(None, ""), (3, "3"), ({"a": "ä"}, '{"a": "ä"}'), (True, "true")])
def test_values_stand_in_the_prompt_as_text_or_json(value: object, text: str) -> None:
    """Null is nothing."""
    _, _, asked = ask(in_turn(GOOD), [item(value)])
    assert asked[0].prompt.startswith(f"Judge {text} of en")
