"""``datalake tasks``: what the tasks of a dataset did."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from datalake_service.cli.output import table
from datalake_service.cli.session import Session, common_options, dataset_option

if TYPE_CHECKING:
    from datalake_service.catalog.tasks import TaskState


@click.group("tasks")
def tasks_group() -> None:
    """Look at tasks: one for each item of the manifest."""


@tasks_group.command("list")
@dataset_option
@common_options
def list_command(session: Session, dataset: str) -> None:
    """List the tasks of a dataset: status, counts, last error."""
    from datalake_service.catalog.tasks import load_tasks
    from datalake_service.pipeline.lifecycle import require_dataset

    store = session.open_lake()
    require_dataset(store, dataset)
    states = [stored.state for stored in load_tasks(store, dataset)]
    session.output.show(
        {"datasetName": dataset, "tasks": [state.to_dict() for state in states]}, lambda: _lines(states)
    )


def _lines(states: Sequence[TaskState]) -> Iterable[str]:
    if not states:
        return ["no tasks"]
    return table(
        ("TASK", "STATUS", "BATCH", "RECORDS", "DOCUMENTS", "SKIPS", "REJECTIONS", "ITEM", "ERROR"),
        [
            (
                state.id,
                str(state.status),
                state.batch,
                state.counts.records,
                state.counts.documents,
                state.counts.skips,
                state.counts.rejections,
                state.item,
                state.error or "; ".join(state.notes),
            )
            for state in states
        ],
    )
