"""How a ledger changes: a worker comes, writes what it spent and takes its part, leaves, is gone. Pure functions.

What always holds: the parts that are held sum up to the limit at most; what was spent and what is reserved sums up to
the budget at most, but for what a worker spent beyond its reservation, which were calls in flight.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from datalake_service.catalog.ledger_record import Account, Amounts, Ledger, Member, Terms, Units
from datalake_service.catalog.manifests import format_time
from datalake_service.errors import UsageError

_WHOLE: Final = frozenset({"calls", "tokens"})
"""Kinds that are counted in whole numbers."""
_ROUNDING: Final = 1e-9
"""Less than this part of a budget is nothing."""
_PERIODS: Final = {"day": "%Y-%m-%d", "month": "%Y-%m"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a worker says when it writes."""

    worker: str
    number: int
    """Of this write."""
    seconds: float
    """How long it uses its parts of limits without having written."""
    have: Units = field(default_factory=dict)
    """What it uses now: never more than it holds."""
    wants: Units = field(default_factory=dict)
    least: Units = field(default_factory=dict)
    spent: Amounts = field(default_factory=dict)
    """Since the write that stands in the ledger; of a worker that was taken for dead, beyond what it had reserved."""
    needs: Amounts = field(default_factory=dict)
    """What it is going to spend until it writes again, by and large."""
    floor: Amounts = field(default_factory=dict)
    """What a single call costs: less is of no use."""
    where: str = ""


