from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from datalake_service.catalog import layout
from datalake_service.catalog.leases import LeaseRecord
from datalake_service.pipeline.runs.annotators import release_if_dead
from datalake_service.storage import FolderStore, Overwrite
from tests.cli.commands import datalake, environment
from tests.support import warm
from tests.support.tasks import write_module

HANDLER = """
from datalake_interfaces import Annotation, Annotator

class Rows(Generator):
    def generate(self):
        for number in range(40):
            yield {"id": str(number), "n": number}
            while number == 25 and Path("hold-task").exists():
                Path("task-reached").touch()
                time.sleep(0.01)

class Double(Annotator):
    def annotate(self, item):
        while item.data["n"] == 39 and Path("hold-annotator").exists():
            Path("annotator-reached").touch()
            time.sleep(0.01)
        return Annotation({"n": 2 * item.data["n"]})
"""
DOCUMENT = {
    "datasetName": "d",
    "readConnector": {"connectorDestination": "GENERATOR", "generatorImplementationClassName": "handler.Rows"},
    "writeConnector": {"batch": "b", "chunkSize": 10},
    "annotators": [
        {"annotatorName": "double", "annotatorImplementationClassName": "handler.Double", "maxConcurrency": 1}
    ],
}
CREATE = ("datasets", "create", "--configFile", "dataset.json")
Process = warm.Running | subprocess.Popen[bytes]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the command runs."""
    write_module(tmp_path, HANDLER)
    (tmp_path / "dataset.json").write_text(json.dumps(DOCUMENT), encoding="utf-8")
    return tmp_path


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[[str], Process]]:
    """Starts the command, and returns when it has come to a certain place and hangs there."""
    started: list[Process] = []
    said = folder / "said"

    def begin(place: str) -> Process:
        (folder / f"hold-{place}").touch()
        process = warm.popen(CREATE, cwd=folder, env=environment(), out=said, err=said)
        started.append(process)
        while not (folder / f"{place}-reached").exists():
            assert process.poll() is None, said.read_text(encoding="utf-8")
            time.sleep(0.01)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("place", ["task", "annotator"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_run_that_was_ended_anywhere_is_finished_by_the_next(
    folder: Path, start: Callable[[str], Process], place: str, how: signal.Signals
) -> None:
    """At once: nobody has to wait for what the dead one held."""
    process = start(place)
    process.send_signal(how)
    if how is not signal.SIGKILL:  # the handler hangs: it is not the interrupt that has to wait for it
        time.sleep(0.3)
        (folder / f"hold-{place}").unlink()
    status = process.wait(60)
    assert status == {signal.SIGKILL: -signal.SIGKILL, signal.SIGINT: 130, signal.SIGTERM: 143}[how]
    (folder / f"hold-{place}").unlink(missing_ok=True)
    began = time.monotonic()
    done = datalake(*CREATE, cwd=folder)
    assert (done.status, done.err) == (0, "")
    assert time.monotonic() - began < 40  # the lock of a dead run lasts a minute
    report = done.json
    assert (report["status"], report["rows"]) == ("COMPLETED", 40)
    exported = datalake("export", "--datasetName", "d", "--output", "-", cwd=folder)
    rows = sorted(json.loads(line)["double.n"] for line in exported.out.splitlines())
    assert rows == [2 * number for number in range(40)]


def lock(store: FolderStore, *, host: str, pid: int) -> LeaseRecord:
    """A lock that somebody holds."""
    held = LeaseRecord(
        "a" * 32, 3, timedelta(hours=1), "annotate d/double", host, pid, datetime(2026, 1, 1, tzinfo=UTC)
    )
    for key in KEYS:
        store.put(key, held.to_json(), mode=Overwrite())
    return held


KEYS = (layout.annotator_lease_key("d", "double"), layout.worker_lease_key("d", "double", "a" * 32))
"""Of a worker that works alone, and of one that shares."""


def read_lock(store: FolderStore, key: str = KEYS[0]) -> LeaseRecord:
    """A lock as it stands."""
    return LeaseRecord.from_json(store.get(key)[0], key=key)


def test_the_lock_of_a_dead_process_is_given_back(folder_store: FolderStore) -> None:
    """By marking it, as its owner would have done."""
    dead = subprocess.Popen(["true"])
    dead.wait()
    held = lock(folder_store, host=socket.gethostname(), pid=dead.pid)
    release_if_dead(folder_store, "d", "double")
    for key in KEYS:
        assert read_lock(folder_store, key).released
        assert read_lock(folder_store, key).attempt != held.attempt  # its owner must not take it for its renewal


@pytest.mark.parametrize("host", ["", "somewhere.else."])
def test_the_lock_of_a_process_that_may_be_alive_is_left_alone(folder_store: FolderStore, host: str) -> None:
    """A living one, and any of another machine."""
    held = lock(folder_store, host=host + socket.gethostname(), pid=1 if host else os.getpid())
    release_if_dead(folder_store, "d", "double")
    assert [read_lock(folder_store, key) for key in KEYS] == [held, held]


def test_no_lock_is_no_error(folder_store: FolderStore) -> None:
    """Most annotators never had one."""
    release_if_dead(folder_store, "d", "double")
    assert list(folder_store.list("")) == []
