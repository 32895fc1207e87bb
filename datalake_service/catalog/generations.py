"""Generations of an annotator: a number that grows when its maker changes, and when it begins to ask anew.

One small object for each annotator, written under a condition. Who writes it twice changes nothing: what it asked for
stands there already. See ``docs/design/018-annotation-versions.md``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from datalake_service.catalog import layout
from datalake_service.catalog.makers import Maker, VersionKey
from datalake_service.catalog.manifests import FORMAT_VERSION, check_format, format_time, parse_time
from datalake_service.errors import (
    AlreadyExistsError,
    ObjectNotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    StoreError,
)
from datalake_service.storage.base import CreateOnly, IfMatch, ObjectStore

Again = Literal["failed", "skipped", "all"]
"""What a campaign asks again: only what failed, also what was skipped, or everything."""

_ROUNDS: Final = 20
"""How often the record is written again because somebody else was faster."""
_KEPT: Final = 100
"""Campaigns that are remembered."""
_LOST = (AlreadyExistsError, PreconditionFailedError, OutcomeUnknownError)
"""After these the record is read again, and shows what there is left to do."""


@dataclass(frozen=True, slots=True)
class Campaign:
    """Asking rows once, from beginning to completion, in any number of runs and by any number of workers."""

    again: Again | None
    """``None``: rows without an annotation, as a run without ``retry`` does."""
    name: str | None
    """Given by the user; ``None``: there was no need to."""
    generation: int
    """A row with an annotation of this generation, or a newer one, was asked."""
    began_at: datetime
    completed: bool = False
    version: str | None = None
    """The label of the run that began it; one without a name is for this label only."""
    workers: tuple[str, ...] = ()
    """Of one without a name that workers share: those that took part, as far as they lived when the last of them came.
    It lasts as long as one of them does."""


@dataclass(frozen=True, slots=True)
class Generations:
    """What the object says."""

    generation: int = 0
    """Of the last run; 0: there was none yet."""
    version: str | None = None
    """The label of the last run."""
    code: str | None = None
    """The code hash of the last run."""
    campaigns: tuple[Campaign, ...] = ()

    @property
    def key(self) -> VersionKey:
        """The maker of the last run."""
        return self.version, self.code

    def named(self, again: Again | None, name: str) -> Campaign | None:
        """The campaign of a name, completed or not; ``None``: nobody began it."""
        return next((one for one in reversed(self.campaigns) if (one.again, one.name) == (again, name)), None)

    def unnamed(self, again: Again, version: str | None) -> Campaign | None:
        """The last one without a name that a label began; ``None``: there is none."""
        wanted = (again, None, version)
        return next((one for one in reversed(self.campaigns) if (one.again, one.name, one.version) == wanted), None)

    def to_json(self, at: datetime) -> bytes:
        """Write the record; the time is for people."""
        document = {
            "format": FORMAT_VERSION,
            "generation": self.generation,
            "version": self.version,
            "code": self.code,
            "at": format_time(at),
            "campaigns": [
                {
                    "retry": campaign.again,
                    "name": campaign.name,
                    "generation": campaign.generation,
                    "beganAt": format_time(campaign.began_at),
                    "completed": campaign.completed,
                    "version": campaign.version,
                    "workers": campaign.workers,
                }
                for campaign in self.campaigns
            ],
        }
        return json.dumps(document, indent=1).encode("ascii")

    @classmethod
    def from_json(cls, data: bytes, *, key: str) -> Generations:
        """Read a record; ``key`` names it in errors.

        Raises:
            StoreError: Not a record, or of a newer format.
        """
        try:
            document = json.loads(data)
            check_format(document["format"], key=key)
            return cls(
                int(document["generation"]),
                document["version"],
                document["code"],
                tuple(
                    Campaign(
                        item["retry"],
                        item["name"],
                        int(item["generation"]),
                        parse_time(item["beganAt"]),
                        bool(item["completed"]),
                        item.get("version", document["version"]),  # there was none before workers were noted
                        tuple(item.get("workers", ())),
                    )
                    for item in document["campaigns"]
                ),
            )
        except (KeyError, TypeError, ValueError) as error:
            msg = f"{key} is no record of generations ({type(error).__name__}: {error}); restore it"
            raise StoreError(msg) from error


@dataclass(frozen=True, slots=True)
class Begun:
    """A run's place among the generations."""

    generation: int
    """Of the rows that it makes."""
    campaign: Campaign | None
    """The one that it takes part in."""
    joined: bool = False
    """Whether another run began that."""


