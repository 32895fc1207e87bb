"""``datalake export``: rows with their annotations, written to a file or to standard output."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from datalake_service import events
from datalake_service.cli.progress import ProgressBar
from datalake_service.cli.quantities import to_size
from datalake_service.cli.session import Session, common_options, dataset_option

if TYPE_CHECKING:
    from datalake_service.config.filters import FilterNode
    from datalake_service.pipeline.views.views import DatasetView

STANDARD_OUTPUT: Final = "-"
"""In place of a file: JSON lines to standard output."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    output: str
    rows: int
    size: int
    """Bytes."""
    columns: tuple[str, ...]
    batches: tuple[str, ...]

    def to_dict(self, dataset: str) -> dict[str, Any]:
        """The JSON form."""
        return {
            "datasetName": dataset,
            "output": self.output,
            "rows": self.rows,
            "bytes": self.size,
            "columns": list(self.columns),
            "batches": list(self.batches),
        }


@click.command("export")
@dataset_option
@click.option(
    "--output",
    required=True,
    metavar="FILE",
    help="Ends in .jsonl, .csv (both also .gz or .zst) or .parquet; - is JSON lines to standard output.",
)
@click.option(
    "--to",
    "kind",
    type=click.Choice(["file", "hf", "webdataset"], case_sensitive=False),
    default="file",
    help="hf: --output is a folder of Parquet files for Hugging Face; webdataset: of tar files. Default: one file.",
)
@click.option(
    "--shardSize",
    "--shard-size",
    "shard_bytes",
    callback=to_size,
    metavar="SIZE",
    help="How large files of a folder become. Default: 500 MB.",
)
@click.option("--columns", multiple=True, metavar="A,B", help="Base columns; default: all. May be a JSON list.")
@click.option(
    "--annotator-columns",
    "--annotatorColumns",
    "annotator_columns",
    multiple=True,
    metavar="NAME[:A,B]",
    help="An annotator and its columns (default: all of them); repeat for others. Default: all annotators.",
)
@click.option("--no-annotators", is_flag=True, help="Base columns only.")
@click.option("--filter", "condition", metavar="JSON", help="A filter as JSON, or @FILE that holds it.")
@click.option("--fraction", type=float, default=1.0, help="Share of the rows: always the same ones.")
@click.option(
    "--annotationVersion",
    "--annotation-version",
    "versions",
    multiple=True,
    metavar="NAME=LABEL",
    help="Only this version of an annotator, or NAME=code:HASH; repeat for others. Default: the newest of each row.",
)
@click.option("--batch", "batches", multiple=True, metavar="NAME", help="Only this batch; repeat for others.")
@common_options
def export_command(  # noqa: PLR0913 - the options of the command
    session: Session,
    dataset: str,
    output: str,
    kind: str,
    shard_bytes: int | None,
    columns: tuple[str, ...],
    annotator_columns: tuple[str, ...],
    *,
    no_annotators: bool,
    condition: str | None,
    fraction: float,
    versions: tuple[str, ...],
    batches: tuple[str, ...],
) -> None:
    """Export the merged rows of a dataset with their annotations."""
    from datalake_service.catalog.deletions import require_not_deleted
    from datalake_service.pipeline.views.plan import ViewRequest
    from datalake_service.pipeline.views.views import DatasetView

    folder = None if kind == "file" else kind
    if folder is None:
        _check_output(output)
    else:
        _check_folder(output)
    if folder is None and shard_bytes is not None:
        raise click.UsageError("--shardSize: a file is one; add --to hf or --to webdataset")
    annotators = {} if no_annotators else _annotator_columns(annotator_columns)
    request = ViewRequest(
        dataset=dataset,
        base_columns=[name for given in columns for name in _names(given)] or None,
        annotator_columns=annotators,
        filter=_filter(condition),
        fraction=fraction,
        batches=list(batches) or None,
        versions=_versions(versions),
    )
    store = session.open_lake()
    require_not_deleted(store, dataset)
    with closing(DatasetView(store, request)) as view:
        done = _export(session, view, output, folder, shard_bytes)
    events.emit(events.EXPORT_COMPLETED, **done.to_dict(dataset))
    if output != STANDARD_OUTPUT:
        session.output.show(
            done.to_dict(dataset), lambda: [f"{done.rows:,} rows, {_size(done.size)}, to {done.output}"]
        )


