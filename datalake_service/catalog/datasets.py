"""What is known of a dataset as a whole: its dataset file as created, its runs, its last report.

Knows nothing of what the dataset file means: it is kept as JSON. Tasks have objects of their own (``tasks.py``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from datalake_service.catalog import layout
from datalake_service.catalog.manifests import FORMAT_VERSION, check_format, format_time, parse_time
from datalake_service.errors import (
    AlreadyExistsError,
    DatasetNotFoundError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreError,
)
from datalake_service.storage.base import CreateOnly, IfMatch, ObjectStore
from datalake_utils.backoff import Backoff
from datalake_utils.clock import SystemClock

_RUNS_KEPT = 50
_ROUNDS = 20
"""How often a change is tried again because somebody else was faster."""
_HURRIES = 3
"""So often at once; then many workers that begin together give way to each other."""
_BACKOFF = Backoff(first=0.02, longest=0.2, spread=1.0)


class RunStatus(StrEnum):
    """How a run of a dataset file stands."""

    RUNNING = "RUNNING"
    """It works, or it died: nobody came back to say how it ended."""
    COMPLETED = "COMPLETED"
    """Every task finished under its policy, and so did the merge and the annotators."""
    FAILED = "FAILED"
    """A task, a limit, a merge or an annotator failed."""
    STOPPED = "STOPPED"
    """Ended on request, in order."""
    DIED = "DIED"
    """Its process is gone and did not say how it ended. Seen when somebody looks, never stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetRun:
    """One run of the dataset file."""

    id: str
    """Random; tells runs apart."""
    status: RunStatus
    started_at: datetime
    ended_at: datetime | None = None
    error: str | None = None
    """What ended it early."""
    host: str | None = None
    """The machine that it runs on; ``None``: an older version did not say."""
    pid: int | None = None
    worker: str | None = None
    """How it is called among the workers that run the dataset file together; ``None``: it is alone."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "id": self.id,
            "status": str(self.status),
            "startedAt": format_time(self.started_at),
            "endedAt": None if self.ended_at is None else format_time(self.ended_at),
            "error": self.error,
            "host": self.host,
            "process": self.pid,
            "worker": self.worker,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DatasetRun:
        """Read the JSON form."""
        return cls(
            id=data["id"],
            status=RunStatus(data["status"]),
            started_at=parse_time(data["startedAt"]),
            ended_at=None if data["endedAt"] is None else parse_time(data["endedAt"]),
            error=data["error"],
            host=data.get("host"),  # these three are younger than the format
            pid=data.get("process"),
            worker=data.get("worker"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetState:
    """A dataset as its object keeps it."""

    dataset: str
    created_at: datetime
    config: Mapping[str, Any]
    """The dataset file of the last run, without secrets."""
    readings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """How the tasks of each batch read: the batch as the dataset file writes it, and what must not change for it."""
    rows: Mapping[str, int] = field(default_factory=dict)
    """Rows of each batch when it was merged last."""
    archives: tuple[str, ...] = ()
    """Roots of stores, besides the lake, that rejections were written to: URIs, or paths of the machine that ran it."""
    unmerged: tuple[str, ...] = ()
    """Batches that tasks may have written to since they were merged last."""
    runs: tuple[DatasetRun, ...] = ()
    """The last runs, the newest last."""
    report: Mapping[str, Any] | None = None
    """What the last run that came to an end had to say."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, for the object and for ``datasets view``."""
        return {
            "format": FORMAT_VERSION,
            "dataset": self.dataset,
            "createdAt": format_time(self.created_at),
            "config": dict(self.config),
            "readings": {batch: dict(reading) for batch, reading in self.readings.items()},
            "rows": dict(self.rows),
            "archives": list(self.archives),
            "unmerged": list(self.unmerged),
            "runs": [run.to_dict() for run in self.runs],
            "report": None if self.report is None else dict(self.report),
        }

    @classmethod
    def from_json(cls, data: bytes, *, key: str) -> DatasetState:
        """Read a state; ``key`` names it in errors.

        Raises:
            StoreError: Not a dataset's state, or of a newer format.
        """
        try:
            document = json.loads(data)
            check_format(document["format"], key=key)
            return cls(
                dataset=document["dataset"],
                created_at=parse_time(document["createdAt"]),
                config=document["config"],
                readings=document["readings"],
                rows=document["rows"],
                archives=tuple(document.get("archives", ())),  # younger than the format
                unmerged=tuple(document["unmerged"]),
                runs=tuple(DatasetRun.from_dict(run) for run in document["runs"]),
                report=document["report"],
            )
        except (KeyError, TypeError, ValueError) as error:
            msg = f"{key} is not the state of a dataset ({type(error).__name__}: {error}); move it away to go on"
            raise StoreError(msg) from error


def load_dataset(store: ObjectStore, dataset: str) -> DatasetState:
    """Read the state of a dataset that a dataset file created.

    Raises:
        DatasetNotFoundError: No dataset file has created it (rows may be there all the same).
    """
    found = _find(store, dataset)
    if found is None:
        raise DatasetNotFoundError(f"no dataset {dataset!r} was created in {store.uri}")
    return found[0]


def list_datasets(store: ObjectStore) -> Iterator[str]:
    """The names of all folders of the lake that can be datasets, sorted."""
    return (name for name in store.list_folders("") if not name.startswith("."))


def update_dataset(
    store: ObjectStore, dataset: str, change: Callable[[DatasetState | None], DatasetState]
) -> DatasetState:
    """Replace the state by what ``change`` makes of it (``None``: there is none yet); returns the new one.

    ``change`` is called again if somebody else was faster, so it must have no effects. Old runs are forgotten.

    Raises:
        StoreError: The state changed so often that this never came to pass.
    """
    key = layout.dataset_state_key(dataset)
    for number in range(_ROUNDS):
        if number > _HURRIES:
            SystemClock().sleep(_BACKOFF.seconds(number - _HURRIES))
        found = _find(store, dataset)
        state = change(found[0] if found else None)
        state = replace(state, runs=state.runs[-_RUNS_KEPT:])
        body = json.dumps(state.to_dict(), indent=1).encode("ascii")
        try:
            store.put(key, body, mode=IfMatch(found[1]) if found else CreateOnly())
        except (AlreadyExistsError, PreconditionFailedError):
            continue
        return state
    raise StoreError(f"{key} was changed by others {_ROUNDS} times in a row; try again")


def _find(store: ObjectStore, dataset: str) -> tuple[DatasetState, str] | None:
    key = layout.dataset_state_key(dataset)
    try:
        body, meta = store.get(key)
    except ObjectNotFoundError:
        return None
    return DatasetState.from_json(body, key=key), meta.etag
