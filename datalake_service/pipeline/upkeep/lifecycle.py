"""The end of a dataset: deleted, restored, purged. What it looks like in between stands in ``reports/overview.py``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from datalake_service.catalog import deletions, layout
from datalake_service.catalog.datasets import list_datasets
from datalake_service.catalog.deletions import Deletion, DeletionStatus
from datalake_service.catalog.tasks import TaskState, load_task
from datalake_service.config.names import check_name
from datalake_service.errors import (
    DatalakeError,
    DatasetNotFoundError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreError,
    UsageError,
)
from datalake_service.storage.base import ObjectMeta, ObjectStore

GRACE: Final = timedelta(days=7)
"""How long a deleted dataset can be restored, at least."""


@dataclass(frozen=True, slots=True)
class PurgeResult:
    """What became of one deleted dataset."""

    dataset: str
    objects: int
    """Objects that were removed."""
    error: str | None = None
    """Why it stays; one line."""


def delete_dataset(store: ObjectStore, dataset: str) -> Deletion:
    """Mark a dataset deleted: it is not shown and not worked on any more, nothing is removed yet.

    Raises:
        DatasetNotFoundError: There is no such dataset.
    """
    require_dataset(store, dataset)
    return deletions.mark_deleted(store, dataset)


def restore_dataset(store: ObjectStore, dataset: str) -> bool:
    """Take a deletion back; ``False``: the dataset was not deleted.

    Raises:
        DatasetNotFoundError: There is no such dataset.
        UsageError: Too late: it is being purged.
    """
    require_dataset(store, dataset)
    return deletions.restore(store, dataset)


def require_dataset(store: ObjectStore, dataset: str) -> None:
    """Return if anything of the dataset is in the lake, deleted or not.

    Raises:
        DatasetNotFoundError: There is nothing; the message names what is like it.
        NameNotAllowedError: No dataset can have this name.
    """
    check_name(dataset, what="dataset")
    if next(store.list(layout.dataset_prefix(dataset)), None) is None:
        raise DatasetNotFoundError(f"no dataset {dataset!r} in {store.uri}; see: datalake datasets list")


def named_datasets(store: ObjectStore, dataset: str | None) -> list[str]:
    """The dataset that somebody named, or all of them.

    Raises:
        DatasetNotFoundError: There is nothing of that name.
        NameNotAllowedError: No dataset can have this name.
    """
    if dataset is None:
        return list(list_datasets(store))
    require_dataset(store, dataset)
    return [dataset]


def require_task(store: ObjectStore, dataset: str, task: str) -> TaskState:
    """Return one task of a dataset.

    Raises:
        DatasetNotFoundError: There is no such dataset.
        UsageError: It has no such task.
    """
    require_dataset(store, dataset)
    try:
        if not task.isalnum():
            raise ObjectNotFoundError(task)  # no id is like this, and it becomes a key
        return load_task(store, dataset, task).state
    except ObjectNotFoundError:
        msg = f"dataset {dataset!r} has no task {task!r}; see: datalake tasks list --datasetName {dataset}"
        raise UsageError(msg) from None


def purge_deleted(
    store: ObjectStore, *, grace: timedelta = GRACE, datasets: list[str] | None = None
) -> Iterator[PurgeResult]:
    """Remove datasets that were deleted longer than ``grace`` ago, one after the other; their names are free then.

    A dataset that was written to after it was deleted stays: somebody works with it. One that cannot be removed does
    not keep the others from it. ``datasets``: only these.
    """
    for dataset in list_datasets(store):
        if datasets is not None and dataset not in datasets:
            continue
        try:
            found = deletions.find_deletion(store, dataset)
            if found is None or found.status is DeletionStatus.RESTORED:
                continue
            removed = _purge(store, dataset, found, grace)
        except DatalakeError as error:
            yield PurgeResult(dataset, 0, str(error))
            continue
        if removed is not None:
            yield PurgeResult(dataset, removed)


def _purge(store: ObjectStore, dataset: str, found: Deletion, grace: timedelta) -> int | None:
    """Remove everything of a dataset, the marker last; ``None``: it is too early, or somebody else decided."""
    marker = layout.deletion_key(dataset)
    waiting = found.status is DeletionStatus.DELETED
    try:
        if waiting:
            found = deletions.touch(store, dataset, found)  # now by the store's clock; this machine's may be wrong
            if found.written_at - found.deleted_at < grace:
                return None
        objects = [meta for meta in store.list(layout.dataset_prefix(dataset)) if meta.key != marker]
        _require_older(objects, found.deleted_at if waiting else found.written_at, dataset)
        if waiting:
            deletions.begin_purge(store, dataset, found)
    except PreconditionFailedError:
        return None
    store.delete_many(meta.key for meta in objects)
    store.delete(marker)
    return len(objects) + 1


def _require_older(objects: Iterable[ObjectMeta], moment: datetime, dataset: str) -> None:
    """Nobody may have written to the dataset since: what was acknowledged is not thrown away."""
    for meta in objects:
        if meta.last_modified > moment:
            raise StoreError(
                f"dataset {dataset!r} was deleted, but {meta.key} was written after that; restore the dataset, or stop "
                "its writers, restore and delete it again"
            )
