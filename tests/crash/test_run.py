from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from datalake_service.catalog.datasets import RunStatus
from datalake_service.pipeline.views.plan import ViewRequest
from datalake_service.pipeline.views.views import DatasetView
from tests.crash.deaths import Death, deaths, every_death, examples
from tests.support.faulty_store import Crash, FaultyStore
from tests.support.project import Project

PARTS = 4
"""So that several processors can share the work."""


def project_in(folder: Path) -> Project:
    """Two files, duplicates, a rejection, an annotator."""
    folder.mkdir()
    project = Project(folder)
    project.write("a.log", "doc one\ndoc two\nskip x\nbad y\ndoc three\ndoc two\n")
    project.write("b.log", "doc four\ndoc one\n")
    project.document["writeConnector"]["deduplicateOn"] = ["text"]
    project.annotate()
    return project


def rows_of(project: Project) -> list[dict[str, Any]]:
    """Rows with their annotations, without ids (which of two duplicates stays depends on which came first)."""
    view = DatasetView(project.store, ViewRequest(dataset="d"))
    rows = sorted((dict(row) for row in view), key=lambda row: str(row["text"]))
    return [{name: value for name, value in row.items() if name != "id"} for row in rows]


def asked(project: Project) -> list[str]:
    """What the annotator was asked."""
    return project.log.read_text(encoding="utf-8").splitlines()


def all_deaths(folder: Path) -> list[Death]:
    """Those of a run that there are."""
    project = project_in(folder)
    store = FaultyStore(project.store)
    assert project.run_in(store).status is RunStatus.COMPLETED
    return every_death(store)


@pytest.mark.parametrize("part", range(PARTS))
def test_a_run_that_died_at_any_operation_is_finished_by_the_next(tmp_path: Path, part: int) -> None:
    """Every row is there once, with its annotation; a third run finds nothing to do and pays for nothing."""
    texts = ["four", "one", "three", "two"]
    expected = [{"text": text, "length.length": len(text)} for text in texts]
    for index, (number, fault) in enumerate(all_deaths(tmp_path / "clean")[part::PARTS]):
        project = project_in(tmp_path / str(index))
        with suppress(Crash):
            project.run_in(FaultyStore(project.store, {number: fault}))
        report = project.run_in(project.store)
        assert report.status is RunStatus.COMPLETED, number
        assert (rows_of(project), report.rows) == (expected, {"b": 4}), number
        assert set(asked(project)) == set(texts), number
        if index % 4 == 0:
            before, paid = project.objects(), asked(project)
            assert project.run_in(project.store).status is RunStatus.COMPLETED
            assert (project.objects(), asked(project)) == (before, paid), number


@settings(max_examples=examples(3))
@given(deaths(150))
def test_runs_that_died_in_a_row_are_finished_by_the_next(planned: Sequence[Death]) -> None:
    """The same after up to five of them."""
    with tempfile.TemporaryDirectory() as folder:
        project = project_in(Path(folder, "project"))
        for number, fault in planned:
            with suppress(Crash):
                project.run_in(FaultyStore(project.store, {number: fault}))
        report = project.run_in(project.store)
        assert (report.status, report.rows) == (RunStatus.COMPLETED, {"b": 4})
        texts = ["four", "one", "three", "two"]
        assert rows_of(project) == [{"text": text, "length.length": len(text)} for text in texts]
        assert set(asked(project)) == set(texts)
