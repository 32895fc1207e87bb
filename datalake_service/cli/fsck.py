"""``datalake fsck``: read everything of a dataset, and say what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from datalake_service.cli.quantities import to_size, to_timedelta
from datalake_service.cli.session import Session, common_options

if TYPE_CHECKING:
    from datalake_service.pipeline.upkeep.fsck_findings import Finding


@click.command("fsck")
@click.argument("positional", metavar="DATASET", required=False)
@click.option("--datasetName", "--dataset-name", "named", metavar="NAME", help="The same as DATASET.")
@click.option(
    "--older-than",
    default="1h",
    show_default=True,
    callback=to_timedelta,
    metavar="TIME",
    help="Younger objects are not called unreferenced or left over.",
)
@click.option(
    "--memory-limit",
    "--memoryLimit",
    "memory_limit",
    callback=to_size,
    default="256MiB",
    show_default=True,
    metavar="SIZE",
    help="For comparing ids.",
)
@common_options
def fsck_command(
    session: Session, positional: str | None, named: str | None, older_than: timedelta, memory_limit: int
) -> None:
    """Read everything of a dataset and report what is damaged or left over. Changes nothing."""
    from datalake_service.pipeline.upkeep.fsck import check_dataset

    if (positional is None) == (named is None):
        raise click.UsageError("name one dataset: datalake fsck DATASET")
    dataset = positional or named or ""
    if memory_limit < 1:
        raise click.UsageError("--memory-limit: give it some memory")
    store = session.open_lake()
    found = list(check_dataset(store, dataset, older_than=older_than, memory_bytes=memory_limit))
    damaged = sum(finding.is_damage for finding in found)
    value = {
        "datasetName": dataset,
        "damage": damaged,
        "unreferenced": sum(finding.kind == "unreferenced" for finding in found),
        "leftovers": sum(finding.kind == "leftover" for finding in found),
        "findings": [finding.to_dict() for finding in found],
    }
    session.output.show(value, lambda: _lines(dataset, found))
    if damaged:
        click.get_current_context().exit(1)


def _lines(dataset: str, found: Sequence[Finding]) -> Iterable[str]:
    for finding in found:
        yield f"{finding.kind:<13} {finding.key}: {finding.message}"
    damaged = sum(finding.is_damage for finding in found)
    rest = len(found) - damaged
    yield f"{dataset}: {f'{damaged:,} damaged' if damaged else 'no damage'}{f', {rest:,} other' if rest else ''}"
