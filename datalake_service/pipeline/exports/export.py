"""Rows of a view as a file for others: the last of the four operations. JSONL, CSV or Parquet, there or not there.

The name decides the format. The file is complete when it appears, on this machine or in the lake's store.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from datalake_service.catalog.makers import software_version
from datalake_service.catalog.manifests import FORMAT_VERSION, format_time
from datalake_service.errors import UsageError
from datalake_service.pipeline.views.views import DatasetView
from datalake_service.storage.base import ObjectStore, Overwrite
from datalake_service.storage.scratch import scratch_folder
from datalake_utils.clock import Clock, SystemClock
from datalake_utils.ids import random_hex

SUFFIXES: Final = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".csv", ".csv.gz", ".csv.zst", ".parquet")
"""What the name of an export may end in."""
_CSV: Final = (".csv", ".csv.gz", ".csv.zst")
LINEAGE_SUFFIX: Final = ".lineage.json"
"""Behind the name of an export: what its rows come from."""
METADATA_KEY: Final = "datalake.lineage"
"""The same in the metadata of a Parquet file."""
_GZIP_LEVEL, _ZSTD_LEVEL = 2, 3

Progress = Callable[[int], None]
"""Told how many rows were added."""


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was written."""

    target: str
    """The path or key."""
    rows: int
    size: int
    """Bytes."""


def export_file(
    view: DatasetView, path: str | Path, *, progress: Progress | None = None, clock: Clock | None = None
) -> ExportResult:
    """Write every row of a view to a local file; an older one is replaced when the new one is complete.

    Then ``<path>.lineage.json`` says what the rows come from. An export that was broken off begins anew.

    Args:
        view: What to export. If columns were not chosen, ``_batch`` and ``_created_at`` are among them.
        path: Ends in one of ``SUFFIXES``.
        progress: Called often.
        clock: Time source.

    Raises:
        UsageError: The name says no format, or the file cannot be written.
        FilterError: The user's SQL fails on some row.
        StoreError: Reading fails.
    """
    target = Path(path)
    check_suffix(target.name)
    with _replacing(target) as temporary:
        rows = _write(view, temporary, target.name, progress)
    done = ExportResult(str(target), rows, target.stat().st_size)
    beside = target.with_name(f"{target.name}{LINEAGE_SUFFIX}")
    with _replacing(beside) as temporary:
        temporary.write_bytes(_lineage(view, done, clock or SystemClock()))
    return done


def export_object(
    view: DatasetView, store: ObjectStore, key: str, *, progress: Progress | None = None, clock: Clock | None = None
) -> ExportResult:
    """Write every row of a view to an object; an older one is replaced when the new one is complete.

    Then ``<key>.lineage.json`` says what the rows come from. An export that was broken off begins anew.

    Args:
        view: What to export. If columns were not chosen, ``_batch`` and ``_created_at`` are among them.
        store: Where to write; may be another one than the view's.
        key: Ends in one of ``SUFFIXES``.
        progress: Called often.
        clock: Time source.

    Raises:
        UsageError: The name says no format.
        FilterError: The user's SQL fails on some row.
        StoreError: Reading or writing fails.
    """
    check_suffix(key)
    with scratch_folder(store) as folder:
        temporary = folder / "export"
        rows = _write(view, temporary, key, progress)
        done = ExportResult(key, rows, store.put(key, temporary, mode=Overwrite()).size)
    store.put(f"{key}{LINEAGE_SUFFIX}", _lineage(view, done, clock or SystemClock()), mode=Overwrite())
    return done


def export_lines(view: DatasetView, stream: IO[bytes], *, progress: Progress | None = None) -> int:
    """Write every row of a view to an open stream, one JSON object a line; returns their number.

    Raises:
        FilterError: The user's SQL fails on some row.
        StoreError: Reading fails.
    """
    return _pour(view.lines(), stream, progress)


def export_csv(view: DatasetView, stream: IO[bytes], *, progress: Progress | None = None) -> int:
    """Write every row of a view to an open stream as CSV in UTF-8, after a line with names; returns their number.

    Null is empty, empty text is ``""``; what is neither text, number nor truth value is its JSON.

    Raises:
        FilterError: The user's SQL fails on some row.
        StoreError: Reading fails.
    """
    return _pour(view.csv(), stream, progress)


def _pour(blocks: Generator[tuple[int, bytes], None, None], stream: IO[bytes], progress: Progress | None) -> int:
    total = 0
    with closing(blocks):
        for rows, lines in blocks:
            stream.write(lines)
            total += rows
            if progress is not None:
                progress(rows)
    return total


def check_suffix(name: str) -> None:
    """Refuse a name that says no format.

    Raises:
        UsageError: It does not.
    """
    if not name.endswith(SUFFIXES) or name.rpartition("/")[2] in SUFFIXES:
        raise UsageError(f"{name}: its name decides the format of an export; end it in {', '.join(SUFFIXES)}")


def _write(view: DatasetView, path: Path, name: str, progress: Progress | None) -> int:
    if name.endswith(".parquet"):
        rows = view.to_parquet(path, metadata=lambda: {METADATA_KEY: json.dumps(_origin(view))})
        if progress is not None:
            progress(rows)
        return rows
    write = export_csv if name.endswith(_CSV) else export_lines
    with _opened(path, name) as stream:
        return write(view, stream, progress=progress)


def _origin(view: DatasetView) -> dict[str, Any]:
    return {"format": FORMAT_VERSION, "datalake": software_version(), **view.lineage()}


def _lineage(view: DatasetView, done: ExportResult, clock: Clock) -> bytes:
    """What the rows come from, and what was written."""
    said = {"exportedAt": format_time(clock.now()), "rows": done.rows, "bytes": done.size}
    return json.dumps({"output": Path(done.target).name, **said, **_origin(view)}, indent=1).encode()


def _opened(path: Path, name: str) -> IO[bytes]:
    if name.endswith(".gz"):
        from isal import igzip

        packed: IO[bytes] = igzip.open(path, "wb", compresslevel=_GZIP_LEVEL)
        return packed
    if name.endswith(".zst"):
        import zstandard

        squeezed: IO[bytes] = zstandard.open(path, "wb", cctx=zstandard.ZstdCompressor(level=_ZSTD_LEVEL))
        return squeezed
    return path.open("wb")


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path``, and put what lies there in its place in the end."""
    temporary = path.with_name(f".{path.name}.{random_hex(8)}.tmp")
    try:
        try:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
