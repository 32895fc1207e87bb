"""Rows from anywhere: the interface for sources that have no connector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Iterable
from typing import Any

from datalake_interfaces.context import HandlerContext
from datalake_interfaces.documents import Document

Rows = Iterable[dict[str, Any] | Document]
"""Rows as dictionaries or documents, produced one after the other."""
AsyncRows = AsyncIterable[dict[str, Any] | Document]
"""The same, asynchronously."""


class Generator(ABC):
    """Yields the rows of a batch.

    Guarantees:
        The class is constructed once for a run as ``Class(**parameters)``, with the ``parameters`` of the dataset
        file; then ``open``, ``generate`` and ``close`` are called in this order, by one thread.

        **At least once**: a run that was killed is started again from the first row, because a generator has no
        position to resume from. Give rows an ``id`` that depends on their content or their origin only; the merge
        then keeps one of each.

        If ``generate`` raises, the rows it yielded before are safe.
    """

    def open(self, context: HandlerContext) -> None:
        """Acquire what is needed. Called once, before ``generate``."""
        return

    @abstractmethod
    def generate(self) -> Rows | AsyncRows:
        """Yield rows.

        Write it as a generator function (``yield``) or an async one (``async def`` with ``yield``), or return
        anything that can be iterated. Rows are pulled one at a time and not kept, so the source may be endless.
        """

    def close(self) -> None:
        """Release what ``open`` acquired. Called when the rows have ended or failed; not if the process is killed."""
        return
