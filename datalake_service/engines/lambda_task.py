"""What a Lambda function does with a task: runs it until it ends, or until the invocation's time is nearly up.

Runs in the function. Whoever invoked it cannot talk to it: a stop is asked for by an object in the lake.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from datalake_service.catalog.tasks import TaskStatus
from datalake_service.engines.lambda_letters import TaskAnswer, TaskRequest, unpack
from datalake_service.engines.loop import HandlerLines
from datalake_service.engines.messages import Logged
from datalake_service.engines.parcels import check_origin, check_places
from datalake_service.engines.stop_sign import StopSign
from datalake_service.errors import UsageError
from datalake_service.pipeline.jobs.engine import TaskJob, TaskProgress, TaskResult
from datalake_service.pipeline.jobs.outputs import LocalModel
from datalake_service.pipeline.tasks.task import run_task
from datalake_service.storage.base import OpenStore
from datalake_utils.clock import Clock

MARGIN_SHARE: Final = 0.2
"""How much of an invocation is kept for the last checkpoint, but at least, and at most, so many seconds."""
LEAST_MARGIN: Final = 2.0
MOST_MARGIN: Final = 60.0
_MOST_LINES: Final = 200
"""Of a handler's log go back; the lake has more."""
NAMESPACE: Final = "datalake"
"""Of the metrics in CloudWatch."""


def run_request(
    event: object,
    *,
    seconds_left: float,
    folder: Path,
    open_store: Callable[[str | None], OpenStore],
    tell: Callable[[str], None],
    clock: Clock,
) -> dict[str, object]:
    """Run the task of an event; returns what Lambda sends back.

    Args:
        event: What ``TaskRequest`` wrote.
        seconds_left: Until Lambda ends the invocation.
        folder: Where the user's classes are in the image.
        open_store: Opens stores of a region, with what this function's environment says.
        tell: Takes a line for CloudWatch: metrics in its embedded format.
        clock: Time source.
    """
    ends = clock.monotonic() + seconds_left - margin_of(seconds_left)
    lines: list[Logged] = []
    try:
        request = TaskRequest.from_json(event)
        check_origin(request.sender)
        job = _at_home(unpack(request.job, open_store=open_store(request.region)), folder)
        stop = StopSign(job, run=request.run, ends=ends, clock=clock)
        if stop.asked():
            return TaskAnswer(TaskResult(job.task, TaskStatus.CREATED)).to_json()
        began = clock.monotonic()
        with HandlerLines(lines.append, task=job.task, level=job.log_level):
            result = run_task(job, stop=stop, report=_no_report, clock=clock)
    except UsageError as error:
        return TaskAnswer(None, refusal=str(error), lines=tuple(lines[:_MOST_LINES])).to_json()
    tell(metrics_line(job, result, seconds=clock.monotonic() - began, now_ms=int(clock.now().timestamp() * 1000)))
    again = stop.only_time_is_up and result.status is TaskStatus.STOPPED
    return TaskAnswer(result, again=again, lines=tuple(lines[:_MOST_LINES])).to_json()


def margin_of(seconds_left: float) -> float:
    """How many of an invocation's seconds are kept for making durable what there is."""
    return min(max(seconds_left * MARGIN_SHARE, LEAST_MARGIN), MOST_MARGIN)


def metrics_line(job: TaskJob, result: TaskResult, *, seconds: float, now_ms: int) -> str:
    """Counts of a task so far, in CloudWatch's embedded metric format.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    counts = result.counts
    figures = {
        "records": counts.records,
        "documents": counts.documents,
        "skips": counts.skips,
        "rejections": counts.rejections,
        "seconds": round(seconds, 3),
    }
    units = {name: "Seconds" if name == "seconds" else "Count" for name in figures}
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [["dataset"], ["dataset", "status"]],
        "Metrics": [{"Name": name, "Unit": unit} for name, unit in units.items()],
    }
    said = {"_aws": {"Timestamp": now_ms, "CloudWatchMetrics": [directive]}}
    names = {"dataset": job.dataset, "batch": job.batch, "task": job.task, "status": str(result.status)}
    return json.dumps({**said, **names, **figures})


def _at_home(job: TaskJob, folder: Path) -> TaskJob:
    """The job with the folder of the image in the place of the caller's; folders of data have to be here."""
    check_places(job)
    vectors = job.vectors
    if vectors is not None:
        model = vectors.model
        if isinstance(model, LocalModel):
            model = replace(model, folder=folder)
        vectors = replace(vectors, folder=folder, model=model)
    return replace(job, handler=replace(job.handler, folder=folder), vectors=vectors)


def _no_report(_progress: TaskProgress) -> None:
    """Whoever waits looks at the task's object."""
