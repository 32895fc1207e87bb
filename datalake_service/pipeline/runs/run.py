"""A dataset file, run: plan, tasks, merge, annotators, report. The only place that composes the four operations.

Running it again does what is not done yet, and nothing else; ``docs/design/008-tasks.md`` says what that means.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from logging import INFO, WARNING

from datalake_service import events
from datalake_service.catalog import layout
from datalake_service.catalog.datasets import RunStatus
from datalake_service.catalog.deletions import require_not_deleted
from datalake_service.catalog.stops import load_stops
from datalake_service.catalog.tasks import TaskStatus
from datalake_service.config.available import check_available
from datalake_service.config.dataset import DatasetConfig
from datalake_service.config.settings import Settings
from datalake_service.config.write import DatalakeWriteConnector
from datalake_service.errors import DatalakeError
from datalake_service.pipeline.jobs.engine import Engine, TaskJob, TaskProgress, TaskResult
from datalake_service.pipeline.merging.merge import merge_batch
from datalake_service.pipeline.merging.waiting import batches_to_merge
from datalake_service.pipeline.runs.annotators import Manner, annotator_watch, check_annotators, run_annotator
from datalake_service.pipeline.runs.choice import TaskChoice
from datalake_service.pipeline.runs.elsewhere import destination_notes, destination_told, rejections_uri
from datalake_service.pipeline.runs.outputs import has_batches_by_time
from datalake_service.pipeline.runs.plan import PlannedRun, plan_run, policy_of
from datalake_service.pipeline.runs.progress import Observer, RunProgress, RunStep, TaskWatch
from datalake_service.pipeline.runs.record import RunRecord
from datalake_service.pipeline.runs.report import (
    AnnotatorOutcome,
    FailedTask,
    MergedBatch,
    RunReport,
    TaskTotals,
    in_groups,
)
from datalake_service.pipeline.runs.together import NOBODY, Company
from datalake_service.pipeline.tasks.stopping import RunStops
from datalake_service.storage.base import ObjectStore, OpenStore
from datalake_service.storage.open import open_store
from datalake_service.storage.probe import require_conditions
from datalake_utils.backoff import Backoff
from datalake_utils.clock import Clock, SystemClock

_PLANNINGS = 4
"""How often it is tried to find what has become possible by a task's end."""
_BACKOFF = Backoff(first=1.0, longest=10.0)


def create_dataset(
    config: DatasetConfig,
    *,
    settings: Settings,
    engine: Engine,
    choice: TaskChoice | None = None,
    observer: Observer | None = None,
    stop: threading.Event | None = None,
    clock: Clock | None = None,
) -> RunReport:
    """Run a dataset file: read what is not read yet, merge it, annotate it.

    May be called again at any time, also after a crash or an interrupt: tasks that are completed are not run again
    unless their input has changed, rows that are annotated are not annotated again.

    Args:
        config: The dataset file.
        settings: Where the lake is, and the keys for lake and source.
        engine: Where tasks run.
        choice: Which tasks to run; default: all that are not completed.
        observer: Told a few times a second how far it is, by the calling thread.
        stop: Set it to end the run in order; an interrupt while tasks run does that, too.
        clock: Time source.

    Raises:
        ConfigError: The dataset file asks for what is not there, or would mix two readings in one batch.
        HandlerLoadError: A class of the user's cannot be loaded; nothing was read.
        DatasetNotFoundError: The dataset was deleted.
        StoreError: The lake or the source cannot be read or written.
        KeyboardInterrupt: A second interrupt, or one outside the tasks; what is done is kept.
    """

    def opened(uri: str) -> ObjectStore:
        return open_store(uri, region=config.region, **settings.store_options())

    store = opened(settings.uri)
    return run_dataset(
        config,
        store=store,
        opener=opened,
        engine=engine,
        choice=choice,
        observer=observer,
        stop=stop,
        clock=clock,
    )


def run_dataset(  # noqa: PLR0913 - what a run is made of
    config: DatasetConfig,
    *,
    store: ObjectStore,
    opener: OpenStore,
    engine: Engine,
    choice: TaskChoice | None = None,
    observer: Observer | None = None,
    stop: threading.Event | None = None,
    clock: Clock | None = None,
    company: Company = NOBODY,
) -> RunReport:
    """Run a dataset file in a lake that is open; ``opener`` opens its source. See ``create_dataset``.

    ``company``: the other workers that run it at the same time.
    """
    check_available(config)
    check_annotators(config)
    require_conditions(store)  # before anything is read that could not be merged
    require_not_deleted(store, config.dataset_name)
    clock = clock or SystemClock()
    started, began = clock.now(), clock.monotonic()
    stops = load_stops(store, config.dataset_name)  # those that come later are for this run
    if observer is not None:
        observer(RunProgress(step=RunStep.PLAN))
    record = RunRecord.begin(store, config, now=started, worker=company.worker)
    try:

        def planned() -> PlannedRun:
            return plan_run(config, store=store, open_store=opener, now=started, stops=stops, choice=choice)

        with company.planning():
            plan = planned()
        if isinstance(config.write_connector, DatalakeWriteConnector):
            record.will_write_to(plan.batches)
        run = _Run(config, store, engine, observer, stop or threading.Event(), clock, planned, company)
        report = run.run(plan, record)
    except KeyboardInterrupt:
        record.break_off(RunStatus.STOPPED, "interrupted", now=clock.now())
        raise
    except DatalakeError as error:
        record.break_off(RunStatus.FAILED, str(error), now=clock.now())
        raise
    report = replace(report, started_at=started, seconds=clock.monotonic() - began)
    record.end(report, now=clock.now())
    _tell_end(report)
    return report


