"""The names of all events, and how one is told. Values are fields, never part of the text.

An event is a record of the standard library's ``logging``: a program that uses the library sees it like any other, and
``runtime/logs.py`` writes it as a line for people or as JSON. Row contents and secrets are never fields.
``docs/reference/events.md`` lists every name; a test compares.
"""

from __future__ import annotations

import logging
from typing import Final

ANNOTATION_BATCH_TAKEN_OVER: Final = "annotation.batch_taken_over"
"""A shared worker goes on with a batch of one that died."""
ANNOTATION_CAMPAIGN_JOINED: Final = "annotation.campaign_joined"
"""A run goes on with what an earlier one began to ask again, and asks only what that one did not."""
ANNOTATION_CLAIM_NOT_RELEASED: Final = "annotation.claim_not_released"
"""A batch could not be given back; that is tried again."""
ANNOTATION_CLOSE_FAILED: Final = "annotation.close_failed"
"""An annotator's ``close`` raised. What it annotated is stored."""
ANNOTATION_COMPLETED: Final = "annotation.completed"
"""An annotator has seen every selected row."""
ANNOTATION_FAILED: Final = "annotation.failed"
"""An annotator had to end early."""
ANNOTATION_LEASE_BROKEN: Final = "annotation.lease_broken"
"""A person gave a lease back in its owner's place."""
ANNOTATION_LEASE_NOT_RELEASED: Final = "annotation.lease_not_released"
"""A lease could not be given back; it runs out by itself."""
ANNOTATION_LOOP_BLOCKED: Final = "annotation.loop_blocked"
"""A function of an async annotator waits or computes without letting the other calls go on."""
ANNOTATION_ROW_FAILED: Final = "annotation.row_failed"
"""A row has no annotation; the next run asks again."""
ANNOTATION_SHARE_LOST: Final = "annotation.share_lost"
"""A worker could not renew its part of limits that are shared; that is tried again; no call begins after its end."""
ANNOTATION_SHARE_NOT_RELEASED: Final = "annotation.share_not_released"
"""A worker could not give back its part of limits and budget: others take it over when it has run out."""
ANNOTATION_SHARE_TAKEN: Final = "annotation.share_taken"
"""A worker has its part of limits that are shared; told when the number of workers changes."""
ANNOTATION_TALLY_NOT_STORED: Final = "annotation.tally_not_stored"
"""What a shared worker did is missing in the report of all workers, or there is none."""
ANNOTATION_WAITING: Final = "annotation.waiting"
"""A shared worker waits for batches that others work on."""
BATCH_FAILED: Final = "batch.failed"
"""A batch could not be merged; its objects are as they were."""
BATCH_MERGED: Final = "batch.merged"
"""A batch was merged, or had nothing new."""
COMMAND_COMPLETED: Final = "command.completed"
"""A command ended."""
COMMAND_FAILED: Final = "command.failed"
"""A command ended with an error."""
COMMAND_STARTED: Final = "command.started"
"""A command begins."""
DATASET_DELETED: Final = "dataset.deleted"
"""A dataset was marked deleted."""
DATASET_PURGED: Final = "dataset.purged"
"""A deleted dataset was removed for good."""
DATASET_PURGE_FAILED: Final = "dataset.purge_failed"
"""A deleted dataset could not be removed."""
DATASET_RESTORED: Final = "dataset.restored"
"""A deletion was taken back."""
DATASET_STOP_REQUESTED: Final = "dataset.stop_requested"
"""Somebody asked every run of a dataset to stop."""
EXPORT_COMPLETED: Final = "export.completed"
"""An export was written."""
LEFTOVERS_REMOVED: Final = "leftovers.removed"
"""Clean-up removed what dead processes had left."""
MUTEX_STARTED: Final = "mutex.started"
"""The server of the mutex listens."""
MUTEX_STOPPED: Final = "mutex.stopped"
"""The server of the mutex was stopped in order."""
RUN_COMPLETED: Final = "run.completed"
"""A run of a dataset file came to its end, well or not."""
TASK_CLAIM_NOT_RELEASED: Final = "task.claim_not_released"
"""A worker could not give a task back; that is tried again."""
TASK_COMPLETED: Final = "task.completed"
"""A task was read to its end."""
TASK_FAILED: Final = "task.failed"
"""A task was given up; the next run goes on from its checkpoint."""
TASK_STOP_REQUESTED: Final = "task.stop_requested"
"""Somebody asked whoever has a task to stop it."""
TASK_STOPPED: Final = "task.stopped"
"""A task ended early on request; the next run goes on from its checkpoint."""
TASK_TAKEN_OVER: Final = "task.taken_over"
"""A worker goes on with a task of one that died."""
WORKER_LEASE_NOT_RELEASED: Final = "worker.lease_not_released"
"""A worker could not give its lease back; it runs out by itself."""
WORKER_WAITING: Final = "worker.waiting"
"""A worker waits for tasks that others work on."""

FIELDS: Final = "datalake_fields"
"""The attribute of a log record that holds the fields of its event."""

_LOGGER: Final = logging.getLogger("datalake")


def emit(event: str, /, *, level: int = logging.INFO, **fields: object) -> None:
    """Tell an event; ``fields`` hold JSON values."""
    if _LOGGER.isEnabledFor(level):
        _LOGGER.log(level, event, extra={FIELDS: fields})
