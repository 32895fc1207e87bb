"""The ledger of an annotator: who holds which part of its limits, and what was spent. Values and their JSON.

``docs/design/017-paid-annotation.md`` says what it is for. How it changes stands in ``ledger_rules.py``, its requests
in ``ledger.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from datalake_service.catalog.manifests import check_format
from datalake_service.errors import StoreError

LEDGER_FORMAT: Final = 1
"""Version of the object; readers refuse a higher one."""

REQUESTS: Final = "requests"
"""The limit on calls that begin."""
TOKENS: Final = "tokens"
"""The limit on their tokens; also a kind of what a budget buys."""
AT_ONCE: Final = "atOnce"
"""The limit on calls that are under way."""

Amounts = Mapping[str, float]
"""What is spent or may be, by kind: ``cost``, ``tokens``, ``calls``, ``seconds``."""
Units = Mapping[str, int]
"""Parts of limits, by limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What all workers of an annotator have to agree on."""

    limits: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    """By limit: units, and the seconds of the window in which they may begin (0: at once)."""
    budget: Amounts = field(default_factory=dict)
    """What may be spent."""
    per: str = "run"
    """What the budget is for: ``run``, ``day``, ``month``, ``total``."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to share."""
        return not self.limits and not self.budget

    def in_words(self) -> str:
        """For an error message."""
        words = [f"{most:,} {_WORDS[name].format(seconds=seconds)}" for name, (most, seconds) in self.limits.items()]
        words += [f"a budget of {said(kind, most)} for each {self.per}" for kind, most in self.budget.items()]
        return " and ".join(words) or "no limits"


_SECONDS_AN_HOUR: Final = 3_600.0
_WORDS: Final = {
    REQUESTS: "requests in {seconds:g} s",
    TOKENS: "tokens in {seconds:g} s",
    AT_ONCE: "calls at once",
}


def said(kind: str, amount: float) -> str:
    """An amount of a budget for people, who said ``hours``."""
    return f"{amount / _SECONDS_AN_HOUR:.4g} hours" if kind == "seconds" else f"{amount:.6g} {kind}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What was spent since the budget began."""

    label: str = ""
    """Of the annotator's version."""
    period: str = ""
    """The day or the month, if the budget is for one."""
    since: str = ""
    """When it began, for people."""
    spent: Amounts = field(default_factory=dict)
    complete: bool = False
    """Whether a run came to its end: the next one begins another account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What one worker holds."""

    number: int
    """Counts its writes, so that each of them can be recognised when it is read back."""
    seconds: float
    """How long after a write it uses its parts of limits at most."""
    held: Units = field(default_factory=dict)
    """Parts of limits that nobody else may use."""
    wants: Units = field(default_factory=dict)
    """What it could use."""
    least: Units = field(default_factory=dict)
    """What a part needs for a single call."""
    reserved: Amounts = field(default_factory=dict)
    """What it may spend before it writes again."""
    where: str = ""
    """Machine and process, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """One version of the object."""

    number: int = 0
    """Counts its writes."""
    terms: Terms = field(default_factory=Terms)
    account: Account = field(default_factory=Account)
    members: Mapping[str, Member] = field(default_factory=dict)
    """By worker, in the order in which they came."""

    def to_json(self) -> bytes:
        """Write it."""
        account, terms = self.account, self.terms
        document = {
            "format": LEDGER_FORMAT,
            "number": self.number,
            "terms": {"limits": terms.limits, "budget": terms.budget, "per": terms.per},
            "account": {
                "label": account.label,
                "period": account.period,
                "since": account.since,
                "spent": account.spent,
                "complete": account.complete,
            },
            "members": {name: _member(member) for name, member in self.members.items()},
        }
        return json.dumps(document).encode()

    @classmethod
    def from_json(cls, data: bytes, *, key: str) -> Ledger:
        """Read it; ``key`` names it in errors.

        Raises:
            StoreError: No ledger, or of a newer format.
        """
        try:
            document = json.loads(data)
            check_format(document["format"], key=key)
            terms, account = document["terms"], document["account"]
            return cls(
                number=int(document["number"]),
                terms=Terms(
                    limits={name: (int(most), float(seconds)) for name, (most, seconds) in terms["limits"].items()},
                    budget=_amounts(terms["budget"]),
                    per=str(terms["per"]),
                ),
                account=Account(
                    label=str(account["label"]),
                    period=str(account["period"]),
                    since=str(account["since"]),
                    spent=_amounts(account["spent"]),
                    complete=bool(account["complete"]),
                ),
                members={name: _read_member(one) for name, one in document["members"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            msg = f"{key} is not a ledger ({type(error).__name__}: {error}); if nobody works here, remove it by hand"
            raise StoreError(msg) from error


def _member(member: Member) -> dict[str, object]:
    return {
        "number": member.number,
        "seconds": member.seconds,
        "held": member.held,
        "wants": member.wants,
        "least": member.least,
        "reserved": member.reserved,
        "where": member.where,
    }


def _read_member(document: Mapping[str, Any]) -> Member:
    return Member(
        number=int(document["number"]),
        seconds=float(document["seconds"]),
        held=_units(document["held"]),
        wants=_units(document["wants"]),
        least=_units(document["least"]),
        reserved=_amounts(document["reserved"]),
        where=str(document["where"]),
    )


def _amounts(document: Mapping[str, Any]) -> dict[str, float]:
    return {kind: float(amount) for kind, amount in document.items()}


def _units(document: Mapping[str, Any]) -> dict[str, int]:
    return {name: int(units) for name, units in document.items()}
