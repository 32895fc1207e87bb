"""One of many workers that run a dataset file together: a run whose tasks are claimed one by one.

``docs/design/022-workers.md`` says what workers promise each other. Which task is whose: ``jobs.py``; leases:
``place.py``; everything else is the run of a dataset file (``runs/run.py``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final, Protocol

from datalake_service.catalog import layout
from datalake_service.catalog.deletions import require_not_deleted
from datalake_service.catalog.tasks import TaskStatus, load_task, load_tasks
from datalake_service.config.available import check_available
from datalake_service.config.compute import LocalEngine as LocalSettings
from datalake_service.config.dataset import DatasetConfig
from datalake_service.config.on_error import Policy
from datalake_service.config.settings import Settings
from datalake_service.errors import ConfigError, LeaseLostError, ObjectNotFoundError, StoreError
from datalake_service.pipeline.jobs.engine import TaskJob, TaskProgress, TaskResult
from datalake_service.pipeline.jobs.job_queue import JobQueue
from datalake_service.pipeline.runs.annotators import check_annotators
from datalake_service.pipeline.runs.progress import Observer
from datalake_service.pipeline.runs.report import OwnShare, RunReport
from datalake_service.pipeline.runs.run import run_dataset
from datalake_service.pipeline.tasks.task import result_of
from datalake_service.pipeline.workers.jobs import LONGEST_LOOK, ClaimedJobs, Fellow
from datalake_service.pipeline.workers.place import WorkerPlace
from datalake_service.storage.base import ObjectStore, OpenStore
from datalake_service.storage.open import open_store
from datalake_service.storage.probe import require_conditions
from datalake_utils.clock import Clock, SystemClock

LEASE_SECONDS: Final = 60.0
"""How long the tasks of a worker wait whose machine is gone."""
_LOOK_SECONDS: Final = 5.0
"""How often the tasks of others are looked at, if there are no more than ``_LOOK_TASKS``."""
_LOOK_TASKS: Final = 1_000

OnEvent = Callable[[TaskProgress | TaskResult], None]
More = Callable[[TaskResult], Sequence[TaskJob]]


class Drains(Protocol):
    """An engine that takes its jobs from a queue, one at a time."""

    def drain(
        self, queue: JobQueue, *, on_event: OnEvent, stop: threading.Event, tick: Callable[[], None]
    ) -> list[TaskResult]:
        """Run jobs as long as the queue has any; ``tick`` is called a few times a second. See ``Engine.run``."""
        ...


def work_on_dataset(
    config: DatasetConfig,
    *,
    settings: Settings,
    engine: Drains,
    lease_seconds: float = LEASE_SECONDS,
    observer: Observer | None = None,
    clock: Clock | None = None,
) -> RunReport:
    """Run a dataset file together with all others that call this: see ``create_dataset``.

    Raises:
        ConfigError: The dataset file asks for what is not there, or others work with another one.
        HandlerLoadError: A class of the user's cannot be loaded; nothing was read.
        DatasetNotFoundError: The dataset was deleted.
        LeaseLostError: This worker could not renew its lease; the others go on with its tasks.
        StoreError: The lake or the source cannot be read or written.
        KeyboardInterrupt: An interrupt outside the tasks; what is done is kept.
    """

    def opened(uri: str) -> ObjectStore:
        return open_store(uri, region=config.region, **settings.store_options())

    store = opened(settings.uri)
    return work_in(
        config,
        store=store,
        opener=opened,
        engine=engine,
        lease_seconds=lease_seconds,
        observer=observer,
        clock=clock,
    )


def work_in(
    config: DatasetConfig,
    *,
    store: ObjectStore,
    opener: OpenStore,
    engine: Drains,
    lease_seconds: float = LEASE_SECONDS,
    observer: Observer | None = None,
    stop: threading.Event | None = None,
    clock: Clock | None = None,
) -> RunReport:
    """Run a dataset file together with others in a lake that is open; see ``work_on_dataset``."""
    _require_local(config)
    check_available(config)
    check_annotators(config)
    require_conditions(store)
    require_not_deleted(store, config.dataset_name)
    clock = clock or SystemClock()
    config = config.model_copy(
        update={"annotators": [one.model_copy(update={"shared": True}) for one in config.annotators]}
    )
    with WorkerPlace(store, config, ttl=timedelta(seconds=lease_seconds), clock=clock) as place:
        worker = _WorkerEngine(config, store, place, engine, clock)
        report = run_dataset(
            config,
            store=store,
            opener=opener,
            engine=worker,
            observer=observer,
            stop=stop,
            clock=clock,
            company=place,
        )
    return replace(report, own=OwnShare(place.worker, worker.tasks))


def _require_local(config: DatasetConfig) -> None:
    engine = config.compute_engine
    if not isinstance(engine, LocalSettings):
        raise ConfigError(
            f"computeEngine.computeEngineType: a worker runs tasks in processes of its own machine, not on "
            f"{engine.compute_engine_type}; leave computeEngine out, or use: datalake datasets create"
        )


class _WorkerEngine:
    """The tasks that this worker claims run on its engine; results tell of those of the others, too."""

    def __init__(
        self, config: DatasetConfig, store: ObjectStore, place: WorkerPlace, engine: Drains, clock: Clock
    ) -> None:
        self._config = config
        self._store = store
        self._place = place
        self._engine = engine
        self._clock = clock
        self.tasks = 0
        """How many this worker brought to an end."""

    def run(
        self,
        jobs: Sequence[TaskJob],
        *,
        on_event: OnEvent,
        stop: threading.Event,
        more: More | None = None,
    ) -> list[TaskResult]:
        """Run every job to its end, wherever; see ``Engine.run``.

        Raises:
            LeaseLostError: This worker's lease is lost. What its tasks had is durable.
        """
        place = self._place

        def over() -> bool:
            return stop.is_set() or place.must_stop() is not None

        fellow = Fellow(self._config.dataset_name, place.worker, place.claims, place.live, over)
        longest = min(LONGEST_LOOK, place.longest_look)
        queue = ClaimedJobs(fellow, jobs, began=place.began, clock=self._clock, longest=longest)
        others = _Others(self._config, self._store, queue, on_event, more, self._clock)
        shift = _Shift(queue, others, place, on_event, more, stop)
        try:
            shift.work(self._engine)
        finally:
            queue.let_go()
            self.tasks += shift.completed
        for problem in (shift.lost or place.must_stop(), queue.error):
            if problem is not None:
                raise problem
        return [*shift.results.values(), *others.ended(but=shift.results)]


class _Shift:
    """What the thread of a worker hears and does while its engine works."""

    def __init__(
        self,
        queue: ClaimedJobs,
        others: _Others,
        place: WorkerPlace,
        on_event: OnEvent,
        more: More | None,
        stop: threading.Event,
    ) -> None:
        self._queue = queue
        self._others = others
        self._place = place
        self._on_event = on_event
        self._more = more
        self._stop = stop
        self.results: dict[str, TaskResult] = {}
        """Of the tasks that this worker brought to an end."""
        self.completed = 0
        self.lost: LeaseLostError | None = None

    def work(self, engine: Drains) -> None:
        """Until every task is at its end, here or elsewhere; or until something stops it."""
        while True:
            engine.drain(self._queue, on_event=self._hear, stop=self._stop, tick=self._tick)
            if self._stop.is_set() or self._queue.error or not self._others.add_what_became_possible():
                return

    def _hear(self, event: TaskProgress | TaskResult) -> None:
        if isinstance(event, TaskProgress):
            self._on_event(event)
            return
        self.results[event.task] = event
        self.completed += event.status is TaskStatus.COMPLETED
        self._queue.end(event, stopping=self._stop.is_set())
        self._on_event(event)
        if self._more is not None and not self._stop.is_set():
            self._queue.add(self._more(event))

    def _tick(self) -> None:
        self.lost = self.lost or self._place.must_stop()
        if self.lost is not None:
            self._stop.set()
        elif not self._stop.is_set():
            self._others.look_now_and_then()


class _Others:
    """What is seen of the tasks that other workers have."""

    def __init__(
        self,
        config: DatasetConfig,
        store: ObjectStore,
        queue: ClaimedJobs,
        on_event: OnEvent,
        more: More | None,
        clock: Clock,
    ) -> None:
        limits = config.on_error
        judged = limits.policy is not Policy.FAIL
        self._limited = judged and not (limits.max_errors is None and limits.max_error_share is None)
        self._store = store
        self._dataset = config.dataset_name
        self._queue = queue
        self._on_event = on_event
        self._more = more
        self._clock = clock
        self._next = clock.monotonic() + _LOOK_SECONDS
        self._seen: dict[str, str] = {}
        self._followed: frozenset[str] = frozenset()

    def look_now_and_then(self) -> None:
        """For limits that hold over all workers, and for tasks that become possible when others end theirs."""
        now = self._clock.monotonic()
        if now < self._next:
            return
        tasks = self._queue.not_mine
        self._next = now + _LOOK_SECONDS * max(1.0, len(tasks) / _LOOK_TASKS)
        self.add_what_became_possible()
        if self._limited:
            try:
                for task in self._changed(tasks):
                    counts = load_task(self._store, self._dataset, task).state.counts
                    self._on_event(TaskProgress(task, counts))
            except (ObjectNotFoundError, StoreError):
                return  # the next look knows

    def add_what_became_possible(self) -> bool:
        """Add the tasks that are possible since others ended theirs; whether there are any."""
        ended = self._queue.elsewhere
        if self._more is None or ended == self._followed:
            return False
        new, self._followed = ended - self._followed, ended
        jobs = self._more(TaskResult(min(new), TaskStatus.COMPLETED))
        self._queue.add(jobs)
        return bool(jobs)

    def ended(self, *, but: Iterable[str]) -> list[TaskResult]:
        """How the tasks stand that this worker has no result of; told as progress, for limits over all."""
        left = {job.task for job in self._queue.jobs} - set(but)
        if not left:
            return []
        results = [result_of(stored.state) for stored in load_tasks(self._store, self._dataset, among=left)]
        for result in results:
            self._on_event(TaskProgress(result.task, result.counts))
        return results

    def _changed(self, tasks: frozenset[str]) -> list[str]:
        prefix = layout.tasks_prefix(self._dataset)
        listed = {meta.key.removeprefix(prefix).removesuffix(".json"): meta.etag for meta in self._store.list(prefix)}
        changed = [task for task in tasks & listed.keys() if listed[task] != self._seen.get(task)]
        self._seen |= {task: listed[task] for task in changed}
        return changed
