"""The LAMBDA engine: tasks as invocations of a function. See ``docs/design/021-lambda.md``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from datalake_service.aws.clients import AwsClients
from datalake_service.aws.functions import FunctionFacts, LambdaFunction
from datalake_service.catalog.stops import request_run_stop
from datalake_service.config import compute
from datalake_service.engines.lambda_task import LEAST_MARGIN, MARGIN_SHARE, margin_of
from datalake_service.engines.lambda_worker import LambdaWorker
from datalake_service.engines.parcels import make_folders
from datalake_service.engines.scheduler import MAX_DEATHS, TURN_SECONDS, Rules, run_in_slots
from datalake_service.errors import StoreError, UsageError
from datalake_service.pipeline.feeds.queue_feed import BATCH_SECONDS, CONTINUOUS_WAIT
from datalake_service.pipeline.jobs.engine import QueueInput, TaskJob, TaskProgress, TaskResult
from datalake_utils.clock import SystemClock
from datalake_utils.ids import random_hex

_RUN_DIGITS: Final = 12
_SETTING: Final = "computeEngine.functionName"
LOST_SECONDS: Final = 10.0
"""How long a task waits after an invocation without an answer: the function may still be at work on it."""
QUEUE_MARGIN: Final = CONTINUOUS_WAIT + BATCH_SECONDS + LEAST_MARGIN
"""What a task that reads a queue may need after its last look at the time."""
QUEUE_SECONDS: Final = QUEUE_MARGIN / MARGIN_SHARE
"""The least time-out of a function that leaves so much."""
_MORE_SECONDS: Final = 60.0
"""How much longer than the function may work its answer is waited for."""


@dataclass(frozen=True, slots=True)
class FunctionSettings:
    """What a dataset file says of a function."""

    name: str
    concurrency: int
    seconds: int
    """How long an invocation may take."""
    expected: tuple[tuple[str, int], ...] = ()
    """What the file says and the function has to have, by the key in the file."""

    @classmethod
    def of(cls, engine: compute.LambdaEngine | compute.LambdaAndSagemakerEngine) -> FunctionSettings:
        """Those of either kind of engine; ``check_available`` has seen to the name."""
        both = isinstance(engine, compute.LambdaAndSagemakerEngine)
        said = engine.lambda_settings if isinstance(engine, compute.LambdaAndSagemakerEngine) else engine
        prefix = "lambda_" if both else ""
        seconds: int = getattr(said, f"{prefix}timeout_in_seconds")
        megabytes: int = getattr(said, f"{prefix}memory_limit_in_megabytes")
        given = said.model_fields_set
        expected = [
            pair
            for field, pair in (
                ("timeout_in_seconds", ("timeoutInSeconds", seconds)),
                ("memory_limit_in_megabytes", ("memoryLimitInMegabytes", megabytes)),
            )
            if f"{prefix}{field}" in given
        ]
        assert said.function_name is not None  # check_available
        return cls(said.function_name, getattr(said, f"{prefix}concurrency"), seconds, tuple(expected))


class LambdaEngine:
    """Invokes the function for each task, ``concurrency`` at a time, again and again until the task has ended.

    Guarantee: that of ``Engine``. An invocation may be lost, ended by Lambda, or made twice: the task's object decides
    whose work counts, and the next invocation goes on from the last checkpoint.
    """

    def __init__(
        self,
        settings: FunctionSettings,
        *,
        region: str | None = None,
        max_deaths: int = MAX_DEATHS,
        turn_seconds: float = TURN_SECONDS,
        lost_seconds: float = LOST_SECONDS,
    ) -> None:
        """Ask nothing of AWS yet."""
        self._lost_seconds = lost_seconds
        self._settings = settings
        self._region = region
        self._max_deaths = max_deaths
        self._turn_seconds = turn_seconds

    def run(
        self,
        jobs: Sequence[TaskJob],
        *,
        on_event: Callable[[TaskProgress | TaskResult], None],
        stop: threading.Event,
        more: Callable[[TaskResult], Sequence[TaskJob]] | None = None,
    ) -> list[TaskResult]:
        """Run every job to its end; see ``Engine.run``."""
        if not jobs:
            return []
        function, facts = self._function()
        _check_time(function.name, facts, jobs)
        make_folders(jobs)
        sign = _StopSign()

        def new_worker() -> LambdaWorker:
            return LambdaWorker(
                function,
                run=sign.run,
                region=self._region,
                tell_stop=sign.raise_it,
                lost_seconds=self._lost_seconds,
            )

        rules = Rules(new_worker, max_deaths=self._max_deaths, turn_seconds=self._turn_seconds)
        return run_in_slots(
            jobs, slots=self._settings.concurrency, rules=rules, on_event=on_event, stop=stop, more=more
        )

    def _function(self) -> tuple[LambdaFunction, FunctionFacts]:
        """The function, if it is configured as the dataset file says, and how it is.

        Raises:
            UsageError: It is not, does not exist, or may not be asked.
        """
        settings = self._settings
        clients = AwsClients(region=self._region, read_timeout=settings.seconds + _MORE_SECONDS)
        function = LambdaFunction(clients, settings.name, setting=_SETTING)
        try:
            facts = function.facts()
        except StoreError as error:
            raise UsageError(str(error)) from error
        actual = {"timeoutInSeconds": facts.seconds, "memoryLimitInMegabytes": facts.megabytes}
        differences = [
            f"computeEngine.{key} is {wanted}, and the function has {actual[key]}"
            for key, wanted in settings.expected
            if wanted != actual[key]
        ]
        if differences:
            raise UsageError(f"the function '{settings.name}': {'; '.join(differences)}; change one of them")
        return function, facts


def _check_time(name: str, facts: FunctionFacts, jobs: Sequence[TaskJob]) -> None:
    """Refuse to read queues with a function that would be ended while it waits for messages, or handles some.

    Raises:
        UsageError: It would.
    """
    if margin_of(facts.seconds) < QUEUE_MARGIN and any(isinstance(job.input, QueueInput) for job in jobs):
        raise UsageError(
            f"the function '{name}' has a time-out of {facts.seconds} s, and a queue is waited for and handled in turns"
            f" of up to {QUEUE_MARGIN - LEAST_MARGIN:g} s: raise the time-out to {QUEUE_SECONDS:g} s at least"
        )


class _StopSign:
    """Asks the tasks of one run to end: an object in the lake, written once."""

    def __init__(self) -> None:
        self.run = f"run-{random_hex(_RUN_DIGITS)}"
        self._lock = threading.Lock()
        self._raised = False

    def raise_it(self, job: TaskJob) -> None:
        """Write the request; a lake that cannot be written now is tried again with the next worker's."""
        with self._lock, suppress(StoreError):
            if not self._raised:
                request_run_stop(job.store, job.dataset, self.run, now=SystemClock().now())
                self._raised = True