@dataclass(frozen=True, slots=True)
class Company:
    """A worker among those that share the annotator. Its lease is held."""

    worker: str
    live: Callable[[], Collection[str]]
    """Looks for the others that may act."""


def begin(
    store: ObjectStore,
    dataset: str,
    annotator: str,
    maker: Maker,
    *,
    now: datetime,
    again: Again | None = None,
    name: str | None = None,
    company: Company | None = None,
) -> Begun:
    """Find the place of a run that holds its lease. Writes only if something changes; may be called again.

    Raises:
        StoreError: The record cannot be read or written.
    """
    key = layout.generations_key(dataset, annotator)
    takes_part = name is not None or again in {"skipped", "all"} or (again == "failed" and company is not None)
    for _ in range(_ROUNDS):
        found, etag = _load(store, key)
        wanted = found
        if found.generation == 0 or found.key != maker.key:
            wanted = replace(wanted, generation=found.generation + 1, version=maker.version, code=maker.code)
        campaign, joined = _campaign(found, maker, again, name, company) if takes_part else None, True
        if takes_part and campaign is None:
            members = () if company is None or name is not None else (company.worker,)
            campaign = Campaign(again, name, found.generation + 1, now, version=maker.version, workers=members)
            joined = False
            wanted = replace(
                wanted, generation=campaign.generation, campaigns=(*found.campaigns[1 - _KEPT :], campaign)
            )
        elif campaign is not None and campaign not in found.campaigns:  # with one worker more
            wanted = replace(wanted, campaigns=_replaced(found.campaigns, campaign))
        if wanted is found or _wrote(store, key, wanted, etag, now):
            return Begun(wanted.generation, campaign, joined and campaign is not None)
    raise _restless(key)


def _campaign(
    found: Generations, maker: Maker, again: Again | None, name: str | None, company: Company | None
) -> Campaign | None:
    """The one that a run takes part in; ``None``: it begins one.

    One without a name belongs to a label: what another one asks is other work. It lasts until a run went through all of
    it, or, if workers share it, as long as one of them lives. Who lives is looked up after the record was read, and
    each has its lease before: of two that begin at the same moment the one that writes later sees the other.
    """
    if name is not None:
        return found.named(again, name)
    assert again is not None  # else it would need a name
    campaign = found.unnamed(again, maker.version)
    if campaign is None:
        return None
    if company is None:
        return None if campaign.completed or campaign.workers else campaign
    if company.worker in campaign.workers:
        return campaign
    others = set(company.live()).intersection(campaign.workers)
    return replace(campaign, workers=(*sorted(others), company.worker)) if others else None


def unfinished(
    store: ObjectStore, dataset: str, annotator: str, again: Again, *, version: str | None, prefix: str
) -> Campaign | None:
    """The last campaign of a label whose name begins so, if it is not completed.

    Raises:
        StoreError: The record cannot be read.
    """
    found, _ = _load(store, layout.generations_key(dataset, annotator))
    last = next(
        (
            one
            for one in reversed(found.campaigns)
            if (one.again, one.version) == (again, version) and one.name is not None and one.name.startswith(prefix)
        ),
        None,
    )
    return None if last is None or last.completed else last


def complete(store: ObjectStore, dataset: str, annotator: str, campaign: Campaign, *, now: datetime) -> None:
    """Note that a run of a campaign went through all of its batches. May be called again.

    Raises:
        StoreError: The record cannot be read or written.
    """
    key = layout.generations_key(dataset, annotator)
    for _ in range(_ROUNDS):
        found, etag = _load(store, key)
        campaigns = found.campaigns
        for one in campaigns:
            if one.generation == campaign.generation:
                campaigns = _replaced(campaigns, replace(one, completed=True))
        if campaigns == found.campaigns or _wrote(store, key, replace(found, campaigns=campaigns), etag, now):
            return
    raise _restless(key)


def _replaced(campaigns: Sequence[Campaign], changed: Campaign) -> tuple[Campaign, ...]:
    return tuple(changed if one.generation == changed.generation else one for one in campaigns)


def _wrote(store: ObjectStore, key: str, wanted: Generations, etag: str | None, now: datetime) -> bool:
    try:
        store.put(key, wanted.to_json(now), mode=CreateOnly() if etag is None else IfMatch(etag))
    except _LOST:
        return False
    return True


def _load(store: ObjectStore, key: str) -> tuple[Generations, str | None]:
    try:
        body, meta = store.get(key)
    except ObjectNotFoundError:
        return Generations(), None
    return Generations.from_json(body, key=key), meta.etag


def _restless(key: str) -> StoreError:
    return StoreError(f"{key} was changed by others {_ROUNDS} times in a row; try again")
