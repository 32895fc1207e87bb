"""Calls that are repeated, limited and paid for, in whole runs: what is stored, counted and asked again."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tenacity.wait import wait_random_exponential

from datalake_interfaces import DataItem, TryLaterError
from datalake_service.annotating.policy import CallPolicy
from datalake_service.annotating.usage import Budget
from datalake_service.config.load import load_dataset
from datalake_service.errors import BudgetExceededError, ConfigError, LimitExceededError
from datalake_service.pipeline.runs.annotators import check_annotators, run_annotator
from datalake_service.pipeline.runs.report import AnnotatorOutcome
from datalake_service.storage.folder import FolderStore
from datalake_utils.clock import SystemClock
from tests.support.annotations import chunk_rows, ids, one_batch, run, statuses
from tests.support.lake import put_rows
from tests.support.llm_server import Asked, Reply, ScriptedModel, in_turn, scripted_model

QUICK = wait_random_exponential(multiplier=0.001, max=0.01)


class Unsteady:
    """Fails the first call for each row, and reports what it costs."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._lock = threading.Lock()

    async def __call__(self, item: DataItem) -> dict[str, Any]:
        return self.plain(item)

    def plain(self, item: DataItem) -> dict[str, Any]:
        with self._lock:
            self.calls[item.id] += 1
        item.spend(input_tokens=3, output_tokens=1, cost=0.25)
        if item.attempt == 1:
            raise TryLaterError("busy")
        return {"attempt": item.attempt}


@pytest.mark.parametrize("plain", [False, True])
def test_rows_that_fail_once_are_annotated_in_the_same_run(folder_store: FolderStore, *, plain: bool) -> None:
    """Async and plain functions; every call is counted."""
    unsteady = Unsteady()
    report = run(
        folder_store,
        one_batch(),
        unsteady.plain if plain else unsteady,
        calls=CallPolicy(wait=QUICK),
        max_concurrency=8,
    )
    assert (report.annotated, report.failed) == (100, 0)
    assert set(unsteady.calls.values()) == {2}
    assert report.spent is not None
    assert (report.spent.calls, report.spent.repeated, report.spent.usage.cost) == (200, 100, 50.0)


def test_without_a_policy_each_row_is_asked_once(folder_store: FolderStore) -> None:
    """Nothing is repeated; what the rows report is added up all the same."""
    unsteady = Unsteady()
    report = run(folder_store, one_batch(), unsteady)
    assert report.spent is not None
    assert (report.annotated, report.failed) == (0, 100)
    assert (report.spent.calls, report.spent.repeated, report.spent.usage.cost) == (100, 0, 25.0)


def test_a_budget_ends_the_run_and_the_next_goes_on(folder_store: FolderStore) -> None:
    """What was answered is stored, nobody has failed, and no row is paid for twice."""
    asked: Counter[str] = Counter()

    async def function(item: DataItem) -> dict[str, Any]:
        asked[item.id] += 1
        item.spend(cost=1.0)
        await asyncio.sleep(0.001)
        return {"n": 1}

    for budget in (40, 80):
        with pytest.raises(BudgetExceededError, match=f"budget of {budget} cost"):
            run(folder_store, one_batch(), function, calls=CallPolicy(budget=Budget(cost=budget)), max_concurrency=8)
        assert budget <= asked.total() <= budget + 8
        assert statuses(chunk_rows(folder_store)) == dict.fromkeys(asked, "done")
    report = run(folder_store, one_batch(), function)
    assert report.remaining == 0
    assert set(asked) == set(ids(100))
    assert set(asked.values()) == {1}


def test_a_refused_key_ends_the_run(folder_store: FolderStore) -> None:
    """Ten rows have failed, the others were not asked."""

    class RefusedError(Exception):
        status_code = 401

    async def function(item: DataItem) -> dict[str, Any]:
        await asyncio.sleep(0)
        raise RefusedError

    with pytest.raises(LimitExceededError, match="key and permissions"):
        run(folder_store, one_batch(), function, calls=CallPolicy(), max_concurrency=4)
    assert 10 <= len(chunk_rows(folder_store)) <= 14


def posts(folder: Path, *, rows: int) -> FolderStore:
    """A lake with so many rows in one merged batch."""
    store = FolderStore(folder / "lake", durable=False)
    put_rows(store, "posts", "b1", [{"id": f"r{number}", "text": f"text {number}"} for number in range(rows)])
    return store


def dataset_file(model: ScriptedModel, **more: Any) -> dict[str, Any]:
    """A dataset file with a model in it."""
    llm = {
        "endpoint": model.endpoint,
        "model": "m",
        "prompt": "Judge: {{text}}",
        "response": {"label": {"type": "string", "values": ["good", "bad"]}},
        "price": {"inputPerMillion": 1_000_000, "outputPerMillion": 0},
        **more.pop("llm", {}),
    }
    return {
        "datasetName": "posts",
        "readConnector": {"connectorDestination": "GENERATOR", "generatorImplementationClassName": "handler.Rows"},
        "annotators": [{"annotatorName": "judge", "llm": llm, **more}],
    }


