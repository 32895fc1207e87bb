"""What the makers of an annotator have made of one batch, and what it cost: part of the commit record of a merge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from datalake_service.catalog.makers import MadeKey, Maker, VersionKey
from datalake_service.catalog.manifests import format_time, parse_time

_RUNS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What one version of an annotator has made of a batch, in one generation."""

    maker: Maker
    generation: int | None
    """``None``: from before there were generations."""
    base: str | None = None
    """ETag of the rows that the last run had read."""
    runs: tuple[str, ...] = ()
    """The last twenty of them."""
    first_at: datetime | None = None
    """When its first chunk was written."""
    last_at: datetime | None = None
    done: int = 0
    """Rows that a reading shows."""
    skipped: int = 0
    failed: int = 0
    older: int = 0
    """Rows that were replaced by newer ones, and are kept."""

    @property
    def key(self) -> MadeKey:
        """What stands in each of its rows."""
        return *self.maker.key, self.generation

    @property
    def rows(self) -> int:
        """All that are kept."""
        return self.done + self.skipped + self.failed + self.older

    def joined(self, other: Made) -> Made:
        """Both together, ``other`` being later; counts are those of this one."""
        times = [at for at in (self.first_at, other.first_at, self.last_at, other.last_at) if at is not None]
        return replace(
            self,
            maker=other.maker,
            base=other.base or self.base,
            runs=tuple(dict.fromkeys((*self.runs, *other.runs)))[-_RUNS:],
            first_at=min(times, default=None),
            last_at=max(times, default=None),
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            **self.maker.to_dict(),
            "generation": self.generation,
            "base": self.base,
            "runs": list(self.runs),
            "firstAt": None if self.first_at is None else format_time(self.first_at),
            "lastAt": None if self.last_at is None else format_time(self.last_at),
            "done": self.done,
            "skipped": self.skipped,
            "failed": self.failed,
            "older": self.older,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Made:
        """Read the JSON form; raises like ``Maker.from_dict``."""
        first, last = document["firstAt"], document["lastAt"]
        return cls(
            maker=Maker.from_dict(document),
            generation=document["generation"],
            base=document["base"],
            runs=tuple(document["runs"]),
            first_at=None if first is None else parse_time(first),
            last_at=None if last is None else parse_time(last),
            done=int(document["done"]),
            skipped=int(document["skipped"]),
            failed=int(document["failed"]),
            older=int(document["older"]),
        )


def replaced_before(made: Sequence[Made], moment: datetime) -> frozenset[VersionKey]:
    """The versions of which replaced rows are kept, and that made nothing since a moment, in no generation."""
    last: dict[VersionKey, datetime | None] = {}
    for one in made:
        known = last.get(one.maker.key, one.last_at)
        last[one.maker.key] = None if known is None or one.last_at is None else max(known, one.last_at)
    kept = {one.maker.key for one in made if one.older}
    return frozenset(key for key, at in last.items() if key in kept and at is not None and at < moment)


@dataclass(frozen=True, slots=True)
class Spending:
    """What annotations have cost, added up."""

    attempts: int = 0
    """Calls; rows that do not say count as one."""
    seconds: float = 0.0
    cost: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Spending) -> Spending:
        """Both together."""
        return Spending(
            self.attempts + other.attempts,
            self.seconds + other.seconds,
            self.cost + other.cost,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
        )

    def to_dict(self) -> dict[str, float]:
        """The JSON form."""
        return {
            "attempts": self.attempts,
            "seconds": round(self.seconds, 6),
            "cost": round(self.cost, 9),
            "inputTokens": self.input_tokens,
            "outputTokens": self.output_tokens,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Spending:
        """Read the JSON form; raises like ``Maker.from_dict``."""
        return cls(
            int(document["attempts"]),
            float(document["seconds"]),
            float(document["cost"]),
            int(document["inputTokens"]),
            int(document["outputTokens"]),
        )
