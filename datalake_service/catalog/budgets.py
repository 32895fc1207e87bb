"""What annotators have spent of their budgets, seen from outside; and letting one begin anew on purpose.

The side of those who spend is ``ledger.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from datalake_service.catalog import layout
from datalake_service.catalog.ledger_record import Account, Amounts, Ledger
from datalake_service.catalog.manifests import format_time
from datalake_service.errors import (
    ObjectNotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    StoreUnavailableError,
)
from datalake_service.storage.base import IfMatch, ObjectStore

_ROUNDS: Final = 30
"""How often it is tried again because a worker wrote meanwhile."""
_SECONDS_OF_AN_HOUR: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class BudgetState:
    """The budget of one annotator, as it was written last."""

    dataset: str
    annotator: str
    ledger: Ledger

    @property
    def spent(self) -> Amounts:
        """Since it began, by what the budget limits; with what workers have set aside for their next seconds."""
        ledger = self.ledger
        return {
            kind: ledger.account.spent.get(kind, 0.0)
            + sum(member.reserved.get(kind, 0.0) for member in ledger.members.values())
            for kind in ledger.terms.budget
        }

    @property
    def workers(self) -> int:
        """Those that spend from it, or were killed while they did."""
        return len(self.ledger.members)

    @property
    def ended(self) -> bool:
        """Whether it begins anew with the next run in any case."""
        return self.ledger.account.complete and self.ledger.terms.per == "run"

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, in the words of the dataset file."""
        ledger = self.ledger
        return {
            "datasetName": self.dataset,
            "annotatorName": self.annotator,
            "budget": in_words_of_the_file(ledger.terms.budget),
            "per": ledger.terms.per,
            "spent": in_words_of_the_file(self.spent),
            "since": ledger.account.since or None,
            "version": ledger.account.label or None,
            "ended": self.ended,
            "workers": self.workers,
        }


def in_words_of_the_file(amounts: Amounts) -> dict[str, float]:
    """Amounts with ``hours`` for ``seconds``."""
    return {
        "hours" if kind == "seconds" else kind: amount / _SECONDS_OF_AN_HOUR if kind == "seconds" else amount
        for kind, amount in amounts.items()
    }


def list_budgets(store: ObjectStore, dataset: str) -> Iterator[BudgetState]:
    """The budgets of a dataset's annotators; those that never had one are left out. A request for each annotator.

    Raises:
        StoreError: The lake cannot be read.
    """
    for annotator in store.list_folders(layout.annotators_prefix(dataset)):
        found = find_budget(store, dataset, annotator)
        if found is not None:
            yield found


def find_budget(store: ObjectStore, dataset: str, annotator: str) -> BudgetState | None:
    """The budget of an annotator; ``None``: it never had one, or its last run had none.

    Raises:
        StoreError: The lake cannot be read.
    """
    found = _load(store, layout.ledger_key(dataset, annotator))
    return None if found is None or not found[0].terms.budget else BudgetState(dataset, annotator, found[0])


def reset_budget(store: ObjectStore, dataset: str, annotator: str, *, now: datetime) -> BudgetState | None:
    """Let the budget of an annotator begin anew; answers what it was. ``None``: there is none.

    Nobody needs to end for that: workers say what they spend from one write to the next. What they have set aside by
    now is spent from the new one.

    Raises:
        StoreError: The lake cannot be read or written.
    """
    key, since = layout.ledger_key(dataset, annotator), format_time(now)
    for _ in range(_ROUNDS):
        found = _load(store, key)
        if found is None or not found[0].terms.budget:
            return None
        ledger, etag = found
        account = Account(label=ledger.account.label, period=ledger.account.period, since=since)
        changed = replace(ledger, number=ledger.number + 1, account=account)
        was = BudgetState(dataset, annotator, ledger)
        try:
            store.put(key, changed.to_json(), mode=IfMatch(etag))
        except PreconditionFailedError:
            continue
        except (OutcomeUnknownError, StoreUnavailableError):
            again = _load(store, key)
            if again is None or again[0].account.since != since:
                raise
        return was
    raise StoreUnavailableError(f"{key}: {_ROUNDS} writes in a row lost against workers; try again")


def _load(store: ObjectStore, key: str) -> tuple[Ledger, str] | None:
    try:
        data, meta = store.get(key)
    except ObjectNotFoundError:
        return None
    return Ledger.from_json(data, key=key), meta.etag
