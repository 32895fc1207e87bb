"""Sees the requests to stop that somebody wrote into the lake, on whatever machine. See ``catalog/stops.py``."""

from __future__ import annotations

import threading
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from datalake_service.catalog import layout
from datalake_service.catalog.datasets import DatasetRun, DatasetState, RunStatus, load_dataset
from datalake_service.catalog.fencing import WorkersBelow, is_gone
from datalake_service.catalog.leases import time_key
from datalake_service.catalog.stops import StopRequests, load_stops
from datalake_service.errors import DatasetNotFoundError, StoreError
from datalake_service.storage.base import ObjectStore
from datalake_utils.clock import Clock

LOOK_SECONDS = 2.0
"""How often the lake is asked, and how old a worker is when it asks first."""


def running_runs(store: ObjectStore, dataset: str) -> list[DatasetRun]:
    """The runs of a dataset file that have not said how they ended: they work, or nobody can know that they died."""
    try:
        state = load_dataset(store, dataset)
    except DatasetNotFoundError:
        return []  # made from Python
    return [run for run in with_deaths(store, state).runs if run.status is RunStatus.RUNNING]


def with_deaths(store: ObjectStore, state: DatasetState) -> DatasetState:
    """The same with the runs as DIED that cannot come back: no such process on this machine, no lease of the worker.

    A run of another machine that is no worker stays RUNNING: nobody here can tell.
    """
    silent = [run for run in state.runs if run.status is RunStatus.RUNNING]
    if not silent:
        return state
    live: Container[str] | None = None
    if any(run.worker is not None for run in silent):
        prefix, key = layout.task_workers_prefix(state.dataset), layout.planning_lease_key(state.dataset)
        with suppress(StoreError):  # perhaps one that may only be read
            live = WorkersBelow(store, prefix, time_key=time_key(key)).live(look_only=True)
    dead = {run.id for run in silent if _has_died(run, live)}
    runs = (replace(run, status=RunStatus.DIED) if run.id in dead else run for run in state.runs)
    return replace(state, runs=tuple(runs))


def _has_died(run: DatasetRun, live: Container[str] | None) -> bool:
    if run.host is not None and run.pid is not None and is_gone(run.host, run.pid):
        return True
    return run.worker is not None and live is not None and run.worker not in live


class TaskStops:
    """Whether the task at hand is asked to stop. One thread uses it; asking costs a request every few seconds."""

    def __init__(self, store: ObjectStore, dataset: str, task: str, *, since: StopRequests, clock: Clock) -> None:
        """Requests that were there when ``since`` was read do not count."""
        self._store = store
        self._dataset = dataset
        self._task = task
        self._since = since
        self._next = clock.monotonic() + LOOK_SECONDS

    def asked(self, now: float) -> bool:
        """Whether there is a request, as far as is known ``now``. A lake that does not answer asks for nothing."""
        if now < self._next:
            return False
        self._next = now + LOOK_SECONDS
        try:
            return load_stops(self._store, self._dataset).asks_task(self._task, since=self._since)
        except StoreError:
            return False


class RunStops:
    """Whether a run is asked to stop; a thread looks."""

    def __init__(self, store: ObjectStore, dataset: str, *, since: StopRequests, stop: threading.Event) -> None:
        """Set ``stop`` when the dataset is asked to stop."""
        self._store = store
        self._dataset = dataset
        self._since = since
        self._stop = stop
        self._end = threading.Event()
        self.asked = False
        """Whether it was."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look every few seconds as long as the context lasts."""
        thread = threading.Thread(target=self._look, name="stop requests", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._end.set()
            thread.join()

    def _look(self) -> None:
        while not self._end.wait(LOOK_SECONDS):
            try:
                self.asked = load_stops(self._store, self._dataset).asks_dataset(since=self._since)
            except StoreError:
                continue
            if self.asked:
                self._stop.set()
                return
