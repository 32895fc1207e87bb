"""Bodies that lie in a store and that nobody sees yet: written in full, to be published by one small request."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from datalake_service.storage.base import ObjectStore


class Staged(Protocol):
    """One body under one key, not visible."""

    @property
    def name(self) -> str:
        """Tells it from others under the same key."""
        ...

    def publish(self) -> None:
        """Make it the object under its key, whatever stands there. Asked once, never repeated.

        Raises:
            StoreUnavailableError: It was not published (it may have been discarded before).
            OutcomeUnknownError: It may or may not have been published, or may be yet.
        """
        ...

    def discard(self) -> bool:
        """Give it up; true: it was there, and no ``publish`` of it can take effect any more.

        Raises:
            StoreError: The store could not be asked.
        """
        ...


@runtime_checkable
class StagingStore(ObjectStore, Protocol):
    """A store that can do this."""

    def stage(self, key: str, body: bytes | Path) -> Staged:
        """Write ``body`` so that it can be published as ``key``."""
        ...

    def discard_staged(self, key: str, *, keep: Staged) -> None:
        """Discard everything that is staged under ``key`` but ``keep``, whoever staged it."""
        ...
