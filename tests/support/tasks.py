"""Small tasks around generators that a test writes as text, and a look at what became of them."""

from __future__ import annotations

import dataclasses
import json
import textwrap
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from datalake_service.catalog import layout
from datalake_service.catalog.tasks import TaskState, TaskStatus, create_task, load_task
from datalake_service.engines.local import LocalEngine
from datalake_service.pipeline.jobs.engine import (
    FileInput,
    GeneratorInput,
    HandlerSpec,
    LakeOutput,
    TaskJob,
    TaskProgress,
    TaskResult,
)
from datalake_service.pipeline.tasks.task import run_task
from datalake_service.storage import FolderStore
from datalake_service.storage.base import ObjectStore
from datalake_utils.clock import Clock, ManualClock

OUTPUT_FIELDS = {field.name for field in dataclasses.fields(LakeOutput)}
NOW = datetime(2026, 11, 20, 13, tzinfo=UTC)
HEADER = """
import os, signal, sys, time
from pathlib import Path
from datalake_interfaces import Document, ErrorDoc, Generator, SkipDoc
"""


def write_module(folder: Path, code: str, *, name: str = "handler") -> Path:
    """A module of the user's, with the usual imports; returns its folder."""
    folder.mkdir(exist_ok=True, parents=True)
    (folder / f"{name}.py").write_text(HEADER + textwrap.dedent(code), encoding="utf-8")
    return folder


def generator_job(
    store: ObjectStore,
    folder: Path,
    *,
    task: str = "t1",
    reference: str = "handler.Rows",
    parameters: Mapping[str, Any] | None = None,
    **fields: Any,
) -> TaskJob:
    """A task whose object exists, for a generator class in ``folder``."""
    create_task(store, "d", TaskState(id=task, item=reference, batch="b", created_at=NOW))
    handler = HandlerSpec(reference, folder, parameters or {})
    return TaskJob(task=task, source=task, input=GeneratorInput(), handler=handler, store=store, **job_fields(fields))


def job_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The other fields of a job; those of its output (``chunk_size`` and so on) may stand among them."""
    output = {"chunk_size": 10} | {name: value for name, value in fields.items() if name in OUTPUT_FIELDS}
    others = {name: value for name, value in fields.items() if name not in OUTPUT_FIELDS}
    return {"dataset": "d", "batch": "b", "output": LakeOutput(**output)} | others


class Listener:
    """Keeps what an engine says while it runs."""

    def __init__(self) -> None:
        self.events: list[TaskProgress | TaskResult] = []

    def __call__(self, event: TaskProgress | TaskResult) -> None:
        self.events.append(event)


def run_jobs(jobs: list[TaskJob], *, concurrency: int = 1) -> dict[str, TaskResult]:
    """Run tasks in processes; returns their results by task."""
    results = LocalEngine(concurrency=concurrency).run(jobs, on_event=Listener(), stop=threading.Event())
    return {result.task: result for result in results}


def state_of(store: ObjectStore, task: str = "t1") -> TaskState:
    """What the task's object says."""
    return load_task(store, "d", task).state


def stored_rows(store: ObjectStore) -> list[dict[str, Any]]:
    """The rows of all chunks of the batch, in key order; repetitions included."""
    prefix = layout.batch_prefix("d", "b")
    keys = [meta.key for meta in store.list(prefix) if layout.parse_chunk(meta.key.rpartition("/")[2])]
    return [json.loads(line) for key in keys for line in store.get(key)[0].splitlines()]


def merged_rows(store: ObjectStore) -> dict[str, dict[str, Any]]:
    """The rows as a merge would keep them: the first of each id. Rows of one id have to be equal."""
    rows: dict[str, dict[str, Any]] = {}
    for row in stored_rows(store):
        assert rows.setdefault(row["id"], row) == row
    return rows


