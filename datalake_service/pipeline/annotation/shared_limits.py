"""Limits and a budget that many workers, and the runs of many days, have together: one task that keeps the ledger.

``docs/design/017-paid-annotation.md``, section "Many machines", says why it is safe. The ledger is
``catalog/ledger.py``; what a run does with its part is ``annotating/shares.py``.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

from datalake_service.annotating.attempts import Attempts
from datalake_service.annotating.policy import CallPolicy
from datalake_service.annotating.shares import Demand
from datalake_service.catalog.fencing import Workers
from datalake_service.catalog.leases import LeaseRecord
from datalake_service.catalog.ledger import LedgerBook, Statement
from datalake_service.catalog.ledger_record import AT_ONCE, REQUESTS, TOKENS, Ledger, Terms, said
from datalake_service.catalog.ledger_rules import targets, used_up
from datalake_service.errors import LimitExceededError, StoreError, UsageError
from datalake_service.events import (
    ANNOTATION_SHARE_LOST,
    ANNOTATION_SHARE_NOT_RELEASED,
    ANNOTATION_SHARE_TAKEN,
    emit,
)
from datalake_service.pipeline.annotation.job import AnnotationJob
from datalake_service.pipeline.annotation.lease import UNLIMITED, HeldLease, WorkerLease
from datalake_service.storage.base import ObjectStore
from datalake_utils.clock import Clock
from datalake_utils.ids import random_hex

T = TypeVar("T")

_LASTS: Final = 5
"""Intervals after which a part of a limit has run out if it could not be renewed."""
_AHEAD: Final = 2.5
"""For so many intervals is reserved what is spent."""
_FIRST: Final = 0.005
"""The part of a budget that is reserved before anything is known."""
_CALLS: Final = 16
"""For so many calls is reserved at the least, once it is known what they cost."""
_WORKER_DIGITS: Final = 32
_TOGETHER: Final = "limits and budgets hold for all workers together, so use the same, or wait for their end"


class InThread(Protocol):
    """Runs what asks the store."""

    def __call__(self, function: Callable[[], T]) -> Awaitable[T]:
        """Call it in a thread, and answer what it returns."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often the ledger is written. All in seconds."""

    interval: float = 3.0
    """Between two writes of a worker."""
    of_each: float = 0.25
    """The same for each worker there is, if that is more."""
    alone: float = 10.0
    """The same for a worker that has the annotator for itself."""
    look: float = 0.05
    """Between two looks whether calls wait for what they may spend."""
    starving: float = 1.0
    """Between two writes while calls wait for a part of a limit, or a third of an interval if that is more."""


PACE: Final = Pace()


def terms_of(policy: CallPolicy | None, *, limits_too: bool) -> Terms:
    """What of a policy holds for all workers together: the budget, and its limits as well."""
    if policy is None:
        return Terms()
    limits: dict[str, tuple[int, float]] = {}
    if limits_too and policy.requests is not None:
        limits[REQUESTS] = (policy.requests.most, policy.requests.per_seconds)
    if limits_too and policy.tokens is not None:
        limits[TOKENS] = (policy.tokens.most, policy.tokens.per_seconds)
    if limits_too and policy.at_once is not None:
        limits[AT_ONCE] = (policy.at_once, 0.0)
    budget = policy.budget
    if budget is None:
        return Terms(limits=limits)
    return Terms(limits=limits, budget=budget.amounts(), per=budget.per)


