"""Plain functions in processes: what dies, hangs or answers too much fails a row, and never the run."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from tenacity.wait import wait_random_exponential

from datalake_interfaces import DataItem
from datalake_service.annotating import processes
from datalake_service.annotating.policy import CallPolicy
from datalake_service.errors import HandlerLoadError, LimitExceededError, UsageError
from datalake_service.pipeline.annotation.annotate import annotate
from datalake_service.pipeline.annotation.job import AnnotationJob, AnnotationOptions, AnnotationReport
from datalake_service.storage.folder import FolderStore
from tests.support import process_annotators as there
from tests.support.annotations import ANNOTATOR, DATASET, chunk_rows, one_batch, run, statuses

AGAIN = CallPolicy(wait=wait_random_exponential(multiplier=0.001, max=0.01))


@pytest.fixture(autouse=True)
def _two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "processors", lambda: 2)


@pytest.fixture(autouse=True)
def _nothing_is_left() -> object:
    yield
    assert multiprocessing.active_children() == []


def test_rows_are_asked_in_other_processes(folder_store: FolderStore) -> None:
    """As many as there are processors, each for many rows."""
    report = run(folder_store, one_batch(), there.who, executor="processes", max_concurrency=16)
    assert (report.annotated, report.failed) == (100, 0)
    pids = Counter(row["pid"] for row in chunk_rows(folder_store))
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_what_goes_wrong_in_a_call_is_that_rows(folder_store: FolderStore, capfd: pytest.CaptureFixture[str]) -> None:
    """Exceptions that cannot travel, answers that cannot or are too large, rows that work the second time."""
    report = run(folder_store, one_batch(), there.troubled, executor="processes", calls=AGAIN)
    assert (report.annotated, report.failed) == (78, 22)
    errors = Counter(row["_error"].partition(":")[0] for row in chunk_rows(folder_store) if row["_status"] == "failed")
    assert errors["KeyError"] == errors["UnportableError"] == 10
    messages = {row["id"]: str(row.get("_error")) for row in chunk_rows(folder_store)}
    assert "from another process come at most 67,108,864" in messages["r0003"]
    assert "the answer cannot be sent to another process" in messages["r0004"]
    second = {row["error"] for row in chunk_rows(folder_store) if row["id"] in {"r0005", "r0015"}}
    assert second == {"ElsewhereError('TryLaterError: later')"}
    assert report.spent is not None
    assert (report.spent.calls, report.spent.usage.cost) == (110, 110.0)
    assert "to standard output" not in capfd.readouterr().out


def test_a_process_that_dies_is_replaced(folder_store: FolderStore) -> None:
    """Killed, exited, crashed in native code: the row is asked again elsewhere, the others never notice."""
    report = run(folder_store, one_batch(), there.dies_once, executor="processes", calls=AGAIN)
    assert (report.annotated, report.failed) == (100, 0)
    assert report.spent is not None
    assert report.spent.repeated == 3


def test_without_other_attempts_the_row_has_failed(folder_store: FolderStore) -> None:
    """With what is known of the end of its process."""
    report = run(folder_store, one_batch(), there.dies_once, executor="processes")
    assert (report.annotated, report.failed) == (97, 3)
    errors = {row["id"]: row["_error"] for row in chunk_rows(folder_store) if row["_status"] == "failed"}
    assert "was killed by signal 9 (SIGKILL); often that means: out of memory" in errors["r0003"]
    assert "ended with status 3" in errors["r0030"]
    assert "was killed by signal 11 (SIGSEGV)" in errors["r0060"]


def test_processes_that_always_die_end_the_run(folder_store: FolderStore) -> None:
    """Three for each worker, rather than a million; rows that failed are stored."""
    with pytest.raises(LimitExceededError, match="processes of the annotator die, 6 one after the other"):
        run(folder_store, one_batch(), there.dies, executor="processes")
    assert set(statuses(chunk_rows(folder_store)).values()) == {"failed"}


def test_a_call_that_is_too_late_is_killed(folder_store: FolderStore) -> None:
    """Starting another process takes none of the next row's time."""
    report = run(folder_store, one_batch(), there.hangs, executor="processes", timeout_seconds=0.3)
    assert (report.annotated, report.failed) == (99, 1)
    (failed,) = [row for row in chunk_rows(folder_store) if row["_status"] == "failed"]
    assert (failed["id"], failed["_error"]) == ("r0005", "no answer within 0.3 s")


