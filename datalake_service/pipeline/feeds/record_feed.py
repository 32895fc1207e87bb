"""What the feeds of queues, shards and tables share: a handler at work on records, one after the other."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, cast

from datalake_interfaces import HandlerContext
from datalake_service.catalog.rejections import Rejection
from datalake_service.catalog.tasks import TaskCounts
from datalake_service.handling.apply import Outcome
from datalake_service.handling.records import Handler, Record, RecordHandler
from datalake_service.pipeline.jobs.engine import HANDLER_LOGGER, TaskJob
from datalake_service.pipeline.sinks.sink import Origin, Refusal


class RecordFeed:
    """The half of a ``Feed`` that is the same for every source of records.

    As it is here, each record is a place to go on from, so the task may rest anywhere, and nothing has to be told to
    the source.
    """

    resumes = True
    version: Mapping[str, Any] | None = None

    def __init__(self, handler: Handler, method: str, job: TaskJob) -> None:
        """Take a constructed handler, and the method that takes a record."""
        self._job = job
        self._handler = RecordHandler(handler, method, source=job.source, folder=job.handler.folder)
        self._current: Record | None = None
        self._before: object = None  # the place before the record that was handled last
        self.position: object = None
        self.pressing = False
        self.took_back = False
        self.notes: tuple[str, ...] = ()

    @property
    def at_rest(self) -> bool:
        """Always: each record is a place to go on from."""
        return True

    def open_handler(self) -> None:
        """Open the handler.

        Raises:
            HandlerLoadError: It failed.
        """
        self._handler.open(
            HandlerContext(
                dataset=self._job.dataset,
                task=self._job.task,
                parameters=self._job.handler.parameters,
                logger=logging.getLogger(HANDLER_LOGGER),
            )
        )

    def handle(self, record: Record, *, position: object) -> Outcome:
        """Return what becomes of a record; ``position`` is the place behind it."""
        self._current, self._before, self.position = record, self.position, position
        return self._handler.outcome(record)

    def refuse(self, record: Record, message: str, *, position: object) -> Rejection:
        """Return the rejection of a record that the handler cannot be given."""
        self._current, self._before, self.position = record, self.position, position
        return self._handler.unreadable(record, message)

    def origin(self) -> Origin:
        """The record whose row was yielded last."""
        assert self._current is not None  # there was a row
        return Origin(self._current, self._current.seconds)

    def reject_row(self, row: Mapping[str, Any], message: str) -> Rejection:
        """Turn the row that was yielded last into a rejection."""
        return self.reject(Refusal(self.origin(), row, message))

    def reject(self, refusal: Refusal) -> Rejection:
        """Turn an earlier row into a rejection."""
        return self._handler.reject_row(refusal.row, refusal.message, cast("Record", refusal.origin.record))

    def leave_out(self) -> None:
        """Count an earlier row as a skip."""
        self._handler.leave_out()

    def take_back(self) -> None:
        """Go back before the record that was rejected last."""
        self._handler.take_back()
        self.position = self._before
        self.took_back = True

    def counts(self) -> TaskCounts:
        """What became of the records since ``open``."""
        return self._handler.counts()

    def kept(self) -> None:
        """The source keeps its records whatever is said; a checkpoint that was wanted is made."""
        self.pressing = False

    def close(self) -> None:
        """Close the handler; what it raises now becomes a note."""
        failure = self._handler.close()
        if failure is not None:
            self.notes += (failure,)

    def let_go(self) -> None:
        """Nothing is held."""
