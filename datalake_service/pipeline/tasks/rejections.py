"""The rejections of one task on their way to the store: collected, then stored as numbered files.

A file is named by the task and by how many files count before it, so that what is read again after a crash replaces
the file that it was in. Knows nothing of checkpoints; the task says which number is next.
"""

from __future__ import annotations

from datalake_service.catalog import layout
from datalake_service.catalog.rejections import Rejection
from datalake_service.pipeline.jobs.engine import TaskJob
from datalake_service.storage.base import ObjectStore, Overwrite

MOST_LINES = 1_000
"""So many rejections that are not stored yet ask for a checkpoint."""
MOST_BYTES = 4 << 20
"""So many bytes of them do."""


def rejection_files(job: TaskJob) -> RejectionFiles:
    """Where the rejections of a task go: beside the batch, or to the same place in an archive."""
    store = job.store if job.rejections is None else job.rejections.store
    return RejectionFiles(store, layout.rejected_prefix(job.dataset, job.batch), job.task)


class RejectionFiles:
    """Collects rejections and writes them below one prefix. One thread uses it."""

    def __init__(self, store: ObjectStore, prefix: str, task: str) -> None:
        """Write to ``prefix``, which ends in a slash."""
        self._store = store
        self._prefix = prefix
        self._task = task
        self._lines: list[bytes] = []
        self._size = 0

    @property
    def pressing(self) -> bool:
        """Whether enough has come together to be stored now."""
        return len(self._lines) >= MOST_LINES or self._size >= MOST_BYTES

    def add(self, rejection: Rejection) -> None:
        """Collect one."""
        line = rejection.to_json_line()
        self._lines.append(line)
        self._size += len(line)

    def store(self, number: int) -> int:
        """Write what was collected, if anything, as file ``number``; returns the number of the next one.

        Raises:
            StoreError: It cannot be written; it stays collected.
        """
        if not self._lines:
            return number
        self._store.put(self._key(number), b"".join(self._lines), mode=Overwrite())
        self._lines.clear()
        self._size = 0
        return number + 1

    def remove(self, first: int, behind: int) -> None:
        """Delete the files ``first`` to ``behind`` (exclusive): leftovers of attempts that do not count.

        Raises:
            StoreError: One cannot be deleted.
        """
        for number in range(first, behind):
            self._store.delete(self._key(number))

    def _key(self, number: int) -> str:
        return layout.task_rejections_key(self._prefix, self._task, number)
