"""Results of an annotation run on their way to the store: counts, age, and what to do while the store is slow.

Everything here happens on the event loop's thread; what waits for the store happens in the given threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

from datalake_interfaces.attempts import Usage
from datalake_service.annotating.results import ANSWER, Failure
from datalake_service.annotating.uninterrupted import uninterrupted
from datalake_service.annotating.usage import Spent
from datalake_service.catalog.annotations import COST, FINAL_STATUSES, INPUT_TOKENS, OUTPUT_TOKENS
from datalake_service.chunks.writer import ChunkWriter
from datalake_service.errors import RowError, StoreError
from datalake_service.pipeline.annotation.batch_turns import OpenTurns, Turn
from datalake_utils.clock import Clock

_GIVE_BACK_SECONDS = 1.0
"""Complete batches are stored and given back together, this often at most: small batches make small chunks else."""

Row = dict[str, Any]
Replace = Callable[[Row, Failure], Row]
"""Told of a row that cannot be stored; answers the row that is stored instead."""


@dataclass(slots=True)
class ReportedUsage:
    """What rows say that they have cost."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0

    def add(self, row: Row) -> None:
        """Add what one says."""
        self.input_tokens += row.get(INPUT_TOKENS, 0)
        self.output_tokens += row.get(OUTPUT_TOKENS, 0)
        self.cost += row.get(COST, 0.0)

    def spent(self, calls: int) -> Spent | None:
        """All of it, by so many calls; ``None``: they say nothing."""
        if not (self.cost or self.input_tokens or self.output_tokens):
            return None
        return Spent(calls, usage=Usage(self.input_tokens, self.output_tokens, self.cost))


