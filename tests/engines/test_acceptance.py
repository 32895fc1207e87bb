"""One suite over all engines: the same dataset files make the same rows everywhere, byte for byte, whatever dies.

LOCAL makes what is expected, in a lake in a folder, once for each example; the other engines have theirs in a bucket.
Left out of the comparison are three columns that say when and how long (``lakes.TIMES``); a queue that is made for a
run, and the names that SQS gives its messages, are written the same (``scenarios.Target.made_up``). Everything else is
compared: ids, kinds, counts, order within a line.
"""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path

import pytest

from datalake_service.catalog.tasks import TaskStatus, load_tasks
from datalake_service.config.load import load_dataset
from datalake_service.engines.local import LocalEngine
from datalake_service.errors import ConfigError, UsageError
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.open import open_store
from tests.engines.commands import killed_in_the_middle, write_file
from tests.engines.lakes import Lakes, lines, project, run
from tests.engines.places import Expected, Place
from tests.engines.scenarios import EXAMPLES, SCENARIOS

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", SCENARIOS)
def test_an_example_makes_the_same_lines(place: Place, name: str, expected: Expected) -> None:
    """Rows, rejections, exports, and what is delivered to queues and streams."""
    assert place.lines_of(SCENARIOS[name]) == expected.of(name)


def test_workers_that_die_are_replaced(place: Place, tmp_path: Path, local_rows: Lakes) -> None:
    """Twice in the middle of one task, without a word."""
    parameters = {"kill_at": "3-11", "marker": str(tmp_path / "deaths"), "deaths": 2}
    report = place.run_in_folder(project(tmp_path / "code", parameters=parameters), tmp_path / "lake")
    assert not report.failures
    assert (tmp_path / "deaths").read_text(encoding="utf-8") == "++"
    assert lines(tmp_path / "lake") == local_rows.of("project", project(tmp_path / "code"))


def test_a_task_that_kills_every_worker_is_given_up(place: Place, tmp_path: Path) -> None:
    """One task fails after three deaths and says why; the others are done."""
    parameters = {"kill_at": "3-11", "marker": str(tmp_path / "deaths"), "deaths": 99}
    report = place.run_in_folder(project(tmp_path / "code", parameters=parameters), tmp_path / "lake")
    assert [failure.item for failure in report.failures] == ["3.txt"]
    assert "died" in report.failures[0].error or "killed" in report.failures[0].error
    assert report.tasks.completed == 5


def test_a_stop_is_in_order(place: Place, tmp_path: Path, local_rows: Lakes) -> None:
    """What runs becomes durable, what was not begun is not begun; the next run finishes, on another engine."""
    slow = project(tmp_path / "code", parameters={"seconds": 0.1}, files=6, records=60)
    stop, store = threading.Event(), open_store(tmp_path / "lake")
    timer = threading.Thread(target=_stop_when_running, args=(store, stop))
    timer.start()
    place.run_in_folder(slow, tmp_path / "lake", stop=stop)
    timer.join()
    states = [stored.state for stored in load_tasks(store, "d")]
    assert {state.status for state in states} <= {TaskStatus.STOPPED, TaskStatus.CREATED, TaskStatus.COMPLETED}
    stopped = [state for state in states if state.status is TaskStatus.STOPPED]
    assert stopped
    assert all(state.checkpoint is not None for state in stopped)
    fast = project(tmp_path / "code", files=6, records=60)
    report = run(fast, tmp_path / "lake", LocalEngine(concurrency=2))
    assert not report.failures
    assert lines(tmp_path / "lake") == local_rows.of("long", fast)


def _stop_when_running(store: ObjectStore, stop: threading.Event) -> None:
    waiting = threading.Event()
    for _ in range(600):
        if any(stored.state.status is TaskStatus.RUNNING for stored in load_tasks(store, "d")):
            break
        waiting.wait(0.1)
    stop.set()


def test_a_run_that_is_killed_is_finished_by_the_next_one(place: Place, tmp_path: Path, local_rows: Lakes) -> None:
    """The control process is killed when a task has its first checkpoint, after two seconds of nine.

    What it had started elsewhere, such as an invocation, may still be at work then.
    """
    slow = project(tmp_path / "code", parameters={"seconds": 0.15}, files=6, records=60)
    place.deploy(slow.folder)
    killed_in_the_middle(write_file(slow, dict(place.settings)), tmp_path / "lake")
    fast = project(tmp_path / "code", files=6, records=60)
    report = place.run_in_folder(fast, tmp_path / "lake")
    assert not report.failures
    assert lines(tmp_path / "lake") == local_rows.of("long", fast)


@pytest.mark.parametrize("engine", ["LOCAL", "LAMBDA", "RAY"])
def test_what_an_engine_cannot_do_is_refused(engine: str, tmp_path: Path) -> None:
    """Programs of Spark run on Spark only; everything else runs on every engine."""
    folder = EXAMPLES / "spark_words"
    document = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    function = {"functionName": "datalake", "concurrency": 2} if engine == "LAMBDA" else {}
    config = load_dataset(document | {"computeEngine": {"computeEngineType": engine} | function}, folder=folder)
    with pytest.raises(ConfigError) as caught:
        run(config, tmp_path / "lake", LocalEngine(concurrency=1))
    assert caught.value.problems == ("computeEngine.computeEngineType: readerType SPARKREADER needs SPARK",)
    assert not (tmp_path / "lake").exists()


def test_logs_come_back(place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """To where the run is, whatever machine a handler logged on."""
    with caplog.at_level(logging.WARNING, logger="datalake.handler"):
        place.run_in_folder(project(tmp_path / "code", files=1, records=8), tmp_path / "lake")
    assert "a seven in 0.txt" in caplog.text


def test_a_handler_that_cannot_be_constructed(place: Place, tmp_path: Path) -> None:
    """A class that fails where tasks run ends the run with one line, before anything is read."""
    config = project(tmp_path / "code", parameters={"nonsense": 1})
    with pytest.raises(UsageError, match=r"handler.Lines: the dataset file's parameters do not fit the constructor"):
        place.run_in_folder(config, tmp_path / "lake")
