"""How far an annotator is: done, skipped, failed, pending, by batch and version. Counted by merges, not here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from datalake_service.catalog.annotations import DONE, FAILED, SKIPPED
from datalake_service.catalog.made import Made, Spending
from datalake_service.catalog.makers import VersionKey


class Merged(Protocol):
    """What a merged object of annotations says of itself."""

    @property
    def counts(self) -> Mapping[str, int]:
        """Totals by name."""

    @property
    def made(self) -> tuple[Made, ...]:
        """What each maker has made."""

    @property
    def spent(self) -> Spending:
        """What all of it cost."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many of the merged rows have a merged annotation."""

    rows: int = 0
    done: int = 0
    skipped: int = 0
    failed: int = 0
    spent: Spending = field(default_factory=Spending)
    versions: Mapping[VersionKey, Counter[str]] = field(default_factory=dict)
    """By label and code hash: rows by status, and ``older`` ones that are kept."""

    @property
    def pending(self) -> int:
        """Rows without an annotation, whether the annotator's filter selects them or not."""
        return max(0, self.rows - self.done - self.skipped - self.failed)

    @property
    def share(self) -> float | None:
        """The share of rows that are done or skipped; ``None``: there are no rows."""
        return min(1.0, (self.done + self.skipped) / self.rows) if self.rows else None

    def __add__(self, other: Coverage) -> Coverage:
        """Both together."""
        keys = {**self.versions, **other.versions}
        return Coverage(
            self.rows + other.rows,
            self.done + other.done,
            self.skipped + other.skipped,
            self.failed + other.failed,
            self.spent + other.spent,
            {key: self.versions.get(key, Counter()) + other.versions.get(key, Counter()) for key in keys},
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "rows": self.rows,
            "done": self.done,
            "skipped": self.skipped,
            "failed": self.failed,
            "pending": self.pending,
            "share": None if self.share is None else round(self.share, 6),
            "spent": self.spent.to_dict(),
            "versions": [
                {"version": label, "code": code, **{name: counts[name] for name in (DONE, SKIPPED, FAILED, "older")}}
                for (label, code), counts in self.versions.items()
            ],
        }


def coverage_of(part: Merged, rows: int) -> Coverage:
    """How far an annotator is with a batch of so many merged rows."""
    versions: dict[VersionKey, Counter[str]] = {}
    for made in part.made:
        versions.setdefault(made.maker.key, Counter()).update(
            {DONE: made.done, SKIPPED: made.skipped, FAILED: made.failed, "older": made.older}
        )
    done, skipped, failed = (part.counts.get(status, 0) for status in (DONE, SKIPPED, FAILED))
    return Coverage(rows, done, skipped, failed, part.spent, versions)
