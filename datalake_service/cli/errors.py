"""``datalake errors``: the records of a dataset that could not be used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final

import click

from datalake_service.cli.output import printable, table
from datalake_service.cli.session import Session, common_options, dataset_option

if TYPE_CHECKING:
    from datalake_service.pipeline.rejected import RejectedRecord

DEFAULT_LIMIT: Final = 100
"""How many errors are listed unless more are asked for."""


@click.group("errors")
def errors_group() -> None:
    """Look at records and lines that could not be used."""


@errors_group.command("list")
@dataset_option
@click.option("--batch", metavar="NAME", help="Only this batch.")
@click.option("--limit", type=click.IntRange(min=1), default=DEFAULT_LIMIT, show_default=True, help="At most so many.")
@common_options
def list_command(session: Session, dataset: str, batch: str | None, limit: int) -> None:
    """List errors: where each record came from, and why it could not be used."""
    from datalake_service.pipeline.rejected import absent_archives, list_rejected, open_archives

    lake = session.open_lake()
    archives = open_archives(lake, dataset, open_store=session.open_store)
    absent = absent_archives(lake, dataset, archives)
    found = list(islice(list_rejected(lake, dataset, batch=batch, archives=archives), limit + 1))
    shown, more = found[:limit], len(found) > limit
    notes = [f"{uri} is not on this machine; what is archived there is not listed" for uri in absent]
    value = {"datasetName": dataset, "errors": [record.summary() for record in shown], "more": more}
    session.output.show(value | ({"notes": notes} if notes else {}), lambda: [*_lines(shown, more=more), *notes])


@errors_group.command("view")
@dataset_option
@click.option("--error", "name", required=True, metavar="NAME", help="Its name, from the list.")
@common_options
def view_command(session: Session, dataset: str, name: str) -> None:
    """Show one error with the record itself."""
    from datalake_service.pipeline.rejected import find_rejected, open_archives

    lake = session.open_lake()
    archives = open_archives(lake, dataset, open_store=session.open_store)
    record = find_rejected(lake, dataset, name, archives=archives)
    session.output.show(record.to_dict(), lambda: _details(record))


def _lines(records: Sequence[RejectedRecord], *, more: bool) -> Iterable[str]:
    if not records:
        return ["no errors"]
    lines = table(
        ("ERROR", "KIND", "SOURCE", "START", "END", "MESSAGE"),
        [
            (
                record.name,
                _text(record.fields.get("kind")),
                _text(record.fields.get("source")),
                _text(record.fields.get("startOffset")),
                _text(record.fields.get("endOffset")),
                _text(record.fields.get("message")),
            )
            for record in records
        ],
    )
    return [*lines, "… and more; --limit shows them"] if more else lines


def _details(record: RejectedRecord) -> Iterable[str]:
    fields = {"error": record.name, "batch": record.batch, **record.fields}
    width = max(map(len, fields))
    for name, value in fields.items():
        if name != "text" and value is not None:
            yield f"{name.ljust(width)}  {printable(_text(value))}"
    if "text" in fields:
        yield ""
        yield from (printable(line) for line in str(fields["text"]).splitlines())


def _text(value: object) -> str:
    return "" if value is None else str(value)
