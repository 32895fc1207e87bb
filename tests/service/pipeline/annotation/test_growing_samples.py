"""Samples that grow, batches that come, annotators that build on others: each row is paid for once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from datalake_service.config.load import load_dataset
from datalake_service.pipeline.runs.annotators import run_annotator
from datalake_service.pipeline.runs.report import AnnotatorOutcome
from datalake_service.storage.folder import FolderStore
from datalake_utils.clock import SystemClock
from tests.support.lake import put_rows
from tests.support.llm_server import Asked, Reply, ScriptedModel, scripted_model

ROWS = 200
JUDGE = {
    "annotatorName": "judge",
    "llm": {"prompt": "judge {{text}}", "response": {"label": {"type": "string", "values": ["good", "bad"]}}},
}
LANG = {
    "annotatorName": "lang",
    "llm": {"prompt": "lang {{text}}", "response": {"english": {"type": "boolean"}}},
}
ENGLISH = {
    "filter": {"type": "boolean", "field": "lang.english", "value": True},
    "annotatorColumns": {"lang": ["english"]},
}


def answer(asked: Asked) -> Reply:
    """Every second text is English; all are good."""
    what, text = asked.prompt.split()
    return Reply({"english": int(text) % 2 == 0} if what == "lang" else {"label": "good"})


class World:
    """A lake, and who was paid for what."""

    def __init__(self, folder: Path, model: ScriptedModel) -> None:
        self.store = FolderStore(folder, durable=False)
        self.model = model
        self.texts: dict[str, list[str]] = {}

    def add(self, batch: str) -> None:
        """A batch with texts that no other one has; its ids others have as well."""
        first = len(self.texts) * ROWS
        self.texts[batch] = [str(first + number) for number in range(ROWS)]
        put_rows(self.store, "posts", batch, [{"id": f"r{n}", "text": t} for n, t in enumerate(self.texts[batch])])

    def run(self, annotator: dict[str, Any], **more: Any) -> AnnotatorOutcome:
        """Run one annotator of a dataset file, and merge."""
        llm = {**annotator["llm"], "endpoint": self.model.endpoint, "model": "m"}
        document = {
            "datasetName": "posts",
            "readConnector": {"connectorDestination": "GENERATOR", "generatorImplementationClassName": "handler.Rows"},
            "annotators": [{**annotator, "llm": llm, **more}],
        }
        config = load_dataset(document, folder=Path())
        outcome = run_annotator(self.store, config, config.annotators[0], told=lambda *_: None, clock=SystemClock())
        assert outcome.error is None
        return outcome

    def paid(self, what: str) -> Counter[str]:
        """Texts that were asked about, and how often."""
        return Counter(asked.prompt.split()[1] for asked in self.model.asked if asked.prompt.startswith(what))

    def every(self, *batches: str) -> Counter[str]:
        """All texts, once."""
        return Counter(text for batch in batches or self.texts for text in self.texts[batch])


@pytest.mark.parametrize("shared", [False, True])
def test_one_percent_then_ten_then_all_pays_for_each_row_once(tmp_path: Path, *, shared: bool) -> None:
    """A larger sample contains the smaller one; a budget is for each of the runs."""
    with scripted_model(answer) as model:
        world = World(tmp_path, model)
        world.add("b1")
        world.add("b2")
        calls = {"budget": {"calls": 2 * ROWS}, "requestsPerMinute": 100_000}
        asked = []
        for fraction in (0.01, 0.1, 1.0, 1.0):
            before = world.paid("judge").total()
            world.run(JUDGE, fraction=fraction, shared=shared, calls=calls)
            asked.append(world.paid("judge").total() - before)
        assert world.paid("judge") == world.every()
        assert 0 < asked[0] < 0.05 * 2 * ROWS < asked[1] < 0.2 * 2 * ROWS
        assert asked[3] == 0


@pytest.mark.parametrize("shared", [False, True])
def test_a_new_batch_pays_for_itself_only(tmp_path: Path, *, shared: bool) -> None:
    """Also under a sample: of the new batch its share, of the old one nothing."""
    with scripted_model(answer) as model:
        world = World(tmp_path, model)
        for batch, fraction in (("b1", 1.0), ("b10", 1.0), ("b2", 0.5)):
            world.add(batch)
            before = world.paid("judge")
            world.run(JUDGE, fraction=fraction, shared=shared)
            assert set(world.paid("judge") - before) <= set(world.every(batch))
        assert world.every("b1", "b10") == world.paid("judge") & world.every("b1", "b10")
        assert max(world.paid("judge").values()) == 1
        assert 0.35 * ROWS < (world.paid("judge") & world.every("b2")).total() < 0.65 * ROWS


def test_an_annotator_that_filters_on_another_catches_up_when_that_does(tmp_path: Path) -> None:
    """It sees nothing before the other one ran, then what the other has seen, then the rest, then a new batch."""
    with scripted_model(answer) as model:
        world = World(tmp_path, model)
        world.add("b1")
        world.run(JUDGE, **ENGLISH)
        assert not world.paid("judge")
        for fraction in (0.1, 1.0):
            world.run(LANG, fraction=fraction)
            world.run(JUDGE, **ENGLISH)
            assert world.paid("judge") == Counter(text for text in world.paid("lang") if int(text) % 2 == 0)
        world.add("b2")
        world.run(JUDGE, **ENGLISH)
        assert not world.paid("judge") & world.every("b2")
        world.run(LANG)
        world.run(JUDGE, **ENGLISH)
        assert world.paid("lang") == world.every()
        assert world.paid("judge") == Counter(text for text in world.every() if int(text) % 2 == 0)


def test_a_sample_that_failed_in_part_is_asked_again_and_grows(tmp_path: Path) -> None:
    """Rows that failed are paid for twice, all others once, whatever the sample is by then."""
    refused: set[str] = set()

    def moody(asked: Asked) -> Reply:
        text = asked.prompt.split()[1]
        if int(text) % 5 == 0 and text not in refused:
            refused.add(text)
            return Reply(status=400)
        return answer(asked)

    with scripted_model(moody) as model:
        world = World(tmp_path, model)
        world.add("b1")
        failed = world.run(JUDGE, fraction=0.3).report.failed
        assert failed == len(refused) > 0
        first = set(refused)
        world.run(JUDGE)
        world.run(JUDGE)
        assert world.run(JUDGE).report.annotated == 0
        assert world.paid("judge") == world.every() + Counter(refused)
        assert first < refused