@dataclass(frozen=True, slots=True)
class _Tasks:
    """How the tasks ended."""

    totals: TaskTotals
    failures: tuple[FailedTask, ...]
    notes: tuple[str, ...]
    limit: str | None
    stop_requested: bool
    """Whether somebody's request stopped some of them, or all."""


class _Run:
    """One run after its planning, step by step."""

    def __init__(
        self,
        config: DatasetConfig,
        store: ObjectStore,
        engine: Engine,
        observer: Observer | None,
        stop: threading.Event,
        clock: Clock,
        planned: Callable[[], PlannedRun],
        company: Company,
    ) -> None:
        self._planned = planned
        self._company = company
        self._config = config
        self._store = store
        self._engine = engine
        self._observer = observer
        self._stop = stop
        self._clock = clock

    def run(self, plan: PlannedRun, record: RunRecord) -> RunReport:
        tasks = self._run_tasks(plan)
        merged: tuple[MergedBatch, ...] = ()
        annotators: tuple[AnnotatorOutcome, ...] = ()
        if not self._stop.is_set():  # an interrupt or a limit: quickly out, and nothing paid for
            with self._company.merging():
                record.refresh()
                merged = tuple(self._merge(record))
            annotators = tuple(self._annotate(record))
        return RunReport(
            dataset=self._config.dataset_name,
            uri=self._store.uri,
            status=self._status(tasks, merged, annotators),
            started_at=self._clock.now(),
            seconds=0.0,
            tasks=tasks.totals,
            failures=tasks.failures,
            notes=(*destination_notes(self._config), *plan.notes, *in_groups(tasks.notes)),
            limit=tasks.limit,
            stop_requested=tasks.stop_requested,
            merged=merged,
            annotators=annotators,
            rows=record.rows,
            written=destination_told(self._config),
            rejections=tuple(self._rejections(plan)),
        )

    def _rejections(self, plan: PlannedRun) -> Iterable[str]:
        """Where the rejections of the tasks are, if that is not beside merged batches."""
        archive = rejections_uri(self._config)
        if archive is None and isinstance(self._config.write_connector, DatalakeWriteConnector):
            return
        for batch in plan.batches:
            yield f"{archive or self._store.uri}/{layout.rejected_prefix(self._config.dataset_name, batch)}"

    def _run_tasks(self, plan: PlannedRun) -> _Tasks:
        limits = policy_of(self._config, share=True)
        jobs = {job.task: plan.before[job.task] for job in plan.jobs}
        watch = TaskWatch(
            jobs,
            plan.sizes,
            on_error=limits,
            stop=self._stop,
            observer=self._observer,
            clock=self._clock,
            ends=all(job.input.ends and not job.input.endless for job in plan.jobs),
        )

        def hear(event: TaskProgress | TaskResult) -> None:
            watch(event)
            if isinstance(event, TaskResult):
                _tell_task(self._config.dataset_name, plan.before[event.task].item, event)

        def more(result: TaskResult) -> Sequence[TaskJob]:
            nonlocal plan
            if result.status is not TaskStatus.COMPLETED or not plan.grows:
                return ()
            known, plan = len(plan.jobs), self._grown(plan)
            new = plan.jobs[known:]
            watch.add({job.task: plan.before[job.task] for job in new})
            return new

        requests = RunStops(self._store, self._config.dataset_name, since=plan.stops, stop=self._stop)
        with requests.watching():
            results = self._engine.run(plan.jobs, on_event=hear, stop=self._stop, more=more)
        counts = watch.end()
        by_status = {status: [result for result in results if result.status is status] for status in TaskStatus}
        completed, failed = by_status[TaskStatus.COMPLETED], by_status[TaskStatus.FAILED]
        totals = TaskTotals(
            planned=len(plan.before),
            already_done=len(plan.before) - len(plan.jobs),
            completed=len(completed),
            failed=len(failed),
            stopped=len(results) - len(completed) - len(failed),
            counts=counts,
        )
        failures = [FailedTask(result.task, plan.before[result.task].item, result.error or "") for result in failed]
        lost = [result for result in by_status[TaskStatus.RUNNING] if result.error and not self._stop.is_set()]
        notes = [*plan.later_notes, *(note for result in results for note in result.notes)]
        notes += [f"{plan.before[result.task].item}: {result.error}" for result in lost]
        alone = bool(by_status[TaskStatus.STOPPED]) and not self._stop.is_set()
        return _Tasks(totals, tuple(failures), tuple(notes), watch.limit, requests.asked or alone)

    def _grown(self, plan: PlannedRun) -> PlannedRun:
        """The plan with the tasks that are possible now; as it is, if that cannot be found out.

        Then they are found when the next task is completed, or by the next run.
        """
        failures = 0
        while True:
            try:
                return plan.with_more(self._planned())
            except DatalakeError as error:
                failures += 1
                if failures == _PLANNINGS or self._stop.is_set():
                    return plan.with_note(f"what comes behind a task that is completed was not found: {error}")
                self._clock.sleep(_BACKOFF.seconds(failures))

    def _merge(self, record: RunRecord) -> Iterable[MergedBatch]:
        """Merge what was written to; one batch that cannot be merged does not keep the others from it."""
        for batch in self._waiting(record):
            self._tell(RunProgress(step=RunStep.MERGE, name=batch))
            began = self._clock.monotonic()
            try:
                outcome = MergedBatch(batch, merge_batch(self._store, self._config.dataset_name, batch))
            except (DatalakeError, OSError, MemoryError) as error:
                outcome = MergedBatch(batch, None, str(error) or type(error).__name__)
            _tell_batch(self._config.dataset_name, outcome, self._clock.monotonic() - began)
            record.merged([outcome])
            yield outcome

    def _waiting(self, record: RunRecord) -> Iterable[str]:
        """The batches to merge; those that only the time of a record named are found by looking."""
        if not has_batches_by_time(self._config):
            return record.unmerged
        dataset = self._config.dataset_name
        return sorted({*record.unmerged, *batches_to_merge(self._store, dataset)})

    def _annotate(self, record: RunRecord) -> Iterable[AnnotatorOutcome]:
        if not any(record.rows.values()):
            return  # no row to annotate, perhaps no merged object to look at
        for annotator in self._config.annotators:
            told = annotator_watch(annotator, self._observer, clock=self._clock)
            # Of several workers the last one merges; but the next annotator may want to see it.
            manner = Manner(needed=self._company.worker is None or annotator is not self._config.annotators[-1])
            yield run_annotator(
                self._store,
                self._config,
                annotator,
                told=told,
                clock=self._clock,
                manner=manner,
                engine=self._engine,
            )

    def _status(
        self, tasks: _Tasks, merged: Sequence[MergedBatch], annotators: Sequence[AnnotatorOutcome]
    ) -> RunStatus:
        errors = [tasks.limit, *(batch.error for batch in merged), *(outcome.error for outcome in annotators)]
        if tasks.totals.failed or any(errors):
            return RunStatus.FAILED
        if self._stop.is_set() or tasks.stop_requested:
            return RunStatus.STOPPED
        # Tasks that are left without a stop belong to another run by now; this one cannot say how they end.
        return RunStatus.FAILED if tasks.totals.stopped else RunStatus.COMPLETED

    def _tell(self, progress: RunProgress) -> None:
        if self._observer is not None:
            self._observer(progress)


