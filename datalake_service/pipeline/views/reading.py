"""One pass over the batches of a view: files opened, asked, closed; batches that were replaced planned again.

Knows how long files and databases live; not what is made of the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from threading import Lock
from typing import Generic, Self, TypeVar

from datalake_service.catalog.columns import SYSTEM_COLUMNS
from datalake_service.catalog.parts import Part
from datalake_service.errors import (
    DatalakeError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreError,
    UsageError,
)
from datalake_service.pipeline.views.plan import ViewPlan, ViewPlanner
from datalake_service.storage.base import ObjectStore
from datalake_service.tables.database.engine import Engine, EngineLimits
from datalake_service.tables.database.sql import Reference
from datalake_service.tables.queries.query import BatchQuery
from datalake_service.tables.queries.reading import OpenBatch, PlannedBatch, Question, is_remote

_ATTEMPTS = 10
"""How often the objects of one batch may be replaced before its reading has begun."""
_FILES = 48
"""Local files that one database may read; opening another database costs some milliseconds."""
_REMOTE_BYTES = 64 << 20
"""Objects of a remote store that are brought in together, so that small ones don't wait for each other."""

_INTERRUPT_SECONDS = 0.01

CREATED_AT = Reference(None, SYSTEM_COLUMNS[1])

_T = TypeVar("_T")


class _ReplacedError(Exception):
    """A batch was replaced after it was opened. Never leaves this module."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        """Which of those that were opened together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a pass returns of each row."""

    columns: Callable[[ViewPlan], Sequence[Reference]]
    """Picks the columns."""
    typed: bool = False
    """Whether columns have the type of all batches (for tables) or are as stored (for Python rows)."""
    leave_out: Collection[str] = ()
    """Ids of rows that are not wanted."""
    part: Part | None = None
    """Only rows of this part of the one batch that is read."""
    left_out: Callable[[int], None] | None = None
    """Told how many of its rows are left out because of their ids."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One batch, ready to be asked."""

    engine: Engine
    query: BatchQuery
    batch: PlannedBatch
    columns: Sequence[Reference]


@dataclass(frozen=True, slots=True)
class _Group:
    """Batches that are open, and what has to be given back after they were read."""

    asks: Sequence[Ask]
    stack: ExitStack

    def close(self) -> None:
        """Give it back."""
        self.stack.close()


Answer = Callable[[Ask], Iterator[_T]]
"""Runs the query of one batch and makes something of what it returns."""


