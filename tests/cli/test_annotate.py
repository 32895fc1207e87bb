"""``datalake annotate`` in processes of its own: what it does, says and ends with."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datalake_service.pipeline.ingest import ingest_iterator
from datalake_service.storage.folder import FolderStore
from tests.cli.commands import Done, datalake, datalake_on_terminal
from tests.support.lake import put_rows
from tests.support.llm_server import Asked, Reply, ScriptedModel, scripted_model

KEY = "JUDGE_API_KEY"
HANDLER = """
import time

from datalake_interfaces import Annotation, Annotator


class Length(Annotator):
    def annotate(self, item):
        print("an annotator may print")
        return Annotation({"length": len(item.data["text"])})


class Blocks(Annotator):
    async def annotate(self, item):
        ask_a_service(item)
        return {"n": 1}


def ask_a_service(item):
    time.sleep(1.6)


class Twice(Annotator):
    async def annotate(self, item):
        return {"twice": 2 * (item.data["length.length"] or 0)}
"""
LENGTH = {"annotatorName": "length", "annotatorImplementationClassName": "handler.Length", "baseColumns": ["text"]}
TWICE = {
    "annotatorName": "twice",
    "annotatorImplementationClassName": "handler.Twice",
    "baseColumns": [],
    "annotatorColumns": {"length": ["length"]},
}


class Place:
    """A folder with a dataset file, its handler, and a lake beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "dataset.json"
        self.store = FolderStore(folder / "lake", durable=False)
        (folder / "handler.py").write_text(HANDLER, encoding="utf-8")
        self.write(LENGTH, TWICE)

    def write(self, *annotators: dict[str, Any], **more: Any) -> None:
        """Write the dataset file."""
        source = {"connectorDestination": "GENERATOR", "generatorImplementationClassName": "nowhere.Rows"}
        document = {"datasetName": "posts", "readConnector": source, "annotators": list(annotators), **more}
        self.file.write_text(json.dumps(document), encoding="utf-8")

    def rows(self, count: int, *, batch: str = "b1") -> None:
        """Put merged rows into the lake."""
        put_rows(
            self.store, "posts", batch, [{"id": f"r{number}", "text": f"text {number}"} for number in range(count)]
        )

    def annotate(self, *options: str, **env: str) -> Done:
        """Run the command."""
        return datalake("annotate", "--configFile", str(self.file), *options, cwd=self.folder, **env)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder with 30 rows in two merged batches."""
    place = Place(tmp_path)
    place.rows(20)
    place.rows(10, batch="b2")
    return place


def judge(model: ScriptedModel, **more: Any) -> dict[str, Any]:
    """An annotator that asks a model."""
    llm = {
        "endpoint": model.endpoint,
        "model": "m",
        "prompt": "Judge: {{text}}",
        "response": {"label": {"type": "string", "values": ["good", "bad"]}},
        "price": {"inputPerMillion": 1_000_000, "outputPerMillion": 0},
        **more.pop("llm", {}),
    }
    return {"annotatorName": "judge", "llm": llm, **more}


@pytest.fixture
def good() -> Iterator[ScriptedModel]:
    """A service that calls everything good."""
    with scripted_model(lambda _: Reply({"label": "good"})) as model:
        yield model


def outcomes(done: Done) -> dict[str, dict[str, Any]]:
    """What a command says of each annotator."""
    return {one["annotatorName"]: one for one in done.json["annotators"]}


# What it does ----------------------------------------------------------------------------------------------


def test_all_annotators_run_in_order_and_see_each_other(place: Place) -> None:
    """Each is merged before the next begins; no source is read; the second run asks nothing."""
    done = place.annotate()
    assert done.status == 0, done.err
    assert {name: one["annotated"] for name, one in outcomes(done).items()} == {"length": 30, "twice": 30}
    rows = datalake("export", "--datasetName", "posts", "--output", "-", cwd=place.folder).out.splitlines()
    assert all(row["twice.twice"] == 2 * len(row["text"]) for row in map(json.loads, rows))
    again = place.annotate("--prettyPrint")
    assert again.status == 0, again.err
    assert {(one["annotated"], one["alreadyDone"]) for one in outcomes(again).values()} == {(0, 30)}


def test_one_annotator_and_some_batches_can_be_chosen(place: Place) -> None:
    """By name; new rows of other batches are left for later."""
    done = place.annotate("--annotatorName", "length", "--batch", "b2")
    assert done.status == 0, done.err
    assert {name: one["annotated"] for name, one in outcomes(done).items()} == {"length": 10}
    assert outcomes(place.annotate())["length"]["annotated"] == 20


def test_it_is_for_people_on_a_terminal(place: Place) -> None:
    """A report in words, with the commands to go on with."""
    done = datalake_on_terminal("annotate", "--config-file", str(place.file), cwd=place.folder)
    assert done.status == 0, done.out
    assert "posts: annotation completed in " in done.out
    assert "length       30 annotated, 0 skipped, 0 failed" in done.out
    assert "length: 30 rows, 0 to go" in done.out
    assert "datalake datasets view --datasetName posts" in done.out


def test_a_budget_of_the_command_line_ends_the_run(place: Place, good: ScriptedModel) -> None:
    """With status 1; what was bought is stored, and the next run goes on behind it."""
    place.write(judge(good, maxConcurrency=8))
    done = place.annotate("--budgetCalls", "12", "--maxConcurrency", "1")
    assert done.status == 1
    assert "the budget of 12 calls is used up" in outcomes(done)["judge"]["error"]
    assert outcomes(done)["judge"]["annotated"] == 12 == len(good.asked)
    done = place.annotate("--budgetCost", "1e9")
    assert (done.status, outcomes(done)["judge"]["annotated"]) == (0, 18), done.err
    assert set(Counter(asked.prompt for asked in good.asked).values()) <= {1, 2}
    assert len(good.asked) == 30


def test_a_function_that_blocks_the_event_loop_is_named(place: Place) -> None:
    """A warning, once; the rows are annotated all the same."""
    two_rows = {"type": "equals", "field": "text", "value": "text 1"}
    blocks = {"annotatorName": "blocks", "annotatorImplementationClassName": "handler.Blocks", "filter": two_rows}
    place.write(blocks)
    done = place.annotate()
    assert (done.status, outcomes(done)["blocks"]["annotated"]) == (0, 2), done.err
    (warning,) = [line for line in done.err.splitlines() if "annotation.loop_blocked" in line]
    assert "handler.ask_a_service" in warning
    assert "handler.py:" in warning


# Wrong input -----------------------------------------------------------------------------------------------


def refused(done: Done, *, status: int = 2) -> str:
    """The one line that says what to change."""
    assert (done.status, done.out) == (status, ""), done.err
    lines = done.err.splitlines()
    assert len(lines) == 1, done.err
    assert "Traceback" not in done.err
    return lines[0]


def test_an_unknown_annotator_is_named_with_the_nearest(place: Place) -> None:
    """Before anything is asked."""
    assert "no annotator 'lenght'; did you mean length?" in refused(place.annotate("--annotatorName", "lenght"))
    assert "it has length, twice" in refused(place.annotate("--annotatorName", "zzz"))


def test_a_file_without_annotators_says_so(place: Place) -> None:
    """It is a mistake, not an empty success."""
    place.write()
    assert "has no annotators" in refused(place.annotate())


def test_a_dataset_that_is_not_there_is_named_with_the_nearest(place: Place) -> None:
    """As in every command."""
    place.write(LENGTH, datasetName="post")
    assert "no dataset 'post'" in refused(place.annotate())


def test_a_dataset_that_was_never_merged_says_what_to_run(tmp_path: Path) -> None:
    """And reads nothing."""
    place = Place(tmp_path)
    rows = [{"id": "r1", "text": "t"}]
    asyncio.run(ingest_iterator(place.store, rows, dataset="posts", batch="b1", chunk_size=1, deduplicate_on=None))
    assert "datalake clean-up --dataset posts" in refused(place.annotate())


def test_a_batch_that_is_not_there_is_named(place: Place) -> None:
    """With the nearest one."""
    assert "has no batch 'b3'" in refused(place.annotate("--batch", "b3"))


@pytest.mark.parametrize("budget", [("--budgetCost", "0"), ("--budgetCalls", "0"), ("--budgetHours", "-1")])
def test_a_budget_of_nothing_is_a_mistake(place: Place, budget: tuple[str, str]) -> None:
    """On the command line, where the option is named."""
    assert budget[0] in refused(place.annotate(*budget))


def test_a_budget_of_zero_in_the_file_is_a_mistake(place: Place, good: ScriptedModel) -> None:
    """In the file, with its path."""
    place.write(judge(good, calls={"budget": {"cost": 0}}))
    done = place.annotate()
    assert done.status == 2
    assert "annotators[0].calls.budget.cost" in done.err


def test_money_cannot_be_kept_without_a_price(place: Place, good: ScriptedModel) -> None:
    """The command line is checked as the file is."""
    place.write(judge(good, llm={"price": None}))
    assert "a budget of money needs llm.price" in refused(place.annotate("--budgetCost", "5"))


def test_a_key_that_is_missing_is_named_before_anything_is_asked(place: Place, good: ScriptedModel) -> None:
    """By its variable."""
    place.write(judge(good, llm={"apiKeyVariable": KEY}))
    assert KEY in refused(place.annotate())
    assert good.asked == []


def test_a_prompt_about_a_missing_column_costs_nothing(place: Place, good: ScriptedModel) -> None:
    """It names the column, after the warning that every view of a missing column gives."""
    place.write(judge(good, llm={"prompt": "{{txet}}"}))
    done = place.annotate()
    warning, mistake = done.err.splitlines()
    assert done.status == 2
    assert "did you mean 'text'?" in warning
    assert "the prompt names 'txet', which dataset posts has not" in mistake
    assert good.asked == []


@pytest.mark.parametrize("works_first", [0, 8])
def test_a_key_that_is_wrong_or_revoked_ends_the_run(place: Place, works_first: int) -> None:
    """After ten refusals in a row; what was answered before is stored, and the key is nowhere in what is said."""

    def answer(asked: Asked) -> Reply:
        return Reply({"label": "good"}) if asked.number < works_first else Reply(status=401)

    with scripted_model(answer) as model:
        place.write(judge(model, maxConcurrency=1, llm={"apiKeyVariable": KEY}))
        done = place.annotate(**{KEY: "the-key-itself"})
        assert len(model.asked) == works_first + 10
    assert done.status == 1
    assert "look at its key and permissions" in outcomes(done)["judge"]["error"]
    assert (outcomes(done)["judge"]["annotated"], outcomes(done)["judge"]["failed"]) == (works_first, 10)
    assert "the-key-itself" not in done.out + done.err


def test_a_schema_that_the_model_never_meets_fails_rows_with_a_reason(place: Place) -> None:
    """Each row after its repairs, no more; the run goes on, unless a limit of failures ends it."""
    with scripted_model(lambda _: Reply({"label": "splendid"})) as model:
        place.write(judge(model))
        done = place.annotate()
        assert (done.status, outcomes(done)["judge"]["failed"]) == (0, 30)
        assert len(model.asked) == 60
        place.write(judge(model), onError={"maxErrors": 3})
        done = place.annotate()
    assert done.status == 1
    assert "rows failed in the annotator posts/judge" in outcomes(done)["judge"]["error"]


# Estimates -------------------------------------------------------------------------------------------------


def test_an_estimate_asks_a_sample_and_predicts_the_rest(place: Place, good: ScriptedModel) -> None:
    """Rows, tokens, cost and time, each with an interval; the rest is as predicted, and no row is paid twice."""
    place.write(judge(good, maxConcurrency=4, calls={"requestsPerMinute": 6000}))
    place.rows(200, batch="b3")
    done = place.annotate("--estimate", "40")
    assert done.status == 0, done.err
    outcome = outcomes(done)["judge"]
    told = outcome["estimate"]
    assert (outcome["annotated"], told["sampled"], told["rows"]) == (40, 40, 190) == (len(good.asked), 40, 190)
    assert told["cost"] == pytest.approx({"expected": 1_900, "low": 1_900, "high": 1_900})
    assert told["tokens"] == {"expected": 2_850, "low": 2_850, "high": 2_850}
    assert told["calls"]["expected"] == 190
    assert 0 < told["seconds"]["low"] <= told["seconds"]["expected"] <= told["seconds"]["high"]
    assert told["seconds"]["expected"] >= 1.9 - 1e-9
    assert told["failedShare"]["expected"] == 0
    assert told["failedShare"]["high"] > 0
    rest = outcomes(place.annotate())["judge"]
    assert (rest["annotated"], rest["alreadyDone"], rest["spent"]["cost"]) == (190, 40, 1_900)
    assert set(Counter(asked.prompt for asked in good.asked).values()) <= {1, 2, 3}
    assert len(good.asked) == 230
    nothing = outcomes(place.annotate("--estimate", "5"))["judge"]
    assert (nothing["annotated"], nothing.get("estimate")) == (0, None)
    assert len(good.asked) == 230


def test_an_estimate_says_what_failed_and_is_for_people_too(place: Place) -> None:
    """A second sample takes other rows; those that failed are asked again, as by any run."""
    with scripted_model(lambda asked: Reply({"label": "good" if asked.number % 3 else "??"})) as model:
        place.write(judge(model, llm={"repairs": 0}))
        done = datalake_on_terminal("annotate", "--configFile", str(place.file), "--estimate", "12", cwd=place.folder)
        assert done.status == 0, done.out
        assert len(model.asked) == 12
    assert "18 rows are left: about " in done.out
    assert "limited by concurrency" in done.out
    assert "cost 180.00 (180.00 to 180.00)" in done.out
    assert "of them fail" in done.out
    assert "datalake annotate --configFile" in done.out


def test_an_estimate_is_not_about_what_is_asked_again(place: Place) -> None:
    """It is refused, in one line, whether the command or the file says so."""
    assert "goes without retry and reuse" in refused(place.annotate("--estimate", "5", "--retry", "all"))
    place.write({**LENGTH, "retry": "all"})
    assert "goes without retry and reuse" in refused(place.annotate("--estimate", "5"))


def test_rows_can_be_asked_again(place: Place, good: ScriptedModel) -> None:
    """All of them, in a campaign of a name that is not begun anew."""
    place.write(judge(good))
    place.annotate()
    assert outcomes(place.annotate("--retry", "failed"))["judge"]["annotated"] == 0
    done = place.annotate("--retry", "all", "--campaign", "second", "--shared")
    assert (done.status, outcomes(done)["judge"]["annotated"]) == (0, 30), done.err
    done = place.annotate("--retry", "all", "--campaign", "second", "--shared")
    assert (done.status, outcomes(done)["judge"]["annotated"]) == (0, 0), done.err
    assert "campaign" in refused(place.annotate("--retry", "all", "--shared"))


def test_the_last_of_many_reports_the_whole(place: Place, good: ScriptedModel) -> None:
    """Also if it was the only one."""
    place.write(judge(good))
    done = place.annotate("--shared")
    whole = outcomes(done)["judge"]["allWorkers"]
    assert (whole["workers"], whole["annotated"], whole["cost"], whole["lost"]) == (1, 30, 300, 0)
