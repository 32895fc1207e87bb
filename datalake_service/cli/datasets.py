"""``datalake datasets``: create them, look at them, stop them, run again what failed, delete and restore them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from datalake_service import events
from datalake_service.cli.asking import confirm
from datalake_service.cli.create import create_command, run_dataset_file
from datalake_service.cli.output import table
from datalake_service.cli.session import Session, common_options, config_file_option, dataset_option
from datalake_utils.clock import SystemClock

if TYPE_CHECKING:
    from datalake_service.pipeline.reports.coverage import Coverage
    from datalake_service.pipeline.reports.overview import DatasetOverview, DatasetSummary


@click.group("datasets")
def datasets_group() -> None:
    """Create, look at, stop, redrive, delete and restore datasets."""


datasets_group.add_command(create_command)


@datasets_group.command("list")
@common_options
def list_command(session: Session) -> None:
    """List the datasets of the lake."""
    from datalake_service.pipeline.reports.overview import summarise_datasets

    store = session.open_lake()
    found = summarise_datasets(store)
    session.output.show(
        {"uri": store.uri, "datasets": [summary.to_dict() for summary in found]}, lambda: _summaries(store.uri, found)
    )


@datasets_group.command("view")
@dataset_option
@common_options
def view_command(session: Session, dataset: str) -> None:
    """Show one dataset: batches, annotators, what waits to be merged, tasks, its dataset file."""
    from datalake_service.pipeline.reports.overview import view_dataset

    view = view_dataset(session.open_lake(), dataset)
    session.output.show(view.to_dict(), lambda: _view(view))


@datasets_group.command("stop")
@dataset_option
@common_options
def stop_command(session: Session, dataset: str) -> None:
    """Ask every run of a dataset to stop, on whatever machine. What is done is kept; the next create goes on."""
    from datalake_service.catalog.stops import request_stop
    from datalake_service.pipeline.tasks.stopping import running_runs
    from datalake_service.pipeline.upkeep.lifecycle import require_dataset

    store = session.open_lake()
    require_dataset(store, dataset)
    request_stop(store, dataset, now=SystemClock().now())
    events.emit(events.DATASET_STOP_REQUESTED, dataset=dataset)
    runs = running_runs(store, dataset)
    value = {"datasetName": dataset, "runs": [run.to_dict() for run in runs]}
    session.output.show(value, lambda: [_asked(dataset, len(runs))])


def _asked(dataset: str, runs: int) -> str:
    if not runs:
        return f"{dataset}: no run of it is known to be running; whoever works on it was asked to stop"
    return f"{dataset}: asked {runs} {'run' if runs == 1 else 'runs'} to stop, within seconds"


@datasets_group.command("redrive")
@config_file_option
@common_options
def redrive_command(session: Session, config_file: str) -> None:
    """Run again what failed, and read again from the beginning what has rejections; then merge and annotate.

    For a handler that knows better now. Rows that are published already stay as they are.
    """
    from datalake_service.pipeline.runs.choice import TaskChoice

    run_dataset_file(session, config_file, choice=TaskChoice(rejected=True))


@datasets_group.command("delete")
@dataset_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@common_options
def delete_command(session: Session, dataset: str, *, yes: bool) -> None:
    """Delete a dataset. It can be restored until clean-up removes it, 7 days later unless told otherwise."""
    from datalake_service.catalog.manifests import format_time
    from datalake_service.pipeline.upkeep.lifecycle import delete_dataset, require_dataset

    store = session.open_lake()
    require_dataset(store, dataset)
    if not yes:
        confirm(f"Delete dataset {dataset} in {store.uri}?", before="deletes", refused="nothing was deleted")
    deleted = delete_dataset(store, dataset)
    events.emit(events.DATASET_DELETED, dataset=dataset)
    value = {"datasetName": dataset, "deletedAt": format_time(deleted.deleted_at)}
    undo = f"datalake datasets restore --datasetName {dataset}"
    session.output.show(value, lambda: [f"deleted {dataset}; until clean-up removes it, undo with: {undo}"])


@datasets_group.command("restore")
@dataset_option
@common_options
def restore_command(session: Session, dataset: str) -> None:
    """Take the deletion of a dataset back."""
    from datalake_service.pipeline.upkeep.lifecycle import restore_dataset

    restored = restore_dataset(session.open_lake(), dataset)
    if restored:
        events.emit(events.DATASET_RESTORED, dataset=dataset)
    told = f"restored {dataset}" if restored else f"{dataset} was not deleted"
    session.output.show({"datasetName": dataset, "restored": restored}, lambda: [told])


def _summaries(uri: str, found: Sequence[DatasetSummary]) -> Iterable[str]:
    if not found:
        return [f"no datasets in {uri}"]
    rows = [
        (
            summary.dataset,
            "DELETED" if summary.deleted is not None else summary.status,
            summary.batches,
            summary.annotators,
            None if summary.created_at is None else f"{summary.created_at:%Y-%m-%d %H:%M}",
        )
        for summary in found
    ]
    return table(("DATASET", "STATUS", "BATCHES", "ANNOTATORS", "CREATED (UTC)"), rows)


def _view(view: DatasetOverview) -> Iterable[str]:
    from datalake_utils.units import format_size

    yield f"{view.dataset} in {view.uri}"
    if view.deleted is not None:
        yield f"deleted at {view.deleted.deleted_at:%Y-%m-%d %H:%M} UTC"
    if view.tasks:
        yield "tasks: " + ", ".join(f"{count:,} {status.lower()}" for status, count in sorted(view.tasks.items()))
    yield ""
    yield from table(
        ("BATCH", "ROWS", "SIZE", "DUPLICATES", "REJECTED", "WAITING CHUNKS", "MERGED (UTC)"),
        [
            (
                batch.merged.name,
                batch.merged.rows,
                format_size(batch.merged.size),
                batch.merged.counts.get("duplicates"),
                batch.merged.counts.get("rejected"),
                batch.waiting.chunks,
                None if batch.merged.merged_at is None else f"{batch.merged.merged_at:%Y-%m-%d %H:%M}",
            )
            for batch in view.batches.values()
        ],
    )
    for annotator in view.annotators.values():
        yield ""
        total = annotator.total
        yield from table(
            (f"ANNOTATOR {annotator.name}", "DONE", "SKIPPED", "FAILED", "PENDING", "%", "COST", "TOKENS", "VERSIONS"),
            [
                *(_coverage(name, one) for name, one in annotator.coverage.items()),
                *([_coverage("all", total)] if len(annotator.coverage) > 1 else []),
            ],
        )
        if annotator.waiting.chunks:
            yield f"{annotator.waiting.chunks:,} chunks wait to be merged, {annotator.waiting.rows:,} rows at least"
    for part in (batch.merged for batch in view.batches.values()):
        if part.error is not None:
            yield part.error


def _coverage(name: str, coverage: Coverage) -> tuple[str | int | float | None, ...]:
    spent = coverage.spent
    return (
        name,
        coverage.done,
        coverage.skipped,
        coverage.failed,
        coverage.pending,
        None if coverage.share is None else f"{coverage.share:.1%}",
        f"{spent.cost:.4f}" if spent.cost else None,
        spent.input_tokens + spent.output_tokens or None,
        ", ".join(f"{label or 'no label'} ({code or 'unknown code'})" for label, code in coverage.versions),
    )