class SharedLimits:
    """Keeps a worker's part of the limits and of the budget. Used on one event loop only."""

    def __init__(
        self,
        book: LedgerBook,
        attempts: Attempts,
        *,
        live: Callable[[], Mapping[str, LeaseRecord]] | None,
        in_thread: InThread,
        clock: Clock,
        tell: Callable[..., None] = lambda *_, **__: None,
        pace: Pace | None = None,
    ) -> None:
        """Prepare; from now on no call begins that is limited, until there is something to begin it with.

        Args:
            book: The ledger.
            attempts: The calls.
            live: The leases of the other workers that may act; ``None``: there can be none.
            in_thread: Runs what asks the store.
            clock: Time source.
            tell: Told an event, its level and its fields.
            pace: How often the ledger is written; ``None``: as is usual.
        """
        self._book = book
        self._attempts = attempts
        self._shares = attempts.share(limits=live is not None)
        self._live = live
        self._in_thread = in_thread
        self._clock = clock
        self._tell = tell
        self._pace = PACE if pace is None else pace
        self._interval = self._pace.alone if live is None else self._pace.interval
        self._allowed: dict[str, float] = {}
        self._said: tuple[float, Mapping[str, float]] | None = None
        self._workers = 0

    async def join(self) -> None:
        """Take a part, as far as others leave one; workers that are dead are taken out.

        Raises:
            UsageError: Others work with other limits or another budget, or with none.
            StoreError: The store failed.
        """
        gone: Collection[str] = ()
        while True:
            refused: UsageError | None = None
            try:
                ledger = await self._exchange(gone)
            except UsageError as error:
                refused = error
                ledger = await self._in_thread(self._book.read)
            if self._live is None:
                return
            # In this order: who comes after the ledger was read is not taken for dead, and of a worker with limits and
            # one without that come at once at least one sees the other.
            live = await self._in_thread(self._live)
            if any(record.owner.endswith(UNLIMITED) for record in live.values()):
                terms = self._book.terms.in_words()
                raise UsageError(f"other workers of this annotator have no limits, this one has {terms}: {_TOGETHER}")
            gone = set(ledger.members) - set(live) - {self._book.worker}
            if refused is None and not gone:
                return
            if refused is not None and not gone:
                if not self._book.may_wait:
                    raise refused
                await asyncio.sleep(self._pace.starving)

    async def keep(self) -> None:
        """Renew until it is cancelled."""
        troubled = False
        while True:
            await self._pause()
            try:
                await self._exchange(())
            except StoreError as error:
                if not troubled:
                    self._tell(ANNOTATION_SHARE_LOST, logging.WARNING, error=str(error))
                troubled = True
            except UsageError as error:  # it was taken for dead, and others came with other terms
                self._attempts.error = LimitExceededError(str(error))
                return
            else:
                troubled = False

    async def leave(self, *, complete: bool) -> None:
        """Give everything back. Raises nothing of the store: what was done is not undone by that."""
        statement = self._statement(self._shares.demand(self._clock.monotonic()))
        try:
            await self._in_thread(partial(self._book.leave, statement, complete=complete))
        except StoreError as error:
            self._tell(ANNOTATION_SHARE_NOT_RELEASED, logging.WARNING, error=str(error))

    async def _pause(self) -> None:
        """Wait until it is time to write again, or until calls wait for something."""
        began, starving = self._clock.monotonic(), max(self._pace.starving, self._interval / 3)
        while (passed := self._clock.monotonic() - began) < self._interval:
            await asyncio.sleep(self._pace.look)
            if self._shares.waits or (passed >= starving and self._shares.starves):
                return

    async def _exchange(self, gone: Collection[str]) -> Ledger:
        """Write, and obey. What is given up is written at once, so that others need not wait for it."""
        shares, worker, alone = self._shares, self._book.worker, self._live is None
        again = True
        while True:
            started = self._clock.monotonic()
            lasts = _LASTS * self._interval
            statement = self._statement(shares.demand(started))
            write = partial(self._book.exchange, statement, seconds=lasts, gone=None if alone else gone)
            ledger = await self._in_thread(write)
            held, due = ledger.members[worker].held, targets(ledger, worker)
            until = math.inf if alone else started + lasts
            shares.hold({name: min(units, due[name]) for name, units in held.items()}, until=until)
            self._allow(ledger, statement)
            self._note(ledger)
            have = shares.have()
            if not again or all(have[name] >= units for name, units in held.items()):
                return ledger
            again = False

    def _allow(self, ledger: Ledger, statement: Statement) -> None:
        for kind, amount in ledger.members[self._book.worker].reserved.items():
            self._allowed[kind] = max(self._allowed.get(kind, 0.0), statement.spent[kind] + amount)
        empty = used_up(ledger, self._book.worker)
        all_ = ledger.account.spent
        elsewhere = {kind: all_.get(kind, 0.0) - statement.spent[kind] for kind in ledger.terms.budget}
        self._shares.allow(self._allowed, over=None if empty is None else _over(ledger, empty), elsewhere=elsewhere)

    def _statement(self, demand: Demand) -> Statement:
        """What it uses, and what it is going to spend, going by what it has spent of late."""
        now, needs, floor = self._clock.monotonic(), {}, {}
        for kind, most in self._book.terms.budget.items():
            if kind == "seconds":
                needs[kind], floor[kind] = _AHEAD * self._interval, min(1.0, most)
                continue
            floor[kind] = 1.0 if kind == "calls" else demand.per_call.get(kind, 0.0)
            needs[kind] = max(most * _FIRST, floor[kind] * _CALLS)
            if demand.per_call and self._said is not None:
                before, spent = self._said
                pace = (demand.spent[kind] - spent[kind]) / max(now - before, self._pace.look)
                needs[kind] = max(pace * _AHEAD * self._interval, floor[kind] * _CALLS)
        self._said = now, demand.spent
        return Statement(
            have=demand.have, wants=demand.wants, least=demand.least, spent=demand.spent, needs=needs, floor=floor
        )

    def _note(self, ledger: Ledger) -> None:
        workers = len(ledger.members)
        if self._live is not None:
            self._interval = max(self._pace.interval, self._pace.of_each * workers)
            if workers != self._workers:
                held = ledger.members[self._book.worker].held
                self._tell(ANNOTATION_SHARE_TAKEN, logging.INFO, workers=workers, **held)
        self._workers = workers


