"""Annotations for the rows of a view: the third of the four operations.

Reads, from top to bottom: take the lease, find what is done, read the rest, ask, store, give the lease back. What
happens in between stands in ``run.py`` (workers), ``output.py`` (chunks), ``batch_turns.py``
(whose batch is next) and ``annotating/``.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import logging
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import TypeVar

from datalake_interfaces.annotators import Annotator, BatchAnnotator
from datalake_interfaces.context import HandlerContext
from datalake_service.annotating.attempts import Attempts
from datalake_service.annotating.calls import AnnotateFunction, failure_of
from datalake_service.annotating.processes import Processes
from datalake_service.annotating.source import AHEAD, BlockSource, blocks_ahead
from datalake_service.annotating.uninterrupted import uninterrupted
from datalake_service.catalog import layout
from datalake_service.catalog.annotations import DONE, FAILED, SKIPPED
from datalake_service.catalog.lease_keeper import LeaseKeeper
from datalake_service.catalog.manifests import claim_run, format_time
from datalake_service.chunks.annotation_encoder import AnnotationEncoder
from datalake_service.chunks.writer import ChunkWriter
from datalake_service.config.names import check_name
from datalake_service.errors import AnnotationLockError, DatalakeError, HandlerLoadError, LeaseLostError, StoreError
from datalake_service.events import (
    ANNOTATION_CLOSE_FAILED,
    ANNOTATION_COMPLETED,
    ANNOTATION_FAILED,
    ANNOTATION_PAUSED,
    emit,
)
from datalake_service.pipeline.annotation.all_workers import AllWorkers
from datalake_service.pipeline.annotation.batch_run import BatchRun, estimate_of, function_of
from datalake_service.pipeline.annotation.failed_rows import FailedRows
from datalake_service.pipeline.annotation.job import AnnotationJob, AnnotationOptions, AnnotationReport, RowReader
from datalake_service.pipeline.annotation.lease import AnnotatorLease, HeldLease, WorkerLease
from datalake_service.pipeline.annotation.loop_warning import watch_loop
from datalake_service.pipeline.annotation.making import Making
from datalake_service.pipeline.annotation.output import AnnotationOutput, Replace, ReportedUsage
from datalake_service.pipeline.annotation.processes import in_processes
from datalake_service.pipeline.annotation.rows_to_ask import RowsToAsk
from datalake_service.pipeline.annotation.run import AnnotationRun, Watch
from datalake_service.pipeline.annotation.shared_limits import shared_limits, terms_of
from datalake_service.storage.base import ObjectStore
from datalake_utils.clock import Clock, SystemClock
from datalake_utils.ids import random_hex

T = TypeVar("T")

_RUN_DIGITS = 6
_THREADS = 4
"""For requests, ``open`` and ``close``; never more than a few at once. Not the loop's own, which user code may fill."""
_READER_PATIENCE = 10.0
"""Seconds that a query which cannot be interrupted may take to end, when the run ends before it."""


async def annotate(  # noqa: PLR0913 - what is annotated, by what, and how
    store: ObjectStore,
    job: AnnotationJob,
    *,
    rows: RowReader,
    function: AnnotateFunction | Annotator,
    options: AnnotationOptions | None = None,
    context: HandlerContext | None = None,
    make: Callable[[], object] | None = None,
    progress: Callable[[AnnotationReport], None] | None = None,
    clock: Clock | None = None,
) -> AnnotationReport:
    """Ask ``function`` about every selected row that has no annotation yet, and store its answers.

    Results become durable chunk by chunk; a kill loses those of the chunk being filled, thirty seconds' worth at
    most. Whatever else ends the run, the answers that were given are stored before this returns or raises. A row
    whose answer is stored is never asked again; a row that failed is, by the next run.

    Args:
        store: The lake.
        job: What is annotated.
        rows: A view of the dataset.
        function: Plain or async function of a ``DataItem``, or an ``Annotator``. A plain one runs in threads.
        options: How.
        context: Given to the ``open`` of an ``Annotator``.
        make: Makes ``function`` in another process; picklable. ``None``: it is pickled itself, if it has to go there.
        progress: Called a few times a second, and in the end.
        clock: Time source.

    Raises:
        AnnotationLockError: A live worker holds the annotator (alone, or shared and this one does not share); nothing
            was read.
        LimitExceededError: More rows failed than ``options`` allows, or its budget is used up.
        LeaseLostError: The lease could not be renewed; work was stopped before it ran out.
        HandlerLoadError: The ``open`` of an ``Annotator`` failed; no row was asked.
        StoreError: Reading or storing failed.
    """
    check_name(job.dataset, what="dataset")
    check_name(job.annotator, what="annotator")
    session = _Session(store, job, options or AnnotationOptions(), function, clock or SystemClock())

    def tell() -> None:
        if progress is not None:
            progress(session.report())

    loop = watch_loop(job, session.clock)

    def tick() -> None:
        loop.beat()
        session.all_workers.tick(session.threads.submit)
        tell()

    try:
        async with AsyncExitStack() as stack:
            stack.callback(session.threads.shutdown, wait=False)
            lease = session.lease()
            await stack.enter_async_context(session.all_workers.added_up())
            keeper = await stack.enter_async_context(lease.held(session.threads))
            if isinstance(lease, WorkerLease):
                await stack.enter_async_context(session.all_workers.tallied(lease.worker))
            stack.push_async_exit(session.complete)
            finish = await stack.enter_async_context(session.shared_limits(function, lease))
            # What waits here is claimed: others could do it.
            source = BlockSource(session.to_ask.blocks(rows, lease, keeper), ahead=session.ahead(function))
            stack.push_async_callback(source.stop, patience=_READER_PATIENCE)
            stack.callback(session.to_ask.ending.set)
            if await source.has_rows():
                call = await stack.enter_async_context(session.opened(function, context, make))
                failures = FailedRows(job.dataset, job.annotator, session.options, session.counts)
                watch = Watch(keeper=keeper, failed=failures.note, tick=tick)
                run = session.run(function, call, source, watch)
                output = await stack.enter_async_context(session.output(keeper, run.replace))
                with loop:
                    await run.work(output)
                failures.judge()
            if not session.report().batches_left and not session.options.sample:
                finish()
    except BaseException as error:
        if isinstance(error, DatalakeError):
            tell()  # what was done, and what it cost
        if not isinstance(error, AnnotationLockError):  # it did not begin, and who called may wait
            session.tell(ANNOTATION_FAILED, level=logging.WARNING, error=type(error).__name__)
        raise
    tell()
    session.tell(ANNOTATION_COMPLETED)
    return session.report()


