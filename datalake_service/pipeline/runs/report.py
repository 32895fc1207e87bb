"""What a run of a dataset file did, as a value: JSON for programs, lines for people. No I/O."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from datalake_service.annotating.estimate import LEAST_ROWS, Estimate, Prediction
from datalake_service.catalog.datasets import RunStatus
from datalake_service.catalog.manifests import format_time
from datalake_service.catalog.tasks import TaskCounts
from datalake_service.pipeline.annotation.job import AnnotationReport
from datalake_service.pipeline.merging.result import MergeResult
from datalake_utils.units import format_duration

_SAID_EACH = 3
"""More notes of a kind are told as one."""
_SHOWN = 5
"""Failures and notes in the lines for people; all of them are in the JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTotals:
    """What became of the tasks of the manifest."""

    planned: int = 0
    """Tasks of the manifest."""
    already_done: int = 0
    """Those that an earlier run has completed, and whose input is as it was."""
    completed: int = 0
    """By this run, as all below."""
    failed: int = 0
    stopped: int = 0
    """Ended early in order, or not begun."""
    counts: TaskCounts = field(default_factory=TaskCounts)
    """What this run read."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "planned": self.planned,
            "alreadyDone": self.already_done,
            "completed": self.completed,
            "failed": self.failed,
            "stopped": self.stopped,
        }


@dataclass(frozen=True, slots=True)
class FailedTask:
    """A task that failed."""

    task: str
    item: str
    error: str

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"task": self.task, "item": self.item, "error": self.error}


@dataclass(frozen=True, slots=True)
class MergedBatch:
    """How one batch came out of its merge."""

    batch: str
    result: MergeResult | None
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        result = self.result
        if result is None:
            return {"batch": self.batch, "error": self.error}
        return {
            "batch": self.batch,
            "rows": result.rows,
            "newRows": result.new_rows,
            "duplicates": result.duplicates,
            "repeated": result.repeated,
            "conflicts": result.conflicts,
            "rejected": result.rejected,
            "warnings": list(result.warnings),
            "error": None,
        }


@dataclass(frozen=True, slots=True)
class AnnotatorOutcome:
    """What one annotator did."""

    name: str
    report: AnnotationReport
    error: str | None = None
    """Why it ended early, or could not begin."""
    prediction: Prediction | None = None
    """What the rest will take, if that was asked."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "annotatorName": self.name,
            "annotated": self.report.annotated,
            "skipped": self.report.skipped,
            "failed": self.report.failed,
            "alreadyDone": self.report.already_done,
            "remaining": self.report.remaining,
            **({} if self.report.spent is None else {"spent": self.report.spent.to_dict()}),
            **({} if self.report.whole is None else {"allWorkers": self.report.whole.to_dict()}),
            **({} if self.prediction is None else {"estimate": self.prediction.to_dict()}),
            "error": self.error,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatedDataset:
    """Everything that ``datalake annotate`` has to say."""

    dataset: str
    uri: str
    """The lake."""
    started_at: datetime
    seconds: float
    annotators: tuple[AnnotatorOutcome, ...]
    """In the order in which they ran."""
    again: str | None = None
    """The command that asks the rest, if this was an estimate."""

    @property
    def succeeded(self) -> bool:
        """Whether every annotator came to its end, failed rows or not."""
        return all(outcome.error is None for outcome in self.annotators)

    def commands(self) -> list[str]:
        """Commands that look at the results."""
        where = f"--datasetName {self.dataset}{_uri_option(self.uri)}"
        failed = any(outcome.report.failed for outcome in self.annotators)
        return [
            *([] if self.again is None else [self.again]),
            f"datalake datasets view {where}",
            *([f"datalake errors list {where}"] if failed else []),
            f"datalake export {where} --output {self.dataset}.jsonl",
        ]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "datasetName": self.dataset,
            "uri": self.uri,
            "status": str(RunStatus.COMPLETED if self.succeeded else RunStatus.FAILED),
            "startedAt": format_time(self.started_at),
            "seconds": round(self.seconds, 3),
            "annotators": [outcome.to_dict() for outcome in self.annotators],
            "commands": self.commands(),
        }

    def lines(self) -> Iterator[str]:
        """The same for people, without line ends."""
        status = RunStatus.COMPLETED if self.succeeded else RunStatus.FAILED
        yield f"{self.dataset}: annotation {status.lower()} in {format_duration(self.seconds)}"
        for outcome in self.annotators:
            yield from annotator_lines(outcome)
        yield ""
        yield "look at it:"
        yield from (f"  {command}" for command in self.commands())


