"""The items of one segment of a DynamoDB table through a handler, as outcomes; see ``feed.py`` for what a feed is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

from datalake_interfaces import DynamoDBTableItemReader
from datalake_service.errors import StoreError, StoreUnavailableError
from datalake_service.handling.records import Record
from datalake_service.handling.rows import derived_ids
from datalake_service.pipeline.feeds.feed import FeedOutcome, Idle, InputFailedError
from datalake_service.pipeline.feeds.patience import Patience
from datalake_service.pipeline.feeds.record_feed import RecordFeed
from datalake_service.pipeline.jobs.engine import TaskJob
from datalake_service.pipeline.jobs.stream_inputs import SegmentInput
from datalake_service.readers.dynamodb_values import as_json, from_json, plain_item
from datalake_service.readers.segments import Item, ScanPage, Table, open_table
from datalake_utils.clock import Clock

BETWEEN_SCANS: Final = 60.0
"""Seconds from the end of one pass to the beginning of the next, with ``Continuous``."""
_DIGEST_BYTES: Final = 16


class SegmentItems(RecordFeed):
    """One segment of the scan of one table.

    Its position is ``{"pass": n, "key": primary key of the item handled last, as JSON}``.
    """

    def __init__(self, reader: DynamoDBTableItemReader, job: TaskJob, source: SegmentInput, *, clock: Clock) -> None:
        """Take a constructed reader."""
        super().__init__(reader, "parse_dynamo_db_item", job)
        self._source = source
        self._clock = clock
        self._ids = derived_ids(job.source)
        self._patience = Patience(clock)
        self._table: Table | None = None
        self._pass = 1
        self._behind: Item | None = None

    def open(self, *, checkpoint: object, version: Mapping[str, object] | None) -> None:  # noqa: ARG002 - there is none
        """Open the reader, and find the table; see ``Feed.open``."""
        if isinstance(checkpoint, Mapping):
            self.position = checkpoint
            self._pass = int(checkpoint["pass"])
            self._behind = None if checkpoint.get("key") is None else from_json(str(checkpoint["key"]))
        self.open_handler()
        try:
            self._table = open_table(self._source.clients, self._source.table, clock=self._clock)
        except StoreError as error:
            raise InputFailedError(str(error)) from error

    def outcomes(self) -> Iterator[FeedOutcome]:
        """Yield what becomes of each item, pass after pass; see ``Feed.outcomes``."""
        table = self._table
        assert table is not None  # open() comes first
        while True:
            try:
                page = self._page(table)
            except StoreUnavailableError as error:
                yield Idle(self._patience.after(error))
                continue
            except StoreError as error:
                raise InputFailedError(str(error)) from error
            self._patience.rewarded()
            for item in page.items:
                record, position = self._record(table, item)
                yield self.handle(record, position=position)
            self._behind = page.following
            if page.following is not None:
                self._stand_behind(page.following)
            elif not self._source.continuous:
                return
            else:
                self._pass += 1
                self._stand_behind(None)
                yield Idle(BETWEEN_SCANS)

    def _page(self, table: Table) -> ScanPage:
        source = self._source
        return table.scan(segment=source.segment, segments=source.segments, behind=self._behind, only=source.only)

    def _stand_behind(self, key: Item | None) -> None:
        """Go on from here although no item says so: the items of a page may all have been filtered out."""
        self.position = {"pass": self._pass, "key": None if key is None else as_json(key)}

    def _record(self, table: Table, item: Item) -> tuple[Record, object]:
        key = table.key_of(item)
        offset = as_json(key)
        row_id = f"{self._ids}-{_digest(offset)}"
        if self._source.continuous:  # an item that has changed since the pass before is another row
            row_id = f"{row_id}-{_digest(as_json(item))}"
        arguments = (table.name, self._source.segment, plain_item(key), plain_item(item))
        return Record(row_id, offset, arguments, partial(_bytes, item)), {"pass": self._pass, "key": offset}


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()


def _bytes(item: Item) -> bytes:
    return as_json(item).encode("utf-8", "surrogatepass")
