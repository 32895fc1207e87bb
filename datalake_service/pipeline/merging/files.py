"""The local files of one merge attempt and their way into the store: rejections, duplicates, the commit, deletions.

Nothing here decides about rows. Order is everything: side objects first, then the commit, then deletions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from datalake_service.catalog import layout
from datalake_service.catalog.rejections import MAX_KEPT_BYTES, Rejection, RejectionKind
from datalake_service.chunks.inventory import Inventory, Source
from datalake_service.chunks.reader import BadLine
from datalake_service.errors import MergeError, PreconditionFailedError
from datalake_service.storage.base import ObjectStore, Overwrite
from datalake_service.tables.formats.values import dump_json


class RejectionFiles:
    """Lines that could not be used, one file for each version of a file they came from."""

    def __init__(self, folder: Path, prefix: str) -> None:
        """Collect them in ``folder``; their objects go below ``prefix``."""
        self._folder = folder
        self._prefix = prefix
        self._files: dict[str, tuple[Source, Path]] = {}
        self.lines = 0
        """How many lines were added."""
        self.kept: set[str] = set()
        """Names of files that hold a rejected line too long to be kept elsewhere: they must stay."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Which files stay."""
        return tuple(
            f"{self._files[name][0].meta.key} stays: it has a rejected line that is too long to be kept elsewhere"
            for name in sorted(self.kept)
        )

    def add(self, source: Source, bad: Iterable[BadLine], kind: RejectionKind) -> None:
        """Add lines of one file.

        Raises:
            MergeError: The local disk cannot be written.
        """
        known = self._files.get(source.name)
        if known is None:
            known = self._files[source.name] = (source, self._folder / f"rejected-{len(self._files)}.jsonl")
        try:
            with known[1].open("ab") as file:
                for line in bad:
                    file.write(_rejection(source, line, kind).to_json_line())
                    self.lines += 1
                    if line.end - line.start > MAX_KEPT_BYTES:
                        self.kept.add(source.name)
        except OSError as error:
            raise local_failure(error, known[1]) from error

    def store(self, store: ObjectStore) -> None:
        """Put the files where they belong; doing it again changes nothing."""
        for source, path in self._files.values():
            key = layout.merge_rejections_key(self._prefix, source.name, source.meta.etag)
            store.put(key, path, mode=Overwrite())


def _rejection(source: Source, line: BadLine, kind: RejectionKind) -> Rejection:
    return Rejection(
        source=source.meta.key,
        start_offset=str(line.start),
        end_offset=str(line.end),
        kind=kind,
        message=f"line {line.number + 1}: {line.message}",
        data=line.data,
    )


class RowFile:
    """Rows in a local file, one JSON line each; the file exists once it has a row."""

    def __init__(self, path: Path) -> None:
        """Write to ``path``."""
        self.path = path
        self.rows = 0
        self._file: BinaryIO | None = None

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows.

        Raises:
            MergeError: The local disk cannot be written.
        """
        try:
            if self._file is None:
                self._file = self.path.open("wb")
            for row in rows:
                self._file.write(dump_json(row) + b"\n")
                self.rows += 1
        except OSError as error:
            raise local_failure(error, self.path) from error

    def close(self) -> None:
        """Write everything out. May be called again.

        Raises:
            MergeError: The local disk cannot be written.
        """
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            file.close()
        except OSError as error:
            raise local_failure(error, self.path) from error

    def abandon(self) -> None:
        """Close the file, complete or not."""
        with contextlib.suppress(MergeError):
            self.close()


def local_failure(error: OSError, path: Path) -> MergeError:
    """What to say when a temporary file cannot be used."""
    return MergeError(f"cannot use the temporary file {path}: {(error.strerror or str(error)).lower()}")


def delete_contained(store: ObjectStore, sources: Iterable[Source]) -> None:
    """Remove files whose rows a confirmed commit holds.

    A chunk is immutable. A foreign file may have been replaced by its owner since it was listed: it stays then.
    """
    gone = []
    for source in sources:
        if source.origin.chunk is not None:
            gone.append(source.meta.key)
            continue
        with contextlib.suppress(PreconditionFailedError):
            store.delete(source.meta.key, etag=source.meta.etag)
    store.delete_many(gone)


def delete_finished_manifests(store: ObjectStore, inventory: Inventory, *, staying: Iterable[Source] = ()) -> None:
    """Remove the manifests of complete runs, once all chunks that the same listing showed are contained.

    ``staying``: files of the listing that are not.
    """
    runs = {source.origin.chunk.run for source in staying if source.origin.chunk is not None}
    store.delete_many([found.meta.key for found in inventory.manifests if found.finished and found.run not in runs])