class AnnotationOutput:
    """Puts rows into chunks; a chunk is sealed by its rows and bytes (the writer) or by its age (``tick``)."""

    def __init__(
        self,
        writer: ChunkWriter,
        counts: dict[str, int],
        *,
        replace: Replace,
        max_age: float,
        threads: Executor,
        clock: Clock,
        turns: OpenTurns | None = None,
        reported: ReportedUsage | None = None,
    ) -> None:
        """Write with ``writer``, in chunks no older than ``max_age`` seconds; count rows by status in ``counts``.

        What rows say that they have cost is added up in ``reported``, if nobody else counts it.

        What is counted is durable once ``close`` has returned. Batches of ``turns`` are given back when all of their
        answers are durable.
        """
        self._writer = writer
        self._replace = replace
        self._max_age = max_age
        self._threads = threads
        self._clock = clock
        self.room: asyncio.Future[None] | None = None
        """Not ``None``: ``wait_for_room`` before asking for another answer."""
        self._backlog: list[Row] = []
        self._error: StoreError | None = None
        self._closing = False
        self._sealed = 0
        self._oldest = clock.monotonic()
        self._counts = counts
        self._turns = turns
        self._reported = reported
        self._broken = False
        """Whether a chunk could not be stored: no batch is known to be complete then."""
        self._giving_back: asyncio.Future[None] | None = None
        self._gave_back = clock.monotonic()

    def add(self, row: Row) -> None:
        """Add one row. One that cannot be stored is replaced, now or later.

        Raises:
            StoreError: An earlier chunk could not be stored.
        """
        if self.room is not None:
            # The writer is waiting in a thread and must not be touched. At most one row of each worker gets here.
            self._backlog.append(row)
            return
        try:
            self._writer.add(row)
        except StoreError:
            self._broken = True
            raise
        except Exception as error:  # noqa: BLE001 - also user code: how a value of theirs is turned into JSON
            row = self._add_replaced(row, error)
        status: str = row["_status"]
        self._counts[status] += 1
        if self._reported is not None and (COST in row or INPUT_TOKENS in row):
            self._reported.add(row)
        if self._turns is not None:
            self._turns.note(row["_batch"], row["id"], finished=status in FINAL_STATUSES)
        if self._writer.saturated and not self._closing:
            self._wait_in_thread(self._writer.wait_for_room)

    async def wait_for_room(self) -> None:
        """Wait until chunks that are on their way have arrived.

        Raises:
            StoreError: One of them could not be stored.
        """
        while (room := self.room) is not None:
            await asyncio.wait({room})
            if room is self.room:  # it failed, else it would be gone
                room.result()
        if self._error is not None:
            raise self._error

    def tick(self) -> None:
        """Seal a chunk that is old enough, store batches that are complete; called a few times a second.

        Raises:
            StoreError: An earlier chunk could not be stored.
        """
        if self.room is not None:
            if self.room.done():  # perhaps nobody waits for it: there may be nothing left to ask
                self.room.result()
            return
        now = self._clock.monotonic()
        if self._turns is not None and now - self._gave_back >= _GIVE_BACK_SECONDS and self._giving_back is None:
            complete = self._turns.take_complete()
            if complete:
                self._gave_back = now
                self._wait_in_thread(self._writer.flush).add_done_callback(partial(self._stored, complete))
                return
        if self._writer.rows_buffered == 0 or self._sealed != self._writer.chunks_sealed:
            self._sealed, self._oldest = self._writer.chunks_sealed, now
        elif now - self._oldest >= self._max_age:
            try:
                self._writer.seal()
            except StoreError:
                self._broken = True
                raise

    async def close(self) -> None:
        """Store what is left, and complete the run; not before everything was tried, cancelled or not.

        Raises:
            StoreError: Not everything could be stored.
        """
        self._closing = True
        try:
            if self.room is not None:
                await uninterrupted(self.room)
        finally:
            self.room = None
            try:
                self._add_backlog()
            finally:
                loop = asyncio.get_running_loop()
                await uninterrupted(loop.run_in_executor(self._threads, self._writer.close))
        if self._error is not None:
            raise self._error
        if self._turns is not None:
            self._give_back(self._turns.take_complete())
            while (giving_back := self._giving_back) is not None:
                await uninterrupted(giving_back)
                # Of one that is done already its callback may not have run, and waiting for it lets nothing run.
                self._forget(giving_back)

    def _wait_in_thread(self, wait: Callable[[], None]) -> asyncio.Future[None]:
        self.room = room = asyncio.get_running_loop().run_in_executor(self._threads, wait)
        room.add_done_callback(self._made_room)
        return room

    def _stored(self, complete: Sequence[Turn], flushed: asyncio.Future[None]) -> None:
        if flushed.cancelled() or flushed.exception() is not None:
            self._broken = True
        self._give_back(complete)

    def _give_back(self, complete: Sequence[Turn]) -> None:
        if self._turns is not None and complete and not self._broken:
            loop = asyncio.get_running_loop()
            self._giving_back = loop.run_in_executor(self._threads, self._turns.give_back, complete)
            self._giving_back.add_done_callback(self._forget)

    def _forget(self, given_back: asyncio.Future[None]) -> None:
        if self._giving_back is given_back:
            self._giving_back = None

    def _add_replaced(self, row: Row, error: Exception) -> Row:
        """Write what is stored in place of a row that cannot be."""
        known = isinstance(error, RowError)
        failure = Failure(ANSWER, str(error)) if known else Failure(type(error).__name__, "its values cannot be stored")
        replacement = self._replace(row, failure)
        try:
            self._writer.add(replacement)
        except StoreError:
            self._broken = True
            raise
        return replacement

    def _made_room(self, room: asyncio.Future[None]) -> None:
        if room.cancelled() or room.exception() is not None:
            self._broken = True
            return  # it stays, so that whoever waits for room is told
        if self.room is room:
            self.room = None
            try:
                self._add_backlog()
            except StoreError as error:
                self._error = error

    def _add_backlog(self) -> None:
        backlog, self._backlog = self._backlog, []
        for row in backlog:
            self.add(row)
