"""The messages of a queue through a handler, as outcomes; see ``feed.py`` for what a feed is.

A message is deleted when the task says that what became of it is kept. See ``docs/design/013-sources.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from datalake_interfaces import QueueMessageReader
from datalake_service.errors import StoreError, StoreUnavailableError
from datalake_service.handling.apply import Outcome
from datalake_service.handling.records import Record
from datalake_service.handling.rows import derived_ids
from datalake_service.pipeline.feeds.feed import FeedOutcome, Idle, InputFailedError
from datalake_service.pipeline.feeds.patience import Patience
from datalake_service.pipeline.feeds.record_feed import RecordFeed
from datalake_service.pipeline.jobs.engine import QueueInput, TaskJob
from datalake_service.readers.queues import BATCH, Message, Queue, open_queue
from datalake_service.readers.taken import TakenMessages
from datalake_utils.clock import Clock

MOST_TAKEN: Final = 5_000
"""So many messages that are not deleted yet ask for a checkpoint. SQS allows 120,000 for a queue."""
DRAINING_WAIT: Final = 1
"""Seconds of a long poll of a queue that is to be drained, or while messages wait for a checkpoint."""
CONTINUOUS_WAIT: Final = 5
"""Seconds of a long poll otherwise: so long a stop may take."""
GROUP_SECONDS: Final = 1.0
"""In a FIFO queue, groups wait no longer for a checkpoint, although others may keep the task busy."""
BATCH_SECONDS: Final = 5.0
"""No more messages are taken at a time than are handled in about this time: a stop waits for them."""
HELD_SECONDS: Final = 5.0
"""In a standard queue, messages wait so long for others before there is a checkpoint for them alone."""


class QueueMessages(RecordFeed):
    """One of the readers of a queue.

    A batch is handled to its end before the task may stop: to throw back a message would count as a delivery.
    """

    def __init__(self, reader: QueueMessageReader, job: TaskJob, source: QueueInput, *, clock: Clock) -> None:
        """Take a constructed reader."""
        super().__init__(reader, "parse_message", job)
        self._source = source
        self._clock = clock
        self._ids = derived_ids(job.source)
        self._receiving, self._deleting = Patience(clock), Patience(clock)
        self._queue: Queue | None = None
        self._taken: TakenMessages | None = None
        self._done: list[str] = []  # messages whose outcome was yielded, not kept yet
        self._left = 0  # messages of the batch that are not handled yet
        self._share = 1  # messages to ask for
        self._empty = 0  # receives in a row that got nothing
        self._empty_since = 0.0
        self._nobody_had_any = False
        self._failure: str | None = None

    @property
    def at_rest(self) -> bool:
        """Whether the batch is handled."""
        return self._left == 0

    def open(self, *, checkpoint: object, version: Mapping[str, Any] | None) -> None:  # noqa: ARG002 - the queue knows
        """Open the reader, and find the queue; see ``Feed.open``."""
        self.open_handler()
        try:
            self._queue = open_queue(self._source.clients, self._source.queue, clock=self._clock)
        except StoreError as error:
            raise InputFailedError(str(error)) from error
        self._taken = TakenMessages(self._queue, clock=self._clock)

    def outcomes(self) -> Iterator[FeedOutcome]:
        """Yield what becomes of each message; see ``Feed.outcomes``."""
        queue, taken = self._opened()
        while True:
            try:
                messages = self._receive(queue, taken)
                if not messages and not taken and self._is_drained(queue):
                    return
            except StoreUnavailableError as error:
                yield Idle(self._receiving.after(error))
                continue
            except StoreError as error:
                raise InputFailedError(str(error)) from error
            self._receiving.rewarded()
            yield from self._handled(messages)
            self.pressing = self._wants_checkpoint(taken, queue, empty_handed=not messages)
            if not messages or self.pressing:
                yield Idle()
            if self._failure is not None:
                raise InputFailedError(self._failure)

    def take_back(self) -> None:
        """Leave the message that was rejected last on the queue."""
        super().take_back()
        self._done.pop()

    def kept(self) -> None:
        """Delete the messages whose outcomes are durable."""
        self.pressing = False
        if not self._done:
            return
        queue, taken = self._opened()
        done, self._done = self._done, []
        try:
            self._done = queue.delete(taken.receipts(done))  # those that are left: again with the next checkpoint
            taken.drop(set(done).difference(self._done))
            if self._done:
                raise StoreUnavailableError(f"{len(self._done)} messages of {self._job.source} could not be deleted")
            self._deleting.rewarded()
        except StoreUnavailableError as error:
            self._done = self._done or done
            try:
                self._deleting.after(error)
            except InputFailedError as failure:
                self._failure = str(failure)
        except StoreError as error:
            self._failure = str(error)

    def let_go(self) -> None:
        """Give back what was taken and not deleted."""
        if self._taken is not None:
            self._taken.give_back()

    def _opened(self) -> tuple[Queue, TakenMessages]:
        assert self._queue is not None  # open() comes first
        assert self._taken is not None
        return self._queue, self._taken

    @property
    def _draining(self) -> bool:
        return self._source.empty_receives is not None

    def _receive(self, queue: Queue, taken: TakenMessages) -> list[Message]:
        wait = DRAINING_WAIT if self._draining or taken else CONTINUOUS_WAIT
        if self._draining and not taken and self._empty + 1 >= (self._source.empty_receives or 0):
            self._nobody_had_any = queue.in_flight() == 0  # before the receive: what comes back now is received
        at = self._clock.monotonic()
        # Messages of a group whose earlier ones are not deleted do not come, however long one waits.
        messages = queue.receive(wait=0 if taken and queue.is_fifo else wait, most=self._share)
        if messages:
            self._empty = 0
            taken.take(messages, at=at)
        elif not taken:
            if not self._empty:
                self._empty_since = at
            self._empty += 1
        return messages

    def _is_drained(self, queue: Queue) -> bool:
        """Whether the queue is empty for good, as far as anybody can know.

        Messages that a dead worker has taken come again when their time is over; so long they are waited for.
        """
        limit = self._source.empty_receives
        if limit is None or self._empty < limit:
            return False
        return self._nobody_had_any or self._clock.monotonic() - self._empty_since >= queue.visibility

    def _handled(self, messages: list[Message]) -> Iterator[Outcome]:
        if not messages:
            return
        began = self._clock.monotonic()
        self._left = len(messages)
        for message in messages:
            self._left -= 1
            outcome = self.handle(self._record(message), position=None)  # the queue keeps the place
            self._done.append(message.id)
            yield outcome
        each = (self._clock.monotonic() - began) / len(messages)
        self._share = max(1, min(BATCH, int(BATCH_SECONDS / each))) if each > 0 else BATCH

    def _wants_checkpoint(self, taken: TakenMessages, queue: Queue, *, empty_handed: bool) -> bool:
        if not taken:
            return False
        if len(taken) >= MOST_TAKEN:
            return True
        held = self._clock.monotonic() - taken.since
        if queue.is_fifo and held >= GROUP_SECONDS:
            return True
        waits_for_us = queue.is_fifo or self._draining  # other messages of the groups; the end of the queue
        return empty_handed and (waits_for_us or held >= HELD_SECONDS)

    def _record(self, message: Message) -> Record:
        return Record(
            f"{self._ids}-{message.id}",
            message.id,
            (message.id, message.group, message.deduplication, message.attributes, message.body),
            lambda: message.body.encode("utf-8", "surrogatepass"),
            message.sent_at,
        )
