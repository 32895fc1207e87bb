"""Four workers of one dataset file, as real processes that are killed and started again."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from datalake_service.catalog import layout
from datalake_service.catalog.tasks import TaskStatus, load_tasks
from datalake_service.pipeline.tasks.stopping import LOOK_SECONDS
from datalake_service.storage import FolderStore
from tests.cli.commands import datalake, environment
from tests.support import warm
from tests.support.tasks import write_module

Worker = warm.Running | subprocess.Popen[bytes]
FILES, LINES, WORKERS = 16, 10, 4
HANDLER = """
from datalake_interfaces import RecordParseHint, SingleFileParser

class Slow(SingleFileParser):
    # Notes which command handles what, before it does.
    def get_record_start_pattern(self, s3_file_type):
        return RecordParseHint("OFFSET", offset=0)

    def get_record_end_pattern(self, s3_file_type):
        return RecordParseHint("PATTERN", "\\n")

    def parse_document(self, s3_file_type, s3_filename, offset_bytes, byte_arr, start_index, end_index):
        text = byte_arr[start_index:end_index].decode().strip()
        with open("journal", "a") as journal:
            journal.write(f"{os.getppid()} {text}\\n")
        time.sleep(0.02)
        while text.endswith("/5") and Path("hold").exists():
            time.sleep(0.01)
        return Document({"text": text}, document_id=text)
"""
DOCUMENT = {
    "datasetName": "d",
    "readConnector": {
        "connectorDestination": "FOLDER",
        "path": "input",
        "singleFileParserImplementationClassName": "handler.Slow",
    },
    "writeConnector": {"batch": "b", "chunkSize": 5},
}


class Workers:
    """Processes on one lake."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = FolderStore(folder / "lake")
        self.hold = folder / "hold"
        """While it is there, nobody gets beyond the middle of a file."""
        self.all: list[Worker] = []
        self.killed: set[int] = set()
        write_module(folder, HANDLER)
        (folder / "dataset.json").write_text(json.dumps(DOCUMENT), encoding="utf-8")
        (folder / "input").mkdir()
        for file in range(FILES):
            lines = "".join(f"{file}/{line}\n" for line in range(LINES))
            (folder / "input" / f"{file:02}.log").write_text(lines, encoding="utf-8")

    def start(self, *options: str) -> Worker:
        """Start a worker."""
        out, err = self._said(len(self.all))
        arguments = ("worker", "--configFile", "dataset.json", "--concurrency", "1", *options)
        worker = warm.popen(arguments, cwd=self.folder, env=environment(), out=out, err=err)
        self.all.append(worker)
        return worker

    def ended(self, worker: Worker, seconds: float) -> tuple[str, str]:
        """Wait for its end; returns what it said, in earnest and besides."""
        worker.wait(seconds)
        return self.said(worker)

    def said(self, worker: Worker) -> tuple[str, str]:
        """What it said so far."""
        out, err = self._said(self.all.index(worker))
        return out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8")

    def _said(self, number: int) -> tuple[Path, Path]:
        return self.folder / f"{number}.out", self.folder / f"{number}.err"

    def journal(self) -> list[tuple[int, str]]:
        """Who handled what."""
        path = self.folder / "journal"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [(int(pid), text) for pid, _, text in (line.partition(" ") for line in lines)]

    def one_at_work(self, lines: int) -> Worker:
        """Wait until so many records were handled; returns the living worker that handled the last of them."""
        while len(self.journal()) < lines:
            assert any(worker.poll() is None for worker in self.all), [*map(self.said, self.all)]
            time.sleep(0.01)
        living = {worker.pid: worker for worker in self.all if worker.poll() is None}
        return next(living[pid] for pid, _ in reversed(self.journal()) if pid in living)

    def kill(self, worker: Worker) -> None:
        """With nothing said."""
        worker.kill()
        worker.wait()
        self.killed.add(worker.pid)


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    """A folder with input, and whatever is started in it."""
    workers = Workers(tmp_path)
    yield workers
    for worker in workers.all:
        worker.kill()
        worker.wait()


def test_four_workers_of_which_some_are_killed_do_each_task_once(workers: Workers) -> None:
    """Rows are there once; what was handled twice, a worker had that was killed; all others say that all is done."""
    workers.hold.touch()  # nobody comes to the end of a file before all kills
    for _ in range(WORKERS):
        workers.start()
    for lines in (3, 14):
        workers.kill(workers.one_at_work(lines))
        workers.start()
    workers.hold.unlink()
    answers = [workers.ended(worker, 100) for worker in workers.all]
    ended = [(w, json.loads(out)) for w, (out, _) in zip(workers.all, answers, strict=True) if w.returncode == 0]
    assert len(ended) == WORKERS, answers
    assert sum(w.returncode == -signal.SIGKILL for w in workers.all) == len(workers.killed) == 2
    reports = [report for _, report in ended]
    assert {report["status"] for report in reports} == {"COMPLETED"}
    assert {report["rows"] for report in reports} == {FILES * LINES}
    assert {report["tasks"]["planned"] for report in reports} == {FILES}

    handled: dict[str, list[int]] = defaultdict(list)
    for pid, text in workers.journal():
        handled[text].append(pid)
    expected = {f"{file}/{line}" for file in range(FILES) for line in range(LINES)}
    assert handled.keys() == expected
    assert {pid for pids in handled.values() for pid in pids[:-1]} <= workers.killed

    states = [stored.state.status for stored in load_tasks(workers.store, "d")]
    assert states == [TaskStatus.COMPLETED] * FILES
    assert list(workers.store.list(layout.task_workers_prefix("d"))) == []
    exported = datalake("export", "--datasetName", "d", "--output", "-", cwd=workers.folder)
    assert sorted(json.loads(line)["text"] for line in exported.out.splitlines()) == sorted(expected)

    viewed = datalake("datasets", "view", "--datasetName", "d", cwd=workers.folder).json
    statuses = [run["status"] for run in viewed["runs"]]
    assert sorted(statuses) == ["COMPLETED"] * WORKERS + ["DIED"] * 2
    stopped = datalake("datasets", "stop", "--datasetName", "d", cwd=workers.folder).json
    assert stopped["runs"] == []


def test_a_request_to_stop_ends_all_of_them_and_another_goes_on(workers: Workers) -> None:
    """What was handled stays handled; the exit status says that there is something left."""
    workers.hold.touch()
    for _ in range(2):
        workers.start("--concurrency", "2")
    while len({pid for pid, _ in workers.journal()}) < 2:
        workers.one_at_work(1)
        time.sleep(0.01)
    asked = datalake("datasets", "stop", "--datasetName", "d", cwd=workers.folder)
    assert asked.status == 0
    time.sleep(2 * LOOK_SECONDS)  # by then both have looked
    workers.hold.unlink()
    for worker in workers.all:
        out, err = workers.ended(worker, 60)
        assert worker.returncode == 1, (out, err)
        report = json.loads(out)
        assert (report["status"], report["stopRequested"]) == ("STOPPED", True)
    last = workers.start()
    out, err = workers.ended(last, 60)
    assert last.returncode == 0, err
    assert json.loads(out)["rows"] == FILES * LINES
    texts = [text for _, text in workers.journal()]
    assert len(texts) == len(set(texts))