def _export(session: Session, view: DatasetView, output: str, folder: str | None, shard_bytes: int | None) -> Exported:
    from datalake_service.pipeline.exports.export import export_file, export_lines
    from datalake_service.pipeline.exports.folder import SHARD_BYTES, FolderKind, export_folder

    shown = session.output.errors_to_terminal and not (output == STANDARD_OUTPUT and session.output.to_terminal)
    total = view.count() if shown else None
    with ProgressBar("rows", total=total, shown=shown) as bar:
        if output == STANDARD_OUTPUT:
            rows = export_lines(view, sys.stdout.buffer, progress=bar.advance)
            return Exported(output, rows, 0, view.columns, view.batches)
        if folder is not None:
            made = export_folder(
                view, output, FolderKind(folder), shard_bytes=shard_bytes or SHARD_BYTES, progress=bar.advance
            )
            return Exported(output, made.rows, made.size, view.columns, view.batches)
        done = export_file(view, output, progress=bar.advance)
    return Exported(output, done.rows, done.size, view.columns, view.batches)


def _check_output(output: str) -> None:
    if output == STANDARD_OUTPUT:
        return
    from datalake_service.pipeline.exports.export import SUFFIXES

    path = Path(output)
    if not output.endswith(SUFFIXES) or path.name in SUFFIXES:
        raise click.UsageError(f"--output {output}: its name decides the format; end it in {', '.join(SUFFIXES)}")
    try:
        is_folder, has_folder = path.is_dir(), path.parent.is_dir()
    except OSError as error:
        raise click.UsageError(f"--output {output}: {error.strerror}") from None
    if is_folder:
        raise click.UsageError(f"--output {output}: is a folder; name the file in it")
    if not has_folder:
        raise click.UsageError(f"--output {output}: there is no folder {path.parent}")


def _check_folder(output: str) -> None:
    if output == STANDARD_OUTPUT:
        raise click.UsageError("--output -: a folder is needed")
    from datalake_service.pipeline.exports.folder import check_folder

    check_folder(Path(output))


def _names(given: str) -> list[str]:
    """Column names: separated by commas, or a JSON list for names with commas in them."""
    if given.startswith("["):
        try:
            names = json.loads(given)
        except ValueError:
            names = None
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return names
        raise click.UsageError(f'{given} is no JSON list of column names, such as ["a","b"]')
    return given.split(",")


def _annotator_columns(given: tuple[str, ...]) -> dict[str, list[str] | None] | None:
    if not given:
        return None
    found: dict[str, list[str] | None] = {}
    for one in given:
        name, separator, columns = one.partition(":")
        if name in found:
            raise click.UsageError(f"--annotator-columns: {name} is given twice; name its columns together")
        found[name] = _names(columns) if separator else None
    return found


def _versions(given: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in given:
        name, separator, version = one.partition("=")
        if not separator or not version:
            raise click.UsageError(f"--annotationVersion {one}: write NAME=LABEL or NAME=code:HASH")
        if name in found:
            raise click.UsageError(f"--annotationVersion: {name} is given twice")
        found[name] = version
    return found


def _filter(given: str | None) -> FilterNode | None:
    if given is None:
        return None
    from datalake_service.config.filters import parse_filter
    from datalake_service.config.jsonfile import parse_json, read_json_file

    if given.startswith("@"):
        return parse_filter(read_json_file(Path(given[1:])), what=given[1:])
    return parse_filter(parse_json(given.encode("utf-8", "surrogateescape"), name="--filter"), what="--filter")


def _size(size: int) -> str:
    from datalake_utils.units import format_size

    return format_size(size)
