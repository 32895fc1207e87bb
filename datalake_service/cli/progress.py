"""A line that moves while a person waits: how much is done, how fast, how long it will take. Nothing in a pipe."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tqdm import tqdm

    from datalake_service.pipeline.runs.progress import RunProgress


_HOUR: Final = 3_600
_IN_FILE: Final = {"seconds": "hours"}


class ProgressBar:
    """Progress on standard error; does nothing unless it is ``shown``."""

    def __init__(self, unit: str, *, total: int | None = None, shown: bool) -> None:
        """Count ``unit``; ``total`` is how many there will be, if that is known."""
        self._bar: tqdm[Any] | None = None
        if shown:
            from tqdm import tqdm

            self._bar = tqdm(
                total=total, unit=f" {unit}", file=sys.stderr, leave=False, dynamic_ncols=True, unit_scale=False
            )

    def advance(self, count: int) -> None:
        """``count`` more are done."""
        if self._bar is not None:
            self._bar.update(count)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the line away."""
        if self._bar is not None:
            self._bar.close()


class RunLine:
    """The progress of a dataset file's run, step by step, on one line of standard error."""

    def __init__(self, *, shown: bool) -> None:
        """Show nothing unless ``shown``."""
        self._shown = shown
        self._bar: tqdm[Any] | None = None

    def show(self, progress: RunProgress) -> None:
        """Show one moment."""
        if not self._shown:
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(file=sys.stderr, leave=False, dynamic_ncols=True, bar_format="{desc}")
        self._bar.set_description_str(run_line(progress))

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the line away."""
        if self._bar is not None:
            self._bar.close()


def run_line(progress: RunProgress) -> str:
    """One moment of a run in words: ``tasks 3/12: 45,000 records, 9,000/s, 25%, about 15s left``.

    Of an annotator: ``judge: 1,200 rows, 8,800 to go, 3 failed, 45 tokens, cost 1.23 of 5.00, 40/s, about 4m left``.
    """
    from datalake_service.pipeline.runs.progress import RunStep
    from datalake_utils.units import format_duration

    if progress.step is RunStep.PLAN:
        return "planning"
    if progress.step is RunStep.MERGE:
        return f"merging {progress.name}"
    if progress.step is RunStep.TASKS:
        words = [f"tasks {progress.tasks_done:,}/{progress.tasks_total:,}: {progress.counts.records:,} records"]
    else:
        words = _annotation_words(progress)
    if progress.rate is not None:
        words.append(f"{progress.rate:,.0f}/s")
    if progress.share is not None:
        words.append(f"{progress.share:.0%}")
    if progress.remaining_seconds is not None:
        words.append(f"about {format_duration(progress.remaining_seconds)} left")
    return ", ".join(words)


def _annotation_words(progress: RunProgress) -> list[str]:
    report, budget = progress.annotation, progress.budget
    if report is None:
        return [f"{progress.name}: 0 rows"]
    words = [f"{progress.name}: {report.annotated + report.skipped + report.failed:,} rows"]
    if report.expected is not None:
        words.append(f"{report.expected:,} to go")
    if report.failed:
        words.append(f"{report.failed:,} failed")
    spent = report.spent
    if spent is None:
        return words
    # Of a budget is told what all starts and workers have spent of it: that is what ends the run.
    own = spent.amounts()
    cost, tokens, calls, seconds = (
        own[kind] + (spent.elsewhere.get(kind, 0) if _IN_FILE.get(kind, kind) in budget else 0) for kind in own
    )
    if tokens or "tokens" in budget:
        words.append(f"{tokens:,.0f}{_of(budget, 'tokens', ',.0f')} tokens")
    if cost or "cost" in budget:
        words.append(f"cost {cost:,.{2 if cost >= 1 else 4}f}{_of(budget, 'cost', ',.2f')}")
    if "calls" in budget:
        words.append(f"{calls:,.0f}{_of(budget, 'calls', ',.0f')} calls")
    if "hours" in budget:
        words.append(f"{seconds / _HOUR:.1f}{_of(budget, 'hours', 'g')} hours")
    return words


def _of(budget: Mapping[str, float], kind: str, form: str) -> str:
    return f" of {budget[kind]:{form}}" if kind in budget else ""