_TASK_EVENTS = {
    TaskStatus.COMPLETED: (events.TASK_COMPLETED, INFO),
    TaskStatus.FAILED: (events.TASK_FAILED, WARNING),
    TaskStatus.STOPPED: (events.TASK_STOPPED, INFO),
}


def _tell_task(dataset: str, item: str, result: TaskResult) -> None:
    if result.status in _TASK_EVENTS:
        event, level = _TASK_EVENTS[result.status]
        fields = {"dataset": dataset, "task": result.task, "item": item, "error": result.error}
        events.emit(event, level=level, **fields, seconds=result.seconds, **result.counts.to_dict())


def _tell_batch(dataset: str, outcome: MergedBatch, seconds: float) -> None:
    event, level = (events.BATCH_MERGED, INFO) if outcome.error is None else (events.BATCH_FAILED, WARNING)
    rows = None if outcome.result is None else outcome.result.rows
    fields = {"dataset": dataset, "batch": outcome.batch, "error": outcome.error, "rows": rows}
    events.emit(event, level=level, **fields, seconds=round(seconds, 3))


def _tell_end(report: RunReport) -> None:
    fields = {"dataset": report.dataset, "status": str(report.status), "seconds": round(report.seconds, 3)}
    level = INFO if report.succeeded else WARNING
    events.emit(events.RUN_COMPLETED, level=level, **fields, **report.tasks.to_dict())
