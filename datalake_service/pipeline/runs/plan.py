"""From items to the tasks of a run: which exist, which are done, which have to be run.

Looks at the tasks' objects and at the versions of inputs; reads no record. See ``docs/design/008-tasks.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from datalake_service.catalog.stops import StopRequests
from datalake_service.catalog.tasks import StoredTask, TaskState, TaskStatus, create_tasks, load_tasks, reset, save_task
from datalake_service.config.dataset import DatasetConfig
from datalake_service.config.on_error import Policy
from datalake_service.errors import ObjectNotFoundError, PreconditionFailedError, UsageError
from datalake_service.handling.policy import OnError
from datalake_service.pipeline.jobs.engine import FileInput, MachineInput, TaskJob
from datalake_service.pipeline.jobs.spark_inputs import SparkProgramInput
from datalake_service.pipeline.runs.choice import TaskChoice
from datalake_service.pipeline.runs.items import Item, Items, find_items
from datalake_service.pipeline.runs.outputs import Routes, routes_of
from datalake_service.pipeline.runs.readers import with_own_readers
from datalake_service.pipeline.runs.stream_items import begins_latest, earliest
from datalake_service.storage.base import ObjectMeta, ObjectStore, OpenStore

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
    stops: StopRequests = field(default_factory=StopRequests)
    """Requests to stop that are older than this run."""
    grows: bool = False
    """Whether there may be more to run when a task is completed."""
    later_notes: tuple[str, ...] = ()
    """What became known while tasks ran."""

    def with_note(self, note: str) -> PlannedRun:
        """This plan, and something that somebody should know."""
        return replace(self, later_notes=(*self.later_notes, note))

    def with_more(self, later: PlannedRun) -> PlannedRun:
        """This plan with the tasks that a later one has besides."""
        new = tuple(job for job in later.jobs if job.task not in self.before or self._waits(job.task))
        return replace(self, jobs=(*self.jobs, *new), before={**later.before, **self.before})

    def _waits(self, task: str) -> bool:
        """Whether a task was known and not to be run yet."""
        return all(job.task != task for job in self.jobs) and self.before[task].status is not TaskStatus.COMPLETED

    @property
    def batches(self) -> tuple[str, ...]:
        """The batches that the jobs write to, sorted."""
        return tuple(sorted({job.batch for job in self.jobs}))


def plan_run(
    config: DatasetConfig,
    *,
    store: ObjectStore,
    open_store: OpenStore,
    now: datetime,
    stops: StopRequests | None = None,
    choice: TaskChoice | None = None,
) -> PlannedRun:
    """Plan a run: create the tasks that do not exist yet, reset those whose input changed, and say which to run.

    Args:
        config: The dataset file, of a kind that this version runs.
        store: The lake.
        open_store: Opens the source.
        now: Fills in the batch of new tasks.
        stops: Requests to stop that are older than this run.
        choice: Which tasks to run; default: all that are not completed.

    Raises:
        ConfigError: The source or the manifest does not exist.
        UsageError: A task was chosen that the dataset file does not name.
        StoreError: The source or the lake cannot be read.
    """
    write = config.write_connector
    batch = write.batch_name(now)
    found = find_items(config, batch=batch, open_store=open_store)
    found = with_own_readers(found, store=store, dataset=config.dataset_name, all_known=choice is not None)
    stored = _with_new_tasks(
        store, config.dataset_name, found.items, batch=batch, now=now, latest=begins_latest(config)
    )
    if choice is None:
        stored, notes = _with_changed_reset(store, config.dataset_name, found, stored)
        stored = _with_reducers_reset(store, config.dataset_name, found, stored)
        chosen = [item for item in found.items if not item.input.ends or not _is_done(stored[item.task].state)]
        chosen = [item for item in chosen if all(_is_done(stored[parent].state) for parent in item.parents)]
    else:
        _check_known(choice, stored)
        chosen = [item for item in found.items if choice.takes(stored[item.task].state)]
        stored, notes = _with_chosen_reset(store, config.dataset_name, choice, chosen, stored)
    stops = stops or StopRequests()
    routes = routes_of(config, open_store=open_store)
    jobs = [
        _job(config, found, item, routes=routes, store=store, batch=stored[item.task].state.batch, stops=stops)
        for item in chosen
    ]
    names = {item.task: item.name for item in found.items}
    sizes = {job.task: found.listed[names[job.task]].size for job in jobs if names[job.task] in found.listed}
    before = {task: entry.state for task, entry in stored.items()}
    return PlannedRun(tuple(jobs), before, (*found.notes, *notes), sizes, stops, found.grows and choice is None)


def policy_of(config: DatasetConfig, *, share: bool) -> OnError:
    """The dataset file's ``onError``, with the limit on the share or without it."""
    on_error = config.on_error
    if on_error.policy is Policy.FAIL:
        return OnError("fail")
    return OnError("continue", on_error.max_errors, on_error.max_error_share if share else None)


