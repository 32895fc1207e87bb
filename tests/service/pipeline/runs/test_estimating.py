"""The sample of an estimate: random, always the same, exactly as large as asked, and of rows that are left only."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.annotating.estimate import Pace, SampledRow, estimate_share, predict
from datalake_service.catalog.budgets import list_budgets, reset_budget
from datalake_service.config.load import load_dataset
from datalake_service.pipeline.runs.annotate_dataset import Changes, annotate_dataset
from datalake_service.pipeline.runs.annotators import ALL_ROWS, view_request
from datalake_service.pipeline.runs.estimating import choose_sample
from datalake_service.pipeline.views.views import DatasetView
from datalake_service.storage.folder import FolderStore
from tests.support.lake import put_rows
from tests.support.tasks import write_module

HANDLER = """
from datalake_interfaces import Annotator

class Costs(Annotator):
    async def annotate(self, item):
        item.spend(input_tokens=item.data["n"], cost=item.data["n"] / 10)
        if item.data["n"] % 10 == 9:
            raise ValueError("no")
        return {"n": 1}
"""


def dataset_file(folder: Path, **more: Any) -> Any:
    """A dataset file with an annotator that says what it costs."""
    annotator = {"annotatorName": "costs", "annotatorImplementationClassName": "sampled.Costs", **more}
    source = {"connectorDestination": "GENERATOR", "generatorImplementationClassName": "sampled.Rows"}
    document = {"datasetName": "d", "readConnector": source, "annotators": [annotator]}
    return load_dataset(document, folder=write_module(folder, HANDLER, name="sampled"))


def lake(folder: Path, sizes: list[int], *, ids: Callable[[int], str] = str) -> FolderStore:
    """Batches of so many rows, whose ids begin as ``ids`` says."""
    store = FolderStore(folder / "lake", durable=False)
    for number, size in enumerate(sizes):
        put_rows(store, "d", f"b{number}", [{"id": f"{ids(number)}-{row}", "n": row % 50} for row in range(size)])
    return store


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=3), st.integers(1, 80), st.sampled_from([1.0, 0.5]))
def test_the_sample_is_what_its_fraction_selects(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], count: int, share: float
) -> None:
    """So many rows of those that the annotator selects, or all if there are fewer; rows of one id go together."""
    folder = tmp_path_factory.mktemp("estimate")
    store, config = lake(folder, sizes, ids=lambda _: "r"), dataset_file(folder, fraction=share)
    annotator = config.annotators[0]
    sample = choose_sample(store, config, annotator, ALL_ROWS, count=count)
    with DatasetView(store, view_request(config, annotator)) as view:
        everything = {(row.batch, row.id) for row in view}
    assert sample.left == len(everything)
    assert len(sample.names) <= min(max(count, len(sizes)), len(everything))
    assert len(sample.names) > min(count, len(everything)) - len(sizes)
    with DatasetView(store, view_request(config, annotator, sample.rows)) as view:
        assert {(row.batch, row.id) for row in view} == sample.names


def test_a_larger_sample_pays_for_the_difference_and_predicts_from_its_own_rows(tmp_path: Path) -> None:
    """1 in 100, then more, then all: each row is asked once, but for those that failed."""
    store, config = lake(tmp_path, [300, 200]), dataset_file(tmp_path)
    first = annotate_dataset(config, store, changes=Changes(estimate=20)).annotators[0]
    second = annotate_dataset(config, store, changes=Changes(estimate=100)).annotators[0]
    assert first.prediction is not None
    assert second.prediction is not None
    failed = first.report.failed
    assert first.report.annotated + failed == 20
    assert second.report.annotated + second.report.failed == 100
    assert (first.prediction.rows, second.prediction.rows) == (480, 480 + failed - 100)
    rest = annotate_dataset(config, store).annotators[0]
    assert rest.report.spent is not None
    assert rest.report.spent.calls == rest.report.annotated + rest.report.failed
    assert rest.report.annotated == 450 - first.report.annotated - second.report.annotated
    told = second.prediction
    mean = sum(row % 50 for size in (300, 200) for row in range(size)) / 500
    assert told.tokens.low is not None
    assert told.tokens.high is not None
    assert told.tokens.low < mean * told.rows < told.tokens.high
    assert told.cost.expected == pytest.approx(told.tokens.expected / 10)
    assert told.failed_share.low is not None
    assert told.failed_share.high is not None
    assert told.failed_share.low < 0.1 < told.failed_share.high


def test_a_budget_goes_on_after_an_estimate_when_it_is_raised_and_begins_anew_when_it_is_reset(tmp_path: Path) -> None:
    """20 calls: what the sample took is not there any more; who wants 5 more says 25; the last run ends it."""
    store = lake(tmp_path, [30])
    asked: list[tuple[int, bool]] = []

    def run(budget: int, **more: Any) -> None:
        config = dataset_file(tmp_path, maxConcurrency=1)
        (outcome,) = annotate_dataset(config, store, changes=Changes(budget={"calls": budget}, **more)).annotators
        asked.append((outcome.report.annotated + outcome.report.failed, outcome.error is None))

    run(20, estimate=12)
    run(20)
    run(20, estimate=1)
    run(25)
    was = reset_budget(store, "d", "costs", now=datetime(2026, 11, 21, tzinfo=UTC))
    assert was is not None
    assert (was.to_dict()["spent"], was.workers, was.ended) == ({"calls": 25}, 0, False)
    run(4)
    run(20, estimate=50)
    assert [some for some, _ in asked[:-1]] == [12, 8, 0, 5, 4]
    assert [well for _, well in asked] == [True, False, False, False, False, True]
    (state,) = list_budgets(store, "d")
    assert state.ended, "a sample of all that is left is the end"


def test_an_estimate_without_a_budget_is_counted_by_the_one_that_follows(tmp_path: Path) -> None:
    """Its sample is the beginning of that work. A run without a budget that comes to its end ends that, too."""
    store, asked = lake(tmp_path, [40, 10]), []

    def run(budget: int | None, **more: Any) -> None:
        config = dataset_file(tmp_path, maxConcurrency=1, calls={})
        changes = Changes(budget={} if budget is None else {"calls": budget}, **more)
        (outcome,) = annotate_dataset(config, store, changes=changes).annotators
        asked.append((outcome.report.annotated + outcome.report.failed, outcome.error is None))
        if budget == 20:
            assert outcome.report.spent is not None
            assert outcome.report.spent.elsewhere == {"calls": 12}, "a person sees what is left"

    run(None, batches=["b0"], estimate=12)
    assert not list(list_budgets(store, "d"))
    run(20, batches=["b0"])  # of which there are 8 left
    run(None, batches=["b0"])  # to the end
    run(5, batches=["b1"])  # which is other work
    assert [some for some, _ in asked[:2]] == [12, 8]
    assert asked[2][1]
    assert asked[3] == (5, False)
    (state,) = list_budgets(store, "d")
    assert state.spent == {"calls": 5}


def test_what_decides_about_the_time() -> None:
    """The slowest of rows at once, calls and tokens; the interval is that of the slowest as well."""
    sample = [SampledRow(seconds=2.0, calls=2, tokens=100)] * 20
    assert predict(sample, 1_000, Pace(at_once=10)).seconds.expected == 200
    told = predict(sample, 1_000, Pace(at_once=10, calls_per_second=5, tokens_per_second=1_000))
    assert (told.seconds.expected, told.seconds.low, told.seconds.high, told.limited_by) == (400, 400, 400, "requests")
    told = predict(sample, 1_000, Pace(at_once=10, calls_per_second=5, tokens_per_second=100))
    assert (told.seconds.expected, told.limited_by) == (1_000, "tokens")


def test_the_interval_of_a_share_is_right_at_its_ends() -> None:
    """No failure among 100 does not mean that there are none; of few rows nothing is told."""
    assert estimate_share(0, 100).high == pytest.approx(0.037, abs=1e-3)
    assert estimate_share(100, 100).low == pytest.approx(0.963, abs=1e-3)
    assert estimate_share(1, 5).low is None
