"""The port between a dataset's run and the place where its tasks run, and the values that cross it.

Knows nothing of processes or machines: an engine is handed to ``create_dataset``. Everything here can be pickled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from datalake_service.aws.clients import AwsClients
from datalake_service.catalog.stops import StopRequests
from datalake_service.catalog.tasks import TaskCounts, TaskStatus
from datalake_service.handling.policy import OnError
from datalake_service.pipeline.jobs.outputs import Elsewhere, RejectionsPlace, VectorStep
from datalake_service.pipeline.jobs.spark_inputs import SparkProgramInput
from datalake_service.pipeline.jobs.stream_inputs import SegmentInput, ShardInput
from datalake_service.storage.base import ObjectStore

HANDLER_LOGGER = "datalake.handler"
"""The logger that handlers are given."""


@dataclass(frozen=True, slots=True)
class HandlerSpec:
    """Which class of the user's to construct, and how."""

    reference: str
    """``module.Class``."""
    folder: Path
    """Where the dataset file is."""
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileInput:
    """One object, read record by record with a ``SingleFileParser``."""

    ends: ClassVar[bool] = True
    """Whether a task that has read it to its end is done for good."""
    endless: ClassVar[bool] = False
    """Whether a task may never end by itself."""
    store: ObjectStore
    name: str
    """The manifest's line; the parser may resolve it to another key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineInput:
    """One object or several, read step by step with a state-machine reader."""

    ends: ClassVar[bool] = True
    endless: ClassVar[bool] = False
    store: ObjectStore
    files: Mapping[str, str]
    """Names by file type; for a ``SingleFileStateMachineReader``, which says the type itself, one of type ``""``."""
    parsers: Mapping[str, str] = field(default_factory=dict)
    """Parsers by file type, as ``module.Class``; those that the reader does not bring itself."""
    prefix: str = ""
    """Before the resolved name of a file it makes the file's stable name."""


@dataclass(frozen=True, slots=True)
class GeneratorInput:
    """The rows that a ``Generator`` yields."""

    ends: ClassVar[bool] = True
    endless: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueInput:
    """The messages of a queue, through a ``QueueMessageReader``."""

    ends: ClassVar[bool] = False
    """An empty queue may fill again."""
    clients: AwsClients
    queue: str
    """Its name."""
    empty_receives: int | None
    """After so many receives in a row that got nothing the task is completed; ``None``: it does not end by itself."""

    @property
    def endless(self) -> bool:
        """Whether the task does not end by itself."""
        return self.empty_receives is None


Input = FileInput | MachineInput | GeneratorInput | QueueInput | ShardInput | SegmentInput | SparkProgramInput
"""What is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LakeOutput:
    """Rows into chunks of a batch of the lake."""

    chunk_size: int
    deduplicate_on: tuple[str, ...] | None = None
    batch_by_time: str | None = None
    """The batch as the dataset file writes it, to be filled in from the time of each record. ``None``, and for records
    that have no time: the batch of the task."""


Output = LakeOutput | Elsewhere
"""Where rows go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskJob:
    """Everything a worker needs to run one task, wherever it is."""

    task: str
    """Its id."""
    source: str
    """The stable name of what is read: ids are derived from it, and rejections carry it."""
    input: Input
    output: Output
    handler: HandlerSpec
    store: ObjectStore
    """The lake: rows, if they go there; rejections and the task's object in any case."""
    dataset: str
    batch: str
    """Of the rows whose records have no time, and of the rejections."""
    on_error: OnError = field(default_factory=OnError)
    vectors: VectorStep | None = None
    """Between the handler and the destination; ``None``: nothing is."""
    rejections: RejectionsPlace | None = None
    """Where rejections go; ``None``: beside the batch."""
    stops: StopRequests = field(default_factory=StopRequests)
    """Requests to stop that were there when the run began; a newer one stops the task."""
    log_level: str = "WARNING"
    """What the handler logs at this level and above is kept."""


@dataclass(frozen=True, slots=True)
class TaskProgress:
    """How far a running task is, whether that is durable yet or not."""

    task: str
    counts: TaskCounts


@dataclass(frozen=True, slots=True)
class TaskResult:
    """How a task stands after a run had it."""

    task: str
    status: TaskStatus
    """``RUNNING``: it died while it was being stopped, or another run has it. ``CREATED``: it was not begun."""
    counts: TaskCounts = field(default_factory=TaskCounts)
    error: str | None = None
    notes: tuple[str, ...] = ()
    seconds: float = field(default=0.0, compare=False)
    """How long it was worked on, the last time."""


class Engine(Protocol):
    """Runs tasks somewhere.

    Guarantees: one result for each job, whatever happens to it; a task that fails, or kills its worker, leaves the
    others alone. After ``stop`` is set, running tasks make durable what they have, and what was not begun is
    not begun.
    """

    def run(
        self,
        jobs: Sequence[TaskJob],
        *,
        on_event: Callable[[TaskProgress | TaskResult], None],
        stop: threading.Event,
        more: Callable[[TaskResult], Sequence[TaskJob]] | None = None,
    ) -> list[TaskResult]:
        """Run every job to its end; ``on_event`` is called by the thread that called this, as things happen.

        ``more`` is asked by the same thread, after each result, for jobs that have become possible by it. Tasks whose
        input is endless take turns if there are more of them than workers.

        An interrupt from the keyboard, or a request of the system to terminate, sets ``stop``; a second one gives up
        on what is running, and ``KeyboardInterrupt`` is raised.

        Raises:
            UsageError: No task can run, for instance because the handler cannot be loaded. Nothing was read.
        """
        ...
