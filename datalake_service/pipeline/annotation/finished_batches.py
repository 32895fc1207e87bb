"""The finished rows of the batch that a worker reads, looked up once for all of its parts."""

from __future__ import annotations

from datalake_service.pipeline.annotation.batch_turns import Turn
from datalake_service.pipeline.annotation.finished_rows import FinishedRows, LeftOut
from datalake_service.tables.objects.finished_ids import FinishedIds


class FinishedBatches:
    """Finished rows, turn after turn. Remembers those of the last batch, as long as they are all there can be."""

    def __init__(self, rows: FinishedRows) -> None:
        """Look at no batch yet; ``rows`` were looked at after the claims (``docs/design/012``, rule 5)."""
        self._rows = rows
        self._batch: str | None = None
        self._ids: LeftOut = FinishedIds()

    def of(self, turn: Turn) -> LeftOut:
        """The finished rows of the batch of a turn, at least all those of its part.

        Raises:
            StoreError: The store failed.
        """
        if turn.changed:
            self._rows.look_again()
        elif turn.in_parts and turn.batch == self._batch:
            return self._ids  # nobody else has worked on this part since
        self._batch, self._ids = None, FinishedIds()  # not two of them at a time
        self._ids = self._rows.of(turn.batch, again=turn.in_parts)
        self._batch = turn.batch
        return self._ids
