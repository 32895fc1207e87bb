"""``datalake errors``: the records of a dataset that could not be used, and the rows that annotators failed for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import click

from datalake_service.cli.output import table
from datalake_service.cli.session import Session, common_options, dataset_option

if TYPE_CHECKING:
    from datalake_service.pipeline.reports.failed_annotations import FailedAnnotation
    from datalake_service.pipeline.reports.rejected import RejectedRecord
    from datalake_service.storage.base import ObjectStore

DEFAULT_LIMIT: Final = 100
"""How many errors are listed unless more are asked for."""
MOST: Final = 1_000_000
"""How many may be asked for: they are all held in memory."""
_NONE: Final = "no errors"
_MORE: Final = "… and more; --limit shows them"


@click.group("errors")
def errors_group() -> None:
    """Look at records that could not be used, and at rows that annotators failed for."""


@errors_group.command("list")
@dataset_option
@click.option("--batch", metavar="NAME", help="Only this batch.")
@click.option("--annotator", metavar="NAME", help="Only rows that this annotator failed for.")
@click.option("--kind", metavar="KIND", help="Only this kind of error.")
@click.option(
    "--limit", type=click.IntRange(1, MOST), default=DEFAULT_LIMIT, show_default=True, help="At most so many."
)
@common_options
def list_command(
    session: Session, dataset: str, *, batch: str | None, annotator: str | None, kind: str | None, limit: int
) -> None:
    """List errors: records that could not be used, and rows that annotators failed for."""
    from datalake_service.pipeline.reports.rejected import absent_archives, list_rejected, open_archives

    lake = session.open_lake()
    value: dict[str, Any] = {"datasetName": dataset}
    lines: list[str] = []
    if annotator is None:
        archives = open_archives(lake, dataset, open_store=session.open_store)
        absent = absent_archives(lake, dataset, archives)
        rejected = list_rejected(lake, dataset, batch=batch, archives=archives)
        wanted = (record for record in rejected if kind is None or record.fields.get("kind") == kind)
        found = list(islice(wanted, limit + 1))
        notes = [f"{uri} is not on this machine; what is archived there is not listed" for uri in absent]
        value |= {"errors": [record.summary() for record in found[:limit]], "more": len(found) > limit}
        value |= {"notes": notes} if notes else {}
        lines += [*_lines(found[:limit], more=len(found) > limit), *notes]
    failures = _failures(lake, dataset, batch=batch, annotator=annotator, kind=kind, limit=limit)
    if failures.counts:
        lines = [line for line in lines if line != _NONE] + ([""] if lines and lines != [_NONE] else [])
        lines += failures.lines()
    elif annotator is not None:
        lines.append(_NONE)
    session.output.show(value | {"annotations": failures.to_dict()}, lambda: lines)


@errors_group.command("view")
@dataset_option
@click.option("--error", "name", required=True, metavar="NAME", help="Its name, from the list.")
@common_options
def view_command(session: Session, dataset: str, name: str) -> None:
    """Show one error: with the record itself, or with what an annotator's attempts took."""
    lake = session.open_lake()
    if name.startswith("annotations/"):  # no batch is called so
        from datalake_service.pipeline.reports.failed_annotations import find_failed

        fields = find_failed(lake, dataset, name).to_dict()
        session.output.show(fields, lambda: _table_of(fields))
        return
    from datalake_service.pipeline.reports.rejected import find_rejected, open_archives

    archives = open_archives(lake, dataset, open_store=session.open_store)
    record = find_rejected(lake, dataset, name, archives=archives)
    session.output.show(record.to_dict(), lambda: _details(record))


@dataclass(slots=True)
class _Failures:
    """Rows that annotators failed for: how many of which kind, and the first of them."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By annotator and kind."""
    shown: list[FailedAnnotation] = field(default_factory=list)

    @property
    def more(self) -> bool:
        return self.counts.total() > len(self.shown)

    def to_dict(self) -> dict[str, Any]:
        counts = [
            {"annotator": annotator, "kind": kind, "rows": rows}
            for (annotator, kind), rows in sorted(self.counts.items())
        ]
        return {"kinds": counts, "errors": [one.to_dict() for one in self.shown], "more": self.more}

    def lines(self) -> Iterable[str]:
        counts = ((annotator, kind, rows) for (annotator, kind), rows in sorted(self.counts.items()))
        yield from table(("ANNOTATOR", "KIND", "FAILED ROWS"), list(counts))
        yield ""
        yield from table(
            ("ERROR", "KIND", "ATTEMPTS", "SECONDS", "COST", "MESSAGE"),
            [
                (
                    one.name,
                    one.kind,
                    _text(one.row.get("_attempts")),
                    _text(one.row.get("_seconds")),
                    _text(one.row.get("_cost")),
                    _text(one.row.get("_error")),
                )
                for one in self.shown
            ],
        )
        if self.more:
            yield _MORE


def _failures(
    lake: ObjectStore, dataset: str, *, batch: str | None, annotator: str | None, kind: str | None, limit: int
) -> _Failures:
    from datalake_service.pipeline.reports.failed_annotations import list_failed

    found = _Failures()
    for failed in list_failed(lake, dataset, annotator=annotator, batch=batch, kind=kind):
        found.counts[failed.annotator, failed.kind] += 1
        if len(found.shown) < limit:
            found.shown.append(failed)
    return found


def _lines(records: Sequence[RejectedRecord], *, more: bool) -> Iterable[str]:
    if not records:
        return [_NONE]
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
    return [*lines, _MORE] if more else lines


def _details(record: RejectedRecord) -> Iterable[str]:
    fields = {"error": record.name, "batch": record.batch, **record.fields}
    yield from _table_of({name: value for name, value in fields.items() if name != "text"}, width=max(map(len, fields)))
    if "text" in fields:
        yield ""
        yield from str(fields["text"]).splitlines()


def _table_of(fields: Mapping[str, object], *, width: int | None = None) -> Iterable[str]:
    width = width or max(map(len, fields))
    for name, value in fields.items():
        if value is not None:
            yield f"{name.ljust(width)}  {_text(value)}"


def _text(value: object) -> str:
    return "" if value is None else str(value)
