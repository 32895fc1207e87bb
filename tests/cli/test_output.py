from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from datalake_interfaces.attempts import Usage
from datalake_service.annotating.usage import Spent
from datalake_service.catalog.tasks import TaskCounts
from datalake_service.cli.output import Output, print_line, table
from datalake_service.cli.progress import run_line
from datalake_service.pipeline.annotation.job import AnnotationReport
from datalake_service.pipeline.runs.progress import RunProgress, RunStep

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def test_a_table_is_aligned() -> None:
    """Text to the left, numbers to the right, nothing as a dash."""
    assert table(("NAME", "ROWS", "SHARE"), [("a", 1_000, 0.5), ("long name", None, 10), ("", 7, None)]) == [
        "NAME        ROWS  SHARE",
        "a          1,000    0.5",
        "long name      -     10",
        "-              7      -",
    ]
    assert table(("A", "B"), []) == ["A  B"]


def test_an_answer_is_text_json_or_indented_json(capsys: pytest.CaptureFixture[str]) -> None:
    """By who reads it, and by what was asked for."""
    value = {"text": "é\n", "n": [1]}
    for output in (Output(to_terminal=True), Output(), Output(pretty=True), Output(pretty=True, to_terminal=True)):
        output.show(value, lambda: ["one", "\x1b[2Jtwo"])
        shown = capsys.readouterr().out
        if output.for_people:
            assert shown == "one\n\\x1b[2Jtwo\n"
        else:
            assert json.loads(shown) == value
            assert (len(shown.splitlines()) > 1) is output.pretty


def test_a_terminal_without_the_characters_gets_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of an exception in the middle of an answer."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    print_line("é\ud800")
    assert raw.getvalue() == b"\\xe9\\ud800\n"


SPENT = Spent(calls=3, usage=Usage(9_000, 345, 1.234), seconds=90)
BUDGET = {"cost": 5.0, "tokens": 10_000.0}


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        (RunProgress(step=RunStep.PLAN), "planning"),
        (RunProgress(step=RunStep.MERGE, name="b1"), "merging b1"),
        (
            RunProgress(
                step=RunStep.TASKS, seconds=10, tasks_done=3, tasks_total=12, share=0.25,
                counts=TaskCounts(records=45_000, documents=45_000),
            ),
            "tasks 3/12: 45,000 records, 4,500/s, 25%, about 30s left",
        ),
        (RunProgress(step=RunStep.TASKS, tasks_total=2), "tasks 0/2: 0 records"),
        (
            RunProgress(
                step=RunStep.ANNOTATE, name="lang", seconds=2, annotation=AnnotationReport(annotated=7, failed=1)
            ),
            "lang: 8 rows, 1 failed",
        ),
        (
            RunProgress(
                step=RunStep.ANNOTATE, name="lang", seconds=20, speed=40.0, left_seconds=220.0, budget=BUDGET,
                annotation=AnnotationReport(annotated=1_200, expected=8_800, spent=SPENT),
            ),
            "lang: 1,200 rows, 8,800 to go, 9,345 of 10,000 tokens, cost 1.23 of 5.00, 40/s, about 3m40s left",
        ),
        (  # as another start and other workers left it; tokens are its own, no budget is of them
            RunProgress(
                step=RunStep.ANNOTATE, name="lang", seconds=1, budget={"cost": 5_000.0, "hours": 2.0},
                annotation=AnnotationReport(
                    annotated=3, spent=replace(SPENT, elsewhere={"cost": 2_000.0, "tokens": 9.0, "seconds": 3_510.0})
                ),
            ),
            "lang: 3 rows, 9,345 tokens, cost 2,001.23 of 5,000.00, 1.0 of 2 hours",
        ),
    ],
)  # fmt: skip
def test_progress_is_told_in_words(progress: RunProgress, line: str) -> None:
    """How much, how fast, how long."""
    assert run_line(progress) == line
