"""What a task reads from: outcomes one after the other, and where it stands behind each of them.

Two feeds exist: ``files.py`` and ``generated.py``. A feed knows nothing of chunks, rejection files or checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from datalake_service.catalog.rejections import Rejection
from datalake_service.catalog.tasks import TaskCounts
from datalake_service.handling.apply import Outcome


class InputFailedError(Exception):
    """The input cannot be read any further; what was read before is good. The text is for the user."""


class InputChangedError(Exception):
    """The input is another version than the one that the checkpoint belongs to, or was replaced while it was read."""


class Feed(Protocol):
    """One input through one handler, for one attempt. Used by one thread."""

    @property
    def resumes(self) -> bool:
        """Whether it can go on in the middle; if not, every attempt starts from an empty account."""
        ...

    @property
    def at_rest(self) -> bool:
        """Whether ``position`` and ``counts`` fit together here; at the latest they do before the next record."""
        ...

    @property
    def position(self) -> object:
        """Where the next attempt goes on: JSON. Behind the outcome that was yielded last."""
        ...

    @property
    def version(self) -> Mapping[str, Any] | None:
        """What identifies the version of the input: JSON."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about the input although the task went on."""
        ...

    @property
    def took_back(self) -> bool:
        """Whether the last rejection was taken back."""
        ...

    def open(self, *, checkpoint: object, version: Mapping[str, Any] | None) -> None:
        """Open handler and input at ``checkpoint``, which belongs to ``version``; ``None``: at the beginning.

        Raises:
            HandlerLoadError: The handler could not be opened, or has no usable patterns.
            InputFailedError: The input cannot be opened.
            InputChangedError: It is another version.
        """
        ...

    def outcomes(self) -> Iterator[Outcome]:
        """Yield what becomes of each record, in order. The handler is called when the next one is asked for.

        Raises:
            InputFailedError: The input cannot be read any further.
            InputChangedError: The input was replaced in the middle.
        """
        ...

    def reject_row(self, row: Mapping[str, Any], message: str) -> Rejection:
        """Turn the row that was yielded last into a rejection, in the counts as well."""
        ...

    def take_back(self) -> None:
        """Go back before the record that was rejected last, in position and counts."""
        ...

    def counts(self) -> TaskCounts:
        """What became of the records since ``open``; always balanced."""
        ...

    def close(self) -> None:
        """Close handler and input; never raises. A handler that fails now adds a note."""
        ...
