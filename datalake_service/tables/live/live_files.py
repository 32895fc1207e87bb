"""Files that a question about live rows reads: versions of merged objects, and local files of rows that wait.

Each question has a database to itself as long as it lasts.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

from datalake_service.storage.base import ObjectMeta, ObjectStore
from datalake_service.tables.database.engine import Engine, EngineLimits
from datalake_service.tables.database.fence import Fence, FencedConnection
from datalake_service.tables.database.footers import Footer, GroupBounds, column_bounds, column_ranges, read_footers
from datalake_service.tables.database.local import LocalFile
from datalake_service.tables.database.spares import Spares
from datalake_service.tables.queries.reading import Version, in_parallel

if TYPE_CHECKING:
    import duckdb

_OPEN_FILES = 64
"""Files open at once while footers are read."""


@dataclass(slots=True, eq=False)
class LiveFile:
    """One version of a merged object, or a local file."""

    footer: Footer
    version: Version | None
    """Where it is in the store; ``None``: it is at ``path``."""
    path: Path | None = None
    bounds: dict[int, tuple[GroupBounds, ...]] = field(default_factory=dict)
    """By position of the column, what the footer says of each row group; filled as it is asked for."""
    owner: object | None = None
    """Keeps a local file from being removed."""
    local_size: int = 0
    """Bytes of a local file."""

    @property
    def key(self) -> str:
        """Names it in errors."""
        return self.version.meta.key if self.version is not None else "rows that are not merged yet"

    @property
    def size(self) -> int:
        """Bytes."""
        return self.version.meta.size if self.version is not None else self.local_size

    def bounds_of(self, column: str) -> tuple[GroupBounds, ...] | None:
        """What is known of a column, if it was read already."""
        stored = self.footer.columns.get(column)
        return None if stored is None else self.bounds.get(stored.position)


class OpenFiles:
    """Files at hand, and a database that reads them. Leave it by ``close``."""

    def __init__(self, store: ObjectStore, files: Sequence[LiveFile], limits: EngineLimits, spares: Spares) -> None:
        """Open files; of remote ones, only the footers are there.

        Raises:
            PreconditionFailedError: One was replaced: look again.
            ObjectNotFoundError: One was deleted: look again.
            StoreError: One cannot be read.
        """
        self._stack = ExitStack()
        self._store = store
        self._files: dict[LiveFile, LocalFile] = {}
        self._limits = limits
        self._fenced: FencedConnection | None = None
        self._spares = spares
        self._sound = True
        try:
            remote = [file for file in dict.fromkeys(files) if file.version is not None]
            self._files = dict(zip(remote, in_parallel(store, self._open, remote), strict=True))
            self._paths = {file: opened.path for file, opened in self._files.items()}
            self._paths |= {file: str(file.path) for file in files if file.version is None}
            self.engine = spares.take(self._paths.values())
            self._stack.callback(self._give_back)
        except BaseException:
            self._stack.close()
            raise

    def _open(self, file: LiveFile) -> LocalFile:
        assert file.version is not None  # local files are not opened
        opened = LocalFile(self._store, file.version.meta, tail=file.version.tail, folder=self._limits.spill_folder)
        self._stack.callback(opened.close)  # a list append: safe from several threads
        return opened

    def path(self, file: LiveFile) -> str:
        """Where the database finds a file."""
        return self._paths[file]

    def is_here(self, file: LiveFile) -> bool:
        """Whether all bytes of a file are at hand."""
        opened = self._files.get(file)
        return opened is None or opened.is_whole

    def fetch(self, file: LiveFile, positions: Collection[int], groups: Collection[int] | None = None) -> None:
        """Make sure that the bytes of some columns are there."""
        if self.is_here(file):
            return
        opened = self._files[file]
        opened.fetch(
            column_ranges(self.engine.connection, opened.path, key=file.key, positions=positions, groups=groups)
        )

    def read_bounds(self, wanted: Sequence[tuple[LiveFile, int]]) -> None:
        """Fill in what footers say about one column of each file, where it is not known yet."""
        missing = [(file, position) for file, position in wanted if position not in file.bounds]
        found = column_bounds(
            self.engine.connection,
            [self.path(file) for file, _ in missing],
            positions=[position for _, position in missing],
        )
        for (file, position), groups in zip(missing, found, strict=True):
            file.bounds[position] = tuple(groups)

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """What is asked: this process's database, or the one behind the fence."""
        return self.engine.connection if self._fenced is None else cast("duckdb.DuckDBPyConnection", self._fenced)

    def put_behind(self, fence: Fence) -> None:
        """From now on questions are put to a database in a process of its own, which reads the same files."""
        self._fenced = fence.open(list(self._paths.values()), self._limits)
        self._stack.callback(self._fenced.close)

    def interrupt(self) -> None:
        """End the question that is being answered, from any thread."""
        self._sound = False
        if self._fenced is not None:
            self._fenced.interrupt()
        self.engine.interrupt()

    def close(self) -> None:
        """Forget the files and the database."""
        self._stack.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close it; a database in which something failed is not used again."""
        self._sound = self._sound and kind is None
        self.close()

    def _give_back(self) -> None:
        if self._sound:
            self._spares.give_back(self.engine)
        else:
            self._spares.dispose(self.engine)


def load_files(
    store: ObjectStore, metas: Sequence[ObjectMeta], limits: EngineLimits, *, bounds_of: str | None = None
) -> list[LiveFile]:
    """Read the footers of merged objects, and what they say about one column.

    Raises:
        PreconditionFailedError: One was replaced: look again.
        ObjectNotFoundError: One was deleted: look again.
        StoreError: One cannot be read, or is no merged object.
    """
    found: list[LiveFile] = []
    engine = Engine(limits)
    try:
        for start in range(0, len(metas), _OPEN_FILES):
            with ExitStack() as stack:

                def opened(meta: ObjectMeta, stack: ExitStack = stack) -> LocalFile:
                    file = LocalFile(store, meta, folder=limits.spill_folder)
                    stack.callback(file.close)
                    return file

                files = in_parallel(store, opened, metas[start : start + _OPEN_FILES])
                footers = read_footers(engine.connection, [(file.path, file.meta.key) for file in files])
                group = [
                    LiveFile(footer, Version(file.meta, footer, file.tail))
                    for file, footer in zip(files, footers, strict=True)
                ]
                _note_bounds(engine, files, group, bounds_of)
                found += group
    finally:
        engine.close()
    return found


def load_local(paths: Sequence[tuple[Path, object]], limits: EngineLimits) -> list[LiveFile]:
    """The same for local files, each with what keeps it from being removed."""
    if not paths:
        return []
    engine = Engine(limits)
    try:
        footers = read_footers(engine.connection, [(str(path), path.name) for path, _ in paths])
    finally:
        engine.close()
    return [
        LiveFile(footer, None, path, owner=owner, local_size=path.stat().st_size)
        for footer, (path, owner) in zip(footers, paths, strict=True)
    ]


def _note_bounds(engine: Engine, files: Sequence[LocalFile], group: Sequence[LiveFile], column: str | None) -> None:
    places = [None if column is None else file.footer.columns.get(column) for file in group]
    wanted = [(index, place.position) for index, place in enumerate(places) if place is not None]
    found = column_bounds(
        engine.connection, [files[index].path for index, _ in wanted], positions=[position for _, position in wanted]
    )
    for (index, position), groups in zip(wanted, found, strict=True):
        group[index].bounds[position] = tuple(groups)
