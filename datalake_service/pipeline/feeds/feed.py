"""What a task reads from: outcomes one after the other, and where it stands behind each of them.

``feeds.py`` chooses among ``files.py``, ``generated.py``, ``queue_feed.py`` and others. A feed knows nothing of chunks,
rejection files or checkpoints, and it never sleeps for longer than a long poll of its source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from datalake_service.catalog.rejections import Rejection
from datalake_service.catalog.tasks import TaskCounts
from datalake_service.handling.apply import Outcome
from datalake_service.pipeline.sinks.sink import Origin, Refusal


class InputFailedError(Exception):
    """The input cannot be read any further; what was read before is good. The text is for the user."""


class InputChangedError(Exception):
    """The input is another version than the one that the checkpoint belongs to, or was replaced while it was read."""


@dataclass(frozen=True, slots=True)
class Idle:
    """The source has nothing for now. The task looks around, waits, and asks the feed again."""

    seconds: float = 0.0
    """How long it is of no use to ask; 0: the feed has waited itself, in a long poll."""


FeedOutcome = Outcome | Idle
"""What a feed yields."""


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

    @property
    def pressing(self) -> bool:
        """Whether a checkpoint is wanted as soon as it can be made: much waits for ``kept``, or others wait for it."""
        ...

    def outcomes(self) -> Iterator[FeedOutcome]:
        """Yield what becomes of each record, in order. The handler is called when the next one is asked for.

        Raises:
            InputFailedError: The input cannot be read any further.
            InputChangedError: The input was replaced in the middle.
        """
        ...

    def origin(self) -> Origin:
        """Where the row comes from that was yielded last; for ``reject``, much later perhaps."""
        ...

    def reject_row(self, row: Mapping[str, Any], message: str) -> Rejection:
        """Turn the row that was yielded last into a rejection, in the counts as well."""
        ...

    def reject(self, refusal: Refusal) -> Rejection:
        """Turn an earlier row, which its destination refused, into a rejection, in the counts as well."""
        ...

    def leave_out(self) -> None:
        """Count an earlier row as a skip: a step behind the handler did not want it."""
        ...

    def kept(self) -> None:
        """Everything up to ``position`` is durable: the source may forget it. Called after each checkpoint.

        Never raises: what the source could not be told it delivers again, and that is no loss.
        """
        ...

    def take_back(self) -> None:
        """Go back before the record that was rejected last, in position and counts."""
        ...

    def counts(self) -> TaskCounts:
        """What became of the records since ``open``; always balanced."""
        ...

    def close(self) -> None:
        """Close the handler; never raises. One that fails now adds a note. May be called again."""
        ...

    def let_go(self) -> None:
        """The attempt is over, ``kept`` will not be called again: let go of the input. Never raises.

        A source that waits for an answer about what was not kept is told that there will be none.
        """
        ...
