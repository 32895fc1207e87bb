"""The records of one object through a parser, as outcomes; see ``feed.py`` for what a feed is."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, cast

from datalake_interfaces import HandlerContext, SingleFileParser
from datalake_service.catalog.rejections import Rejection
from datalake_service.catalog.tasks import TaskCounts
from datalake_service.errors import PreconditionFailedError, StoreError
from datalake_service.handling.apply import FileHandler, Outcome
from datalake_service.pipeline.feeds.feed import InputChangedError, InputFailedError
from datalake_service.pipeline.jobs.engine import HANDLER_LOGGER, FileInput, TaskJob
from datalake_service.pipeline.sinks.sink import Origin, Refusal
from datalake_service.readers.blocks import Position
from datalake_service.readers.framing import Frame
from datalake_service.readers.objects import ObjectReader, RecordBatch


class FileRecords:
    """One version of one object, read from the checkpoint on.

    The reader hands out records in batches, and what it could not read together with the batch that it lies in. So
    between the last record of a batch and its rejections is no place to go on from; neither is the place behind
    damaged data, where the next attempt would find the damage again. ``at_rest`` says so.
    """

    resumes = True
    pressing = False

    def __init__(self, parser: SingleFileParser, job: TaskJob, source: FileInput) -> None:
        """Take a constructed parser."""
        self._job = job
        self._source = source
        self._handler = FileHandler(parser, folder=job.handler.folder)
        self._handler_open = False
        self._handler_note: tuple[str, ...] = ()
        self._reader: ObjectReader | None = None
        self._key = source.name
        self._size = 0
        self._batch: RecordBatch | None = None
        self._index = -1  # of the record in the batch that was yielded last
        self._rejected = 0  # rejections of the batch that were yielded
        self._unreadable = 0  # rejections of all batches that were yielded
        self._read_before = self._read = 0
        self._before_batch: tuple[object, TaskCounts] = (None, TaskCounts())
        self._taken_back: tuple[object, TaskCounts] | None = None
        self.version: Mapping[str, Any] | None = None

    def open(self, *, checkpoint: object, version: Mapping[str, Any] | None) -> None:
        """Open the parser, and look at the object; see ``Feed.open``."""
        self._before_batch = (checkpoint, TaskCounts())
        self.version = version
        self._handler_open = True
        self._handler.open(
            HandlerContext(
                dataset=self._job.dataset,
                task=self._job.task,
                parameters=self._job.handler.parameters,
                logger=logging.getLogger(HANDLER_LOGGER),
            )
        )
        self._key = self._handler.resolve(self._source.name)
        hints = self._handler.hints()
        try:
            meta = self._source.store.head(self._key)
            found = {"key": self._key, "etag": meta.etag, "size": meta.size}
            if version is not None and dict(version) != found:
                raise InputChangedError
            position = None if checkpoint is None else Position.from_json(checkpoint)
        except StoreError as error:
            raise InputFailedError(str(error)) from error
        self._size = meta.size
        self._read_before = self._read = _bytes_read(checkpoint)
        self._reader = ObjectReader(self._source.store, meta, hints, source=self._job.source, position=position)
        self.version = found

    def outcomes(self) -> Iterator[Outcome]:
        """Yield what becomes of each record; see ``Feed.outcomes``."""
        assert self._reader is not None  # open() comes first
        try:
            for batch in self._reader.batches():
                self._before_batch = (self.position, self.counts())
                self._batch, self._index, self._rejected = batch, -1, 0
                self._read = batch.read
                yield from self._handler.apply(
                    self._followed(batch.records), source=self._job.source, file_name=self._key
                )
                for rejection in batch.rejections:
                    self._rejected += 1
                    self._unreadable += 1
                    yield rejection
        except PreconditionFailedError as error:
            raise InputChangedError from error
        except StoreError as error:
            raise InputFailedError(str(error)) from error
        self._read = self._size

    @property
    def at_rest(self) -> bool:
        """Whether the task can be continued from here. If not, it can with the next record, or there is none."""
        batch = self._batch
        return batch is None or self._index < len(batch.records) - 1 or not batch.rejections

    @property
    def position(self) -> object:
        """Where the next attempt goes on."""
        if self._taken_back is not None:
            return self._taken_back[0]
        if self._batch is None or self._index < 0 <= len(self._batch.records) - 1:
            return self._before_batch[0]
        if self._index == len(self._batch.records) - 1:
            return self._as_json(self._batch.position)
        return self._as_json(self._batch.position_after(self._index))

    @property
    def took_back(self) -> bool:
        """Whether the last rejection was taken back."""
        return self._taken_back is not None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader found strange, and what the parser's ``close`` raised."""
        return (*(self._reader.notes if self._reader is not None else ()), *self._handler_note)

    def origin(self) -> Origin:
        """Offset and bytes of the record whose row was yielded last."""
        assert self._batch is not None  # there was a row
        return Origin(self._batch.records[self._index])

    def reject_row(self, row: Mapping[str, Any], message: str) -> Rejection:
        """Turn the row that was yielded last into a rejection."""
        return self.reject(Refusal(self.origin(), row, message))

    def reject(self, refusal: Refusal) -> Rejection:
        """Turn an earlier row into a rejection."""
        offset, data = cast("Frame", refusal.origin.record)
        return self._handler.reject_row(refusal.row, refusal.message, source=self._job.source, offset=offset, data=data)

    def leave_out(self) -> None:
        """Count an earlier row as a skip."""
        self._handler.leave_out()

    def kept(self) -> None:
        """Files forget nothing."""

    def let_go(self) -> None:
        """The reader has nothing open between two batches."""

    def take_back(self) -> None:
        """Go back before the record that was rejected last, or before its batch if that could not be read."""
        if self._rejected or self._index == 0:
            self._taken_back = self._before_batch
            return
        counts = self.counts()
        without = TaskCounts(counts.records - 1, counts.documents, counts.skips, counts.rejections - 1, counts.size)
        self._index -= 1
        self._taken_back = (self.position, without)

    def counts(self) -> TaskCounts:
        """What became of the records since ``open``."""
        if self._taken_back is not None:
            return self._taken_back[1]
        size = max(0, self._read - self._read_before)
        return self._handler.counts() + TaskCounts(self._unreadable, 0, 0, self._unreadable, size)

    def close(self) -> None:
        """Close the parser; what it raises now becomes a note."""
        if self._handler_open:
            self._handler_open = False
            failure = self._handler.close()
            self._handler_note = () if failure is None else (failure,)

    def _followed(self, records: list[Frame]) -> Iterator[Frame]:
        for record in records:
            self._index += 1
            yield record

    def _as_json(self, position: Position) -> dict[str, str]:
        return {**position.to_json(), "read": str(self._read)}


def _bytes_read(checkpoint: object) -> int:
    """How much of the object the attempts before have read, for the counts."""
    return int(checkpoint["read"]) if isinstance(checkpoint, Mapping) and "read" in checkpoint else 0
