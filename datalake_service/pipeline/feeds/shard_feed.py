"""The records of one shard of a stream through a handler, as outcomes; see ``feed.py`` for what a feed is.

Where it stands is the sequence number of the record handled last; a page that was read ahead counts for nothing. See
``docs/design/013-sources.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from datalake_service.errors import StoreError, StoreUnavailableError
from datalake_service.handling.apply import Outcome
from datalake_service.handling.records import Handler
from datalake_service.pipeline.feeds.feed import FeedOutcome, Idle, InputFailedError
from datalake_service.pipeline.feeds.patience import Patience
from datalake_service.pipeline.feeds.record_feed import RecordFeed
from datalake_service.pipeline.feeds.shard_records import ChangeKind, Kind, KinesisKind, UnreadableError
from datalake_service.pipeline.jobs.engine import TaskJob
from datalake_service.pipeline.jobs.stream_inputs import ShardInput, StreamService
from datalake_service.readers.page_ahead import PageAhead
from datalake_service.readers.shards import (
    IteratorExpiredError,
    KinesisStream,
    Page,
    Place,
    RecordsTrimmedError,
    Stream,
    TableStream,
)
from datalake_utils.backoff import Backoff
from datalake_utils.clock import Clock

BUSY_SECONDS: Final = 0.2
"""Between two requests that found nothing although there is more: a shard allows five a second."""
HELD_SECONDS: Final = 5.0
"""While a shard has nothing new, so long records wait for others before there is a checkpoint for them alone."""
_POLL: Final = Backoff(first=1.0, longest=60.0)
"""Between two requests while there is nothing new: exponential, a minute at most."""
_NEVER_SHORTER: Final = 23 * 3600.0
"""No stream keeps records for less than a day; an hour for the difference of the clocks."""
_METHODS: Final = {StreamService.KINESIS: "parse_message", StreamService.DYNAMODB: "parse_record"}


class ShardRecords(RecordFeed):
    """One shard of one stream.

    Its position is ``{"sequence": …, "since": …, "until": …}``: the record handled last; where the shard began to be
    read, if that was a time; and until when there was nothing more, both in seconds since 1970. ``{"oldest": true}``
    is the oldest record there is.
    """

    def __init__(self, handler: Handler, job: TaskJob, source: ShardInput, *, clock: Clock) -> None:
        """Take a constructed handler."""
        super().__init__(handler, _METHODS[source.service], job)
        self._source = source
        self._clock = clock
        self._patience = Patience(clock)
        is_kinesis = source.service is StreamService.KINESIS
        made = KinesisStream if is_kinesis else TableStream
        self._stream: Stream = made(source.clients, source.stream, clock=clock)
        self._pages = PageAhead(self._stream)
        self._kind: Kind = KinesisKind(job.source, source) if is_kinesis else ChangeKind(job.source, source)
        self._sequence: str | None = None
        self._since = source.begin.since
        self._until: float | None = None
        self._from_oldest = False  # wherever the dataset file says that reading begins
        self._held_since: float | None = None  # when the first record was handled that has no checkpoint
        self._quiet = 0  # requests in a row that found nothing and nothing newer

    def open(self, *, checkpoint: object, version: Mapping[str, Any] | None) -> None:  # noqa: ARG002 - there is none
        """Open the handler, and find the place; see ``Feed.open``."""
        if isinstance(checkpoint, Mapping):
            self.position = checkpoint
            self._sequence, self._until = checkpoint.get("sequence"), checkpoint.get("until")
            self._since = checkpoint.get("since")
            self._from_oldest = bool(checkpoint.get("oldest"))
        self.open_handler()

    def outcomes(self) -> Iterator[FeedOutcome]:
        """Yield what becomes of each record, until the shard is closed and at its end; see ``Feed.outcomes``."""
        iterator: str | None = None
        try:
            self._refuse_if_lost()
            while True:
                try:
                    iterator = iterator or self._stream.iterator(self._source.shard, self._place())
                    page = self._pages.read(iterator)
                except StoreUnavailableError as error:
                    yield Idle(self._patience.after(error))
                    continue
                except IteratorExpiredError:
                    iterator = None  # the handler took minutes for a page
                    continue
                self._patience.rewarded()
                self._quiet = 0 if page.records else self._quiet
                iterator = page.iterator
                if iterator is not None and page.records and not page.up_to_date:
                    self._pages.ask(iterator)
                yield from self._handled(page)
                if iterator is None:
                    return
                if not page.records:
                    self.pressing = self._held_for() >= HELD_SECONDS
                    yield Idle(self._pause(page))
        except RecordsTrimmedError as error:
            raise self._lost("older than the stream keeps them") from error
        except StoreError as error:
            raise InputFailedError(str(error)) from error

    def _place(self) -> Place:
        if self._sequence is not None:
            return Place(after=self._sequence)
        if self._since is not None or self._from_oldest:
            return Place(since=self._since)
        return self._source.begin

    def _held_for(self) -> float:
        return 0.0 if self._held_since is None else self._clock.monotonic() - self._held_since

    def _handled(self, page: Page) -> Iterator[Outcome]:
        if page.records and self._held_since is None:
            self._held_since = self._clock.monotonic()
        kind = self._kind
        for raw in page.records:
            sequence, seconds = kind.sequence(raw), kind.seconds(raw)
            self._sequence, self._until = sequence, seconds
            # A shard of a table's stream cannot be entered at a time; whole seconds are all that its records know.
            if self._since is not None and seconds < int(self._since):
                self.position = self._here()
                continue
            try:
                record = kind.record(raw, sequence, seconds)
            except UnreadableError as error:
                yield self.refuse(kind.unread(raw, sequence, seconds), str(error), position=self._here())
            else:
                yield self.handle(record, position=self._here())
        if page.up_to_date and page.at is not None:
            self._until = page.at
            self.position = self._here()

    def _here(self) -> dict[str, object]:
        place: dict[str, object] = {}  # made for each record
        if self._sequence:
            place["sequence"] = self._sequence
        if self._until:
            place["until"] = self._until
        if self._since:
            place["since"] = self._since
        if self._from_oldest:
            place["oldest"] = True
        return place

    def kept(self) -> None:
        """Nothing waits for a checkpoint any more."""
        super().kept()
        self._held_since = None

    def let_go(self) -> None:
        """The attempt is over: a page that was read ahead is forgotten, and comes again."""
        self._pages.close()

    def _pause(self, page: Page) -> float:
        if not page.up_to_date:
            return BUSY_SECONDS
        self._quiet += 1
        return _POLL.seconds(self._quiet)

    def _refuse_if_lost(self) -> None:
        """Fail, once, if the place is so old that records behind it may not exist any more."""
        if self._until is None or self._clock.now().timestamp() - self._until < _NEVER_SHORTER:
            return
        keeps = self._stream.keeps_seconds()
        if keeps is not None and self._clock.now().timestamp() - self._until > keeps:
            raise self._lost(f"it keeps records for {keeps / 3600:g} hours")

    def _lost(self, why: str) -> InputFailedError:
        """The error; behind it the place is the oldest record that there still is."""
        where = f"the shard {self._source.shard} of {self._source.stream}"
        until = "its beginning" if self._until is None else datetime.fromtimestamp(self._until, UTC).isoformat()
        self._sequence = self._until = self._since = None
        self.position = {"oldest": True}
        return InputFailedError(
            f"{where} was read until {until}, and records behind that are gone ({why}); run it again to go on with the "
            "oldest that are left"
        )
