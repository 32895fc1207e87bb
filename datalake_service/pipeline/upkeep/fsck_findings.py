"""What a check of a dataset can find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from datalake_service.catalog.manifests import format_time


class FindingKind(StrEnum):
    """What is wrong. All but the last three are damage."""

    UNREADABLE = "unreadable"
    """An object cannot be read, or is not what its key says."""
    MISSING = "missing"
    """Something names an object that is not there, nor is what it held."""
    DUPLICATED_IDS = "duplicatedIds"
    """Rows of a merged object share an id, or have none."""
    NO_BASE_ROW = "noBaseRow"
    """Annotations of rows that do not exist."""
    WRONG_COUNT = "wrongCount"
    """Rows, bytes or statuses differ from what a manifest or a commit record says."""
    MISPLACED = "misplaced"
    """Rows of another batch."""
    UNREFERENCED = "unreferenced"
    """Nothing refers to the object; it does no harm, and stays."""
    LEFTOVER = "leftover"
    """A process that died left it; clean-up removes it."""
    BUSY = "busy"
    """It changed whenever it was looked at; check again when less is going on."""


_HARMLESS = frozenset({FindingKind.UNREFERENCED, FindingKind.LEFTOVER, FindingKind.BUSY})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found."""

    kind: FindingKind
    key: str
    """The object, relative to the root of the lake."""
    message: str
    """One line."""
    removable_at: datetime | None = None
    """From when on clean-up removes it (with the age that is its default); ``None``: it does not."""

    @property
    def is_damage(self) -> bool:
        """Whether something is wrong, and not only left over."""
        return self.kind not in _HARMLESS

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        value = {"kind": str(self.kind), "damage": self.is_damage, "key": self.key, "message": self.message}
        return value if self.removable_at is None else {**value, "removableAt": format_time(self.removable_at)}


Tell = Callable[[FindingKind, str, str], None]
"""Takes kind, key and message of a finding."""
