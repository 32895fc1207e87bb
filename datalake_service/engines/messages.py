"""What a worker process and its parent tell each other, pickled, over the worker's two pipes.

Values only. A closed pipe says the rest: without its parent a worker ends at once, without its worker a parent
takes the task for unfinished.
"""

from __future__ import annotations

from dataclasses import dataclass

from datalake_service.pipeline.jobs.engine import TaskProgress, TaskResult


@dataclass(frozen=True, slots=True)
class Hello:
    """Parent, first: what the worker needs before it can load anything of the user's."""

    search_path: tuple[str, ...]
    """Where the parent finds modules; the worker finds the same ones."""


@dataclass(frozen=True, slots=True)
class Run:
    """Parent: run this task."""

    job: bytes
    """A pickled ``TaskJob``: opened by the thread that runs it, so that what is wrong with it fails there."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Parent: make durable what there is, and end the task."""


@dataclass(frozen=True, slots=True)
class Yield:
    """Parent: like ``Stop``, for the task at hand only: it has had its turn, and others wait."""


@dataclass(frozen=True, slots=True)
class Leave:
    """Parent: there are no more tasks."""


FromParent = Hello | Run | Stop | Yield | Leave


@dataclass(frozen=True, slots=True)
class Progress:
    """Worker: alive, and this far."""

    progress: TaskProgress


@dataclass(frozen=True, slots=True)
class Logged:
    """Worker: the handler logged something. The parent knows where log lines go, and in which form."""

    logger: str
    level: int
    text: str
    task: str


@dataclass(frozen=True, slots=True)
class Ended:
    """Worker: the task ended, in whatever way; the next one may come."""

    result: TaskResult


@dataclass(frozen=True, slots=True)
class Refused:
    """Worker: no task of this dataset can run."""

    error: Exception
    """For the user."""


@dataclass(frozen=True, slots=True)
class Broken:
    """Worker, last: it cannot go on, through no fault of the task's records."""

    reason: str


FromWorker = Progress | Logged | Ended | Refused | Broken
