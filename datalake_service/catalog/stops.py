"""Requests to stop a dataset, or one of its tasks: one small object, which whoever works on the dataset looks at.

A request is a random id. A worker notes the ids that are there when it begins, and stops when it sees another one: so a
request stops what runs, and nothing that begins later; nobody has to take it back. Knows nothing of runs and workers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from datalake_service.catalog import layout
from datalake_service.catalog.manifests import FORMAT_VERSION, check_format, format_time
from datalake_service.errors import (
    AlreadyExistsError,
    ObjectNotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    StoreError,
)
from datalake_service.storage.base import CreateOnly, IfMatch, ObjectStore
from datalake_utils.ids import random_hex

_ROUNDS: Final = 20
"""How often a request is written again because somebody else was faster."""
_ID_DIGITS: Final = 12
_MOST_RUNS: Final = 100
"""So many runs of one dataset are never stopped within the few seconds that each of them looks for."""


def _none() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class StopRequests:
    """The ids of the last requests."""

    dataset: str | None = None
    """For the dataset as a whole."""
    tasks: Mapping[str, str] = field(default_factory=_none)
    """For single tasks, by task."""
    runs: tuple[str, ...] = ()
    """The last runs that were interrupted, by the ids that engines give them."""

    def __reduce__(self) -> tuple[type[StopRequests], tuple[str | None, dict[str, str], tuple[str, ...]]]:
        """Can be sent to a worker process."""
        return StopRequests, (self.dataset, dict(self.tasks), self.runs)

    def asks_dataset(self, *, since: StopRequests) -> bool:
        """Whether the dataset was asked to stop after ``since`` was read."""
        return self.dataset is not None and self.dataset != since.dataset

    def asks_task(self, task: str, *, since: StopRequests) -> bool:
        """Whether a task was asked to stop after ``since`` was read, alone or with the dataset."""
        own = self.tasks.get(task)
        return self.asks_dataset(since=since) or (own is not None and own != since.tasks.get(task))


def load_stops(store: ObjectStore, dataset: str) -> StopRequests:
    """Read the requests; one request of the store.

    Raises:
        StoreError: They cannot be read.
    """
    return _load(store, dataset)[0]


def request_stop(store: ObjectStore, dataset: str, *, task: str | None = None, now: datetime) -> None:
    """Ask everybody who works on a dataset to stop, or whoever has one of its tasks.

    Args:
        store: The lake.
        dataset: The dataset.
        task: The id of the task; ``None``: all of them.
        now: Kept for people.

    Raises:
        StoreError: The request cannot be written.
    """
    request = random_hex(_ID_DIGITS)
    if task is None:
        _change(store, dataset, lambda now_there: replace(now_there, dataset=request), now)
    else:
        _change(store, dataset, lambda now_there: replace(now_there, tasks={**now_there.tasks, task: request}), now)


def request_run_stop(store: ObjectStore, dataset: str, run: str, *, now: datetime) -> None:
    """Ask the tasks of one run to end, which is at work on machines that nobody can talk to.

    ``run`` is an id that is used once; those of runs that ended long ago are forgotten.

    Raises:
        StoreError: The request cannot be written.
    """
    _change(store, dataset, lambda now_there: replace(now_there, runs=(*now_there.runs, run)[-_MOST_RUNS:]), now)


def _change(store: ObjectStore, dataset: str, change: Callable[[StopRequests], StopRequests], now: datetime) -> None:
    key = layout.stop_key(dataset)
    for _ in range(_ROUNDS):
        requests, etag = _load(store, dataset)
        body = json.dumps(_to_dict(change(requests), now), indent=1).encode("ascii")
        try:
            store.put(key, body, mode=CreateOnly() if etag is None else IfMatch(etag))
        except (AlreadyExistsError, PreconditionFailedError, OutcomeUnknownError):
            continue  # to ask twice does no harm
        return
    raise StoreError(f"{key} was changed by others {_ROUNDS} times in a row; try again")


def _to_dict(requests: StopRequests, now: datetime) -> dict[str, Any]:
    return {
        "format": FORMAT_VERSION,
        "dataset": requests.dataset,
        "tasks": dict(requests.tasks),
        "runs": list(requests.runs),
        "writtenAt": format_time(now),
    }


def _load(store: ObjectStore, dataset: str) -> tuple[StopRequests, str | None]:
    key = layout.stop_key(dataset)
    try:
        body, meta = store.get(key)
    except ObjectNotFoundError:
        return StopRequests(), None
    try:
        document = json.loads(body)
        check_format(document["format"], key=key)
        runs = tuple(map(str, document.get("runs", ())))
        return StopRequests(document["dataset"], dict(document["tasks"]), runs), meta.etag
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{key} holds no requests ({type(error).__name__}: {error}); delete it") from error
