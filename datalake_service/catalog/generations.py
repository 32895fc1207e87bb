"""Generations of an annotator: a number that grows when its maker changes, and when it begins to ask anew.

One small object for each annotator, written under a condition. Who writes it twice changes nothing: what it asked for
stands there already. See ``docs/design/018-annotation-versions.md``.
"""

from __future__ import annotations

import json
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

Again = Literal["skipped", "all"]
"""What a campaign asks again: what was skipped, or everything."""

_ROUNDS: Final = 20
"""How often the record is written again because somebody else was faster."""
_KEPT: Final = 100
"""Campaigns that are remembered."""
_LOST = (AlreadyExistsError, PreconditionFailedError, OutcomeUnknownError)
"""After these the record is read again, and shows what there is left to do."""


@dataclass(frozen=True, slots=True)
class Campaign:
    """Asking again what has an answer, from beginning to completion."""

    again: Again
    name: str | None
    """Given by the user; ``None``: there was no need to."""
    generation: int
    """A row with a final annotation of this generation, or a newer one, is done."""
    began_at: datetime
    completed: bool = False


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

    def campaign(self, again: Again, name: str | None) -> Campaign | None:
        """The one that a run takes part in; ``None``: it begins one."""
        for campaign in reversed(self.campaigns):
            if (campaign.again, campaign.name) == (again, name) and not (name is None and campaign.completed):
                return campaign
        return None

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
                    )
                    for item in document["campaigns"]
                ),
            )
        except (KeyError, TypeError, ValueError) as error:
            msg = f"{key} is no record of generations ({type(error).__name__}: {error}); restore it"
            raise StoreError(msg) from error


def load_generations(store: ObjectStore, dataset: str, annotator: str) -> Generations:
    """Read the record; one request.

    Raises:
        StoreError: It cannot be read.
    """
    return _load(store, layout.generations_key(dataset, annotator))[0]


@dataclass(frozen=True, slots=True)
class Begun:
    """A run's place among the generations."""

    generation: int
    """Of the rows that it makes."""
    campaign: Campaign | None
    """The one that it takes part in."""


def begin(
    store: ObjectStore,
    dataset: str,
    annotator: str,
    maker: Maker,
    *,
    now: datetime,
    again: Again | None = None,
    name: str | None = None,
) -> Begun:
    """Find the place of a run that holds its lease. Writes only if the generation grows; may be called again.

    Raises:
        StoreError: The record cannot be read or written.
    """
    key = layout.generations_key(dataset, annotator)
    for _ in range(_ROUNDS):
        found, etag = _load(store, key)
        campaign = None if again is None else found.campaign(again, name)
        wanted = found
        if found.generation == 0 or found.key != maker.key:
            wanted = replace(wanted, generation=found.generation + 1, version=maker.version, code=maker.code)
        if again is not None and campaign is None:
            campaign = Campaign(again, name, found.generation + 1, now)
            wanted = replace(
                wanted, generation=campaign.generation, campaigns=(*found.campaigns[1 - _KEPT :], campaign)
            )
        if wanted is found or _wrote(store, key, wanted, etag, now):
            return Begun(wanted.generation, campaign)
    raise _restless(key)


def complete(store: ObjectStore, dataset: str, annotator: str, campaign: Campaign, *, now: datetime) -> None:
    """Note that a run of a campaign went through all of its batches. May be called again.

    Raises:
        StoreError: The record cannot be read or written.
    """
    key = layout.generations_key(dataset, annotator)
    for _ in range(_ROUNDS):
        found, etag = _load(store, key)
        campaigns = tuple(
            replace(one, completed=True) if one.generation == campaign.generation else one for one in found.campaigns
        )
        if campaigns == found.campaigns or _wrote(store, key, replace(found, campaigns=campaigns), etag, now):
            return
    raise _restless(key)


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
