"""Deleting a dataset so that it can be undone: one marker object, moved on by conditional writes only.

::

    (no marker) --delete--> DELETED --restore--> RESTORED --delete--> DELETED
                            DELETED --purge----> PURGING  --all objects gone--> (no marker)

Who wins the write to ``RESTORED`` or ``PURGING`` wins the dataset; there is no way back from ``PURGING``, and a purge
that was interrupted goes on from there. Ages are judged by the store's clock. See ``docs/design/007-dataset-file.md``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from datalake_service.catalog import layout
from datalake_service.catalog.manifests import FORMAT_VERSION, check_format, format_time, parse_time
from datalake_service.errors import (
    AlreadyExistsError,
    DatasetNotFoundError,
    ObjectNotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    StoreError,
    UsageError,
)
from datalake_service.storage.base import CreateOnly, IfMatch, ObjectStore

_ROUNDS: Final = 5
"""How often a change is tried again because somebody else was faster."""


class DeletionStatus(StrEnum):
    """What the marker says."""

    DELETED = "DELETED"
    """Hidden; can be restored."""
    RESTORED = "RESTORED"
    """As if it had never been deleted."""
    PURGING = "PURGING"
    """Its objects are being removed."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """One version of the marker."""

    status: DeletionStatus
    deleted_at: datetime
    """When it was deleted, by the store's clock."""
    written_at: datetime
    """When this version of the marker was written, by the store's clock."""
    etag: str
    """Identifies this version."""


def find_deletion(store: ObjectStore, dataset: str) -> Deletion | None:
    """The marker of a dataset; ``None``: it was never deleted.

    Raises:
        StoreError: The marker cannot be read, or is of a newer format.
    """
    key = layout.deletion_key(dataset)
    try:
        body, meta = store.get(key)
    except ObjectNotFoundError:
        return None
    try:
        document = json.loads(body)
        check_format(document["format"], key=key)
        status, deleted_at = DeletionStatus(document["status"]), document["deletedAt"]
        moment = meta.last_modified if deleted_at is None else parse_time(deleted_at)
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{key} is no deletion marker ({type(error).__name__}: {error}); move it away") from error
    return Deletion(status, moment, meta.last_modified, meta.etag)


def is_deleted(store: ObjectStore, dataset: str) -> bool:
    """Whether the dataset is deleted or being purged."""
    found = find_deletion(store, dataset)
    return found is not None and found.status is not DeletionStatus.RESTORED


def require_not_deleted(store: ObjectStore, dataset: str) -> None:
    """Return if the dataset may be read and written; it need not exist.

    Raises:
        DatasetNotFoundError: It was deleted; the message says how to get it back.
    """
    found = find_deletion(store, dataset)
    if found is None or found.status is DeletionStatus.RESTORED:
        return
    if found.status is DeletionStatus.PURGING:
        raise DatasetNotFoundError(
            f"dataset {dataset!r} is being purged; wait for clean-up to end, or use another name"
        )
    when = found.deleted_at.strftime("%Y-%m-%d %H:%M UTC")
    raise DatasetNotFoundError(
        f"dataset {dataset!r} was deleted at {when}; undo it with: datalake datasets restore --datasetName {dataset}"
    )


def mark_deleted(store: ObjectStore, dataset: str) -> Deletion:
    """Mark a dataset deleted. Doing it again changes nothing.

    Raises:
        StoreError: The marker could not be written.
    """
    for _ in range(_ROUNDS):
        found = find_deletion(store, dataset)
        if found is not None and found.status is not DeletionStatus.RESTORED:
            return found
        try:
            return _write(store, dataset, DeletionStatus.DELETED, deleted_at=None, replaces=found)
        except (AlreadyExistsError, PreconditionFailedError, OutcomeUnknownError):
            continue  # look at what stands there now
    raise _contended(dataset)


def restore(store: ObjectStore, dataset: str) -> bool:
    """Take a deletion back; ``False``: the dataset was not deleted.

    Raises:
        UsageError: Too late: it is being purged.
    """
    doubtful = False
    for _ in range(_ROUNDS):
        found = find_deletion(store, dataset)
        if found is None or found.status is DeletionStatus.RESTORED:
            return doubtful
        if found.status is DeletionStatus.PURGING:
            raise UsageError(f"dataset {dataset!r} is being purged; it cannot be restored any more")
        try:
            _write(store, dataset, DeletionStatus.RESTORED, deleted_at=found.deleted_at, replaces=found)
        except (PreconditionFailedError, OutcomeUnknownError):
            doubtful = True  # whoever restored it
            continue
        return True
    raise _contended(dataset)


def begin_purge(store: ObjectStore, dataset: str, found: Deletion) -> Deletion:
    """Move the marker that was ``found`` on to ``PURGING``; from here on the dataset cannot be restored.

    Raises:
        PreconditionFailedError: Somebody restored it, or purges it already.
    """
    return _write(store, dataset, DeletionStatus.PURGING, deleted_at=found.deleted_at, replaces=found)


def touch(store: ObjectStore, dataset: str, found: Deletion) -> Deletion:
    """Write the marker again as it is: its ``written_at`` is what time it is for the store.

    Raises:
        PreconditionFailedError: Somebody changed it since.
    """
    return _write(store, dataset, found.status, deleted_at=found.deleted_at, replaces=found)


def _write(
    store: ObjectStore, dataset: str, status: DeletionStatus, *, deleted_at: datetime | None, replaces: Deletion | None
) -> Deletion:
    moment = None if deleted_at is None else format_time(deleted_at)
    body = json.dumps({"format": FORMAT_VERSION, "status": status, "deletedAt": moment}, indent=1).encode("ascii")
    mode = CreateOnly() if replaces is None else IfMatch(replaces.etag)
    meta = store.put(layout.deletion_key(dataset), body, mode=mode)
    return Deletion(status, deleted_at or meta.last_modified, meta.last_modified, meta.etag)


def _contended(dataset: str) -> StoreError:
    return StoreError(f"{layout.deletion_key(dataset)} was changed by others {_ROUNDS} times in a row; try again")