def annotated(store: FolderStore, document: dict[str, Any]) -> AnnotatorOutcome:
    """What became of the annotator of a dataset file."""
    config = load_dataset(document, folder=Path())
    return run_annotator(store, config, config.annotators[0], told=lambda *_: None, clock=SystemClock())


def test_a_model_of_a_dataset_file_annotates_what_is_left(tmp_path: Path) -> None:
    """Trouble included; running it again asks nothing, and a budget is kept."""
    store = posts(tmp_path, rows=30)

    def answer(asked: Asked) -> Reply:
        trouble = {3: Reply(status=500), 5: Reply(reset=True), 7: Reply({"label": "?"})}
        return trouble.get(asked.number, Reply({"label": "good"}))

    with scripted_model(answer) as model:
        budget = {"calls": {"budget": {"cost": 100}}, "maxConcurrency": 4}
        outcome = annotated(store, dataset_file(model, **budget))
        assert outcome.error is not None
        assert "the budget of 100 cost is used up" in outcome.error
        assert 9 <= outcome.report.annotated <= 14
        spent = outcome.to_dict()["spent"]
        assert 100 <= spent["cost"] <= 140
        assert spent["cost"] == spent["inputTokens"] == 10 * (spent["calls"] - 2)  # a 500 and a reset cost nothing
        outcome = annotated(store, dataset_file(model))
        assert (outcome.error, outcome.report.remaining) == (None, 0)
        assert len(model.asked) == 33
        assert annotated(store, dataset_file(model)).report.already_done == 30
        assert len(model.asked) == 33
        prompts = Counter(asked.body["messages"][0]["content"] for asked in model.asked)
        assert len(prompts) == 30


def test_a_prompt_about_a_column_that_is_not_there_costs_nothing(tmp_path: Path) -> None:
    """It is refused before the first call, and says which."""
    store = posts(tmp_path, rows=3)
    with scripted_model(in_turn()) as model:
        outcome = annotated(store, dataset_file(model, llm={"prompt": "{{text}} {{txet}}"}))
        assert outcome.error is not None
        assert "'txet'" in outcome.error
        assert model.asked == []


def test_a_key_that_is_missing_is_known_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variable."""
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with scripted_model(in_turn()) as model:
        config = load_dataset(dataset_file(model, llm={"apiKeyVariable": "NO_SUCH_KEY"}), folder=Path())
        with pytest.raises(ConfigError, match="NO_SUCH_KEY is not set"):
            check_annotators(config)


@pytest.mark.parametrize("key", ["the-key\nX-Other: itself", "the-key\u2026itself", " \n"])
def test_a_key_that_no_header_can_hold_is_refused_unseen(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any row is asked: clients quote what they refuse, and failures of rows are stored."""
    monkeypatch.setenv("MODEL_KEY", key)
    with scripted_model(in_turn()) as model:
        config = load_dataset(dataset_file(model, llm={"apiKeyVariable": "MODEL_KEY"}), folder=Path())
        with pytest.raises(ConfigError, match="variable MODEL_KEY") as refused:
            check_annotators(config)
    assert "itself" not in str(refused.value)


def test_the_key_comes_from_the_environment_and_is_stored_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in the lake, not in the report."""
    monkeypatch.setenv("MODEL_KEY", " the-key-itself\n")  # as files have it
    store = posts(tmp_path, rows=3)
    with scripted_model(in_turn(Reply(status=401), then=Reply({"label": "bad"}))) as model:
        outcome = annotated(store, dataset_file(model, llm={"apiKeyVariable": "MODEL_KEY"}))
        assert {asked.headers["authorization"] for asked in model.asked} == {"Bearer the-key-itself"}
    assert "the-key-itself" not in json.dumps(repr(outcome))
    stored = [path.read_bytes() for path in store.root.rglob("*") if path.is_file()]
    assert len(stored) > 2
    assert not [data for data in stored if b"the-key-itself" in data]


def test_an_answer_that_hangs_fails_its_row_and_no_other(tmp_path: Path) -> None:
    """After the row's time, all attempts together; the run does not wait for it."""
    store = posts(tmp_path, rows=10)

    def answer(asked: Asked) -> Reply:
        return Reply({"label": "good"}, seconds=60 if "text 3" in asked.prompt else 0)

    with scripted_model(answer) as model:
        outcome = annotated(store, dataset_file(model, timeoutInSeconds=1.0))
        assert (outcome.error, outcome.report.annotated, outcome.report.failed) == (None, 9, 1)
        assert len(model.asked) == 10
