"""Where the workers of an engine get their tasks from: a port, and the queue of jobs that are all given at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol

from datalake_service.pipeline.jobs.engine import TaskJob


class JobQueue(Protocol):
    """Jobs that wait to be run. Thread-safe."""

    def take(self) -> TaskJob | None:
        """The next job; ``None``: there is none, and whoever asked may go. May wait until there is one."""
        ...

    def put_back(self, job: TaskJob) -> None:
        """Let a job wait again, behind the others: its turn is over."""
        ...

    def add(self, jobs: Iterable[TaskJob]) -> None:
        """More jobs, behind the others."""
        ...

    def others_wait(self) -> bool:
        """Whether a job would be run now if there was a worker for it."""
        ...

    def rest(self) -> Sequence[TaskJob]:
        """The jobs that were never taken; asked in the end."""
        ...

    def __len__(self) -> int:
        """How many workers there could be something to do for, besides those that have a job."""
        ...


class GivenJobs:
    """Jobs that this engine has for itself."""

    def __init__(self, jobs: Iterable[TaskJob]) -> None:
        """Begin with the first."""
        self._jobs = deque(jobs)

    def take(self) -> TaskJob | None:
        """The next job; never waits."""
        try:
            return self._jobs.popleft()
        except IndexError:
            return None

    def put_back(self, job: TaskJob) -> None:
        """Let a job wait again."""
        self._jobs.append(job)

    def add(self, jobs: Iterable[TaskJob]) -> None:
        """More jobs."""
        self._jobs.extend(jobs)

    def others_wait(self) -> bool:
        """Whether there is any."""
        return bool(self._jobs)

    def rest(self) -> Sequence[TaskJob]:
        """Those that nobody took."""
        return tuple(self._jobs)

    def __len__(self) -> int:
        """How many wait."""
        return len(self._jobs)