class _Session:
    """What the steps of one run share, and the resources that each of them takes and gives back."""

    def __init__(
        self, store: ObjectStore, job: AnnotationJob, options: AnnotationOptions, function: object, clock: Clock
    ) -> None:
        self.making = Making(store, job, options, function, clock=clock)
        self.options = options
        self.clock = clock
        self._began = clock.monotonic()
        self.threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="annotation")
        self.counts = dict.fromkeys((DONE, SKIPPED, FAILED), 0)
        self._store = store
        self._job = job
        self.to_ask = RowsToAsk(store, job, options, self.making)
        self.all_workers = AllWorkers(store, job, report=self.report, in_thread=self._in_thread, clock=clock)
        self._run: str | None = None
        self._attempts: Attempts | None = None
        self._reported = ReportedUsage()

    def report(self) -> AnnotationReport:
        """The state of the run."""
        annotated, skipped, failed = (self.counts[status] for status in (DONE, SKIPPED, FAILED))
        to_ask = self.to_ask
        finished, remaining = to_ask.elsewhere
        answered = annotated + skipped + failed
        return AnnotationReport(
            annotated=annotated,
            skipped=skipped,
            failed=failed,
            already_done=to_ask.already_done + finished,
            remaining=to_ask.handed_out - annotated - skipped + remaining,
            batches=to_ask.batches,
            batches_left=to_ask.left,
            expected=None if to_ask.ahead is None else max(0, to_ask.handed_out - answered) + to_ask.ahead,
            spent=self._reported.spent(answered) if self._attempts is None else self._attempts.spent(),
            run=self._run,
            whole=self.all_workers.whole,
        )

    def tell(self, event: str, *, level: int = logging.INFO, **fields: object) -> None:
        """Tell an event with the state of the run."""
        job = {"dataset": self._job.dataset, "annotator": self._job.annotator}
        report = dataclasses.asdict(self.report())
        del report["whole"]  # the last worker's report says it
        seconds = round(self.clock.monotonic() - self._began, 3)
        emit(event, level=level, **job, **report, seconds=seconds, **fields)

    def ahead(self, function: AnnotateFunction | Annotator) -> int:
        """How many blocks of rows wait for the workers."""
        size = function.max_batch_size if isinstance(function, BatchAnnotator) else 1
        rows = self.options.max_concurrency * (size if type(size) is int else 1)  # else it is refused later
        return blocks_ahead(rows, least=1 if self.options.shared else AHEAD)

    def attempts(self, function: AnnotateFunction | Annotator) -> Attempts | None:
        """What stands around each call, if the options say so."""
        if self.options.calls is not None and self._attempts is None:
            self._attempts = Attempts(
                self.options.calls,
                workers=self.options.max_concurrency,
                timeout=self.options.timeout_seconds,
                clock=self.clock,
                estimate_tokens=estimate_of(function),
                paused=self._tell_pause,
            )
        return self._attempts

    def _tell_pause(self, seconds: float) -> None:
        names = {"dataset": self._job.dataset, "annotator": self._job.annotator}
        until = format_time(self.clock.now() + timedelta(seconds=seconds))
        emit(ANNOTATION_PAUSED, level=logging.WARNING, **names, seconds=seconds, until=until)

    def run(
        self,
        function: AnnotateFunction | Annotator,
        call: AnnotateFunction | Processes,
        source: BlockSource,
        watch: Watch,
    ) -> AnnotationRun:
        """The workers: of single rows, or of batches."""
        options = self.options
        make: Callable[..., AnnotationRun] = AnnotationRun
        if isinstance(function, BatchAnnotator):
            make = partial(BatchRun, annotator=function, policy=options.calls)
        return make(
            call,
            source,
            workers=call.workers if isinstance(call, Processes) else options.max_concurrency,
            timeout=options.timeout_seconds,
            watch=watch,
            clock=self.clock,
            attempts=self.attempts(function),
        )

    def shared_limits(
        self, function: AnnotateFunction | Annotator, lease: HeldLease
    ) -> AbstractAsyncContextManager[Callable[[], None]]:
        """The part of the limits and of the budget that this run has; not taken yet."""
        attempts, in_thread = self.attempts(function), self._in_thread
        policy, job, clock = self.options.calls, self._job, self.clock
        return shared_limits(
            self._store, job, policy, lease, attempts, counted=self._counted, in_thread=in_thread, clock=clock
        )

    def _counted(self) -> dict[str, float]:
        """What a budget counts that is set afterwards: a sample is the beginning of the run that follows."""
        spent = self.report().spent
        return {} if spent is None or not self.options.sample else spent.amounts()

    def lease(self) -> HeldLease:
        """The lease on the annotator, not taken yet."""
        ttl = timedelta(milliseconds=self.options.lock_ttl_ms)
        store, dataset, annotator = self._store, self._job.dataset, self._job.annotator
        if not self.options.shared:
            return AnnotatorLease(store, dataset, annotator, ttl=ttl, clock=self.clock)
        limited = not terms_of(self.options.calls, limits_too=True).empty
        by = self.making.maker.in_words()
        return WorkerLease(store, dataset, annotator, ttl=ttl, clock=self.clock, limited=limited, maker=by)

    @asynccontextmanager
    async def opened(
        self,
        function: AnnotateFunction | Annotator,
        context: HandlerContext | None,
        make: Callable[[], object] | None,
    ) -> AsyncGenerator[AnnotateFunction | Processes, None]:
        """The function to call; an ``Annotator`` is opened, and closed whatever happens."""
        if self.options.executor == "processes":
            async with in_processes(
                function,
                context or HandlerContext(dataset=self._job.dataset),
                make=make,
                workers=self.options.max_concurrency,
                monotonic=self.clock.monotonic,
                in_thread=self._in_thread,
            ) as processes:
                yield processes
            return
        if not isinstance(function, Annotator):
            yield function
            return
        try:
            await self._call(function.open, context or HandlerContext(dataset=self._job.dataset))
        except DatalakeError as error:  # of an annotator without code: it says what to change
            raise HandlerLoadError(f"annotator {self._job.annotator}: {error}") from error
        except Exception as error:
            why = failure_of(error).in_words()
            raise HandlerLoadError(f"open() of the annotator {type(function).__name__} failed: {why}") from error
        try:
            yield function_of(function)
        finally:
            try:
                await self._call(function.close)
            except Exception as error:  # noqa: BLE001 - the user's annotator; its results are stored all the same
                self.tell(ANNOTATION_CLOSE_FAILED, level=logging.WARNING, failure=failure_of(error).kind)

    @asynccontextmanager
    async def output(self, keeper: LeaseKeeper, replace: Replace) -> AsyncGenerator[AnnotationOutput, None]:
        """The chunks of a new run; what is in them is stored in the end, as long as the lease is held."""
        prefix = layout.annotator_temp_prefix(self._job.dataset, self._job.annotator)
        claim = partial(
            claim_run,
            self._store,
            prefix,
            kind="annotation",
            deduplicate_on=None,
            chunk_size=self.options.chunk_size,
            now=self.clock.now(),
            draw=partial(random_hex, _RUN_DIGITS),
            maker=self.making.run_maker,
        )
        manifest = await self._in_thread(claim)
        self._run = manifest.run
        writer = ChunkWriter(
            self._store,
            prefix,
            manifest,
            clock=self.clock,
            encoder=AnnotationEncoder(),
            max_chunk_bytes=self.options.max_chunk_bytes,
        )
        output = AnnotationOutput(
            writer,
            self.counts,
            replace=replace,
            max_age=self.options.max_chunk_seconds,
            threads=self.threads,
            clock=self.clock,
            turns=self.to_ask.open,
            reported=self._reported if self._attempts is None else None,
        )
        try:
            yield output
        except LeaseLostError as lost:
            if keeper.held:
                try:
                    await output.close()
                except StoreError as error:
                    raise lost from error
            raise
        except BaseException:
            await output.close()
            raise
        else:
            await output.close()

    async def complete(self, kind: type[BaseException] | None, *_: object) -> None:
        """When everything is stored, and the lease still held: note that what is asked again was asked."""
        if kind is None and self.to_ask.gone_through:
            await self._in_thread(self.making.complete)

    async def _call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call ``open`` or ``close``: on the event loop if it is async, else in a thread."""
        if inspect.iscoroutinefunction(function):
            await function(*arguments)
            return
        answer = await self._in_thread(partial(function, *arguments))
        if inspect.isawaitable(answer):
            await answer

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await uninterrupted(asyncio.get_running_loop().run_in_executor(self.threads, function))
