from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from datalake_service.catalog.datasets import RunStatus
from datalake_service.catalog.tasks import TaskCounts
from datalake_service.pipeline.annotation.job import AnnotationReport
from datalake_service.pipeline.merging.result import MergeResult
from datalake_service.pipeline.runs.report import (
    AnnotatorOutcome,
    FailedTask,
    MergedBatch,
    RunReport,
    TaskTotals,
    in_groups,
)

NOW = datetime(2026, 11, 20, 13, tzinfo=UTC)
EMPTY = RunReport(dataset="d", uri="s3://b/p", status=RunStatus.COMPLETED, started_at=NOW, seconds=0.0)


def test_notes_that_say_the_same_are_told_once() -> None:
    """A manifest of a million files must not make a million lines."""
    same = [f"{name}.log: no record in {number} bytes" for number, name in enumerate("abcd")]
    assert in_groups([*same, "x.gz: cut off at byte 5"]) == (
        "4 inputs, such as a.log: no record in 0 bytes",
        "x.gz: cut off at byte 5",
    )
    assert in_groups(same[:3]) == tuple(same[:3])
    assert in_groups([]) == ()


def test_a_report_of_nothing_says_so() -> None:
    """No task, no batch."""
    lines = list(EMPTY.lines())
    assert lines[1] == "  tasks        0 done before"
    assert lines[2] == "  records      0: 0 documents, 0 skipped, 0 errors"
    assert EMPTY.to_dict()["results"] == {"merged": [], "rejected": [], "annotations": []}


def test_everything_that_went_wrong_is_told() -> None:
    """Failed tasks (the first of them), limits, merges, warnings, annotators."""
    report = replace(
        EMPTY,
        status=RunStatus.FAILED,
        tasks=TaskTotals(planned=9, completed=1, failed=7, stopped=1, counts=TaskCounts(9, 1, 0, 8)),
        failures=tuple(FailedTask(f"t{number}", f"{number}.log", "no such object") for number in range(7)),
        limit="8 records were rejected; onError.maxErrors allows 7",
        merged=(
            MergedBatch("b1", None, "disk full"),
            MergedBatch(
                "b2",
                MergeResult(key="k", committed=True, rows=1, duplicates=2, conflicts=3, warnings=("no column has x",)),
            ),
        ),
        annotators=(AnnotatorOutcome("lang", AnnotationReport(annotated=2, failed=1), "the lease was lost"),),
        rows={"b2": 1},
    )
    lines = list(report.lines())
    assert lines[1:14] == [
        "  tasks        1 completed, 7 failed, 1 not finished",
        "  records      9: 1 documents, 0 skipped, 8 errors",
        "  rows         1 in batch b2 (2 duplicates taken out, 3 conflicts)",
        "  not merged   b1: disk full",
        "  note         no column has x",
        "  lang         2 annotated, 0 skipped, 1 failed; the lease was lost",
        *(f"  failed       {number}.log: no such object" for number in range(5)),
        "               … and 2 more",
        "  limit        8 records were rejected; onError.maxErrors allows 7",
    ]
    told = report.to_dict()
    assert (told["status"], told["errors"], told["limit"], len(told["failures"])) == ("FAILED", 8, report.limit, 7)
    assert told["batches"][0] == {"batch": "b1", "error": "disk full"}


def test_places_are_below_the_lake() -> None:
    """As URIs that other tools understand."""
    report = replace(EMPTY, rows={"b": 2}, tasks=TaskTotals(counts=TaskCounts(1, 0, 0, 1)))
    assert report.results() == {
        "merged": ["s3://b/p/d/b/merged.parquet"],
        "rejected": ["s3://b/p/d/b/rejected/"],
        "annotations": [],
    }


def test_commands_can_be_copied_into_a_shell() -> None:
    """Whatever the path of the lake has in it."""
    report = replace(EMPTY, uri="/my data/lake's")
    assert report.commands() == [
        """datalake datasets view --datasetName d --uri '/my data/lake'"'"'s'""",
        """datalake export --datasetName d --uri '/my data/lake'"'"'s' --output d.jsonl""",
    ]
