"""``datalake annotate``: let the annotators of a dataset file annotate a dataset that is there."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import click

from datalake_service.cli.create import lake_of
from datalake_service.cli.progress import RunLine
from datalake_service.cli.session import Session, common_options, config_file_option

_POSITIVE = click.FloatRange(min=0, min_open=True)


@click.command("annotate")
@config_file_option
@click.option(
    "--annotatorName",
    "--annotator-name",
    "names",
    multiple=True,
    metavar="NAME",
    help="Only this annotator of the file; repeat for others. Default: all, in the order of the file.",
)
@click.option("--batch", "batches", multiple=True, metavar="NAME", help="Only this batch; repeat for others.")
@click.option("--shared", is_flag=True, help="Share the work with other processes that are started the same way.")
@click.option(
    "--maxConcurrency",
    "--max-concurrency",
    "max_concurrency",
    type=click.IntRange(min=1),
    metavar="N",
    help="Rows worked on at once. Default: the file's.",
)
@click.option(
    "--budgetCost",
    "--budget-cost",
    "cost",
    type=_POSITIVE,
    metavar="X",
    help="What each annotator may spend, in money.",
)
@click.option(
    "--budgetTokens",
    "--budget-tokens",
    "tokens",
    type=click.IntRange(min=1),
    metavar="N",
    help="What each annotator may spend, in tokens.",
)
@click.option(
    "--budgetCalls",
    "--budget-calls",
    "calls",
    type=click.IntRange(min=1),
    metavar="N",
    help="What each annotator may spend, in calls.",
)
@click.option(
    "--budgetHours", "--budget-hours", "hours", type=_POSITIVE, metavar="X", help="How long calls may be made."
)
@click.option(
    "--retry",
    type=click.Choice(["failed", "skipped", "all"]),
    help="failed: only rows that failed; skipped: also rows that the annotator skipped; all: every row anew.",
)
@click.option(
    "--reuse",
    type=click.Choice(["label", "code"]),
    help="Only annotations with the same version label, or by the same code, count as done.",
)
@click.option(
    "--campaign",
    metavar="NAME",
    help="Runs and workers of one name ask each row once; needed for --shared --retry skipped|all.",
)
@click.option(
    "--estimate",
    type=click.IntRange(min=1),
    metavar="N",
    help="Ask N rows, keep their answers, and say what the rest will take.",
)
@common_options
def annotate_command(  # noqa: PLR0913 - the options of the command
    session: Session,
    config_file: str,
    names: tuple[str, ...],
    batches: tuple[str, ...],
    *,
    shared: bool,
    max_concurrency: int | None,
    cost: float | None,
    tokens: int | None,
    calls: int | None,
    hours: float | None,
    retry: str | None,
    reuse: str | None,
    campaign: str | None,
    estimate: int | None,
) -> None:
    """Annotate the merged rows of a dataset as its file says. No source is read; rows that are done are not asked."""
    from datalake_service.config.annotator import Retry, Reuse
    from datalake_service.config.load import load_dataset_file
    from datalake_service.engines.choose import engine_of
    from datalake_service.pipeline.runs.annotate_dataset import Changes, annotate_dataset
    from datalake_service.runtime.telemetry import observed

    config = load_dataset_file(Path(config_file))
    budget = {"cost": cost, "tokens": tokens, "calls": calls, "hours": hours}
    changes = Changes(
        names=names,
        batches=list(batches) or None,
        shared=shared,
        max_concurrency=max_concurrency,
        budget={name: most for name, most in budget.items() if most is not None},
        retry=None if retry is None else Retry(retry),
        reuse=None if reuse is None else Reuse(reuse),
        campaign=campaign,
        estimate=estimate,
    )
    store = session.open_lake(file_uri=lake_of(config), region=config.region)
    with RunLine(shown=session.output.errors_to_terminal) as line:
        observer = observed(line.show)
        report = annotate_dataset(config, store, changes=changes, observer=observer, engine=engine_of(config))
    if estimate is not None:
        report = replace(report, again=f"datalake annotate --configFile {shlex.quote(config_file)}")
    session.output.show(report.to_dict(), report.lines)
    if not report.succeeded:
        click.get_current_context().exit(1)
