"""Tasks: their states, the table of moves between them, and the objects that keep them.

A task is one item of a manifest read into one batch. Its object is the only thing that decides where a task goes on
after a crash. Knows nothing of readers (a checkpoint is opaque here), handlers or engines.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from datalake_service.catalog import layout
from datalake_service.catalog.manifests import FORMAT_VERSION, check_format, format_time, parse_time
from datalake_service.errors import (
    AlreadyExistsError,
    ObjectNotFoundError,
    OutcomeUnknownError,
    StoreError,
    UsageError,
)
from datalake_service.storage.base import CreateOnly, IfMatch, ObjectStore

_THREADS = 16
"""States are small objects; a store answers this many requests as fast as one."""


class TaskStatus(StrEnum):
    """Where a task stands."""

    CREATED = "CREATED"
    """Planned, and nothing of it was read."""
    RUNNING = "RUNNING"
    """A worker has it, or had it when it died."""
    COMPLETED = "COMPLETED"
    """Read to the end under its policy, rejections or not."""
    FAILED = "FAILED"
    """Given up; ``error`` says why. The next run goes on from the checkpoint."""
    STOPPED = "STOPPED"
    """Ended on request, in order. The next run goes on from the checkpoint."""


class TaskEvent(StrEnum):
    """What can happen to a task."""

    START = "start"
    """A worker takes it. Allowed while it is running: the worker before may be dead, and if it is not, its next
    checkpoint finds another version of the state and it gives up. Allowed when it is completed for sources that may
    have more by now."""
    CHECKPOINT = "checkpoint"
    """Everything up to the checkpoint is durable."""
    COMPLETE = "complete"
    FAIL = "fail"
    STOP = "stop"
    RESET = "reset"
    """Read from the beginning again: its input changed, or somebody asked for it."""


TRANSITIONS: Mapping[tuple[TaskStatus, TaskEvent], TaskStatus] = MappingProxyType(
    {
        (TaskStatus.CREATED, TaskEvent.START): TaskStatus.RUNNING,
        (TaskStatus.CREATED, TaskEvent.FAIL): TaskStatus.FAILED,
        (TaskStatus.CREATED, TaskEvent.STOP): TaskStatus.STOPPED,
        (TaskStatus.RUNNING, TaskEvent.START): TaskStatus.RUNNING,
        (TaskStatus.RUNNING, TaskEvent.CHECKPOINT): TaskStatus.RUNNING,
        (TaskStatus.RUNNING, TaskEvent.COMPLETE): TaskStatus.COMPLETED,
        (TaskStatus.RUNNING, TaskEvent.FAIL): TaskStatus.FAILED,
        (TaskStatus.RUNNING, TaskEvent.STOP): TaskStatus.STOPPED,
        (TaskStatus.RUNNING, TaskEvent.RESET): TaskStatus.CREATED,
        (TaskStatus.STOPPED, TaskEvent.START): TaskStatus.RUNNING,
        (TaskStatus.STOPPED, TaskEvent.FAIL): TaskStatus.FAILED,
        (TaskStatus.STOPPED, TaskEvent.RESET): TaskStatus.CREATED,
        (TaskStatus.FAILED, TaskEvent.START): TaskStatus.RUNNING,
        (TaskStatus.FAILED, TaskEvent.RESET): TaskStatus.CREATED,
        (TaskStatus.COMPLETED, TaskEvent.START): TaskStatus.RUNNING,
        (TaskStatus.COMPLETED, TaskEvent.RESET): TaskStatus.CREATED,
    }
)
"""Every move that exists; a move that is not here is refused. The table in ``docs/design/008-tasks.md`` shows it."""


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """What a task has made durable so far; ``records = documents + skips + rejections`` at every checkpoint."""

    records: int = 0
    """Records read, one for each stretch of input that could not be read included."""
    documents: int = 0
    """Rows stored in chunks."""
    skips: int = 0
    """Records that the handler left out."""
    rejections: int = 0
    """Records kept aside with a reason."""
    size: int = 0
    """Bytes of input behind the checkpoint (compressed, where the input is)."""

    @property
    def balanced(self) -> bool:
        """Whether no record is unaccounted for."""
        return self.records == self.documents + self.skips + self.rejections

    def __add__(self, other: TaskCounts) -> TaskCounts:
        """Sum of both."""
        return TaskCounts(
            self.records + other.records,
            self.documents + other.documents,
            self.skips + other.skips,
            self.rejections + other.rejections,
            self.size + other.size,
        )

    def to_dict(self) -> dict[str, int]:
        """The JSON form."""
        return {
            "records": self.records,
            "documents": self.documents,
            "skips": self.skips,
            "rejections": self.rejections,
            "bytes": self.size,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, int]) -> TaskCounts:
        """Read the JSON form."""
        return cls(data["records"], data["documents"], data["skips"], data["rejections"], data["bytes"])


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """One task as its object keeps it."""

    id: str
    """Names the task in its dataset; stable for the same item and batch."""
    item: str
    """The manifest item, for people."""
    batch: str
    status: TaskStatus = TaskStatus.CREATED
    attempt: int = 0
    """How often it was started."""
    worker: str | None = None
    """Who has it, or had it last."""
    run: str | None = None
    """The run that the last attempt writes its chunks to."""
    input: Mapping[str, Any] | None = None
    """What identifies the version of the input that the checkpoint belongs to; ``None``: not known."""
    checkpoint: Any = None
    """Where to go on: JSON of the reader, opaque here. ``None``: at the beginning."""
    rejection_files: int = 0
    """Rejection files that count; the next one gets this number."""
    rejection_files_ever: int = 0
    """The most that ever counted, resets included: what may have to be removed in the end."""
    counts: TaskCounts = field(default_factory=TaskCounts)
    notes: tuple[str, ...] = ()
    """What its user should know although it went on, for instance that an archive is cut off."""
    error: str | None = None
    """Why it failed the last time; one line."""
    created_at: datetime
    started_at: datetime | None = None
    """When the last attempt began."""
    finished_at: datetime | None = None
    """When it completed, failed or stopped."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, for the object and for ``tasks list``."""
        return {
            "format": FORMAT_VERSION,
            "id": self.id,
            "item": self.item,
            "batch": self.batch,
            "status": str(self.status),
            "attempt": self.attempt,
            "worker": self.worker,
            "run": self.run,
            "input": None if self.input is None else dict(self.input),
            "checkpoint": self.checkpoint,
            "rejectionFiles": self.rejection_files,
            "rejectionFilesEver": self.rejection_files_ever,
            "counts": self.counts.to_dict(),
            "notes": list(self.notes),
            "error": self.error,
            "createdAt": format_time(self.created_at),
            "startedAt": None if self.started_at is None else format_time(self.started_at),
            "finishedAt": None if self.finished_at is None else format_time(self.finished_at),
        }

    @classmethod
    def from_json(cls, data: bytes, *, key: str) -> TaskState:
        """Read a state; ``key`` names it in errors.

        Raises:
            StoreError: Not a task state, or of a newer format.
        """
        try:
            document = json.loads(data)
            check_format(document["format"], key=key)
            return cls(
                id=document["id"],
                item=document["item"],
                batch=document["batch"],
                status=TaskStatus(document["status"]),
                attempt=document["attempt"],
                worker=document["worker"],
                run=document["run"],
                input=document["input"],
                checkpoint=document["checkpoint"],
                rejection_files=document["rejectionFiles"],
                rejection_files_ever=document["rejectionFilesEver"],
                counts=TaskCounts.from_dict(document["counts"]),
                notes=tuple(document["notes"]),
                error=document["error"],
                created_at=parse_time(document["createdAt"]),
                started_at=None if document["startedAt"] is None else parse_time(document["startedAt"]),
                finished_at=None if document["finishedAt"] is None else parse_time(document["finishedAt"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            msg = f"{key} is not a task state ({type(error).__name__}: {error}); delete it to read its input again"
            raise StoreError(msg) from error


@dataclass(frozen=True, slots=True)
class StoredTask:
    """A state and the version of the object that holds it."""

    state: TaskState
    etag: str


def move(state: TaskState, event: TaskEvent, **changes: Any) -> TaskState:  # noqa: ANN401 - fields of the state
    """Return ``state`` after ``event``, with ``changes`` to its other fields.

    Raises:
        UsageError: The event cannot happen in this status.
    """
    status = TRANSITIONS.get((state.status, event))
    if status is None:
        allowed = ", ".join(sorted(move_event for origin, move_event in TRANSITIONS if origin is state.status))
        msg = f"task {state.id} is {state.status}: '{event}' is not possible, only {allowed}"
        raise UsageError(msg)
    return replace(state, status=status, **changes)


def reset(state: TaskState) -> TaskState:
    """Return ``state`` as if nothing had been read. Rows and rejections that it stored stay where they are.

    Raises:
        UsageError: The task is not in a status that can be reset.
    """
    return move(
        state,
        TaskEvent.RESET,
        checkpoint=None,
        input=None,
        rejection_files=0,
        counts=TaskCounts(),
        notes=(),
        error=None,
        started_at=None,
        finished_at=None,
    )


def create_task(store: ObjectStore, dataset: str, state: TaskState) -> StoredTask:
    """Store a new task; if it exists already, return it as it is."""
    key = layout.task_key(dataset, state.id)
    try:
        return StoredTask(state, store.put(key, _encode(state), mode=CreateOnly()).etag)
    except AlreadyExistsError:
        return load_task(store, dataset, state.id)


def save_task(store: ObjectStore, dataset: str, state: TaskState, *, etag: str) -> StoredTask:
    """Replace exactly the version ``etag``.

    Raises:
        PreconditionFailedError: Somebody else changed the task since: they own it now.
        OutcomeUnknownError: It may or may not have been replaced.
    """
    try:
        meta = store.put(layout.task_key(dataset, state.id), _encode(state), mode=IfMatch(etag))
    except OutcomeUnknownError:
        found = load_task(store, dataset, state.id)
        if found.state != state:
            raise
        return found
    return StoredTask(state, meta.etag)


def load_task(store: ObjectStore, dataset: str, task: str) -> StoredTask:
    """Read one task.

    Raises:
        ObjectNotFoundError: No such task.
    """
    key = layout.task_key(dataset, task)
    body, meta = store.get(key)
    return StoredTask(TaskState.from_json(body, key=key), meta.etag)


def load_tasks(store: ObjectStore, dataset: str, *, among: Collection[str] | None = None) -> list[StoredTask]:
    """Read the tasks of a dataset, in the order of their ids: one listing, then one request for each.

    ``among``: only those of them that exist, whatever else the dataset has.
    """
    prefix = layout.tasks_prefix(dataset)
    names = [meta.key.removeprefix(prefix) for meta in store.list(prefix)]
    tasks = [name.removesuffix(".json") for name in names if name.endswith(".json")]
    tasks = [task for task in tasks if among is None or task in among]
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="tasks") as pool:
        found = pool.map(lambda task: _load_if_there(store, dataset, task), tasks)
        return [stored for stored in found if stored is not None]


def create_tasks(store: ObjectStore, dataset: str, states: Iterable[TaskState]) -> list[StoredTask]:
    """Store many new tasks at once; see ``create_task``."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="tasks") as pool:
        return list(pool.map(lambda state: create_task(store, dataset, state), states))


def _load_if_there(store: ObjectStore, dataset: str, task: str) -> StoredTask | None:
    try:
        return load_task(store, dataset, task)
    except ObjectNotFoundError:  # deleted since the listing
        return None


def _encode(state: TaskState) -> bytes:
    return json.dumps(state.to_dict(), indent=1).encode("ascii")
