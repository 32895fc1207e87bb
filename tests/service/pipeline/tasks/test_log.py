from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from datalake_service.catalog import layout
from datalake_service.catalog.tasks import TaskStatus
from datalake_service.pipeline.jobs.engine import HANDLER_LOGGER
from datalake_service.pipeline.tasks.log import LONGEST_LINE, MOST_LINES, load_task_log
from datalake_service.pipeline.upkeep.fsck import check_dataset
from datalake_service.storage import FolderStore, Overwrite
from tests.support.faulty_store import Fault, FaultyStore, at
from tests.support.tasks import TickingClock, after, generator_job, run_here, write_module

TALKATIVE = """
class Rows(Generator):
    def __init__(self, *, lines=3, length=0):
        self.lines, self.length = lines, length

    def open(self, context):
        self.logger = context.logger

    def generate(self):
        for number in range(self.lines):
            self.logger.info("not kept %s", number)
            self.logger.warning("line %s%s", number, "x" * self.length)
            yield {"number": number}
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A handler that logs."""
    return write_module(tmp_path / "code", TALKATIVE)


@pytest.fixture(autouse=True)
def _everything_is_logged() -> Iterator[None]:
    """As in a worker, the logger passes on what the handler says."""
    logger = logging.getLogger(HANDLER_LOGGER)
    logger.setLevel(logging.INFO)
    yield
    logger.setLevel(logging.NOTSET)


def test_lines_are_kept_with_their_level(store: FolderStore, code: Path) -> None:
    """From the level on that the dataset file wants; nobody listens afterwards who did not before."""
    listeners = list(logging.getLogger(HANDLER_LOGGER).handlers)
    assert run_here(generator_job(store, code)).status is TaskStatus.COMPLETED
    lines = load_task_log(store, "d", "t1")
    assert [(line["level"], line["message"]) for line in lines] == [("WARNING", f"line {n}") for n in range(3)]
    assert all(line["time"].endswith("Z") for line in lines)
    assert logging.getLogger(HANDLER_LOGGER).handlers == listeners


def test_a_silent_task_writes_nothing(store: FolderStore, code: Path) -> None:
    """And has no lines."""
    run_here(generator_job(store, code, log_level="ERROR"))
    assert list(store.list(layout.task_logs_prefix("d"))) == []
    assert load_task_log(store, "d", "t1") == []


def test_lines_of_earlier_attempts_stay_up_to_a_limit(store: FolderStore, code: Path) -> None:
    """The oldest are forgotten, and a long line is cut."""
    job = generator_job(store, code, parameters={"lines": 700, "length": 10 * LONGEST_LINE})
    assert run_here(job, stop=after(1), clock=TickingClock(0.0001)).status is TaskStatus.STOPPED
    first = len(load_task_log(store, "d", "t1"))
    assert first >= 1
    assert run_here(job).status is TaskStatus.COMPLETED
    lines = load_task_log(store, "d", "t1")
    assert len(lines) == min(first + 700, MOST_LINES)
    assert lines[0]["message"].startswith(f"line {max(0, first + 700 - MOST_LINES)}x")
    assert lines[-1]["message"].startswith("line 699x")
    assert {len(line["message"]) for line in lines} == {LONGEST_LINE}


def test_a_running_task_shows_its_lines_now_and_then(store: FolderStore, code: Path) -> None:
    """With its checkpoints, not with each of them."""
    seen: list[int] = []

    def look() -> bool:
        seen.append(len(load_task_log(store, "d", "t1")))
        return False

    run_here(generator_job(store, code, parameters={"lines": 30}, chunk_size=1), stop=look, clock=TickingClock(5.0))
    assert 0 < len(set(seen)) < len(seen)
    assert max(seen) > 0


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.UNKNOWN])
def test_a_log_that_cannot_be_stored_fails_nothing(store: FolderStore, code: Path, fault: Fault) -> None:
    """The rows count."""
    job = generator_job(store, code)
    faulty = FaultyStore(store, at("put", fault, key="/logs/"))
    assert run_here(replace(job, store=faulty)).status is TaskStatus.COMPLETED
    assert load_task_log(store, "d", "t1") == []


def test_a_damaged_log_is_read_as_far_as_it_goes(store: FolderStore) -> None:
    """It is not worth an error."""
    store.put(layout.task_log_key("d", "t1"), b'{"message": "a"}\n[1]\n{"mess\n', mode=Overwrite())
    assert load_task_log(store, "d", "t1") == [{"message": "a"}]


def test_a_log_is_no_leftover(store: FolderStore, code: Path) -> None:
    """For the check of a dataset."""
    run_here(generator_job(store, code))
    findings = list(check_dataset(store, "d", older_than=timedelta(0)))
    assert [finding for finding in findings if "/logs/" in finding.key] == []
