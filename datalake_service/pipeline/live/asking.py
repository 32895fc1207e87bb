"""What every question about live rows shares: turns, a deadline, the condition, files opened and forgotten.

A question ends early when nobody waits for its answer any more: whoever asks says so by ``LEFT``.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, TypeVar

from datalake_service.catalog.columns import ColumnType
from datalake_service.errors import ObjectNotFoundError, PreconditionFailedError, StoreError, UsageError
from datalake_service.pipeline.live.dataset import RowFile, Snapshot, Sources, needed_files, sources_of
from datalake_service.pipeline.live.lake import LiveLake
from datalake_service.tables.database.fence import Fence
from datalake_service.tables.database.spares import Spares
from datalake_service.tables.database.sql import Reference
from datalake_service.tables.filters.conditions import Condition, Filters
from datalake_service.tables.live.live_files import LiveFile, OpenFiles
from datalake_service.tables.live.paging import count_rows
from datalake_utils.clock import SystemClock

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
_CLOCK: Final = SystemClock()
LEFT: ContextVar[threading.Event | None] = ContextVar("left", default=None)
"""Set when whoever asked has left; of the thread that asks, so that it need not pass through every question."""

_T = TypeVar("_T")


class QuestionTooLongError(UsageError):
    """A question took longer than it may."""

    kind = "too_long"


class AbandonedError(UsageError):
    """Nobody waits for the answer any more."""

    kind = "abandoned"


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
            AbandonedError: Whoever asked has left.
            StoreError: Reading fails.
        """
        with self._turn():
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
        self,
        snapshot: Snapshot,
        rows: Sequence[RowFile],
        references: Collection[Reference],
        *,
        fenced: bool,
        patient: bool = False,
    ) -> Iterator[tuple[OpenFiles, list[Sources]]]:
        """Rows as sources of queries, which may take so long and not longer, unless one is ``patient``.

        ``fenced``: they are asked in another process.

        Where rows are joined with annotations, each query is about a part of them: small tables are joined faster than
        one that does not fit into memory.
        """
        joined = any(reference.annotator is not None for reference in references)
        size = JOINED_FILES if joined else max(1, len(rows))
        with self.opened(needed_files(snapshot, rows, references), patient=patient) as files:
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
    def opened(self, files: Sequence[LiveFile], *, patient: bool = False) -> Iterator[OpenFiles]:
        """Files at hand, for as long as a question may take."""
        seconds = None if patient else self._seconds
        with OpenFiles(self.lake.store, files, self.lake.limits, self._spares) as opened, _deadline(opened, seconds):
            yield opened

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for a turn, as long as somebody waits for the answer."""
        left = LEFT.get()
        while not self._turns.acquire(timeout=None if left is None else _BEAT):
            if left is not None and left.is_set():
                raise _abandoned()
        try:
            yield
        finally:
            self._turns.release()


def _abandoned() -> AbandonedError:
    return AbandonedError("nobody waits for the answer any more")


@contextmanager
def _deadline(files: OpenFiles, seconds: float | None) -> Iterator[None]:
    """Interrupt a question that takes longer than it may, or whose answer nobody waits for."""
    left, done, late, began = LEFT.get(), threading.Event(), threading.Event(), _CLOCK.monotonic()

    def watch() -> None:
        while not done.wait(_BEAT):
            if seconds is not None and _CLOCK.monotonic() - began >= seconds:
                late.set()
            if late.is_set() or (left is not None and left.is_set()):
                # An interrupt that comes between two statements is forgotten, so it is sent until it is heard.
                files.interrupt()

    watcher = threading.Thread(target=watch, name="deadline", daemon=True)
    watcher.start()
    try:
        yield
    except StoreError as error:
        if left is not None and left.is_set():
            raise _abandoned() from error
        if late.is_set():
            raise QuestionTooLongError(
                f"it took longer than {seconds:g} s; narrow it down (a batch, a filter on an annotation)"
            ) from error
        raise
    finally:
        done.set()
        watcher.join()


def types_of(snapshot: Snapshot, references: Collection[Reference]) -> dict[Reference, ColumnType]:
    """The types of columns over all batches."""
    return {reference: snapshot.type_of(reference) for reference in references}
