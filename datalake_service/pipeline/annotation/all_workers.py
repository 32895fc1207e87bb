"""The whole of a run by many workers: each keeps a tally in the lake, the last one to end adds all of them up.

``docs/design/012-shared-annotators.md``, section "The whole". Nothing here may fail a run: what is not counted is a
line in a report.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final, Protocol, TypeVar

from datalake_service.catalog.fencing import Workers
from datalake_service.catalog.tallies import Tallies, Tally, Whole, WorkerTally
from datalake_service.errors import DatalakeError, StoreError
from datalake_service.events import ANNOTATION_TALLY_NOT_STORED, emit
from datalake_service.pipeline.annotation.job import AnnotationJob, AnnotationReport
from datalake_service.storage.base import ObjectStore
from datalake_utils.clock import Clock

T = TypeVar("T")

_INTERVAL: Final = 30.0
"""Seconds between two tallies of a worker: what a report may miss of one that was killed."""


class InThread(Protocol):
    """Runs what asks the store."""

    def __call__(self, function: Callable[[], T]) -> Awaitable[T]:
        """Call it in a thread, and answer what it returns."""
        ...


class AllWorkers:
    """The tally of one worker that shares an annotator. Used on one event loop."""

    def __init__(
        self,
        store: ObjectStore,
        job: AnnotationJob,
        *,
        report: Callable[[], AnnotationReport],
        in_thread: InThread,
        clock: Clock,
    ) -> None:
        """Prepare; nothing is asked of the store. ``report`` says what this worker did so far."""
        self._job = job
        self._tallies = Tallies(store, job.dataset, job.annotator)
        self._workers = Workers(store, job.dataset, job.annotator, clock=clock)
        self._report = report
        self._in_thread = in_thread
        self._clock = clock
        self._worker: str | None = None
        self._written = 0.0
        self._busy = False
        self.whole: Whole | None = None
        """What all workers did, if this was the last one to end."""

    @asynccontextmanager
    async def added_up(self) -> AsyncGenerator[None, None]:
        """Around the lease: when it is given back and nobody else holds one, everything is added up.

        Not by a worker that is interrupted: somebody will go on, and what it did is in the next report.
        """
        try:
            yield
        except Exception:
            await self._end()
            raise
        await self._end()

    async def _end(self) -> None:
        worker = self._worker
        if worker is None:
            return
        try:
            self.whole = await self._in_thread(lambda: self._add_up(worker))
        except StoreError as error:
            self._not_stored(error)

    def _add_up(self, worker: str) -> Whole | None:
        others = self._workers
        return self._tallies.add_up(
            by=worker, now=self._clock.now(), anybody=lambda: bool(others.live(but=worker, look_only=True))
        )

    @asynccontextmanager
    async def tallied(self, worker: str) -> AsyncGenerator[None, None]:
        """Within the lease of ``worker``: its tally is in the lake before the lease is given back."""
        self._worker = worker
        await self._in_thread(lambda: self._write(Tally()))
        error: str | None = None
        try:
            yield
        except BaseException as raised:
            error = "interrupted"
            if isinstance(raised, Exception):
                error = str(raised) if isinstance(raised, DatalakeError) else type(raised).__name__
            raise
        finally:
            tally = tally_of(self._report())
            await self._in_thread(lambda: self._write(tally, ended=True, error=error))

    def tick(self, start: Callable[[Callable[[], None]], object]) -> None:
        """Write the tally again, now and then; called a few times a second. ``start`` runs something in a thread."""
        now = self._clock.monotonic()
        if self._worker is None or self._busy or now - self._written < _INTERVAL:
            return
        self._busy = True
        tally = tally_of(self._report())
        start(lambda: self._write(tally))

    def _write(self, tally: Tally, *, ended: bool = False, error: str | None = None) -> None:
        where = f"{socket.gethostname()}, process {os.getpid()}"
        mine = WorkerTally(worker=self._worker or "", where=where, tally=tally, ended=ended, error=error)
        try:
            self._tallies.write(mine)
        except StoreError as failure:
            self._not_stored(failure)
        finally:
            self._written, self._busy = self._clock.monotonic(), False

    def _not_stored(self, error: StoreError) -> None:
        fields = {"dataset": self._job.dataset, "annotator": self._job.annotator}
        emit(ANNOTATION_TALLY_NOT_STORED, level=logging.WARNING, **fields, error=str(error))


def tally_of(report: AnnotationReport) -> Tally:
    """What a worker did."""
    spent = report.spent
    counted = Tally(annotated=report.annotated, skipped=report.skipped, failed=report.failed)
    if spent is None:  # nobody counted: it was one call for each row
        return replace(counted, calls=report.annotated + report.skipped + report.failed)
    return counted + Tally(
        calls=spent.calls,
        repeated=spent.repeated,
        input_tokens=spent.usage.input_tokens,
        output_tokens=spent.usage.output_tokens,
        cost=spent.usage.cost,
    )
