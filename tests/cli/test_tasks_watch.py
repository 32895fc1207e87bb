from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from datalake_service.catalog.task_changes import TaskChanges
from datalake_service.catalog.tasks import TaskCounts, TaskEvent, TaskState, create_task, load_task, move, save_task
from datalake_service.cli.output import Output
from datalake_service.cli.watching import LOOK_SECONDS, watch_tasks
from datalake_service.storage import FolderStore
from datalake_utils.clock import ManualClock
from tests.support.repository import ROOT

NOW = datetime(2026, 11, 20, 13, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """A lake with three tasks."""
    found = FolderStore(tmp_path / "lake", durable=False)
    for task in ("t1", "t2", "t3"):
        create_task(found, "d", TaskState(id=task, item=f"{task}.txt", batch="b", created_at=NOW))
    return found


def change(store: FolderStore, task: str, *events: TaskEvent, **fields: Any) -> None:
    """Let things happen to a task."""
    for event in events:
        stored = load_task(store, "d", task)
        save_task(store, "d", move(stored.state, event, **fields), etag=stored.etag)


class TestChanges:
    """What is looked at again and again."""

    def test_each_look_has_what_is_new(self, store: FolderStore) -> None:
        """Everything at first; then what changed; tasks that are gone are gone."""
        changes = TaskChanges(store, "d")
        assert sorted(changes.look()) == ["t1", "t2", "t3"]
        assert changes.look() == {}
        change(store, "t2", TaskEvent.START)
        assert list(changes.look()) == ["t2"]
        store.delete("d/.state/tasks/t3.json")
        create_task(store, "d", TaskState(id="t4", item="t4.txt", batch="b", created_at=NOW))
        assert list(changes.look()) == ["t4"]
        assert sorted(changes.states) == ["t1", "t2", "t4"]

    def test_what_is_passed_over_is_not_read(self, store: FolderStore) -> None:
        """It is news when it changes."""
        changes = TaskChanges(store, "d")
        changes.pass_over()
        assert changes.look() == {}
        change(store, "t3", TaskEvent.START)
        assert list(changes.look()) == ["t3"]


class Scripted(ManualClock):
    """A clock on which something happens during each sleep."""

    def __init__(self, *steps: Any) -> None:
        super().__init__()
        self.steps = list(steps)

    def sleep(self, seconds: float) -> None:
        assert seconds == LOOK_SECONDS
        super().sleep(seconds)
        self.steps.pop(0)()


def watched(
    store: FolderStore, clock: ManualClock, capsys: pytest.CaptureFixture[str], **output: bool
) -> tuple[bool, str]:
    """Watch to the end."""
    good = watch_tasks(
        TaskChanges(store, "d"),
        "d",
        Output(**output),
        to_dict=lambda state, _: {"taskId": state.id, "status": str(state.status)},
        to_lines=lambda states, _: [f"{state.id} {state.status}" for state in states],
        clock=clock,
    )
    return good, capsys.readouterr().out


def test_a_pipe_gets_each_change_and_a_sum(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    """One line of JSON for each."""

    def finish(*tasks: str) -> None:
        for task in tasks:
            change(store, task, TaskEvent.START, TaskEvent.COMPLETE)

    clock = Scripted(lambda: finish("t1"), lambda: None, lambda: finish("t2", "t3"))
    good, text = watched(store, clock, capsys)
    lines = [json.loads(line) for line in text.splitlines()]
    assert good
    assert [(line["taskId"], line["status"]) for line in lines[:-1]] == [
        ("t1", "CREATED"), ("t2", "CREATED"), ("t3", "CREATED"),
        ("t1", "COMPLETED"), ("t2", "COMPLETED"), ("t3", "COMPLETED"),
    ]  # fmt: skip
    assert lines[-1] == {"datasetName": "d", "ended": True, "tasks": {"COMPLETED": 3}}


def test_a_failed_task_is_no_success(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    """And a stopped one does not keep it waiting."""
    change(store, "t1", TaskEvent.START, TaskEvent.COMPLETE)
    change(store, "t2", TaskEvent.START, TaskEvent.STOP)
    change(store, "t3", TaskEvent.START, TaskEvent.FAIL, error="no")
    assert watched(store, Scripted(), capsys)[0] is False


def test_a_terminal_is_drawn_anew(
    store: FolderStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs stands before the rest, and no more lines than there are; the end stays on the screen."""
    monkeypatch.setenv("LINES", "7")
    monkeypatch.setenv("COLUMNS", "60")
    change(store, "t2", TaskEvent.START, counts=TaskCounts(records=5, documents=5))

    def finish() -> None:
        change(store, "t1", TaskEvent.START, TaskEvent.COMPLETE)
        change(store, "t2", TaskEvent.COMPLETE)
        change(store, "t3", TaskEvent.START, TaskEvent.COMPLETE)

    clock = Scripted(finish)
    good, text = watched(store, clock, capsys, to_terminal=True)
    assert good
    first, last = text.split("\x1b[H\x1b[2J")[1:]
    assert first.startswith("d  2 created, 1 running  5 records  ")
    assert first.index("t2 RUNNING") < first.index("t1 CREATED")
    assert "... and 1 more" in first
    assert last.startswith("d  3 completed")


def test_the_command_follows_a_run(tmp_path: Path) -> None:
    """Started before the tasks end, in another process."""
    store = FolderStore(tmp_path / "lake", durable=False)
    create_task(store, "d", TaskState(id="t1", item="a.txt", batch="b", created_at=NOW))

    def finish() -> None:
        time.sleep(0.5)
        change(store, "t1", TaskEvent.START, TaskEvent.COMPLETE)

    threading.Thread(target=finish, daemon=True).start()
    done = subprocess.run(
        [sys.executable, "-m", "datalake_service", "tasks", "list", "--datasetName", "d", "--watch", "--uri", "lake"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout.splitlines()[-1]) == {"datasetName": "d", "ended": True, "tasks": {"COMPLETED": 1}}
