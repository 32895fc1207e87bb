"""Rows that share a call: which of them, when it is made, and what its answer says about each.

Nobody waits for rows that will not come: a batch is whoever is there when it is full, when its first row has waited
long enough, or when there is nothing left to wait for. One worker gathers at a time, for itself.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from datalake_interfaces.annotators import BatchAnnotator, DataItem
from datalake_interfaces.attempts import NOTHING, Usage
from datalake_service.annotating.results import ANSWER, Failure
from datalake_service.errors import HandlerLoadError

if TYPE_CHECKING:
    from datalake_service.annotating.source import BlockSource

_LONGEST_WAIT: Final = 3_600.0
_MOMENT: Final = 1e-6
"""Seconds that are too short to wait for: they may not move a clock at all."""


class RowBatch(DataItem):
    """Rows that share a call. What stands around a call takes it for one row: all of them have the same fate."""

    __slots__ = ("_usage", "raised", "rows")

    def __init__(self, rows: Sequence[DataItem]) -> None:
        """Take the rows, at least one."""
        self.rows = rows
        self.raised: Exception | None = None
        """What its last call raised."""
        self._usage = NOTHING
        first = rows[0]
        self.data, self.id, self.batch = first.data, first.id, first.batch

    @property
    def attempt(self) -> int:
        """That of the row that was asked most often."""
        return max(row.attempt for row in self.rows)

    @attempt.setter
    def attempt(self, value: int) -> None:
        more = value - self.attempt
        for row in self.rows:
            row.attempt += more

    @property
    def error(self) -> Exception | None:
        """Why a row of it failed before."""
        return next((row.error for row in self.rows if row.error is not None), None)

    @error.setter
    def error(self, value: Exception | None) -> None:
        for row in self.rows:
            row.error = value

    @property
    def usage(self) -> Usage:  # type: ignore[override]  # that of a row is added to by itself
        """What all rows have cost; the same object as before if nothing was added."""
        found = NOTHING
        for row in self.rows:
            if row.usage is not NOTHING:
                found += row.usage
        if found != self._usage:
            self._usage = found
        return self._usage


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """When a batch is full, and how long it waits to be."""

    rows: int
    seconds: float
    weight: int | None = None
    weigh: Callable[[DataItem], int] = lambda _: 0

    @classmethod
    def of(cls, annotator: BatchAnnotator) -> BatchLimits:
        """What an annotator says.

        Raises:
            HandlerLoadError: It says what cannot be.
        """
        name = type(annotator).__name__
        rows, seconds, weight = annotator.max_batch_size, annotator.max_wait_seconds, annotator.max_batch_weight
        for what, value in (("max_batch_size", rows), ("max_batch_weight", 1 if weight is None else weight)):
            if type(value) is not int or value < 1:
                raise HandlerLoadError(f"{name}.{what} must be a whole number, at least 1, not {value!r}")
        given: object = seconds
        if not isinstance(given, int | float) or not 0 <= given <= _LONGEST_WAIT:
            raise HandlerLoadError(f"{name}.max_wait_seconds must be between 0 and {_LONGEST_WAIT:g}, not {seconds!r}")

        def weigh(row: DataItem) -> int:
            try:
                return annotator.weigh(row)
            except Exception:  # noqa: BLE001 - the user's annotator; whatever is the matter, its call will tell
                return weight or 0  # alone

        return cls(rows, float(seconds), weight, weigh)


def rows_of(batch: DataItem) -> list[DataItem]:
    """The rows that ``annotate_batch`` is given."""
    assert isinstance(batch, RowBatch)  # nobody else is asked
    return list(batch.rows)


def tokens_of(estimate: Callable[[DataItem], int]) -> Callable[[DataItem], int]:
    """``estimate_tokens`` for a ``RowBatch``: the sum of its rows."""
    return lambda batch: sum(estimate(row) for row in rows_of(batch))


def answers_of(batch: RowBatch, answer: object) -> Sequence[object] | Failure:
    """What ``annotate_batch`` answered: one answer for each row, or why that cannot be used."""
    if isinstance(answer, Failure):
        return answer
    count = len(batch.rows)
    if not isinstance(answer, Sequence) or isinstance(answer, str | bytes | Mapping):
        return Failure(ANSWER, f"annotate_batch answered {type(answer).__name__}; answer a list, one for each row")
    if len(answer) != count:
        return Failure(
            ANSWER, f"annotate_batch answered {len(answer)} for {count} rows; answer one for each row, in their order"
        )
    return answer


class Gathering:
    """Makes batches of the rows of a source, and of those that come back. Used on one event loop only."""

    def __init__(self, source: BlockSource, limits: BatchLimits, *, monotonic: Callable[[], float]) -> None:
        """Take nothing yet."""
        self._source = source
        self._limits = limits
        self._monotonic = monotonic
        self._turn = asyncio.Lock()
        self._fresh: Iterator[DataItem] = iter(())
        self._held: DataItem | None = None
        self._parts: deque[Sequence[DataItem]] = deque()
        self._back: list[tuple[float, int, DataItem]] = []
        self._came_back = 0
        self._ended = False
        self._error: Exception | None = None
        self._coming: asyncio.Future[Sequence[DataItem] | None] | None = None
        self._news: asyncio.Future[None] | None = None

    async def next(self) -> RowBatch | None:
        """The next batch; ``None``: there is nothing, and only who is in a call may bring something back.

        Raises:
            Exception: What the source raised.
        """
        async with self._turn:
            rows = self._parts.popleft() if self._parts else await self._gather()
        return RowBatch(rows) if rows else None

    def come_back(self, row: DataItem, *, after: float) -> None:
        """Let a row be part of another batch, ``after`` seconds from now at the earliest."""
        self._came_back += 1  # those that come at one moment stay in order
        heapq.heappush(self._back, (self._monotonic() + after, self._came_back, row))
        self._tell()

    def split(self, rows: Sequence[DataItem]) -> None:
        """Let both halves of some rows be batches of their own, soon."""
        middle = (len(rows) + 1) // 2
        self._parts += (rows[:middle], rows[middle:])
        self._tell()

    async def close(self) -> None:
        """Wait for nothing any more."""
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.wait({self._coming})
            if not self._coming.cancelled():
                self._coming.exception()  # looked at: nobody is told any more

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def _gather(self) -> Sequence[DataItem]:
        rows: list[DataItem] = []
        since = 0.0
        while not self._fill(rows):
            if self._parts and not rows:
                return self._parts.popleft()
            now = self._monotonic()
            since = since or now
            patience = since + self._limits.seconds - now if rows else None
            ready = self._back[0][0] - now if self._back else None
            if patience is not None and patience <= _MOMENT:
                break
            if self._ended and (ready is None or (patience is not None and ready > patience)):
                break  # nothing else will come in time
            await self._wait(min((wait for wait in (patience, ready) if wait is not None), default=None))
            since = since if rows else 0.0
        if self._error is not None and not rows:
            raise self._error
        return rows

    def _fill(self, rows: list[DataItem]) -> bool:
        """Add the rows that are there; returns whether the batch is full."""
        limits = self._limits
        weight = 0 if limits.weight is None else sum(map(limits.weigh, rows))
        while len(rows) < limits.rows:
            row = self._one()
            if row is None:
                return False
            if limits.weight is not None:
                weight += limits.weigh(row)
                if rows and weight > limits.weight:
                    self._held = row
                    return True
            rows.append(row)
        return True

    def _one(self) -> DataItem | None:
        """A row that is there: one that comes back before one that is new."""
        if self._held is not None:
            row, self._held = self._held, None
            return row
        if self._back and self._back[0][0] <= self._monotonic() + _MOMENT:
            return heapq.heappop(self._back)[2]
        return next(self._fresh, None)

    async def _wait(self, seconds: float | None) -> None:
        """Wait for new rows, for rows that come back, and no longer than ``seconds``."""
        self._news = asyncio.get_running_loop().create_future()
        waiting: set[asyncio.Future[Sequence[DataItem] | None] | asyncio.Future[None]] = {self._news}
        if not self._ended:
            self._coming = self._coming or asyncio.ensure_future(self._source.next())
            waiting.add(self._coming)
        try:
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._news = None
        if self._coming is not None and self._coming.done():
            coming, self._coming = self._coming, None
            self._hear(coming)

    def _hear(self, coming: asyncio.Future[Sequence[DataItem] | None]) -> None:
        """New rows, or the end; an error comes after the rows before it."""
        block: Sequence[DataItem] | None = None
        try:
            block = coming.result()
        except Exception as error:  # noqa: BLE001 - raised when there is no row left
            self._error = error
        self._ended = block is None
        self._fresh = iter(block or ())