@dataclass(frozen=True, slots=True)
class OwnShare:
    """Which part of a run was one worker's."""

    worker: str
    tasks: int
    """Those that it completed."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"name": self.worker, "tasks": self.tasks}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """Everything that ``datasets create`` has to say."""

    dataset: str
    uri: str
    """The lake."""
    status: RunStatus
    started_at: datetime
    seconds: float
    tasks: TaskTotals = field(default_factory=TaskTotals)
    failures: tuple[FailedTask, ...] = ()
    notes: tuple[str, ...] = ()
    """What somebody should know although it went on."""
    limit: str | None = None
    """The limit of rejections that was passed."""
    stop_requested: bool = False
    """Whether ``datasets stop`` or ``tasks stop`` ended tasks, and not an interrupt."""
    merged: tuple[MergedBatch, ...] = ()
    """Batches that this run merged."""
    annotators: tuple[AnnotatorOutcome, ...] = ()
    """In the order in which they ran."""
    rows: Mapping[str, int] = field(default_factory=dict)
    """Rows of every batch that this dataset file has merged, now."""
    written: tuple[str, ...] = ()
    """Where documents went, if not into the lake."""
    rejections: tuple[str, ...] = ()
    """Where the rejections of tasks are, if that is not beside the batches of ``rows``."""
    own: OwnShare | None = None
    """If several workers ran the dataset file: what was done by the one that tells."""

    @property
    def succeeded(self) -> bool:
        """Whether all of it worked, rejections or not."""
        return self.status is RunStatus.COMPLETED

    @property
    def duplicates(self) -> int:
        """Rows that merges of this run took out as duplicates."""
        return sum(batch.result.duplicates for batch in self.merged if batch.result is not None)

    def results(self) -> dict[str, list[str]]:
        """Where the results are: URIs or paths by kind."""
        root = f"{self.uri}/{self.dataset}"
        rejected = list(self.rejections) if self.tasks.counts.rejections else []
        by_merge = any(batch.result and batch.result.rejected for batch in self.merged)
        if by_merge or (self.tasks.counts.rejections and not self.rejections):
            rejected += [f"{root}/{batch}/rejected/" for batch in self.rows]
        elsewhere = {"written": list(self.written)} if self.written else {}
        return {
            **elsewhere,
            "merged": [f"{root}/{batch}/merged.parquet" for batch in self.rows],
            "rejected": rejected,
            "annotations": [f"{root}/annotations/{outcome.name}/" for outcome in self.annotators],
        }

    def commands(self) -> list[str]:
        """Commands that look at the results."""
        where = f"--datasetName {self.dataset}{_uri_option(self.uri)}"
        commands = [f"datalake datasets view {where}"]
        if self.tasks.counts.rejections:
            commands.append(f"datalake errors list {where}")
        if not self.written:
            commands.append(f"datalake export {where} --output {self.dataset}.jsonl")
        return commands

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        counts = self.tasks.counts
        return {
            "datasetName": self.dataset,
            "uri": self.uri,
            "status": str(self.status),
            "startedAt": format_time(self.started_at),
            "seconds": round(self.seconds, 3),
            "tasks": self.tasks.to_dict(),
            **({} if self.own is None else {"worker": self.own.to_dict()}),
            "records": counts.records,
            "documents": counts.documents,
            "skips": counts.skips,
            "errors": counts.rejections,
            "duplicates": self.duplicates,
            "rows": sum(self.rows.values()),
            "bytes": counts.size,
            "batches": [batch.to_dict() for batch in self.merged],
            "annotators": [outcome.to_dict() for outcome in self.annotators],
            "limit": self.limit,
            "stopRequested": self.stop_requested,
            "failures": [failure.to_dict() for failure in self.failures],
            "notes": list(self.notes),
            "results": self.results(),
            "commands": self.commands(),
        }

    def lines(self) -> Iterator[str]:
        """The same for people, without line ends."""
        yield f"{self.dataset}: {self.status.lower()} in {format_duration(self.seconds)}"
        yield from self._facts()
        yield from _some("failed", [f"{failure.item}: {failure.error}" for failure in self.failures])
        yield from _some("note", self.notes)
        if self.limit is not None:
            yield f"  {'limit':<12} {self.limit}"
        if self.stop_requested:
            yield f"  {'stopped':<12} on request; run the dataset file again to go on"
        for kind, places in self.results().items():
            yield from _some(kind, places)
        yield ""
        yield "look at it:"
        yield from (f"  {command}" for command in self.commands())

    def _facts(self) -> Iterator[str]:
        tasks, counts = self.tasks, self.tasks.counts
        parts = [(tasks.completed, "completed"), (tasks.failed, "failed"), (tasks.stopped, "not finished")]
        told = [f"{number:,} {word}" for number, word in parts if number]
        if tasks.already_done or not told:
            told.append(f"{tasks.already_done:,} done before")
        if self.own is not None:
            told.append(f"{self.own.tasks:,} completed by this worker")
        yield f"  {'tasks':<12} {', '.join(told)}"
        yield (
            f"  {'records':<12} {counts.records:,}: {counts.documents:,} documents, {counts.skips:,} skipped, "
            f"{counts.rejections:,} errors"
        )
        for batch, rows in self.rows.items():
            yield f"  {'rows':<12} {rows:,} in batch {batch}{self._merge_of(batch)}"
        for merged in self.merged:
            if merged.error is not None:
                yield f"  {'not merged':<12} {merged.batch}: {merged.error}"
            for warning in merged.result.warnings if merged.result else ():
                yield f"  {'note':<12} {warning}"
        for outcome in self.annotators:
            yield from annotator_lines(outcome)

    def _merge_of(self, batch: str) -> str:
        result = next((merged.result for merged in self.merged if merged.batch == batch), None)
        if result is None:
            return ""
        parts = [(result.new_rows, "new"), (result.duplicates, "duplicates taken out"), (result.conflicts, "conflicts")]
        told = [f"{number:,} {word}" for number, word in parts if number]
        return f" ({', '.join(told)})" if told else ""


def in_groups(notes: Iterable[str]) -> tuple[str, ...]:
    """Notes that say the same of many inputs (numbers aside) told once, with how many and with the first of them.

    A note begins with the input that it is about. All of them stand in the tasks.
    """
    groups: dict[str, list[str]] = {}
    for note in notes:
        groups.setdefault(re.sub(r"\d+", "", note.partition(": ")[2]), []).append(note)
    return tuple(
        told
        for group in groups.values()
        for told in (group if len(group) <= _SAID_EACH else [f"{len(group):,} inputs, such as {group[0]}"])
    )


def annotator_lines(outcome: AnnotatorOutcome) -> Iterator[str]:
    """What became of one annotator, for people."""
    report = outcome.report
    told = f"{report.annotated:,} annotated, {report.skipped:,} skipped, {report.failed:,} failed"
    if report.already_done:
        told += f", {report.already_done:,} done before"
    if report.spent is not None and (spent := report.spent.in_words()):
        told += f"; {spent}"
    yield f"  {outcome.name:<12} {told if outcome.error is None else f'{told}; {outcome.error}'}"
    if report.whole is not None:
        yield f"  {'all workers':<12} {report.whole.in_words()}"
    if outcome.prediction is not None:
        yield from _prediction_lines(outcome.prediction)


def _prediction_lines(told: Prediction) -> Iterator[str]:
    if not told.rows:
        yield f"  {'estimate':<12} no rows are left"
        return
    time = _range(told.seconds, format_duration)
    yield f"  {'estimate':<12} {told.rows:,} rows are left: about {time} for one worker, limited by {told.limited_by}"
    if told.cost.expected:
        yield f"  {'':<12} cost {_range(told.cost, _money)}"
    if told.tokens.expected:
        yield f"  {'':<12} {_range(told.tokens, _count)} tokens"
    yield f"  {'':<12} {_range(told.calls, _count)} calls"
    if told.failed_share.expected:
        yield f"  {'':<12} {_range(told.failed_share, _percent)} of them fail"


def _range(told: Estimate, words: Callable[[float], str]) -> str:
    """An expected value, and between what it lies."""
    if told.low is None or told.high is None:
        return f"{words(told.expected)} (from {LEAST_ROWS} rows on, a range is told)"
    return f"{words(told.expected)} ({words(told.low)} to {words(told.high)})"


def _money(value: float) -> str:
    return f"{value:,.{2 if value >= 1 else 4}f}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _some(word: str, lines: tuple[str, ...] | list[str]) -> Iterator[str]:
    for line in lines[:_SHOWN]:
        yield f"  {word:<12} {line}"
    if len(lines) > _SHOWN:
        yield f"  {'':<12} … and {len(lines) - _SHOWN:,} more"


def _uri_option(uri: str) -> str:
    return f" --uri {shlex.quote(uri)}"
