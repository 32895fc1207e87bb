"""What a task of a Spark job does: runs the tasks of a parcel, one after the other. Runs on Spark's machines.

Nothing goes back to the run before all are done; what happens meanwhile is seen in the lake.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass

from datalake_service.catalog.tasks import TaskStatus
from datalake_service.engines.code import Code
from datalake_service.engines.loop import HandlerLines
from datalake_service.engines.messages import Ended, Logged, Refused
from datalake_service.engines.parcels import open_parcel
from datalake_service.engines.stop_sign import StopSign
from datalake_service.errors import UsageError
from datalake_service.pipeline.jobs.engine import TaskJob, TaskProgress, TaskResult
from datalake_service.pipeline.tasks.task import run_task
from datalake_utils.clock import SystemClock

_MOST_LINES = 200
"""Of the log of one task that go back to the run; the lake has more."""


@dataclass(frozen=True, slots=True)
class Order:
    """What all tasks of one Spark job are told."""

    run: str
    """What a request to stop calls this run."""
    turn_seconds: float
    """How long a task works that does not end by itself, before others have their turn."""
    code: Code


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one task."""

    ended: Ended | Refused
    lines: tuple[Logged, ...] = ()
    """What its handler logged."""
    turn_over: bool = False
    """Whether it stopped because it had its turn."""


def run_parcels(parcels: Sequence[bytes], *, order: Order) -> list[bytes]:
    """Run tasks; returns an ``Outcome`` for each, pickled. After a refusal there is nothing more to run."""
    outcomes: list[bytes] = []
    for parcel in parcels:
        outcome = _run(parcel, order)
        outcomes.append(pickle.dumps(outcome))
        if isinstance(outcome.ended, Refused):
            break
    return outcomes


def _run(parcel: bytes, order: Order) -> Outcome:
    clock, lines = SystemClock(), _Lines()
    try:
        job = open_parcel(parcel, order.code)
        ends = clock.monotonic() + order.turn_seconds if job.input.endless else None
        stop = StopSign(job, run=order.run, ends=ends, clock=clock)
        if stop.asked():
            return Outcome(Ended(TaskResult(job.task, TaskStatus.CREATED)))
        with lines.of(job):
            result = run_task(job, stop=stop, report=_no_report, clock=clock)
    except UsageError as error:
        return Outcome(Refused(error), lines.taken())
    turn_over = stop.only_time_is_up and result.status is TaskStatus.STOPPED
    return Outcome(Ended(result), lines.taken(), turn_over)


def _no_report(_progress: TaskProgress) -> None:
    """Whoever waits looks at the task's object."""


class _Lines:
    """The log lines of one task."""

    def __init__(self) -> None:
        self._found: list[Logged] = []

    def of(self, job: TaskJob) -> HandlerLines:
        """A context in which handlers are listened to."""
        return HandlerLines(self._keep, task=job.task, level=job.log_level)

    def taken(self) -> tuple[Logged, ...]:
        """What was heard."""
        return tuple(self._found)

    def _keep(self, line: Logged) -> None:
        if len(self._found) < _MOST_LINES:
            self._found.append(line)