@asynccontextmanager
async def shared_limits(
    store: ObjectStore,
    job: AnnotationJob,
    policy: CallPolicy | None,
    lease: HeldLease,
    attempts: Attempts | None,
    *,
    counted: Callable[[], Mapping[str, float]],
    in_thread: InThread,
    clock: Clock,
) -> AsyncGenerator[Callable[[], None], None]:
    """Take a part of the limits and of the budget, and keep it; given back whatever happens.

    A worker that has the annotator for itself needs this for a budget only, which earlier runs have spent from. Yields
    what is called when the run has come to its end.

    Args:
        store: The lake.
        job: What is annotated.
        policy: Its limits and its budget.
        lease: Of the worker; held.
        attempts: The calls; made of ``policy``.
        counted: What is counted, by kind, by a budget that is set afterwards, if there is none now.
        in_thread: Runs what asks the store.
        clock: Time source.

    Raises:
        UsageError: Others work with other limits or another budget.
        StoreError: The store failed.
    """
    label = "" if job.maker is None else job.maker.version or ""
    shared = isinstance(lease, WorkerLease)
    worker = lease.worker if isinstance(lease, WorkerLease) else random_hex(_WORKER_DIGITS)
    terms = terms_of(policy, limits_too=shared)
    book = LedgerBook(store, job.dataset, job.annotator, worker=worker, terms=terms, label=label, clock=clock)
    workers = Workers(store, job.dataset, job.annotator, clock=clock)
    live = partial(workers.live, but=worker) if shared else None
    complete = False

    def finish() -> None:
        nonlocal complete
        complete = True

    def tell(event: str, level: int, **fields: object) -> None:
        emit(event, level=level, dataset=job.dataset, annotator=job.annotator, **fields)

    if attempts is None or terms.empty:
        if live is not None:
            await in_thread(partial(_refuse_if_limited, book, live))
        try:
            yield finish
        finally:
            if (spent := counted()) or (complete and attempts is not None):
                try:
                    await in_thread(partial(book.note, spent, complete=complete))
                except StoreError as error:
                    tell(ANNOTATION_SHARE_NOT_RELEASED, logging.WARNING, error=str(error))
        return
    limits = SharedLimits(book, attempts, live=live, in_thread=in_thread, clock=clock, tell=tell)
    try:
        await limits.join()
        keeping = asyncio.create_task(limits.keep())
        keeping.add_done_callback(partial(_note_failure, attempts))
        try:
            yield finish
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
    finally:
        await limits.leave(complete=complete)


def _refuse_if_limited(book: LedgerBook, live: Callable[[], Mapping[str, LeaseRecord]]) -> None:
    """Refuse a worker without limits where others have some; its lease, which it has by now, says that it has none."""
    ledger = book.read()
    if ledger.members and not ledger.terms.empty and set(ledger.members) & set(live()):
        terms = ledger.terms.in_words()
        raise UsageError(f"other workers of this annotator have {terms}, this one has no limits: {_TOGETHER}")


def _note_failure(attempts: Attempts, keeping: asyncio.Task[None]) -> None:
    """End the run if nobody keeps its part any more: calls would wait for ever."""
    if not keeping.cancelled() and (error := keeping.exception()) is not None:
        attempts.error = LimitExceededError(f"the limits of the annotator could not be kept ({type(error).__name__})")


def _over(ledger: Ledger, kind: str) -> str:
    terms, account = ledger.terms, ledger.account
    spent = said(kind, account.spent.get(kind, 0.0)).partition(" ")[0]
    since = account.since[:16].replace("T", " ")
    more = "later, or with a larger one" if account.period else "with a larger one"
    return (
        f"the budget of {said(kind, terms.budget[kind])} is used up: {spent} since {since}, of all workers and starts"
        f"; for the rows that are left, run again {more} (or see: datalake budgets reset --help)"
    )
