"""One call of the user's mapper or reducer, as a task: taken, called, looked at, ended. It has no checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from datalake_interfaces.readers import SparkMapperInterface, SparkReducerInterface
from datalake_service.catalog.tasks import StoredTask, TaskEvent, TaskStatus, load_task, move, save_task
from datalake_service.errors import HandlerLoadError, PreconditionFailedError, StoreError
from datalake_service.handling.load import load_handler
from datalake_service.handling.telling import told
from datalake_service.pipeline.jobs.engine import TaskJob, TaskResult
from datalake_service.pipeline.jobs.spark_inputs import INTERMEDIATE, Program, SparkProgramInput
from datalake_service.pipeline.tasks.task import result_of, worker_name
from datalake_service.storage.base import ObjectStore
from datalake_utils.clock import Clock

WRITE_MODE: Final = "overwrite"
"""What a call that is made again does with what it wrote."""


def run_program(job: TaskJob, call: SparkProgramInput, *, stopped: Callable[[], bool], clock: Clock) -> TaskResult:
    """Make one call; it may be made again after any crash.

    Args:
        job: The task; its object exists.
        call: Its input.
        stopped: Whether a call that failed did so because the run is to end.
        clock: Time source.

    Raises:
        HandlerLoadError: The class cannot be loaded; nothing was changed.
    """
    try:
        handler = _loaded(job, call)
        stored = load_task(job.store, job.dataset, job.task)
        if stored.state.status is TaskStatus.COMPLETED:
            return result_of(stored.state)
        changes = {"attempt": stored.state.attempt + 1, "worker": worker_name(), "error": None, "finished_at": None}
        versions = {"files": {name: _version(call.store, name) for name in call.names}}
        stored = _moved(job, stored, TaskEvent.START, started_at=clock.now(), input=versions, **changes)
        event, error = _called(handler, job, call, stopped)
        stored = _moved(job, stored, event, error=error, finished_at=clock.now())
        return result_of(stored.state)
    except PreconditionFailedError:
        return TaskResult(job.task, TaskStatus.RUNNING, error="another run has taken the task over")
    except StoreError as error:
        return _failed(job, str(error), clock)


def folder_of(job: TaskJob, batch: str, folder: str) -> str:
    """The prefix of a folder of files of a batch, below the root of the destination."""
    return f"{job.dataset}/{batch}/{folder}/"


def spark_uri(store: ObjectStore, key: str) -> str:
    """A place of a store as Spark calls it."""
    if store.uri.startswith("s3://"):
        return f"s3a://{store.uri.removeprefix('s3://')}/{key}".rstrip("/")
    return f"file://{Path(store.uri) / key}".rstrip("/")


def _called(
    handler: object, job: TaskJob, call: SparkProgramInput, stopped: Callable[[], bool]
) -> tuple[TaskEvent, str | None]:
    prefix = folder_of(job, job.batch, call.folder)
    before = _versions(call.target, prefix)
    reads: object = _read_uris(job, call)
    method = call.program
    try:
        getattr(handler, method)(
            f"{job.dataset}-{job.task}",
            call.source,
            reads if call.program is Program.REDUCER else reads[0],  # type: ignore[index]  # a mapper has one file
            call.reads.name,
            dict(call.reads.options),
            call.destination,
            spark_uri(call.target, prefix),
            call.writes.name,
            WRITE_MODE,
            dict(call.writes.options),
            call.secret,
        )
    except StoreError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code
        if stopped():
            return TaskEvent.STOP, None
        return TaskEvent.FAIL, f"{call.reference}.{method} raised {told(error, job.handler.folder.resolve())}"
    if _versions(call.target, prefix) <= before:
        where = spark_uri(call.target, prefix)
        return TaskEvent.FAIL, f"{call.reference}.{method} wrote nothing to {where}: write the result there"
    return TaskEvent.COMPLETE, None


def _read_uris(job: TaskJob, call: SparkProgramInput) -> list[str]:
    found = [spark_uri(call.store, name) for name in call.names]
    for task in call.after:  # each in the batch that it was written to
        batch = load_task(job.store, job.dataset, task).state.batch
        found.append(spark_uri(call.target, folder_of(job, batch, f"{INTERMEDIATE}/{task}")))
    return found


def _loaded(job: TaskJob, call: SparkProgramInput) -> object:
    interface = SparkMapperInterface if call.program is Program.MAPPER else SparkReducerInterface
    spec = job.handler
    return load_handler(call.reference, folder=spec.folder, interface=interface, parameters=spec.parameters)


def _version(store: ObjectStore, name: str) -> dict[str, Any]:
    meta = store.head(name)
    return {"key": meta.key, "etag": meta.etag, "size": meta.size}


def _versions(store: ObjectStore, prefix: str) -> set[tuple[str, str]]:
    """What is below a prefix; another set: something was written."""
    return {(meta.key, meta.etag) for meta in store.list(prefix)}


def _moved(job: TaskJob, stored: StoredTask, event: TaskEvent, **changes: object) -> StoredTask:
    return save_task(job.store, job.dataset, move(stored.state, event, **changes), etag=stored.etag)


def _failed(job: TaskJob, reason: str, clock: Clock) -> TaskResult:
    try:
        stored = load_task(job.store, job.dataset, job.task)
        return result_of(_moved(job, stored, TaskEvent.FAIL, error=reason, finished_at=clock.now()).state)
    except (StoreError, HandlerLoadError):
        return TaskResult(job.task, TaskStatus.FAILED, error=reason)
