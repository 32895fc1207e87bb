"""A worker dies at any operation of the store; the next one, when the leases of the dead ran out, finishes."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings

from datalake_service.catalog.datasets import RunStatus
from datalake_service.catalog.tasks import TaskStatus, load_task
from tests.crash.deaths import Death, deaths, examples
from tests.crash.test_run import asked, project_in, rows_of
from tests.support.faulty_store import Crash, Fault, FaultyStore
from tests.support.project import Project
from tests.support.workers import held_claims, leases, work

PARTS = 4
TEXTS = ["four", "one", "three", "two"]
ROWS = [{"text": text, "length.length": len(text)} for text in TEXTS]


def die(project: Project, faults: dict[int, Fault]) -> None:
    """Be a worker until it dies; then let minutes pass."""
    with suppress(Crash):
        work(project, FaultyStore(project.store, faults))
    project.clock.advance(300)


def writes(folder: Path) -> list[int]:
    """Which operations of a worker write states, leases and claims; ``test_run.py`` has the others."""
    project = project_in(folder)
    store = FaultyStore(project.store)
    assert work(project, store).status is RunStatus.COMPLETED
    return [operation.number for operation in store.operations if operation.writes and "/.state/" in operation.key]


def done(project: Project, task: str) -> bool:
    """Whether a task is completed."""
    return load_task(project.store, "d", task).state.status is TaskStatus.COMPLETED


@pytest.mark.parametrize("part", range(PARTS))
def test_a_worker_that_died_after_any_write_is_replaced_by_the_next(tmp_path: Path, part: int) -> None:
    """Every row is there once, with its annotation; no lease is left, and no claim but of tasks that are completed."""
    for number in writes(tmp_path / "clean")[part::PARTS]:
        project = project_in(tmp_path / str(number))
        die(project, {number: Fault.CRASH_AFTER})
        report = work(project)
        assert (report.status, report.rows) == (RunStatus.COMPLETED, {"b": 4}), number
        assert rows_of(project) == ROWS, number
        assert set(asked(project)) == set(TEXTS), number
        assert leases(project.store) == [], number
        assert all(done(project, task) for task in held_claims(project.store)), number


@settings(max_examples=examples(2))
@given(deaths(150))
def test_workers_that_died_in_a_row_are_replaced_by_the_next(planned: Sequence[Death]) -> None:
    """The same after up to five of them; and a run of the file alone finds nothing left to do."""
    with tempfile.TemporaryDirectory() as folder:
        project = project_in(Path(folder, "project"))
        for number, fault in planned:
            die(project, {number: fault})
        report = work(project)
        assert (report.status, report.rows) == (RunStatus.COMPLETED, {"b": 4})
        assert rows_of(project) == ROWS
        assert leases(project.store) == []
        alone = project.run_in(project.store)
        assert (alone.status, alone.tasks.already_done, alone.tasks.planned) == (RunStatus.COMPLETED, 2, 2)
