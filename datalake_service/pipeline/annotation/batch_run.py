"""The workers of an annotation run whose calls are for many rows each.

A call is one row to everything around it: a worker, a place at the gate, a request, an attempt. What it answers, or why
it failed, is looked at here row by row: some are stored, some come back in another batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from datalake_interfaces.annotators import Annotator, BatchAnnotator, DataItem
from datalake_service.annotating.attempts import Attempts, EstimateTokens
from datalake_service.annotating.batches import BatchLimits, Gathering, RowBatch, answers_of, rows_of, tokens_of
from datalake_service.annotating.calls import AnnotateFunction, Caller, failure_of, is_async
from datalake_service.annotating.deadlines import Slot
from datalake_service.annotating.failures import Worth, judge
from datalake_service.annotating.policy import CallPolicy
from datalake_service.annotating.processes import Processes
from datalake_service.annotating.results import TIMEOUT, Failure, note_usage
from datalake_service.annotating.source import BlockSource
from datalake_service.pipeline.annotation.output import AnnotationOutput, Row
from datalake_service.pipeline.annotation.run import AnnotationRun, Watch
from datalake_utils.clock import Clock

_FREE_REPEATS: Final = 100
"""Rows that may come back however few were asked, and calls that may be split."""


class BatchRun(AnnotationRun):
    """Asks ``annotate_batch`` about every row of a source, and puts the answers into an output."""

    def __init__(  # noqa: PLR0913 - what every run needs, and what says when batches are full
        self,
        function: AnnotateFunction | Processes,
        source: BlockSource,
        *,
        annotator: BatchAnnotator,
        workers: int,
        timeout: float | None,
        watch: Watch,
        clock: Clock,
        attempts: Attempts | None = None,
        policy: CallPolicy | None = None,
    ) -> None:
        """Prepare; ``function`` is called with a ``RowBatch``. See ``AnnotationRun``.

        Raises:
            HandlerLoadError: The annotator says sizes that cannot be.
        """
        super().__init__(
            function, source, workers=workers, timeout=timeout, watch=watch, clock=clock, attempts=attempts
        )
        self._gathering = Gathering(source, BatchLimits.of(annotator), monotonic=clock.monotonic)
        self._policy = policy
        self._split_failed = annotator.split_failed
        self._asked = self._came_back = 0
        self._began: dict[int, float] = {}
        """When rows that come back were asked first."""

    async def work(self, output: AnnotationOutput) -> None:
        """Ask until every row has an answer; see ``AnnotationRun.work``."""
        try:
            await super().work(output)
        finally:
            await self._gathering.close()

    def _caller(self, slot: Slot) -> Caller:
        call = super()._caller(slot)

        async def noted(batch: DataItem) -> object:
            assert isinstance(batch, RowBatch)  # see ``_worker``
            batch.raised = None
            try:
                return answers_of(batch, await call(batch))
            except Exception as error:
                batch.raised = error
                raise

        return noted

    async def _worker(self, slot: Slot, call: Caller) -> None:
        monotonic, output = self._clock.monotonic, self._output
        while not self._stopping and (batch := await self._gathering.next()) is not None:
            self._asked += len(batch.rows)
            began = slot.since = monotonic()
            answer: object
            try:
                answer = await call(batch)
            except asyncio.CancelledError as error:
                if slot.cancelled_from_outside():
                    raise
                answer = failure_of(error)
            except Exception as error:  # noqa: BLE001 - the user's annotator: its failure is that of the rows
                if self._is_the_end(error):
                    return
                answer = failure_of(error)
            slot.since = 0.0
            if slot.end_call() and isinstance(answer, Failure):
                answer = Failure(TIMEOUT, f"no answer within {self._timeout:g} s")
            for row in self._settled(batch, answer, began):
                output.add(row)
            if output.room is not None:
                await output.wait_for_room()

    def _settled(self, batch: RowBatch, answer: object, began: float) -> list[Row]:
        """The rows to store after a call; the others come back."""
        if isinstance(answer, Failure):
            return self._all_failed(batch, answer, began)
        assert isinstance(answer, Sequence)  # it was looked at where the call was made
        settled = []
        for item, one in zip(batch.rows, answer, strict=True):
            row = self._row(item, one, began)
            if row is not None:
                settled.append(row)
        return settled

    def _row(self, item: DataItem, answer: object, began: float) -> Row | None:
        """The row to store for one answer; ``None``: it comes back."""
        if isinstance(answer, Exception):
            if self._comes_back(item, answer, began):
                return None
            return self._noted(item, self._failed(item.id, item.batch, _after(item, failure_of(answer))), began)
        row = self._rows.row(item, answer)
        return self._noted(item, row if isinstance(row, dict) else self._failed(item.id, item.batch, row), began)

    def _noted(self, item: DataItem, row: Row, began: float) -> Row:
        """The row, with what it took: from its first call on, its share of what calls have cost."""
        note_usage(row, item, self._clock.monotonic() - self._began.pop(id(item), began))
        return row

    def _all_failed(self, batch: RowBatch, failure: Failure, began: float) -> list[Row]:
        """What becomes of rows whose call failed."""
        rows: Sequence[DataItem] = batch.rows
        error = batch.raised
        if self._attempts is not None and self._attempts.error is not None and error is None:
            self._fail(self._attempts.error)
            rows = [row for row in rows if row.error is not None]  # the others were never asked
        elif error is not None and failure.kind != TIMEOUT:
            if self._may_split(batch, error):
                batch.error = error
                self._gathering.split(rows)
                return []
            rows = self._left_after_last_attempt(batch, error, began)
        return [self._noted(row, self._failed(row.id, row.batch, failure), began) for row in rows]

    def _may_split(self, batch: RowBatch, error: Exception) -> bool:
        if len(batch.rows) == 1 or not self._split_failed or self._stopping:
            return False
        return judge(error, now=self._clock.now).worth is Worth.FINAL

    def _left_after_last_attempt(self, batch: RowBatch, error: Exception, began: float) -> list[DataItem]:
        """The rows that have failed: one may have been asked too often while others of its call have attempts left."""
        if self._policy is None or batch.attempt < self._policy.max_attempts:
            return list(batch.rows)
        return [row for row in batch.rows if not self._comes_back(row, error, began)]

    def _comes_back(self, item: DataItem, error: Exception, began: float) -> bool:
        """Let a row be asked again, if that is worth while and there is time for it."""
        policy = self._policy
        if policy is None or self._stopping or item.attempt >= policy.max_attempts:
            return False
        verdict = judge(error, now=self._clock.now)
        if verdict.worth in {Worth.FINAL, Worth.REFUSED}:
            return False
        if self._came_back >= _FREE_REPEATS + policy.repeat_share * (self._asked - self._came_back):
            return False
        said, usual = verdict.after_seconds, policy.seconds_after(item.attempt)
        wait = usual if said is None else said + usual if said and verdict.worth is Worth.OVERLOADED else said
        first = self._began.setdefault(id(item), began)
        if self._timeout is not None and self._clock.monotonic() - first + wait >= self._timeout:
            return False
        self._came_back += 1
        item.attempt += 1
        item.error = error
        self._gathering.come_back(item, after=wait)
        return True


def _after(item: DataItem, failure: Failure) -> Failure:
    """A failure that says after how many attempts."""
    return failure if item.attempt == 1 else Failure(failure.kind, f"{failure.message} ({item.attempt} attempts)")


def function_of(annotator: Annotator) -> AnnotateFunction:
    """What the calls of a run are made of: ``annotate``, or ``annotate_batch`` as a function of a ``RowBatch``."""
    if not isinstance(annotator, BatchAnnotator):
        return annotator.annotate
    call: Callable[[list[DataItem]], object] = annotator.annotate_batch
    if not is_async(call):  # type: ignore[arg-type]  # asked of any function
        return lambda batch: call(rows_of(batch))

    async def awaited(batch: DataItem) -> object:
        return await call(rows_of(batch))  # type: ignore[misc]  # it is async

    return awaited


def estimate_of(function: object) -> EstimateTokens | None:
    """``estimate_tokens`` of an annotator that has one, for what the calls of a run are made with."""
    estimate: EstimateTokens | None = getattr(function, "estimate_tokens", None)
    if estimate is None or not isinstance(function, BatchAnnotator):
        return estimate
    return tokens_of(estimate)
