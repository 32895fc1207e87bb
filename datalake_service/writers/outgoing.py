"""What a writer is given: the record to write, and what is known of it besides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from datalake_service.writers.delivery import Carrier, Parcel


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One record on its way out."""

    record: Mapping[str, Any]
    """The flat record, without an id that the service derived."""
    id: str
    """The row's id: the same whenever the same input is read."""
    tag: object = None
    """What the caller wants to know it by, if it is refused."""

    def text(self, key: str) -> str | None:
        """The value of a key as text, if it is a text or a number and not empty."""
        value = self.record.get(key)
        if isinstance(value, str):
            return value or None
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


class Writer(Carrier, Protocol):
    """A carrier that packs records as its service wants them."""

    def open(self) -> None:
        """Ask the service for what has to be known before the first record.

        Raises:
            StoreError: The destination does not exist, or cannot be asked.
        """
        ...

    def pack(self, outgoing: Outgoing) -> Parcel:
        """Pack a record.

        Raises:
            RowError: The service cannot hold it; the message says which limit it is over.
        """
        ...
