"""``datalake clean-up``: merge what waits, remove what is left over or was deleted long ago. Made for cron."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from datalake_service import events
from datalake_service.cli.output import print_line
from datalake_service.cli.quantities import to_size, to_timedelta
from datalake_service.cli.session import Session, common_options
from datalake_utils.printable import printable

if TYPE_CHECKING:
    from datalake_service.pipeline.upkeep.cleanup import BatchResult
    from datalake_service.pipeline.upkeep.lifecycle import PurgeResult


@click.command("clean-up")
@click.option(
    "--datasetName",
    "--dataset-name",
    "--dataset",
    "datasets",
    multiple=True,
    metavar="D[:BATCH]",
    help="Only this; repeat for others.",
)
@click.option(
    "--annotatorName",
    "--annotator-name",
    "--annotator",
    "annotators",
    multiple=True,
    metavar="D:A",
    help="Only this; repeat for others.",
)
@click.option(
    "--memory-limit", "--memoryLimit", "memory_limit", callback=to_size, metavar="SIZE", help="Default: 512 MiB."
)
@click.option(
    "--grace",
    default="7d",
    show_default=True,
    callback=to_timedelta,
    metavar="TIME",
    help="How long a deleted dataset can be restored.",
)
@click.option(
    "--leftovers-older-than",
    "--leftoversOlderThan",
    "leftovers_older_than",
    default="1d",
    show_default=True,
    callback=to_timedelta,
    metavar="TIME",
    help="When what dead processes left is removed; 2h at least.",
)
@click.option(
    "--replaced-older-than",
    "--replacedOlderThan",
    "replaced_older_than",
    callback=to_timedelta,
    metavar="TIME",
    help="Also remove annotations that newer versions replaced, of versions that made nothing for so long. "
    "Default: they stay.",
)
@click.option("--thorough", is_flag=True, help="Look for leftovers also where a listing shows no reason to.")
@common_options
def clean_up_command(
    session: Session,
    *,
    datasets: tuple[str, ...],
    annotators: tuple[str, ...],
    memory_limit: int | None,
    grace: timedelta,
    leftovers_older_than: timedelta,
    replaced_older_than: timedelta | None,
    thorough: bool,
) -> None:
    """Merge every batch that has chunks, remove what dead processes left, and datasets that were deleted long ago.

    One line for each batch; a bad one does not stop the others.
    """
    from datalake_service.pipeline.merging.result import DEFAULT_MEMORY_BYTES, MergeLimits
    from datalake_service.pipeline.upkeep.cleanup import clean_up
    from datalake_service.pipeline.upkeep.lifecycle import purge_deleted, require_dataset

    limits = MergeLimits(memory_bytes=DEFAULT_MEMORY_BYTES if memory_limit is None else memory_limit)
    chosen, chosen_annotators = _datasets(datasets), _annotators(annotators)
    store = session.open_lake()
    for name in {*chosen, *(dataset for dataset, _ in chosen_annotators)}:
        require_dataset(store, name)
    answers = _Answers(session)
    for result in clean_up(
        store,
        datasets=chosen or None,
        annotators=chosen_annotators or None,
        limits=limits,
        leftovers_older_than=leftovers_older_than,
        replaced_older_than=replaced_older_than,
        thorough=thorough,
    ):
        answers.batch(result)
    if not chosen and not chosen_annotators:
        for purged in purge_deleted(store, grace=grace):
            answers.purged(purged)
    answers.end()
    if answers.failed:
        click.get_current_context().exit(1)


_LEFTOVERS = {
    "manifests": "manifests of dead runs",
    "duplicates": "files of duplicates that no merge refers to",
    "older versions": "files of older annotations that no merge refers to",
    "rejections": "rejection files that don't count",
    "workers": "leases of dead workers",
    "tallies": "tallies of dead workers",
    "writes": "unfinished writes",
    "probes": "objects of an unfinished probe",
}


class _Answers:
    """One line for each batch, as it happens; as JSON in a pipe, all of them in one document if it is to be pretty."""

    def __init__(self, session: Session) -> None:
        self._output = session.output
        self._all: list[dict[str, Any]] = []
        self.failed = False

    def batch(self, result: BatchResult) -> None:
        """Tell what became of a batch."""
        value = _batch_value(result)
        event = events.LEFTOVERS_REMOVED if result.removed is not None else events.BATCH_MERGED
        self._tell(value, events.BATCH_FAILED if result.error else event, _batch_line(result))

    def purged(self, result: PurgeResult) -> None:
        """Tell what became of a deleted dataset."""
        status = "purged" if result.error is None else "failed"
        value = {"dataset": result.dataset, "status": status, "objects": result.objects, "error": result.error}
        event = events.DATASET_PURGE_FAILED if result.error else events.DATASET_PURGED
        words = f"{result.objects:,} objects removed" if result.error is None else result.error
        self._tell(value, event, f"{status:<9} {result.dataset}: {words}")

    def end(self) -> None:
        """Say the rest."""
        if self._output.for_people:
            if not self._all:
                print_line("nothing to do")
        elif self._output.pretty:
            print_line(self._output.json({"results": self._all}))

    def _tell(self, value: dict[str, Any], event: str, line: str) -> None:
        bad = value["error"] is not None
        self.failed = self.failed or bad
        # A person reads the line; who collects standard error only should hear of what went wrong, too.
        events.emit(event, level=logging.WARNING if bad and not self._output.for_people else logging.INFO, **value)
        self._all.append(value)
        if self._output.for_people:
            print_line(printable(line))
        elif not self._output.pretty:
            print_line(self._output.json(value))


def _batch_value(result: BatchResult) -> dict[str, Any]:
    merged = result.result
    value: dict[str, Any] = {
        "dataset": result.dataset,
        "batch": result.batch,
        "annotator": result.annotator,
        "status": _status(result),
    }
    if merged is not None:
        value |= {
            "rows": merged.rows,
            "newRows": merged.new_rows,
            "duplicates": merged.duplicates,
            "repeated": merged.repeated,
            "forgotten": merged.forgotten,
            "conflicts": merged.conflicts,
            "rejected": merged.rejected,
            "chunks": merged.chunks,
            "bytes": merged.size,
            "seconds": round(merged.seconds, 3),
        }
    if result.removed is not None:
        value["removed"] = dict(result.removed)
    return {**value, "warnings": list(_warnings(result)), "error": result.error}


def _batch_line(result: BatchResult) -> str:
    place = "/".join(
        filter(None, (result.dataset, result.annotator and f"annotations/{result.annotator}", result.batch))
    )
    place = place or "the lake"
    words = "; ".join(_words(result))
    return f"{_status(result):<9} {place}: {words}" if words else f"{_status(result):<9} {place}"


def _words(result: BatchResult) -> Iterator[str]:
    merged = result.result
    if result.error is not None:
        yield result.error
    if merged is not None:
        counts = [
            (merged.new_rows, "new"),
            (merged.duplicates, "duplicates"),
            (merged.repeated, "repeated"),
            (merged.forgotten, "older annotations removed"),
            (merged.rejected, "rejected"),
        ]
        yield ", ".join([f"{merged.rows:,} rows", *(f"{number:,} {word}" for number, word in counts if number)])
    if result.removed is not None:
        yield ", ".join(f"{number:,} {_LEFTOVERS[kind]}" for kind, number in result.removed.items())
    yield from _warnings(result)


def _warnings(result: BatchResult) -> tuple[str, ...]:
    return (*(result.result.warnings if result.result is not None else ()), *result.warnings)


def _status(result: BatchResult) -> str:
    if result.error is not None:
        return "failed"
    if result.removed is not None:
        return "cleaned"
    if result.result is None:
        return "note"
    return "merged" if result.result.committed else "unchanged"


def _datasets(given: tuple[str, ...]) -> dict[str, list[str] | None]:
    """``D`` and ``D:BATCH`` by dataset; a dataset as a whole wins over its batches."""
    found: dict[str, list[str] | None] = {}
    for one in given:
        dataset, separator, batch = one.partition(":")
        if not dataset or (separator and not batch):
            raise click.UsageError(f"--datasetName {one}: write DATASET or DATASET:BATCH")
        batches = found.setdefault(dataset, [])
        if not separator:
            found[dataset] = None
        elif batches is not None:
            batches.append(batch)
    return found


def _annotators(given: tuple[str, ...]) -> list[tuple[str, str]]:
    found = []
    for one in given:
        dataset, _, annotator = one.partition(":")
        if not dataset or not annotator:
            raise click.UsageError(f"--annotatorName {one}: write DATASET:ANNOTATOR")
        found.append((dataset, annotator))
    return found
