from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from datalake_service.catalog.tasks import TaskStatus
from datalake_service.storage import FolderStore
from tests.support.repository import ROOT
from tests.support.tasks import generator_job, merged_rows, run_jobs, state_of, write_module

T = TypeVar("T")
ROWS = 60
HANDLER = """
class Rows(Generator):
    def __init__(self, folder):
        self.folder = Path(folder)

    def generate(self):
        for number in range(60):
            if number == 25 and not (self.folder / "go").exists():
                (self.folder / "worker").write_text(str(os.getpid()))
                self.wait()
            yield {"n": number}

    def wait(self):
        raise NotImplementedError

class Slow(Rows):
    # Records come on, so that the task can see that it is to stop.
    def generate(self):
        for row in super().generate():
            yield row
            while row["n"] == 25 and not (self.folder / "go").exists():
                time.sleep(0.01)
                yield SkipDoc()

    def wait(self):
        pass

class Hanging(Rows):
    def wait(self):
        while True:
            time.sleep(60)
"""
PARENT = """
import sys
from pathlib import Path
from typing import TypeVar
from datalake_service.storage import FolderStore
from tests.support.tasks import generator_job, run_jobs

folder, reference = Path(sys.argv[1]), sys.argv[2]
store = FolderStore(folder / "lake", durable=False)
job = generator_job(store, folder, reference=reference, parameters={"folder": str(folder)})
print(run_jobs([job])["t1"].status)
"""


def wait_for(condition: Callable[[], T]) -> T:
    """Wait until something is true; the test's own time-out bounds it."""
    while not (value := condition()):
        time.sleep(0.01)
    return value


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Running:
    """A parent process in the middle of its task."""

    def __init__(self, folder: Path, reference: str) -> None:
        self.folder = folder
        self.reference = reference
        self.process = subprocess.Popen(
            [sys.executable, "-c", PARENT, str(folder), reference],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        reached = folder / "worker"
        wait_for(lambda: reached.exists() and reached.read_text(encoding="ascii"))
        self.worker = int(reached.read_text(encoding="ascii"))

    def end(self) -> tuple[int, str, str]:
        """Exit status and output, once it has ended."""
        output, errors = self.process.communicate(timeout=60)
        return self.process.returncode, output, errors

    def finish_later(self, store: FolderStore) -> None:
        """Run the task again, in a way that lets it come to its end."""
        (self.folder / "go").touch()
        job = generator_job(store, self.folder, reference=self.reference, parameters={"folder": str(self.folder)})
        assert run_jobs([job])["t1"].status is TaskStatus.COMPLETED
        assert sorted(row["n"] for row in merged_rows(store).values()) == list(range(ROWS))
        assert state_of(store).counts.documents == ROWS


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Running]]:
    """Starts a parent; nothing of it survives the test."""
    write_module(tmp_path, HANDLER)
    started: list[Running] = []

    def begin(reference: str) -> Running:
        started.append(Running(tmp_path, reference))
        return started[-1]

    yield begin
    for running in started:
        for pid in (running.process.pid, running.worker):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        running.process.communicate()


@pytest.mark.parametrize("request_to_end", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_what_is_done(
    start: Callable[[str], Running], store: FolderStore, request_to_end: signal.Signals
) -> None:
    """The rows so far are durable and counted; the next run goes on."""
    running = start("handler.Slow")
    running.process.send_signal(request_to_end)
    assert running.end() == (0, "STOPPED\n", "")
    assert state_of(store).status is TaskStatus.STOPPED
    assert state_of(store).counts.documents == 26
    assert len(merged_rows(store)) == 26
    assert not is_alive(running.worker)
    running.finish_later(store)


def test_a_second_interrupt_does_not_wait(start: Callable[[str], Running], store: FolderStore) -> None:
    """A handler that hangs cannot be stopped in order; its process is killed."""
    running = start("handler.Hanging")
    running.process.send_signal(signal.SIGINT)
    time.sleep(0.5)  # the second one has to find the first one heard, or it is the same as one
    assert running.process.poll() is None
    running.process.send_signal(signal.SIGINT)
    status, output, errors = running.end()
    assert (status, output) == (-signal.SIGINT, "")
    assert errors.rstrip().endswith("KeyboardInterrupt")
    wait_for(lambda: not is_alive(running.worker))
    assert state_of(store).status is TaskStatus.RUNNING
    running.finish_later(store)


def test_a_worker_does_not_outlive_its_parent(start: Callable[[str], Running], store: FolderStore) -> None:
    """After kill -9 of the parent the next run can have the task at once."""
    running = start("handler.Hanging")
    running.process.kill()
    running.end()
    wait_for(lambda: not is_alive(running.worker))
    assert state_of(store).status is TaskStatus.RUNNING
    running.finish_later(store)


def test_a_killed_worker_is_replaced(start: Callable[[str], Running], store: FolderStore) -> None:
    """As kill -9 from outside does it, in the middle of a record."""
    running = start("handler.Hanging")
    (running.folder / "go").touch()
    os.kill(running.worker, signal.SIGKILL)
    assert running.end() == (0, "COMPLETED\n", "")
    assert state_of(store).attempt == 2
    assert sorted(row["n"] for row in merged_rows(store).values()) == list(range(ROWS))
