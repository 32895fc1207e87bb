"""What every question about live rows shares: turns, a deadline, the condition, files opened and forgotten."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from datalake_service.catalog.columns import ColumnType
from datalake_service.errors import ObjectNotFoundError, PreconditionFailedError, StoreError, UsageError
from datalake_service.pipeline.live_dataset import RowFile, Snapshot, Sources, needed_files, sources_of
from datalake_service.pipeline.live_lake import LiveLake
from datalake_service.tables.conditions import Condition, Filters
from datalake_service.tables.fence import Fence
from datalake_service.tables.live_files import LiveFile, OpenFiles
from datalake_service.tables.paging import count_rows
from datalake_service.tables.spares import Spares
from datalake_service.tables.sql import Reference

if TYPE_CHECKING:
    from datalake_service.config.filters import FilterNode

_ATTEMPTS: Final = 5
"""How often a dataset may change under a question."""
MOST_FILES: Final = 256
"""Files of rows that one query reads."""
JOINED_FILES: Final = 16
"""Files of rows that are joined with annotations together."""
_CONDITIONS: Final = 64
_BEAT: Final = 0.05

_T = TypeVar("_T")


class QuestionTooLongError(UsageError):
    """A question took longer than it may."""

    kind = "too_long"


class Asking:
    """Puts questions to a lake: a few at a time, each with a database to itself and a deadline. Thread-safe."""

    def __init__(self, lake: LiveLake, *, at_once: int = 3, seconds: float = 30.0) -> None:
        """Ask ``lake``.

        Args:
            lake: Where snapshots come from.
            at_once: Questions that run at the same time; the others wait for their turn.
            seconds: How long a question may take.
        """
        self.lake = lake
        self._turns = threading.BoundedSemaphore(at_once)
        self._fence = Fence()
        self._spares = Spares(lake.limits, lake.folders)
        self._seconds = seconds
        self._lock = threading.Lock()
        self._conditions: OrderedDict[tuple[str, str, str], Condition] = OrderedDict()

    def over(
        self, dataset: str, question: Callable[[Snapshot], _T], *, version: str | None = None
    ) -> tuple[Snapshot, _T]:
        """Put a question to a snapshot; if its objects were replaced meanwhile, to the next one.

        Raises:
            DatasetNotFoundError: There is no such dataset.
            FilterError: A filter cannot be used.
            QuestionTooLongError: It took too long.
            StoreError: Reading fails.
        """
        with self._turns:
            for attempt in range(_ATTEMPTS):
                snapshot = self.lake.snapshot(dataset, version=version if attempt == 0 else None, again=attempt > 0)
                try:
                    return snapshot, question(snapshot)
                except (ObjectNotFoundError, PreconditionFailedError):
                    continue
        raise StoreError(f"objects of dataset {dataset!r} were replaced {_ATTEMPTS} times in a row; try again later")

    def condition(self, snapshot: Snapshot, node: FilterNode | None) -> Condition:
        """What a filter means in a snapshot.

        Raises:
            FilterError: It cannot be used.
        """
        if node is None:
            return Condition()
        key = (snapshot.dataset, snapshot.version, node.model_dump_json())
        with self._lock:
            if key in self._conditions:
                self._conditions.move_to_end(key)
                return self._conditions[key]
        with self.opened([]) as files:
            filters = Filters(files.connection, over_all=node)
            if filters.raw:
                files.put_behind(self._fence)
            made = filters.compile(files.connection, snapshot.schema)
        with self._lock:
            self._conditions[key] = made
            while len(self._conditions) > _CONDITIONS:
                self._conditions.popitem(last=False)
        return made

    def close(self) -> None:
        """End the processes that are kept."""
        self._fence.close()
        self._spares.close()

    @contextmanager
    def sources(
        self, snapshot: Snapshot, rows: Sequence[RowFile], references: Collection[Reference], *, fenced: bool
    ) -> Iterator[tuple[OpenFiles, list[Sources]]]:
        """Rows as sources of queries, which may take so long and not longer; ``fenced``: in another process.

        Where rows are joined with annotations, each query is about a part of them: small tables are joined faster than
        one that does not fit into memory.
        """
        joined = any(reference.annotator is not None for reference in references)
        size = JOINED_FILES if joined else max(1, len(rows))
        with self.opened(needed_files(snapshot, rows, references)) as files:
            parts = [rows[start : start + size] for start in range(0, len(rows), size)]
            found = [sources_of(snapshot, some, references, files) for some in parts]
            if fenced:
                files.put_behind(self._fence)
            yield files, found

    def count(self, snapshot: Snapshot, condition: Condition, batches: Collection[str] | None = None) -> int:
        """How many rows a condition selects.

        Raises:
            FilterError: The user's SQL fails on some row.
            StoreError: Reading fails.
        """
        rows = [row for row in snapshot.rows if batches is None or row.batch in batches]
        if condition.sql == "TRUE" and not any(row.hidden_by is not None for row in rows):
            return sum(row.file.footer.rows for row in rows)
        references = list(condition.columns.values())
        types, total = types_of(snapshot, references), 0
        for start in range(0, len(rows), MOST_FILES):
            some = rows[start : start + MOST_FILES]
            with self.sources(snapshot, some, references, fenced=condition.raw) as (opened, parts):
                total += sum(count_rows(opened.connection, part.sources, condition, types) for part in parts)
        return total

    @contextmanager
    def opened(self, files: Sequence[LiveFile]) -> Iterator[OpenFiles]:
        """Files at hand, for as long as a question may take."""
        with OpenFiles(self.lake.store, files, self.lake.limits, self._spares) as opened, self._deadline(opened):
            yield opened

    @contextmanager
    def _deadline(self, files: OpenFiles) -> Iterator[None]:
        done, late = threading.Event(), threading.Event()

        def watch() -> None:
            if done.wait(self._seconds):
                return
            late.set()
            # An interrupt that comes between two statements is forgotten, so it is sent until it is heard.
            while not done.wait(_BEAT):
                files.interrupt()

        watcher = threading.Thread(target=watch, name="deadline", daemon=True)
        watcher.start()
        try:
            yield
        except StoreError as error:
            if late.is_set():
                raise QuestionTooLongError(
                    f"it took longer than {self._seconds:g} s; narrow it down (a batch, a filter on an annotation)"
                ) from error
            raise
        finally:
            done.set()
            watcher.join()


def types_of(snapshot: Snapshot, references: Collection[Reference]) -> dict[Reference, ColumnType]:
    """The types of columns over all batches."""
    return {reference: snapshot.type_of(reference) for reference in references}
