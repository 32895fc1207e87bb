"""The workers of one annotation run: N of them pull rows from one shared iterator and ask for answers.

No task and no timer per row; what has to be looked at now and then is looked at by one ticker. Knows neither where
rows come from nor how results are stored.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import length_hint

from datalake_interfaces.annotators import DataItem
from datalake_service.annotating.abandoned import abandon
from datalake_service.annotating.attempts import Attempts
from datalake_service.annotating.calls import AnnotateFunction, Caller, failure_of, threads_for
from datalake_service.annotating.deadlines import Deadlines, Slot
from datalake_service.annotating.processes import Processes
from datalake_service.annotating.results import TIMEOUT, Failure, ResultRows, keep_usage, note_usage
from datalake_service.annotating.source import BlockSource
from datalake_service.catalog.lease_keeper import LeaseKeeper
from datalake_service.catalog.manifests import format_time
from datalake_service.errors import LeaseLostError, LimitExceededError
from datalake_service.pipeline.annotation.output import AnnotationOutput, Row
from datalake_utils.clock import Clock

TICK = 0.25
"""Seconds between two looks at the lease, the age of the chunk and the progress."""
_DRAIN = 30.0
"""How long calls in flight may go on when the run ends early for a reason that leaves their answers useful."""
_CANCEL = 5.0
"""How long a cancelled call may take to end; then it is left to itself."""
_HOPELESS = 4
"""So many times, each after another time-out, a call is cancelled before it is taken for one that never ends: one that
answers late after all is paid for."""


@dataclass(frozen=True, slots=True)
class Watch:
    """What a run asks and tells others about."""

    keeper: LeaseKeeper
    """Says when work has to stop."""
    failed: Callable[[str, str, Failure], Exception | None]
    """Told of each failed row (id, batch); answers why the run has to end, if it has to."""
    tick: Callable[[], None]
    """Called a few times a second."""


class AnnotationRun:
    """Asks ``function`` about every row of a source, ``workers`` at a time, and puts the answers into an output."""

    def __init__(
        self,
        function: AnnotateFunction | Processes,
        source: BlockSource,
        *,
        workers: int,
        timeout: float | None,
        watch: Watch,
        clock: Clock,
        attempts: Attempts | None = None,
    ) -> None:
        """Prepare; ``timeout`` is in seconds for each row, ``None``: none. ``attempts`` stand around each call."""
        self._function = function
        self._source = source
        self._watch = watch
        self._clock = clock
        self._attempts = attempts
        self._timeout = timeout
        self._deadlines = None if timeout is None else Deadlines(timeout, monotonic=clock.monotonic)
        self._threads = function if isinstance(function, Processes) else threads_for(function, workers=workers)
        self._slots = [Slot() for _ in range(workers)]
        self._rows = ResultRows()
        self._items: Iterator[DataItem] | None = iter(())
        self._fetching = False
        self._idle: deque[asyncio.Future[None]] = deque()
        self._stopping = False
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._working = 0
        self._hangs = False

    def replace(self, row: Row, failure: Failure) -> Row:
        """The row to store for one that cannot be stored (for the output)."""
        return keep_usage(self._failed(row["id"], row["_batch"], failure), row)

    async def work(self, output: AnnotationOutput) -> None:
        """Ask until every row has an answer.

        When it returns or raises, no worker is left, and every answer is in ``output``. Calls that are in flight
        when the run has to end are waited for, half a minute at most, unless the lease is lost or this is cancelled.

        Raises:
            LeaseLostError: The lease is lost, or would be before the results could be stored.
            LimitExceededError: Too many rows failed, too many plain calls hang or all that are left, the budget is used
                up, or the service refuses the calls.
            StoreError: Results could not be stored.
            Exception: What the source raised.
        """
        lost = self._watch.keeper.must_stop()
        if lost is not None:
            raise lost
        self._output = output
        self._stamp()
        ticker = asyncio.create_task(self._tick())
        ticker.add_done_callback(self._note_failure)
        for slot in self._slots:
            self._start(slot)
        patience = 0.0
        try:
            await self._over
            if self._attempts is not None and self._attempts.error is not None:
                raise self._attempts.error
        except LeaseLostError:
            raise
        except Exception:
            patience = 0.0 if self._hangs else _DRAIN
            raise
        finally:
            self._stopping = True
            try:
                await self._end(patience)
            finally:
                ticker.cancel()

    def _caller(self, slot: Slot) -> Caller:
        """What makes the calls of one more worker."""
        return self._function if self._threads is None else self._threads.caller(slot)  # type: ignore[return-value]  # async

    def _start(self, slot: Slot) -> None:
        caller = self._caller(slot)
        if self._attempts is not None:
            caller = self._attempts.around(caller, slot)
        self._working += 1
        slot.task = asyncio.create_task(self._worker(slot, caller))
        slot.task.add_done_callback(self._worker_ended)

    def _note_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _worker_ended(self, task: asyncio.Task[None]) -> None:
        self._note_failure(task)
        self._working -= 1
        if self._working == 0 and not self._over.done():
            self._over.set_result(None)

    def _fail(self, error: BaseException) -> None:
        self._stopping = True
        self._wake_one()
        if not self._over.done():
            self._over.set_exception(error)

    async def _worker(self, slot: Slot, call: Caller) -> None:
        """The hot path: what stands in the inner loop is paid for every row."""
        monotonic, timeout = self._clock.monotonic, self._timeout or 0.0
        row_of, output = self._rows.row, self._output
        while (items := await self._more()) is not None:
            for item in items:
                slot.since = monotonic()
                answer: Row | Failure
                try:
                    answer = row_of(item, await call(item))
                except asyncio.CancelledError as error:
                    if slot.cancelled_from_outside():
                        raise
                    answer = failure_of(error)
                except Exception as error:  # noqa: BLE001 - the user's annotator: its failure is the row's
                    if self._is_the_end(error):
                        return
                    answer = failure_of(error)
                seconds = monotonic() - slot.since + slot.late * timeout  # begun anew each time it was cancelled
                slot.since = 0.0
                if slot.late or type(answer) is not dict:
                    answer = self._settle(slot, item, answer)
                note_usage(answer, item, seconds)
                output.add(answer)
                if output.room is not None:
                    await output.wait_for_room()
                if self._stopping:
                    break

    def _is_the_end(self, error: Exception) -> bool:
        """Whether the row was not asked, because the run has to end."""
        if self._attempts is None or error is not self._attempts.error:
            return False
        self._fail(error)
        return True

    def _settle(self, slot: Slot, item: DataItem, answer: Row | Failure) -> Row:
        """The row to store when a call failed or was late."""
        late = slot.end_call()
        if isinstance(answer, dict):
            return answer  # late or not: it is paid for
        if late:
            answer = Failure(TIMEOUT, f"no answer within {self._timeout:g} s")
        return self._failed(item.id, item.batch, answer)

    async def _more(self) -> Iterator[DataItem] | None:
        """The iterator that all workers share, when it has rows; ``None``: that was all.

        One worker fetches the next block, the others wait. Each that is woken wakes two more, as long as there are
        rows: with a function that never waits, one worker does all, and few wake for nothing.
        """
        while not self._stopping:
            items = self._items
            if items is None or length_hint(items):
                self._wake_one()
                self._wake_one()
                return items
            if self._fetching:
                await self._sleep()
                continue
            self._fetching = True
            try:
                block = await self._source.next()
                # Functions that never wait would otherwise keep the ticker from its work.
                await asyncio.sleep(0)
                self._items = None if block is None else iter(block)
            finally:
                self._fetching = False
                self._wake_one()
        self._wake_one()
        return None

    async def _sleep(self) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(woken)
        await woken

    def _wake_one(self) -> None:
        while self._idle:
            woken = self._idle.popleft()
            if not woken.done():  # cancelled, with its worker
                woken.set_result(None)
                return

    def _failed(self, row_id: str, batch: str, failure: Failure) -> Row:
        error = self._watch.failed(row_id, batch, failure)
        if error is not None:
            self._fail(error)
        return self._rows.failed_row(row_id, batch, failure)

    def _stamp(self) -> None:
        self._rows.annotated_at = format_time(self._clock.now())

    async def _tick(self) -> None:
        interval = TICK if self._deadlines is None else self._deadlines.interval
        while True:
            await asyncio.sleep(interval)
            self._stamp()
            # It goes on after a failure: calls that are waited for in the end have deadlines too.
            reason = (
                self._watch.keeper.must_stop()
                or (self._threads and self._threads.error)
                or (self._attempts and self._attempts.error)
            )
            if reason:
                self._fail(reason)
            if self._deadlines is not None:
                self._deadlines.sweep(self._slots)
                self._look_for_a_way_on()
            self._output.tick()
            self._watch.tick()

    def _look_for_a_way_on(self) -> None:
        """End the run if all that is left of it are calls that ignore that they were cancelled, again and again."""
        hanging = sum(slot.late >= _HOPELESS for slot in self._slots)
        if not hanging or self._hangs:
            return
        if hanging == self._working or (self._attempts is not None and self._attempts.is_full_of(hanging)):
            self._hangs = True
            msg = (
                f"{hanging} calls of the annotator go on although they were cancelled after {self._timeout:g} s: let "
                "asyncio.CancelledError pass (`except Exception` does, `except BaseException` does not)"
            )
            self._fail(LimitExceededError(msg))

    async def _end(self, patience: float) -> None:
        """Wait for calls in flight, then cancel them; workers in no call are cancelled at once."""
        cancelled: asyncio.CancelledError | None = None
        until = self._clock.monotonic() + patience
        running = {slot.task for slot in self._slots if slot.task is not None and not slot.task.done()}
        for slot in self._slots:
            if slot.task in running and not slot.since:
                slot.task.cancel()
        while running:
            rest = until - self._clock.monotonic()
            give_up = rest <= 0 or cancelled is not None or self._watch.keeper.must_stop() is not None
            if give_up:
                for worker in running:
                    worker.cancel()
            try:
                _, running = await asyncio.wait(running, timeout=_CANCEL if give_up else min(rest, TICK))
            except asyncio.CancelledError as error:
                cancelled = error
                running = {worker for worker in running if not worker.done()}
            if give_up:
                break
        for worker in running:
            abandon(worker)
        if cancelled is not None:
            raise cancelled