def test_each_process_opens_and_closes_once(folder_store: FolderStore, tmp_path: Path) -> None:
    """Nothing is opened in the process of the run."""
    report = run(folder_store, one_batch(), there.Diary(str(tmp_path)), executor="processes")
    assert report.annotated == 100
    diaries = {path.name: path.read_text().split("\n") for path in tmp_path.iterdir() if path.name.isdigit()}
    assert len(diaries) == 2
    assert str(os.getpid()) not in diaries
    for lines in diaries.values():
        assert (lines[0], lines[-2]) == (f"open {DATASET}", "close")
        assert set(lines[1:-2]) <= {"annotate"}


@pytest.mark.parametrize(
    ("fail", "message"), [("open", "RuntimeError: no model here"), ("exit", "ended with status 9")]
)
def test_an_annotator_that_cannot_be_opened_ends_the_run(
    folder_store: FolderStore, tmp_path: Path, fail: str, message: str
) -> None:
    """Before any row is asked."""
    with pytest.raises(HandlerLoadError, match=message):
        run(folder_store, one_batch(), there.Diary(str(tmp_path), fail=fail), executor="processes")
    assert chunk_rows(folder_store) == []


def test_what_cannot_run_there_is_refused(folder_store: FolderStore) -> None:
    """Async code, and code without a name to find it by."""
    with pytest.raises(UsageError, match="is_async is async"):
        run(folder_store, one_batch(), there.is_async, executor="processes")
    with pytest.raises(HandlerLoadError, match="cannot run in another process"):
        run(folder_store, one_batch(), lambda item: {"id": item.id}, executor="processes")
    with pytest.raises(UsageError, match="executor must be 'threads' or 'processes', not 'fibres'"):
        AnnotationOptions(executor="fibres")  # type: ignore[arg-type]  # wrong on purpose


def test_batches_run_in_processes(folder_store: FolderStore) -> None:
    """Halved, retried and answered one by one as in threads."""
    report = run(folder_store, one_batch(), there.ProcessBatches(), executor="processes", calls=AGAIN)
    assert (report.annotated, report.failed) == (98, 2)
    found = statuses(chunk_rows(folder_store))
    assert {name for name, status in found.items() if status == "failed"} == {"r0020", "r0060"}
    assert report.spent is not None
    assert report.spent.usage.input_tokens >= 2 * 99


def test_an_interrupt_ends_the_processes(folder_store: FolderStore) -> None:
    """As the terminal sends it: what was answered is stored."""
    job = AnnotationJob(DATASET, ANNOTATOR, ["b1"])
    options = AnnotationOptions(executor="processes", max_concurrency=2)

    def interrupt(report: AnnotationReport) -> None:
        if report.annotated == 99:
            os.kill(os.getpid(), signal.SIGINT)

    work = annotate(folder_store, job, rows=one_batch(), function=there.hangs, options=options, progress=interrupt)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(work)
    assert Counter(statuses(chunk_rows(folder_store)).values()) == {"done": 99}


def test_a_row_that_is_too_large_fails(folder_store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is sent."""
    monkeypatch.setattr(processes, "MOST_BYTES", 10)
    report = run(folder_store, one_batch(), there.who, executor="processes")
    assert report.failed == 100
    assert "a process gets at most 10" in chunk_rows(folder_store)[0]["_error"]


def test_rows_keep_what_json_can_hold() -> None:
    """A row of a view is a dict of its own kind; what arrives is a plain one."""
    item = DataItem({"n": 2**70, "x": [None, 1.5]}, "r", "b", error=ValueError("no"))
    sent = processes._sendable(item)
    assert (sent.data, sent.id, sent.batch, repr(sent.error)) == (
        {"n": 2**70, "x": [None, 1.5]}, "r", "b", "ElsewhereError('ValueError: no')"
    )  # fmt: skip
