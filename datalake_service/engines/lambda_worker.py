"""A worker of the LAMBDA engine: one invocation of the function after the other, until the task has ended."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pickle import loads
from queue import Empty, SimpleQueue
from typing import Final

from datalake_service.aws.functions import MAX_REQUEST_BYTES, FunctionAnswer, LambdaFunction, ThrottledError
from datalake_service.catalog.tasks import TaskCounts, TaskStatus, load_task
from datalake_service.engines.lambda_letters import TaskAnswer, request_of
from datalake_service.engines.messages import Ended, FromParent, FromWorker, Progress, Refused, Run, Stop, Yield
from datalake_service.engines.scheduler import WorkerDiedError
from datalake_service.errors import DatalakeError, StoreError, StoreUnavailableError, UsageError
from datalake_service.pipeline.jobs.engine import TaskJob, TaskProgress, TaskResult
from datalake_utils.backoff import Backoff
from datalake_utils.clock import SystemClock

LOOK_SECONDS: Final = 10.0
"""How often a task's object is looked at while its invocation is under way."""
_THROTTLED: Final = Backoff(first=0.5, longest=15.0)
_CLOCK: Final = SystemClock()
_CANNOT_START: Final = ("Runtime.ImportModuleError", "Runtime.HandlerNotFound", "Runtime.InvalidEntrypoint")
"""What Lambda calls an image that is not ours."""
_MEMORY: Final = ("Runtime.OutOfMemory", "signal: killed")
"""What Lambda says when the memory is used up."""