def allot(most: int, wants: Units, least: Units) -> dict[str, int]:
    """Divide ``most`` units: nobody gets more than it wants while another one wants more; nothing is left over.

    Args:
        most: Units, all of which are given away if there is anybody.
        wants: By worker, in the order in which they came.
        least: What a part has to be, to be of use: as many workers as that feeds get one, the others none.
    """
    smallest = max((least.get(name, 1) for name in wants), default=1)
    fed = list(wants)[: max(1, most // max(smallest, 1))]
    parts = dict.fromkeys(wants, 0)
    left, hungry = most, sorted(fed, key=lambda name: wants[name])
    for rank, name in enumerate(hungry):
        parts[name] = min(wants[name], left // (len(hungry) - rank))
        left -= parts[name]
    for rank, name in enumerate(fed):  # what nobody asks for is there when somebody does
        more = math.ceil(left / (len(fed) - rank))
        parts[name] += more
        left -= more
    return parts


def targets(ledger: Ledger, worker: str) -> dict[str, int]:
    """What a worker should hold of each limit."""
    return {
        limit: allot(
            most,
            {name: min(one.wants.get(limit, most), most) for name, one in ledger.members.items()},
            {name: one.least.get(limit, 1) for name, one in ledger.members.items()},
        )[worker]
        for limit, (most, _) in ledger.terms.limits.items()
    }


def period_of(per: str, store_now: datetime | None) -> str:
    """The day or the month that a budget is for, by the store's clock; empty if it is for none."""
    return store_now.strftime(_PERIODS[per]) if per in _PERIODS and store_now is not None else ""


def exchange(
    ledger: Ledger, terms: Terms, ask: Ask, *, label: str, period: str, gone: Collection[str], now: datetime
) -> Ledger:
    """What the ledger says after a worker wrote: it spent this, holds that much, and may spend that much.

    Args:
        ledger: As it stands.
        terms: Of the worker.
        ask: What it says.
        label: Of the annotator's version, which the account is for.
        period: Which the budget is for.
        gone: Workers that do not act any more. What they had reserved counts as spent.
        now: For people.

    Raises:
        UsageError: There are other workers, with other terms.
    """
    ledger = remove(ledger, gone)
    others = {name: one for name, one in ledger.members.items() if name != ask.worker}
    if others and ledger.terms != terms:
        raise UsageError(_disagree(ledger.terms, terms, others))
    mine = ledger.members.get(ask.worker)
    account = ledger.account
    anew = account.period != period or not account.since
    if mine is None and not others:
        anew = anew or account.label != label or (account.complete and terms.per == "run")
    if anew:
        account = Account(label=label, period=period, since=format_time(now))
    # Who was taken for dead has nothing, whatever it had: others may have it by now.
    had = {} if mine is None else mine.held
    ask = replace(ask, have={limit: min(units, had.get(limit, 0)) for limit, units in ask.have.items()})
    began = mine is None or any(ask.spent.values())
    account = replace(account, spent=_sum(account.spent, ask.spent), complete=account.complete and not began)
    base = {} if mine is None else mine.reserved
    member = Member(
        number=ask.number,
        seconds=ask.seconds,
        held=ask.have,
        wants=ask.wants,
        least=ask.least,
        reserved=_reserve(terms, account, others.values(), ask, base),
        where=ask.where,
    )
    changed = Ledger(
        number=ledger.number + 1, terms=terms, account=account, members={**ledger.members, ask.worker: member}
    )
    member = replace(member, held=_hold(changed, ask, others.values()))
    return replace(changed, members={**changed.members, ask.worker: member})


def leave(ledger: Ledger, ask: Ask, *, complete: bool) -> Ledger:
    """What the ledger says after a worker ended in order; ``complete``: there was nothing left to ask."""
    account = replace(
        ledger.account,
        spent=_sum(ledger.account.spent, ask.spent),
        complete=complete or (ledger.account.complete and not any(ask.spent.values())),
    )
    members = {name: one for name, one in ledger.members.items() if name != ask.worker}
    return replace(ledger, number=ledger.number + 1, account=account, members=members)


def note(ledger: Ledger, spent: Amounts, *, label: str, period: str, complete: bool, now: datetime) -> Ledger:
    """What the ledger says after a run that had no budget: what it spent, ``complete`` as in ``leave``.

    A ledger that would say the same afterwards is answered as it is.
    """
    account = ledger.account
    ended = not ledger.members and (account.label != label or (account.complete and ledger.terms.per == "run"))
    if not any(spent.values()) and (not complete or ended or ledger.members or not account.since):
        return ledger
    if ended or account.period != period or not account.since:
        account = Account(label=label, period=period, since=format_time(now))
    account = replace(account, spent=_sum(account.spent, spent), complete=complete and not ledger.members)
    return replace(ledger, number=ledger.number + 1, account=account)


def remove(ledger: Ledger, gone: Collection[str]) -> Ledger:
    """Take out workers that do not act any more."""
    dead = [one for name, one in ledger.members.items() if name in gone]
    if not dead:
        return ledger
    spent = _sum(ledger.account.spent, *(one.reserved for one in dead))
    members = {name: one for name, one in ledger.members.items() if name not in gone}
    return replace(ledger, account=replace(ledger.account, spent=spent), members=members)


def used_up(ledger: Ledger, worker: str) -> str | None:
    """The kind of the budget of which nothing is left for a worker; ``None``: there is none."""
    mine = ledger.members[worker].reserved
    others = [one for name, one in ledger.members.items() if name != worker]
    for kind in ledger.terms.budget:
        if mine.get(kind, 0) <= 0 and _left(ledger.terms, ledger.account, others, kind) <= 0:
            return kind
    return None


def _hold(ledger: Ledger, ask: Ask, others: Iterable[Member]) -> dict[str, int]:
    """What it has, and of what nobody holds as much as it should have. It never holds less than it uses."""
    held = {}
    others = list(others)
    for limit, target in targets(ledger, ask.worker).items():
        have = ask.have.get(limit, 0)
        free = ledger.terms.limits[limit][0] - sum(one.held.get(limit, 0) for one in others) - have
        held[limit] = max(have, min(target, have + max(free, 0)))
    return held


def _reserve(terms: Terms, account: Account, others: Iterable[Member], ask: Ask, base: Amounts) -> dict[str, float]:
    """What it may spend: what it needs, but half of its share of what is left at most; never less than it had."""
    others = list(others)
    reserved: dict[str, float] = {}
    for kind in terms.budget:
        left = _left(terms, account, others, kind)
        share = left / (2 * (len(others) + 1))
        amount = max(min(ask.needs.get(kind, 0), share), ask.floor.get(kind, 0))
        if kind in _WHOLE:
            amount = max(math.floor(amount), 1)
        had = base.get(kind, 0) - ask.spent.get(kind, 0)
        if had <= terms.budget[kind] * _ROUNDING:  # else calls would wait for what is too little to begin one
            had = 0.0
        reserved[kind] = max(min(amount, left), had, 0.0)
    return reserved


def _left(terms: Terms, account: Account, others: Iterable[Member], kind: str) -> float:
    """What is neither spent nor reserved by others."""
    most = terms.budget[kind]
    left = most - account.spent.get(kind, 0) - sum(one.reserved.get(kind, 0) for one in others)
    return left if left > most * _ROUNDING else 0.0


def _sum(*amounts: Amounts) -> dict[str, float]:
    kinds = dict.fromkeys(kind for one in amounts for kind in one)
    return {kind: sum(one.get(kind, 0) for one in amounts) for kind in kinds}


def _disagree(theirs: Terms, mine: Terms, others: Mapping[str, Member]) -> str:
    who = next(iter(others.values())).where
    return (
        f"other workers of this annotator (such as {who}) work with {theirs.in_words()}, this one has "
        f"{mine.in_words()}: limits and budgets hold for all of them together, so use the same, or wait for their end"
    )