class BatchPass(Generic[_T]):
    """An iterator over what ``answer`` says about each batch.

    One thread at a time moves it on; ``close`` may come from any. Once closed, moving it on is an error, so that what
    was not read is never taken for the end.
    """

    def __init__(
        self,
        store: ObjectStore,
        planner: ViewPlanner,
        plan: ViewPlan,
        batches: Sequence[PlannedBatch],
        *,
        wanted: Wanted,
        answer: Answer[_T],
        limits: EngineLimits,
    ) -> None:
        """Open nothing yet."""
        self._store = store
        self._planner = planner
        self._plan = plan
        self._wanted = wanted
        self._answer = answer
        self._limits = limits
        self._engines: set[Engine] = set()
        self._moving = Lock()
        self._closed = False
        self._answers = self._read(batches)
        self.read: dict[str, PlannedBatch] = {}
        """The versions of batches that were opened, which are those that were planned unless they were replaced."""

    def __iter__(self) -> Self:
        """Itself."""
        return self

    def __next__(self) -> _T:
        """The next answer.

        Raises:
            FilterError: The user's SQL fails on some row.
            StoreError: Reading fails.
            UsageError: The view was closed.
        """
        with self._moving:
            if self._closed:
                raise UsageError("the view was closed while it was being read; read it inside its `with` block")
            return next(self._answers)

    def close(self) -> None:
        """Give everything back; a query that runs in another thread is interrupted. May be called again."""
        self._closed = True
        # An interrupt that comes between two statements is forgotten, so it is sent until it is heard.
        while not self._moving.acquire(timeout=_INTERRUPT_SECONDS):
            for engine in tuple(self._engines):
                engine.interrupt()
        try:
            self._answers.close()
        finally:
            self._moving.release()

    def _read(self, batches: Sequence[PlannedBatch]) -> Generator[_T, None, None]:
        remote = is_remote(self._store)
        groups = _groups(batches, remote=remote)
        with closing(self._one_ahead(groups) if remote else self._one_by_one(groups)) as prepared:
            for group in prepared:
                with closing(group):
                    for ask in group.asks:
                        yield from self._answer(ask)

    def _one_by_one(self, groups: Iterable[Sequence[PlannedBatch]]) -> Generator[_Group, None, None]:
        for group in groups:
            yield self._prepare(group)

    def _one_ahead(self, groups: Iterable[Sequence[PlannedBatch]]) -> Generator[_Group, None, None]:
        """Bring in the next group while one is read."""
        from concurrent.futures import Future, ThreadPoolExecutor

        coming: Future[_Group] | None = None
        with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
            try:
                for group in groups:
                    current, coming = coming, pool.submit(self._prepare, group)
                    if current is not None:
                        yield current.result()
                if coming is not None:
                    current, coming = coming, None
                    yield current.result()
            finally:
                if coming is not None and not coming.cancel():
                    with suppress(DatalakeError):  # nobody will read it
                        coming.result().close()

    def _prepare(self, batches: Sequence[PlannedBatch]) -> _Group:
        """Open some batches, and a database that can read them and nothing else."""
        planned = list(batches)
        for _ in range(_ATTEMPTS):
            try:
                return self._opened(planned)
            except _ReplacedError as replaced:
                plan, again = self._planner.plan_again(self._plan, planned[replaced.number].name)
                self._adopt(plan)
                planned[replaced.number] = again
        raise _restless(planned)

    def _opened(self, batches: Sequence[PlannedBatch]) -> _Group:
        with ExitStack() as stack:
            engine = self._planner.databases.take()
            self._engines.add(engine)
            stack.callback(self._engines.discard, engine)
            stack.callback(engine.close)
            opened = []
            for batch in batches:
                opened.append(self._open(engine, batch))
                stack.callback(opened[-1].close)
            engine.lock([path for one in opened for path in one.paths])
            for number, one in enumerate(opened):
                try:
                    one.narrow(engine)
                except (PreconditionFailedError, ObjectNotFoundError) as error:
                    raise _ReplacedError(number) from error
            asks = [Ask(engine, one.query(), one.batch, one.question.outputs) for one in opened if one.has_rows]
            return _Group(asks, stack.pop_all())

    def _open(self, engine: Engine, batch: PlannedBatch) -> OpenBatch:
        """Open the planned versions of a batch, or, if one was replaced, those that stand there now.

        No row of the batch was handed out yet, so nothing is lost, repeated or mixed.
        """
        planned = batch
        for _ in range(_ATTEMPTS):
            try:
                opened = OpenBatch(
                    self._store,
                    planned,
                    self._question(),
                    engine,
                    limits=self._limits,
                    leave_out=self._wanted.leave_out,
                    part=self._wanted.part,
                )
            except (PreconditionFailedError, ObjectNotFoundError):
                plan, planned = self._planner.plan_again(self._plan, batch.name)
                self._adopt(plan)
                continue
            self.read[planned.name] = planned
            if self._wanted.left_out is not None:
                self._wanted.left_out(opened.left_out)
            return opened
        raise _restless([batch])

    def _question(self) -> Question:
        return Question(
            outputs=tuple(self._wanted.columns(self._plan)),
            condition=self._plan.condition,
            types=self._plan.types(),
            typed=self._wanted.typed,
            fraction=self._plan.fraction,
            pins=self._plan.pins,
        )

    def _adopt(self, plan: ViewPlan) -> None:
        """Go on with a plan whose types are wider."""
        old, new = self._plan.schema, plan.schema
        if self._wanted.typed and any(old.type_of(one) is not new.type_of(one) for one in self._wanted.columns(plan)):
            raise StoreError("a merge changed the type of a column while the table was being read; read it again")
        self._plan = plan


def _restless(batches: Sequence[PlannedBatch]) -> StoreError:
    names = " or ".join(repr(batch.name) for batch in batches)
    return StoreError(f"batch {names} was replaced {_ATTEMPTS} times in a row; try again later")


def _groups(batches: Sequence[PlannedBatch], *, remote: bool) -> Iterator[list[PlannedBatch]]:
    """Batches that share a database: as many as keeps open files, or downloads in advance, few."""
    group: list[PlannedBatch] = []
    files = size = 0
    for batch in batches:
        files += 1 + len(batch.annotations)
        size += batch.size
        if group and (files > _FILES or (remote and size > _REMOTE_BYTES)):
            yield group
            group, files, size = [], 1 + len(batch.annotations), batch.size
        group.append(batch)
    if group:
        yield group