def stored_rejections(store: ObjectStore) -> dict[str, list[dict[str, Any]]]:
    """The rejections of the batch, by file name."""
    prefix = layout.rejected_prefix("d", "b")
    files = {meta.key.removeprefix(prefix): store.get(meta.key)[0] for meta in store.list(prefix)}
    return {name: [json.loads(line) for line in body.splitlines()] for name, body in files.items()}


class TickingClock:
    """A clock on which every look takes some time, so that what is due after a while is due soon."""

    def __init__(self, seconds: float = 1.0, *, start: datetime | None = None) -> None:
        self._manual = ManualClock() if start is None else ManualClock(start)
        self._seconds = seconds

    def now(self) -> datetime:
        return self._manual.now()

    def now_ns(self) -> int:
        return self._manual.now_ns()

    def monotonic(self) -> float:
        self._manual.advance(self._seconds)
        return self._manual.monotonic()

    def sleep(self, seconds: float) -> None:
        self._manual.sleep(seconds)


LINES = """
from datalake_interfaces import ParseDocumentResult, RecordParseHint, SingleFileParser

class Lines(SingleFileParser):
    # One record a line: "doc ...", "skip ...", "bad ...", "raise ...", "own ID ...", "set ...".
    def __init__(self, *, accept=()):
        self.accept = accept

    def get_record_start_pattern(self, s3_file_type):
        return RecordParseHint("OFFSET", offset=0)

    def get_record_end_pattern(self, s3_file_type):
        return RecordParseHint("PATTERN", "\\n")

    def parse_document(self, s3_file_type, s3_filename, offset_bytes, byte_arr, start_index, end_index):
        word, _, rest = byte_arr[start_index:end_index].decode().strip().partition(" ")
        if word in self.accept or word == "doc":
            return Document({"text": rest})
        if word == "skip":
            return SkipDoc()
        if word == "own":
            return Document({"text": rest}, document_id=rest.split()[0])
        if word == "set":
            return Document({"text": object()})
        if word == "raise":
            raise RuntimeError(rest)
        return ErrorDoc(error_message=f"bad line: {rest}")
"""
"""A parser for text that a test makes up."""


def file_job(
    store: ObjectStore,
    folder: Path,
    *,
    name: str,
    task: str = "t1",
    reference: str = "handler.Lines",
    parameters: Mapping[str, Any] | None = None,
    source: ObjectStore | None = None,
    **fields: Any,
) -> TaskJob:
    """A task whose object exists, for a file below ``folder / "input"`` (or in another store)."""
    create_task(store, "d", TaskState(id=task, item=name, batch="b", created_at=NOW))
    handler = HandlerSpec(reference, folder, parameters or {})
    files = FileInput(source or FolderStore(folder / "input", durable=False), name)
    return TaskJob(task=task, source=name, input=files, handler=handler, store=store, **job_fields(fields))


def after(looks: int) -> Callable[[], bool]:
    """Says yes when it was asked so often."""
    asked = iter(range(looks))
    return lambda: next(asked, None) is None


def run_here(job: TaskJob, *, stop: Callable[[], bool] = lambda: False, clock: Clock | None = None) -> TaskResult:
    """Run a task in this process."""
    return run_task(job, stop=stop, report=lambda _: None, clock=clock or TickingClock(0.01))


class InlineEngine:
    """Runs tasks one after the other in this process."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        """The sources of the tasks that were run, in order."""

    def run(
        self,
        jobs: Sequence[TaskJob],
        *,
        on_event: Callable[[TaskProgress | TaskResult], None],
        stop: threading.Event,
        more: Callable[[TaskResult], Sequence[TaskJob]] | None = None,
    ) -> list[TaskResult]:
        results = []
        waiting = list(jobs)
        for job in waiting:
            if stop.is_set():
                results.append(TaskResult(job.task, TaskStatus.CREATED))
                continue
            self.ran.append(job.source)
            result = run_task(job, stop=stop.is_set, report=on_event, clock=TickingClock(0.01))
            on_event(result)
            results.append(result)
            waiting.extend(more(result) if more is not None else ())
        return results
