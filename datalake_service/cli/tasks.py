"""``datalake tasks``: what the tasks of a dataset did, one in full, stopped, run again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from datalake_service import events
from datalake_service.cli.create import run_dataset_file
from datalake_service.cli.output import table
from datalake_service.cli.session import Session, common_options, config_file_option, dataset_option
from datalake_utils.clock import SystemClock

if TYPE_CHECKING:
    from datalake_service.catalog.tasks import TaskState


def _task_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--taskId", "--task-id", "task", required=True, metavar="ID", help="The id of the task.")(
        function
    )


@click.group("tasks")
def tasks_group() -> None:
    """Look at tasks, stop them, run them again: one for each item of the manifest."""


@tasks_group.command("list")
@dataset_option
@click.option("--watch", is_flag=True, help="Again and again, until none is left to be run; in a pipe, each change.")
@common_options
def list_command(session: Session, dataset: str, *, watch: bool) -> None:
    """List the tasks of a dataset: status, counts, how long they took, last error."""
    from datalake_service.catalog.tasks import load_tasks
    from datalake_service.pipeline.upkeep.lifecycle import require_dataset

    store = session.open_lake()
    require_dataset(store, dataset)
    if watch:
        from datalake_service.catalog.task_changes import TaskChanges
        from datalake_service.cli.watching import watch_tasks

        changes, clock = TaskChanges(store, dataset), SystemClock()
        if not watch_tasks(changes, dataset, session.output, to_dict=_to_dict, to_lines=_lines, clock=clock):
            click.get_current_context().exit(1)
        return
    states = [stored.state for stored in load_tasks(store, dataset)]
    now = SystemClock().now()
    session.output.show(
        {"datasetName": dataset, "tasks": [_to_dict(state, now) for state in states]}, lambda: _lines(states, now)
    )


@tasks_group.command("view")
@dataset_option
@_task_option
@common_options
def view_command(session: Session, dataset: str, task: str) -> None:
    """Show one task: status, attempts, worker, counts, checkpoint, error, notes."""
    from datalake_service.pipeline.upkeep.lifecycle import require_task

    state = require_task(session.open_lake(), dataset, task)
    now = SystemClock().now()
    session.output.show({"datasetName": dataset, **_to_dict(state, now)}, lambda: _view(state, now))


@tasks_group.command("logs")
@dataset_option
@_task_option
@common_options
def logs_command(session: Session, dataset: str, task: str) -> None:
    """Show what a task's handler logged, in all of its attempts: the last lines."""
    from datalake_service.pipeline.tasks.log import load_task_log
    from datalake_service.pipeline.upkeep.lifecycle import require_task

    store = session.open_lake()
    require_task(store, dataset, task)
    lines = load_task_log(store, dataset, task)
    session.output.show(
        {"datasetName": dataset, "taskId": task, "lines": lines},
        lambda: (
            [f"{line.get('time')} {line.get('level')} {line.get('message')}" for line in lines]
            or ["nothing was logged"]
        ),
    )


@tasks_group.command("stop")
@dataset_option
@_task_option
@common_options
def stop_command(session: Session, dataset: str, task: str) -> None:
    """Ask whoever has a task to stop it, on whatever machine. The next run goes on from its checkpoint."""
    from datalake_service.catalog.stops import request_stop
    from datalake_service.catalog.tasks import TaskStatus
    from datalake_service.pipeline.upkeep.lifecycle import require_task

    store = session.open_lake()
    state = require_task(store, dataset, task)
    running = state.status is TaskStatus.RUNNING
    request_stop(store, dataset, task=task, now=SystemClock().now())
    events.emit(events.TASK_STOP_REQUESTED, dataset=dataset, task=task)
    told = f"asked {state.worker} to stop task {task}" if running else f"task {task} is {state.status} already"
    session.output.show({"datasetName": dataset, "taskId": task, "status": str(state.status)}, lambda: [told])


@tasks_group.command("redrive")
@config_file_option
@click.option(
    "--taskId", "--task-id", "tasks", multiple=True, metavar="ID", help="Only this one; failed or stopped. Repeatable."
)
@common_options
def redrive_command(session: Session, config_file: str, tasks: tuple[str, ...]) -> None:
    """Run the tasks again that failed, from their checkpoints, and nothing else; then merge and annotate."""
    from datalake_service.pipeline.runs.choice import TaskChoice

    run_dataset_file(session, config_file, choice=TaskChoice(tasks=tasks or None))


def _seconds(state: TaskState, now: datetime) -> float | None:
    """How long the last attempt took, or takes; ``None``: there was none."""
    if state.started_at is None:
        return None
    return max(0.0, ((state.finished_at or now) - state.started_at).total_seconds())


def _to_dict(state: TaskState, now: datetime) -> dict[str, Any]:
    seconds = _seconds(state, now)
    return {**state.to_dict(), "seconds": None if seconds is None else round(seconds, 3)}


def _duration(state: TaskState, now: datetime) -> str | None:
    from datalake_utils.units import format_duration

    seconds = _seconds(state, now)
    return None if seconds is None else format_duration(seconds)


def _lines(states: Sequence[TaskState], now: datetime) -> Sequence[str]:
    if not states:
        return ["no tasks"]
    return table(
        ("TASK", "STATUS", "BATCH", "RECORDS", "DOCUMENTS", "SKIPS", "REJECTIONS", "TIME", "ITEM", "ERROR"),
        [
            (
                state.id,
                str(state.status),
                state.batch,
                state.counts.records,
                state.counts.documents,
                state.counts.skips,
                state.counts.rejections,
                _duration(state, now),
                state.item,
                state.error or "; ".join(state.notes),
            )
            for state in states
        ],
    )


def _view(state: TaskState, now: datetime) -> Iterable[str]:
    import json

    counts = state.counts
    facts = {
        "task": state.id,
        "item": state.item,
        "batch": state.batch,
        "status": str(state.status),
        "attempts": f"{state.attempt:,}",
        "worker": state.worker,
        "started": None if state.started_at is None else f"{state.started_at:%Y-%m-%d %H:%M:%S} UTC",
        "finished": None if state.finished_at is None else f"{state.finished_at:%Y-%m-%d %H:%M:%S} UTC",
        "time": _duration(state, now),
        "records": f"{counts.records:,}: {counts.documents:,} documents, {counts.skips:,} skipped, "
        f"{counts.rejections:,} rejected",
        "checkpoint": None if state.checkpoint is None else json.dumps(state.checkpoint),
        "error": state.error,
    }
    for name, fact in facts.items():
        if fact is not None:
            yield f"{name:<11} {fact}"
    for note in state.notes:
        yield f"{'note':<11} {note}"
