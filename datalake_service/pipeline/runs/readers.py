"""Which of the readers of a shared source (a queue) are this run's: those that no other machine has.

Their tasks hold no place in the source, only counts, so it does not matter which one a run takes. Two machines that run
one dataset file read its queue together, instead of taking each other's tasks away.
"""

from __future__ import annotations

from dataclasses import replace

from datalake_service.catalog.tasks import TaskState, TaskStatus, load_tasks
from datalake_service.pipeline.runs.items import Items
from datalake_service.pipeline.tasks.task import worker_name
from datalake_service.storage.base import ObjectStore

MOST_ELSEWHERE = 256
"""So many readers of other machines are passed by."""


def with_own_readers(found: Items, *, store: ObjectStore, dataset: str, all_known: bool) -> Items:
    """Return the items with those of readers that are free; other items stay as they are.

    Args:
        found: What the dataset file names.
        store: The lake.
        dataset: The dataset.
        all_known: Return all readers that have a task, whoever has them: somebody wants to see them run again.

    Raises:
        StoreError: The tasks cannot be read.
    """
    if found.reader is None:
        return found
    wanted = len(found.items)
    readers = [found.reader(number) for number in range(wanted + MOST_ELSEWHERE)]
    known = load_tasks(store, dataset, among={item.task for item in readers})
    states = {stored.state.id: stored.state for stored in known}
    if all_known:
        items = [item for item in readers if item.task in states]
    else:
        items = [item for item in readers if item.task not in states or not _is_elsewhere(states[item.task])]
    return replace(found, items=tuple(items if all_known else items[:wanted]))


def _is_elsewhere(state: TaskState) -> bool:
    """Whether another machine has the task, or had it when it died: nobody can tell. Our own dead are ours."""
    return state.status is TaskStatus.RUNNING and _host(state.worker or "") != _host(worker_name())


def _host(worker: str) -> str:
    return worker.rpartition(":")[0]
