"""Rows to a queue, a stream or a table: a ``Writer`` packs them, a ``Delivery`` brings them there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datalake_service.handling.rows import has_own_id
from datalake_service.pipeline.sinks.sink import Origin, Refusal, of_values
from datalake_service.writers.delivery import Delivery
from datalake_service.writers.outgoing import Outgoing, Writer
from datalake_utils.clock import Clock


class DeliverySink:
    """One destination, for one attempt of a task; see ``Sink``."""

    needs_origins = True
    rows_buffered = 0
    """A request that is not full costs little: any moment is good for a checkpoint, and no record waits for long."""
    run: str | None = None

    def __init__(self, writer: Writer, *, senders: int, clock: Clock) -> None:
        """Send with up to ``senders`` requests at a time. Nothing is asked of the service yet."""
        self._writer = writer
        self._senders = senders
        self._clock = clock
        self._delivery: Delivery | None = None

    @property
    def saturated(self) -> bool:
        """Whether so much waits for an answer that the task should wait."""
        return self._delivery is not None and self._delivery.saturated

    def add(self, row: dict[str, Any], origin: Origin | None) -> None:
        """Pack a row; full batches go on their way. See ``Sink.add``."""
        delivery = self._delivery or self._open()
        delivery.add(of_values(self._writer.pack, outgoing(row, (row, origin))))

    def wait_for_room(self) -> None:
        """Block while too much waits for an answer."""
        if self._delivery is not None:
            self._delivery.wait_for_room()

    def flush(self) -> None:
        """Block until every row is accepted or refused for good."""
        if self._delivery is not None:
            self._delivery.flush()

    def refused(self) -> Sequence[Refusal]:
        """What the destination refused."""
        refused = [] if self._delivery is None else self._delivery.refused()
        return [Refusal(origin, row, message) for (row, origin), message in refused]

    def close(self) -> None:
        """Flush, and end the threads."""
        try:
            self.flush()
        finally:
            if self._delivery is not None:
                self._delivery.close()

    def _open(self) -> Delivery:
        self._writer.open()
        self._delivery = Delivery(self._writer, clock=self._clock, senders=self._senders)
        return self._delivery


def outgoing(row: dict[str, Any], tag: object) -> Outgoing:
    """A row as other destinations get it: without the id that was added for the lake."""
    record = row
    if not has_own_id(row):
        record = row.copy()
        del record["id"]
    return Outgoing(record, str(row.get("id", "")), tag)
