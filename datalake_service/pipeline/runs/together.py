"""Whether a run has its dataset file for itself, or is one of several workers: what those do one at a time."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Company(Protocol):
    """The others that run the same dataset file now."""

    @property
    def worker(self) -> str | None:
        """How this one is called among them; ``None``: there are no others."""
        ...

    def planning(self) -> AbstractContextManager[None]:
        """Around the first planning. May wait."""
        ...

    def merging(self) -> AbstractContextManager[None]:
        """Around the merge of what the tasks wrote. May wait; what others merged has to be looked up inside."""
        ...


class Nobody:
    """A run that has its dataset file for itself."""

    worker = None

    def planning(self) -> AbstractContextManager[None]:
        """Begin at once."""
        return nullcontext()

    def merging(self) -> AbstractContextManager[None]:
        """Begin at once."""
        return nullcontext()


NOBODY = Nobody()
