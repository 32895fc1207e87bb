"""A line that moves while a person waits: how much is done, how fast, how long it will take. Nothing in a pipe."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from tqdm import tqdm

    from datalake_service.pipeline.run_progress import RunProgress


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
    """One moment of a run in words: ``tasks 3/12: 45,000 records, 9,000/s, 25%, about 15s left``."""
    from datalake_service.pipeline.run_progress import RunStep
    from datalake_utils.units import format_duration

    report = progress.annotation
    if progress.step is RunStep.PLAN:
        return "planning"
    if progress.step is RunStep.MERGE:
        return f"merging {progress.name}"
    if progress.step is RunStep.TASKS:
        words = [f"tasks {progress.tasks_done:,}/{progress.tasks_total:,}: {progress.counts.records:,} records"]
    else:
        done = 0 if report is None else report.annotated + report.skipped + report.failed
        words = [f"{progress.name}: {done:,} rows"]
    if report is not None and report.spent is not None and (spent := report.spent.in_words()):
        words.append(spent)
    if progress.rate is not None:
        words.append(f"{progress.rate:,.0f}/s")
    if progress.share is not None:
        words.append(f"{progress.share:.0%}")
    if progress.remaining_seconds is not None:
        words.append(f"about {format_duration(progress.remaining_seconds)} left")
    return ", ".join(words)
