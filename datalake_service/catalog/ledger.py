"""The ledger as one worker sees and writes it: one object, replaced under a condition. See ``ledger_rules.py``.

Every write contains all of it, so that what one worker takes another one has given before: no two clocks are compared.
Who died is known by watching: a worker whose number stands still for longer than its parts of limits last, by the
watcher's own clock, acts on them no more.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

from datalake_service.catalog import layout
from datalake_service.catalog.leases import time_key
from datalake_service.catalog.ledger_record import Amounts, Ledger, Member, Terms, Units
from datalake_service.catalog.ledger_rules import Ask, exchange, leave, note, period_of
from datalake_service.errors import (
    AlreadyExistsError,
    ObjectNotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    StoreUnavailableError,
)
from datalake_service.storage.base import CreateOnly, IfMatch, ObjectStore, Overwrite
from datalake_utils.backoff import Backoff
from datalake_utils.clock import Clock, SystemClock

_DOUBTFUL = (AlreadyExistsError, PreconditionFailedError, OutcomeUnknownError, StoreUnavailableError)
"""After these a write may be in place all the same: read it back and compare."""
_ROUNDS = 30
"""How often a write that lost against another worker's is tried again."""
_DRIFT = 1.001
"""No two clocks run alike."""
_KINDS = ("cost", "tokens", "calls", "seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a worker says of itself."""

    have: Units
    wants: Units
    least: Units
    spent: Amounts
    """Since it began."""
    needs: Amounts
    floor: Amounts


@dataclass(slots=True)
class _Watched:
    """What was seen of another worker."""

    member: Member
    since: float
    lives: bool = False
    """Whether it has written since it was seen for the first time."""


class LedgerBook:
    """Reads and writes the ledger for one worker. One thread at a time."""

    def __init__(
        self,
        store: ObjectStore,
        dataset: str,
        annotator: str,
        *,
        worker: str,
        terms: Terms,
        label: str = "",
        clock: Clock | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        """Prepare; nothing is asked of the store. ``worker`` is a name that is used once."""
        self._store = store
        self._key = layout.ledger_key(dataset, annotator)
        self.worker = worker
        self.terms = terms
        self._label = label
        self._clock = clock or SystemClock()
        self._backoff = backoff or Backoff(first=0.02, longest=1.0)
        self._number = 0
        self._said: dict[int, Amounts] = {}
        """What was spent in all, by the number of the write that said so; from the last one that is known to stand."""
        self._stands = 0
        self._reserved: Amounts = {}
        """As of that write."""
        self._watched: dict[str, _Watched] = {}
        self._where = f"process {os.getpid()} on {socket.gethostname()}"

    def read(self) -> Ledger:
        """The ledger as it stands; its members may be dead.

        Raises:
            StoreError: The store failed, or it cannot be read.
        """
        return self._read()[0]

    @property
    def may_wait(self) -> bool:
        """Whether all others may turn out to be dead: each has to write now and then, and none was seen to."""
        return not any(seen.lives for seen in self._watched.values())

    def exchange(self, statement: Statement, *, seconds: float, gone: Collection[str] | None = None) -> Ledger:
        """Write what was spent, and take what there is to take.

        Args:
            statement: What the worker says.
            seconds: How long it uses its parts of limits at most, from before this call.
            gone: Workers that are known not to act any more; ``None``: all others.

        Raises:
            UsageError: Others work with other terms.
            StoreError: The store failed, or its answer stayed unknown. What was said is said again the next time.
        """
        self._number += 1
        number = self._number
        self._said[number] = statement.spent
        period = period_of(self.terms.per, self._store_time(self.terms.per))

        def change(ledger: Ledger) -> Ledger:
            dead = set(ledger.members) - {self.worker} if gone is None else {*gone, *self._dead(ledger)}
            ask = self._ask(ledger, statement, number, seconds)
            return exchange(ledger, self.terms, ask, label=self._label, period=period, gone=dead, now=self._clock.now())

        def stands(ledger: Ledger) -> bool:
            mine = ledger.members.get(self.worker)
            return mine is not None and mine.number == number

        ledger = self._write(change, stands)
        self._confirm(number)
        self._reserved = ledger.members[self.worker].reserved
        return ledger

    def leave(self, statement: Statement, *, complete: bool) -> None:
        """Write what was spent, and give everything back. ``complete``: there was nothing left to ask.

        Raises:
            StoreError: The store failed; others wait for the parts to run out, and what was reserved counts as spent.
        """

        def change(ledger: Ledger) -> Ledger:
            ask = self._ask(ledger, statement, 0, 0)
            if self.worker not in ledger.members and not complete and not any(ask.spent.values()):
                return ledger
            return leave(ledger, ask, complete=complete)

        self._write(change, lambda ledger: self.worker not in ledger.members)

    def note(self, spent: Amounts, *, complete: bool) -> None:
        """Write what a run without a budget spent, so that a budget which is set afterwards counts it.

        Called once; ``complete``: there was nothing left to ask, and what was spent before does not count any more.

        Raises:
            StoreError: The store failed; perhaps it is counted.
        """
        wrote: Ledger | None = None

        def change(ledger: Ledger) -> Ledger:
            nonlocal wrote
            period = period_of(ledger.terms.per, self._store_time(ledger.terms.per))
            now = self._clock.now()
            wrote = note(ledger, spent, label=self._label, period=period, complete=complete, now=now)
            return wrote

        self._write(change, lambda ledger: ledger == wrote)

    def _ask(self, ledger: Ledger, statement: Statement, number: int, seconds: float) -> Ask:
        mine = ledger.members.get(self.worker)
        if mine is not None and mine.number in self._said:
            self._confirm(mine.number)  # perhaps of a write whose answer was lost
        said = self._said.get(self._stands, {})
        spent = {kind: statement.spent.get(kind, 0) - said.get(kind, 0) for kind in _KINDS if kind in statement.spent}
        if mine is None and self._stands:  # taken for dead: what was reserved counts as spent already
            spent = {kind: max(amount - self._reserved.get(kind, 0), 0) for kind, amount in spent.items()}
        elif mine is not None:
            self._reserved = mine.reserved  # at the least: a write whose answer was lost may have reserved more
        return Ask(
            worker=self.worker,
            number=number,
            seconds=seconds,
            have=statement.have,
            wants=statement.wants,
            least=statement.least,
            spent=spent,
            needs=statement.needs,
            floor=statement.floor,
            where=self._where,
        )

    def _confirm(self, number: int) -> None:
        self._stands = number
        self._said = {other: spent for other, spent in self._said.items() if other >= number}

    def _dead(self, ledger: Ledger) -> set[str]:
        """Workers whose record has not changed for longer than they may use what they hold."""
        now = self._clock.monotonic()
        watched = {}
        for name, member in ledger.members.items():
            seen = self._watched.get(name)
            if seen is None or seen.member.number != member.number:
                seen = _Watched(member, now, lives=seen is not None)
            if name != self.worker:
                watched[name] = seen
        self._watched = watched
        return {name for name, seen in watched.items() if now - seen.since > seen.member.seconds * _DRIFT}

    def _store_time(self, per: str) -> datetime | None:
        """What time it is, if the budget is for a day or a month; no machine's clock is asked."""
        if per not in {"day", "month"}:
            return None
        return self._store.put(time_key(self._key), b"", mode=Overwrite()).last_modified

    def _write(self, change: Callable[[Ledger], Ledger], stands: Callable[[Ledger], bool]) -> Ledger:
        ledger, etag = self._read()
        for failures in range(1, _ROUNDS + 1):
            changed = change(ledger)
            if changed is ledger:
                return ledger
            try:
                self._store.put(self._key, changed.to_json(), mode=CreateOnly() if etag is None else IfMatch(etag))
            except _DOUBTFUL as error:
                ledger, standing = self._read()
                if stands(ledger):
                    return ledger
                if standing == etag and isinstance(error, (OutcomeUnknownError, StoreUnavailableError)):
                    raise
                etag = standing
            else:
                return changed
            self._clock.sleep(self._backoff.seconds(failures))
        msg = f"{self._key}: {_ROUNDS} writes in a row lost against other workers"
        raise StoreUnavailableError(msg)

    def _read(self) -> tuple[Ledger, str | None]:
        try:
            data, meta = self._store.get(self._key)
        except ObjectNotFoundError:
            return Ledger(), None
        return Ledger.from_json(data, key=self._key), meta.etag
