"""From items to the tasks of a run: which exist, which are done, which have to be run.

Looks at the tasks' objects and at the versions of inputs; reads no record. See ``docs/design/008-tasks.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from datalake_service.catalog.tasks import StoredTask, TaskState, TaskStatus, create_tasks, load_tasks, reset, save_task
from datalake_service.config.batch import DEFAULT_BATCH, batch_name
from datalake_service.config.compute import LocalEngine
from datalake_service.config.dataset import DatasetConfig
from datalake_service.config.on_error import Policy
from datalake_service.config.write import DatalakeWriteConnector
from datalake_service.errors import ObjectNotFoundError, PreconditionFailedError
from datalake_service.handling.policy import OnError
from datalake_service.pipeline.engine import FileInput, TaskJob
from datalake_service.pipeline.run_items import Item, Items, OpenStore, find_items
from datalake_service.pipeline.run_outputs import output_of
from datalake_service.storage.base import ObjectMeta, ObjectStore

_THREADS = 16


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """The tasks of one run."""

    jobs: tuple[TaskJob, ...]
    """To be run."""
    before: Mapping[str, TaskState]
    """How the tasks of the manifest stand, by id; those whose input changed begin again."""
    notes: tuple[str, ...]
    sizes: Mapping[str, int]
    """Bytes of the inputs of jobs, by task, as far as a listing told them."""

    @property
    def batches(self) -> tuple[str, ...]:
        """The batches that the jobs write to, sorted."""
        return tuple(sorted({job.batch for job in self.jobs}))


def plan_run(config: DatasetConfig, *, store: ObjectStore, open_store: OpenStore, now: datetime) -> PlannedRun:
    """Plan a run: create the tasks that do not exist yet, reset those whose input changed, and say which to run.

    Args:
        config: The dataset file, of a kind that this version runs.
        store: The lake.
        open_store: Opens the source.
        now: Fills in the batch of new tasks.

    Raises:
        ConfigError: The source or the manifest does not exist.
        StoreError: The source or the lake cannot be read.
    """
    write = config.write_connector
    # Where rows go elsewhere, the batch is that of the rejections.
    batch = write.batch_name(now) if isinstance(write, DatalakeWriteConnector) else batch_name(DEFAULT_BATCH, now)
    found = find_items(config, batch=batch, open_store=open_store)
    stored = _with_new_tasks(store, config.dataset_name, found.items, batch=batch, now=now)
    stored, notes = _with_changed_reset(store, config.dataset_name, found, stored)
    jobs = [
        _job(config, found, item, store=store, batch=stored[item.task].state.batch)
        for item in found.items
        if stored[item.task].state.status is not TaskStatus.COMPLETED or not item.input.ends
    ]
    names = {item.task: item.name for item in found.items}
    sizes = {job.task: found.listed[names[job.task]].size for job in jobs if names[job.task] in found.listed}
    before = {task: entry.state for task, entry in stored.items()}
    return PlannedRun(tuple(jobs), before, (*found.notes, *notes), sizes)


def policy_of(config: DatasetConfig, *, share: bool) -> OnError:
    """The dataset file's ``onError``, with the limit on the share or without it."""
    on_error = config.on_error
    if on_error.policy is Policy.FAIL:
        return OnError("fail")
    return OnError("continue", on_error.max_errors, on_error.max_error_share if share else None)


def _with_new_tasks(
    store: ObjectStore, dataset: str, items: Iterable[Item], *, batch: str, now: datetime
) -> dict[str, StoredTask]:
    """The tasks of all items, in their order; those that did not exist are created."""
    items = list(items)
    known = {stored.state.id: stored for stored in load_tasks(store, dataset, among={item.task for item in items})}
    missing = [
        TaskState(id=item.task, item=item.name, batch=batch, created_at=now) for item in items if item.task not in known
    ]
    known.update((stored.state.id, stored) for stored in create_tasks(store, dataset, missing))
    return {item.task: known[item.task] for item in items}


def _with_changed_reset(
    store: ObjectStore, dataset: str, found: Items, stored: Mapping[str, StoredTask]
) -> tuple[dict[str, StoredTask], list[str]]:
    """Completed tasks whose input is another version now begin again; the others stay as they are."""
    done = [item for item in found.items if stored[item.task].state.status is TaskStatus.COMPLETED]
    tasks = dict(stored)
    notes: list[str] = []
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="inputs") as pool:
        changes = pool.map(lambda item: _has_changed(item, stored[item.task].state, found.listed), done)
        for item, changed in zip(done, changes, strict=True):
            if changed:
                notes.append(f"{item.source} has changed since it was read; it is read again")
                tasks[item.task] = _reset(store, dataset, stored[item.task])
    return tasks, notes


def _has_changed(item: Item, state: TaskState, listed: Mapping[str, ObjectMeta]) -> bool:
    """Whether the input is another version than the one that was read. One that is gone has not changed."""
    if not isinstance(item.input, FileInput) or state.input is None:
        return False
    key = str(state.input["key"])
    meta = listed.get(key)
    if meta is None:
        try:
            meta = item.input.store.head(key)
        except ObjectNotFoundError:
            return False
    return (meta.etag, meta.size) != (state.input["etag"], state.input["size"])


def _reset(store: ObjectStore, dataset: str, stored: StoredTask) -> StoredTask:
    try:
        return save_task(store, dataset, reset(stored.state), etag=stored.etag)
    except PreconditionFailedError:
        return stored  # another run was faster, and has it


def _job(config: DatasetConfig, found: Items, item: Item, *, store: ObjectStore, batch: str) -> TaskJob:
    engine = config.compute_engine
    return TaskJob(
        task=item.task,
        source=item.source,
        input=item.input,
        output=output_of(config),
        handler=found.handler,
        store=store,
        dataset=config.dataset_name,
        batch=batch,
        # A share is judged over the run: a small file of bad records is a small share of it.
        on_error=policy_of(config, share=False),
        log_level=str(engine.log_level) if isinstance(engine, LocalEngine) else "WARN",
    )
