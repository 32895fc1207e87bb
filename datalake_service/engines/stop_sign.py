"""How a run ends tasks that nobody can talk to: an object in the lake, which they look at now and then.

For engines whose workers hear nothing while they work: Spark's, and functions.
"""

from __future__ import annotations

from typing import Final

from datalake_service.catalog.stops import load_stops
from datalake_service.errors import StoreError
from datalake_service.pipeline.jobs.engine import TaskJob
from datalake_utils.clock import Clock

STOP_SECONDS: Final = 2.0
"""How often a task asks whether its run is to stop."""


class StopSign:
    """Whether a task is to stop: its time is up, or its run is asked to end. Costs a request every few seconds."""

    def __init__(self, job: TaskJob, *, run: str, ends: float | None, clock: Clock) -> None:
        """Look for requests to stop ``run``; the time is up at ``ends`` of the clock, or never."""
        self._job = job
        self._run = run
        self._ends = ends
        self._clock = clock
        self._next = 0.0
        self._time_is_up = self._asked_for = False

    def __call__(self) -> bool:
        """Whether to stop now; what ``run_task`` asks."""
        self._time_is_up = self._ends is not None and self._clock.monotonic() >= self._ends
        return self._time_is_up or self.asked()

    def asked(self) -> bool:
        """Whether the run is to end. A lake that does not answer asks for nothing."""
        now = self._clock.monotonic()
        if not self._asked_for and now >= self._next:
            self._next = now + STOP_SECONDS
            try:
                self._asked_for = self._run in load_stops(self._job.store, self._job.dataset).runs
            except StoreError:
                return False
        return self._asked_for

    @property
    def only_time_is_up(self) -> bool:
        """Whether the last answer was yes because of the time alone: there may be more to do later."""
        return self._time_is_up and not self._asked_for