class LambdaWorker:
    """See ``Worker``. Each invocation is made by a thread of its own, which ends with it."""

    def __init__(
        self,
        function: LambdaFunction,
        *,
        run: str,
        region: str | None,
        tell_stop: Callable[[TaskJob], None],
        lost_seconds: float,
    ) -> None:
        """Invoke ``function``; ``tell_stop`` asks the run's tasks to end, through the lake.

        ``lost_seconds``: how long to wait after an invocation without an answer.
        """
        self._lost_seconds = lost_seconds
        self._function = function
        self._run = run
        self._region = region
        self._tell_stop = tell_stop
        self._job: TaskJob | None = None
        self._answers: SimpleQueue[FunctionAnswer | StoreError | None] = SimpleQueue()
        self._news: deque[FromWorker] = deque()
        self._under_way = False
        self._throttled = 0
        self._before: tuple[str, TaskCounts] | None = None
        """Where the last invocation ended, if its time was up."""
        self._paused: TaskResult | None = None
        """The same, until the next invocation has done something: one that is throttled has not."""
        self._stopping, self._turn_over, self._killed = threading.Event(), threading.Event(), threading.Event()

    @property
    def name(self) -> str:
        """How the function calls itself in the task that it has: only the lake knows."""
        if self._job is None:
            return ""
        try:
            return load_task(self._job.store, self._job.dataset, self._job.task).state.worker or ""
        except DatalakeError:
            return ""

    def send(self, message: FromParent) -> None:
        """Take a message."""
        if isinstance(message, Run):
            self._turn_over.clear()
            self._paused = None
            self._throttled = 0
            self._job = loads(message.job)  # noqa: S301 - our own scheduler packed it
        elif isinstance(message, Yield):
            self._turn_over.set()
        elif isinstance(message, Stop):
            self._stopping.set()
            if self._job is not None:
                self._tell_stop(self._job)

    def receive(self) -> FromWorker:
        """Block for news: an invocation's answer, or how far the task is."""
        while not self._news:
            job = self._job
            assert job is not None  # there was a Run before
            if not self._under_way:
                if self._paused is not None and (self._turn_over.is_set() or self._stopping.is_set()):
                    self._news.append(Ended(self._paused))
                    break
                self._invoke(job)
            try:
                answer = self._answers.get(timeout=LOOK_SECONDS)
            except Empty:
                self._look(job)
                continue
            self._under_way = False
            self._take(job, answer)
        return self._news.popleft()

    def kill(self) -> None:
        """Wait no longer. What the function does meanwhile is fenced by the task's object."""
        self._killed.set()
        self._answers.put(None)

    def close(self) -> None:
        """Nothing is open."""

    def _invoke(self, job: TaskJob) -> None:
        request = request_of(job, run=self._run, region=self._region).to_json()
        if len(request) > MAX_REQUEST_BYTES:
            raise UsageError(
                f"task {job.task} takes {len(request) / 1e6:.1f} MB to describe, and Lambda takes"
                f" {MAX_REQUEST_BYTES / 1e6:g}: make the parameters of the handler smaller"
            )
        self._under_way = True
        threading.Thread(target=self._wait_for, args=(request,), name="invocation", daemon=True).start()

    def _wait_for(self, request: bytes) -> None:
        try:
            self._answers.put(self._function.invoke(request))
        except StoreError as error:
            self._answers.put(error)

    def _look(self, job: TaskJob) -> None:
        with suppress(DatalakeError):
            state = load_task(job.store, job.dataset, job.task).state
            if state.status is TaskStatus.RUNNING:
                self._news.append(Progress(TaskProgress(job.task, state.counts)))

    def _take(self, job: TaskJob, answer: FunctionAnswer | StoreError | None) -> None:
        match answer:
            case None:
                raise WorkerDiedError("it was given up")
            case ThrottledError():
                self._throttled += 1
                if not self._pause(_THROTTLED.seconds(self._throttled)) and self._paused is None:
                    self._news.append(Ended(TaskResult(job.task, TaskStatus.CREATED)))
            case StoreUnavailableError():
                self._pause(self._lost_seconds)
                raise WorkerDiedError(str(answer), lost=True)
            case StoreError():
                raise UsageError(str(answer))
            case FunctionAnswer(body, failed=True):
                raise self._failure(body)
            case FunctionAnswer(body):
                self._throttled = 0
                self._heard(job, body)

    def _pause(self, seconds: float) -> bool:
        """Wait; returns whether the run goes on."""
        self._stopping.wait(seconds)
        return not self._stopping.is_set()

    def _failure(self, body: bytes) -> WorkerDiedError | UsageError:
        """An invocation that Lambda ended, or that could not begin."""
        try:
            said = json.loads(body)
            kind, message = str(said.get("errorType", "")), str(said.get("errorMessage", ""))
        except (ValueError, AttributeError):
            kind, message = "", ""
        name = f"the function '{self._function.name}'"
        text = " ".join(f"{kind}: {message}".split()).strip(": ") or "no reason"
        if kind in _CANNOT_START:
            return UsageError(f"{name} cannot start ({text}): build its image as docs/guide/lambda.md says")
        hint = ""
        if "timed out" in message:
            hint = "; a record took longer than an invocation may, raise the function's time-out"
        elif kind in _MEMORY or any(sign in message for sign in _MEMORY):
            hint = "; probably out of memory, raise the function's memory"
        return WorkerDiedError(f"{name} was ended: {text}{hint}")

    def _heard(self, job: TaskJob, body: bytes) -> None:
        try:
            answer = TaskAnswer.from_json(body, task=job.task)
        except ValueError:
            raise UsageError(
                f"the function '{self._function.name}' does not answer as datalake's: its handler has to be"
                " datalake_service.runtime.lambda_entry.handler, of this version"
            ) from None
        self._news.extend(answer.lines)
        if answer.refusal is not None:
            self._news.append(Refused(UsageError(f"the function '{self._function.name}': {answer.refusal}")))
        elif answer.result is not None and answer.again:
            self._time_was_up(job, answer.result)
        elif answer.result is not None:
            begun = answer.result.status is not TaskStatus.CREATED
            self._news.append(Ended(answer.result if begun or self._paused is None else self._paused))

    def _time_was_up(self, job: TaskJob, result: TaskResult) -> None:
        """The task goes on in another invocation, unless somebody says otherwise before that begins."""
        counts, before = result.counts, self._before
        self._before = (job.task, counts)
        if self._before == before and not job.input.endless and not self._stopping.is_set():
            raise WorkerDiedError(
                f"the function '{self._function.name}' got no further than {counts.records} records in the time of"
                " an invocation; raise its time-out, or read from a source that can be continued in the middle"
            )
        self._paused = result
        self._news.append(Progress(TaskProgress(job.task, counts)))