def _with_new_tasks(
    store: ObjectStore, dataset: str, items: Iterable[Item], *, batch: str, now: datetime, latest: bool
) -> dict[str, StoredTask]:
    """The tasks of all items, in their order; those that did not exist are created."""
    items = list(items)
    known = {stored.state.id: stored for stored in load_tasks(store, dataset, among={item.task for item in items})}
    new = [item for item in items if item.task not in known]
    if latest and new:
        new = _from_the_first_time(store, dataset, new)
    missing = [
        TaskState(id=item.task, item=item.name, batch=batch, created_at=now, checkpoint=item.start) for item in new
    ]
    known.update((stored.state.id, stored) for stored in create_tasks(store, dataset, missing))
    return {item.task: known[item.task] for item in items}


def _from_the_first_time(store: ObjectStore, dataset: str, items: Iterable[Item]) -> list[Item]:
    """New shards of a stream of which others are known already: they begin when those began, not now."""
    items = list(items)
    stream = items[0].name.rpartition("/")[0]
    known = [stored.state for stored in load_tasks(store, dataset)]
    since = earliest(state.checkpoint for state in known if state.item.rpartition("/")[0] == stream)
    return items if since is None else [replace(item, start={"since": since}) for item in items]


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


def _with_reducers_reset(
    store: ObjectStore, dataset: str, found: Items, stored: Mapping[str, StoredTask]
) -> dict[str, StoredTask]:
    """Reducers that are completed begin again if one of their mappers will run."""
    tasks = dict(stored)
    for item in found.items:
        state = stored[item.task].state
        if not isinstance(item.input, SparkProgramInput) or state.status is not TaskStatus.COMPLETED:
            continue
        if not all(_is_done(stored[mapper].state) for mapper in item.input.after):
            tasks[item.task] = _reset(store, dataset, stored[item.task])
    return tasks


def _is_done(state: TaskState) -> bool:
    return state.status is TaskStatus.COMPLETED


def _check_known(choice: TaskChoice, stored: Mapping[str, StoredTask]) -> None:
    unknown = sorted(set(choice.tasks or ()) - stored.keys())
    if unknown:
        raise UsageError(f"no task {', '.join(unknown)} in this dataset file; see: datalake tasks list")


def _with_chosen_reset(
    store: ObjectStore, dataset: str, choice: TaskChoice, chosen: Iterable[Item], stored: Mapping[str, StoredTask]
) -> tuple[dict[str, StoredTask], list[str]]:
    """Chosen tasks that were completed begin again, if their input is still there to be read."""
    tasks, notes = dict(stored), []
    for item in chosen:
        if choice.starts_over(stored[item.task].state):
            if item.input.ends:
                tasks[item.task] = _reset(store, dataset, stored[item.task])
            else:
                notes.append(f"{item.name}: what was rejected is not in its source any more; see: datalake errors list")
    return tasks, notes


def _has_changed(item: Item, state: TaskState, listed: Mapping[str, ObjectMeta]) -> bool:
    """Whether the input is another version than the one that was read. One that is gone has not changed."""
    if not isinstance(item.input, FileInput | MachineInput | SparkProgramInput) or state.input is None:
        return False
    versions = [state.input] if isinstance(item.input, FileInput) else state.input["files"].values()
    return any(_is_another(item.input.store, version, listed) for version in versions)


def _is_another(store: ObjectStore, version: Mapping[str, Any], listed: Mapping[str, ObjectMeta]) -> bool:
    meta = listed.get(str(version["key"]))
    if meta is None:
        try:
            meta = store.head(str(version["key"]))
        except ObjectNotFoundError:
            return False
    return (meta.etag, meta.size) != (version["etag"], version["size"])


def _reset(store: ObjectStore, dataset: str, stored: StoredTask) -> StoredTask:
    try:
        return save_task(store, dataset, reset(stored.state), etag=stored.etag)
    except PreconditionFailedError:
        return stored  # another run was faster, and has it


def _job(
    config: DatasetConfig,
    found: Items,
    item: Item,
    *,
    routes: Routes,
    store: ObjectStore,
    batch: str,
    stops: StopRequests,
) -> TaskJob:
    return TaskJob(
        task=item.task,
        source=item.source,
        input=item.input,
        output=routes.output,
        vectors=routes.vectors,
        rejections=routes.rejections,
        handler=found.handler,
        store=store,
        dataset=config.dataset_name,
        batch=batch,
        # A share is judged over the run: a small file of bad records is a small share of it.
        on_error=policy_of(config, share=False),
        stops=stops,
        log_level=str(getattr(config.compute_engine, "log_level", "WARN")),
    )
