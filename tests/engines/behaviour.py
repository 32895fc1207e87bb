"""What every engine has to do, as checks that the tests of each engine call."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from datalake_service.catalog.tasks import TaskStatus, load_tasks
from datalake_service.engines.local import LocalEngine
from datalake_service.pipeline.engine import Engine
from datalake_service.storage.open import open_store
from tests.engines.lakes import Lakes, annotator, example, lines, project, run


def makes_the_same_rows(engine: Engine, name: str, tmp_path: Path, local_rows: Lakes) -> None:
    """An example, from reading to annotating."""
    report = run(example(name), tmp_path / "lake", engine)
    assert not report.failures
    assert lines(tmp_path / "lake") == local_rows.of(name, example(name))


def survives_its_workers(engine: Engine, tmp_path: Path, local_rows: Lakes) -> None:
    """A worker that is killed in the middle of a task is replaced, and the rows are the same."""
    parameters = {"kill_at": "3-11", "marker": str(tmp_path / "deaths"), "deaths": 2}
    report = run(project(tmp_path / "code", parameters=parameters), tmp_path / "lake", engine)
    assert not report.failures
    assert (tmp_path / "deaths").read_text(encoding="utf-8") == "++"
    assert lines(tmp_path / "lake") == local_rows.of("project", project(tmp_path / "code"))


def gives_up_what_kills_everybody(engine: Engine, tmp_path: Path) -> None:
    """One task fails and says why; the others are done."""
    parameters = {"kill_at": "3-11", "marker": str(tmp_path / "deaths"), "deaths": 99}
    report = run(project(tmp_path / "code", parameters=parameters), tmp_path / "lake", engine)
    assert [failure.item for failure in report.failures] == ["3.txt"]
    assert "died" in report.failures[0].error
    assert report.tasks.completed == 5


def stops_in_order(engine: Engine, tmp_path: Path, local_rows: Lakes) -> None:
    """What runs becomes durable, what was not begun is not begun; the next run finishes, on another engine."""
    slow = project(tmp_path / "code", parameters={"seconds": 0.1}, files=6, records=60)
    stop = threading.Event()
    store = open_store(tmp_path / "lake")
    timer = threading.Thread(target=_stop_when_running, args=(store, stop))
    timer.start()
    run(slow, tmp_path / "lake", engine, stop=stop)
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


def _stop_when_running(store: object, stop: threading.Event) -> None:
    waiting = threading.Event()
    for _ in range(600):
        tasks = load_tasks(store, "d")  # type: ignore[arg-type]
        if any(stored.state.status is TaskStatus.RUNNING for stored in tasks):
            break
        waiting.wait(0.1)
    stop.set()


def tells_what_handlers_log(engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where the run is, whatever machine it was logged on."""
    with caplog.at_level(logging.WARNING, logger="datalake.handler"):
        run(project(tmp_path / "code", files=1, records=8), tmp_path / "lake", engine)
    assert "a seven in 0.txt" in caplog.text


def says_what_cannot_be_loaded(engine: Engine, tmp_path: Path) -> None:
    """A class that fails where tasks run fails the run with one line."""
    config = project(tmp_path / "code", parameters={"nonsense": 1})
    with pytest.raises(Exception, match=r"handler.Lines: the dataset file's parameters do not fit the constructor"):
        run(config, tmp_path / "lake", engine)


def annotates_the_same(engine: Engine, tmp_path: Path, local_rows: Lakes) -> None:
    """Also with an annotator whose process is killed; every row counts once, and one that is refused failed."""
    marker = tmp_path / "deaths"
    parameters = {"kill_at": "2-5", "marker": str(marker), "deaths": 1, "opened": str(tmp_path / "opened")}
    config = project(tmp_path / "code", annotators=[annotator(parameters=parameters)])
    (tmp_path / "code" / "input" / "0.txt").write_text("0-0\nrefuse\n", encoding="utf-8")
    report = run(config, tmp_path / "lake", engine)
    (outcome,) = report.annotators
    assert outcome.error is None
    assert marker.read_text(encoding="utf-8") == "+"
    assert (outcome.report.annotated, outcome.report.failed, outcome.report.already_done) == (101, 1, 0)
    plain = project(tmp_path / "plain", annotators=[annotator()])
    (tmp_path / "plain" / "input" / "0.txt").write_text("0-0\nrefuse\n", encoding="utf-8")
    assert lines(tmp_path / "lake") == local_rows.of("annotated", plain)
