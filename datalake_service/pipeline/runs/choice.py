"""Which tasks a run takes: all that are left, or those that somebody wants to see run again. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from datalake_service.catalog.tasks import TaskState, TaskStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskChoice:
    """Tasks to run again."""

    tasks: Collection[str] | None = None
    """Only these; ``None``: any."""
    rejected: bool = False
    """Completed tasks that have rejections, too: from the beginning, with a handler that knows better now."""

    def takes(self, state: TaskState) -> bool:
        """Whether a task is to be run."""
        if self.tasks is not None and state.id not in self.tasks:
            return False
        if state.status is TaskStatus.FAILED:
            return True
        return self.starts_over(state) or (self.tasks is not None and state.status is TaskStatus.STOPPED)

    def starts_over(self, state: TaskState) -> bool:
        """Whether a task is to be read from the beginning."""
        named = self.tasks is None or state.id in self.tasks
        return named and self.rejected and state.status is TaskStatus.COMPLETED and state.counts.rejections > 0
