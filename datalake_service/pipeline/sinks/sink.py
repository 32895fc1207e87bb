"""Where a task's rows go, and what becomes of those that the destination refuses. The port; no implementation.

``lake_sink.py`` writes chunks; the sinks of other destinations are built from ``writers/``; ``sinks.py`` chooses. A
sink knows nothing of handlers, rejection files or checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from datalake_service.catalog.rejections import RejectionKind
from datalake_service.errors import RowError

_Row = TypeVar("_Row")
_Form = TypeVar("_Form")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row comes from: travels with it as long as the destination may still refuse it."""

    record: object
    """What the feed needs to make a rejection of the row; opaque. May hold the record's bytes."""
    seconds: float | None = None
    """When the record came into being, since 1970: derived from the record only. ``None``: it has no time."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that the destination does not take, and will not take if it is sent again."""

    origin: Origin
    row: Mapping[str, Any]
    message: str
    """One line that says what is wrong with the row, with the limit that it is over."""
    kind: RejectionKind | None = RejectionKind.WRITE
    """Which step could not use it; ``None``: the user's code left it out, it is no rejection but a skip."""


class Sink(Protocol):
    """Takes rows in their order. One thread calls it; made for one attempt of one task.

    Guarantees: after ``flush`` returned, every row that was added is accepted by the destination (durable there) or is
    in ``refused()``. Until then it may be lost by a crash, and is added again by the next attempt. Memory is bounded,
    however many rows are added between two flushes. A row may be written more than once, also within one attempt.

    Errors of the destination that are not about a row are ``StoreError``; the task fails with their line.
    """

    @property
    def needs_origins(self) -> bool:
        """Whether ``add`` has to be told where rows come from; if not, ``None`` will do."""
        ...

    @property
    def saturated(self) -> bool:
        """Whether the caller should ``wait_for_room`` before it adds more."""
        ...

    @property
    def rows_buffered(self) -> int:
        """Rows that only a ``flush`` would bring on their way: at 0 is a good moment for a checkpoint."""
        ...

    @property
    def run(self) -> str | None:
        """The run of the lake that was written to last; ``None``: none was, or the rows go elsewhere."""
        ...

    def add(self, row: dict[str, Any], origin: Origin | None) -> None:
        """Take a row. May start to send, but does not wait for it.

        Raises:
            RowError: The row cannot be stored; the rows before are not touched by that. What methods of the row's own
                values raise becomes one (``of_values``); what a destination raises never does: that it is out of
                reach says nothing about a row.
            StoreError: The destination failed; the rows since the last flush may be lost.
        """
        ...

    def wait_for_room(self) -> None:
        """Block while too much is on its way.

        Raises:
            StoreError: The destination failed.
        """
        ...

    def flush(self) -> None:
        """Block until every row is accepted or refused for good.

        Raises:
            StoreError: The destination failed.
        """
        ...

    def refused(self) -> Sequence[Refusal]:
        """The rows refused for good since this was asked last. Asked after ``flush`` and now and then before."""
        ...

    def close(self) -> None:
        """Flush, and let go of everything. Called once.

        Raises:
            StoreError: The destination failed; everything is let go of all the same.
        """
        ...


def of_values(make: Callable[[_Row], _Form], row: _Row) -> _Form:
    """What ``make`` makes of a row, where methods of the row's own values run.

    Raises:
        RowError: It cannot be made, whatever they raise.
    """
    try:
        return make(row)
    except RowError:
        raise
    except Exception as error:
        raise RowError(f"its values cannot be stored: {type(error).__name__}") from error
