"""The rows that an annotation run has to ask, batch by batch, and how many are still to come.

Joins whose batch is next (``batch_turns.py``), which rows are finished (``finished_rows.py``) and who reads the others.
Runs in the reader's thread; what it counts may be looked at by any.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing

from datalake_interfaces.annotators import DataItem
from datalake_service.catalog.generations import Company
from datalake_service.catalog.lease_keeper import LeaseKeeper
from datalake_service.catalog.parts import Part
from datalake_service.pipeline.annotation.batch_turns import InOrder, OpenTurns, Shared, Turn, Turns, Worker
from datalake_service.pipeline.annotation.finished_batches import FinishedBatches
from datalake_service.pipeline.annotation.finished_rows import FinishedRows, LeftOut
from datalake_service.pipeline.annotation.job import AnnotationJob, AnnotationOptions, RowReader
from datalake_service.pipeline.annotation.lease import HeldLease, WorkerLease
from datalake_service.pipeline.annotation.making import Making
from datalake_service.storage.base import ObjectStore

_LOOK_AGAIN_SECONDS = 5.0
"""How often a shared worker that finds nothing to take looks again; more often at first, and for short time limits."""
_FIRST_LOOK_SECONDS = 0.25
"""How soon it looks again the first time; each time it takes twice as long."""
_DOUBLINGS = 10
"""After so many it takes no longer."""


class RowsToAsk:
    """Reads what has to be asked, once."""

    def __init__(self, store: ObjectStore, job: AnnotationJob, options: AnnotationOptions, making: Making) -> None:
        """Read nothing yet."""
        self._store = store
        self._job = job
        self._options = options
        self._making = making
        self.ending = threading.Event()
        """Set when nobody wants another row."""
        self.already_done = 0
        """Finished rows of the batches that this worker read."""
        self.handed_out = 0
        """Rows that were to be asked."""
        self.batches = 0
        """Batches that had any."""
        self.open: OpenTurns | None = None
        """The batches of a worker that shares the annotator."""
        self._turns: Turns | None = None
        self._turn: Turn | None = None
        self._through = self._planned = 0

    @property
    def left(self) -> int:
        """Batches that were not gone through."""
        return 0 if self._turns is None else self._turns.left

    @property
    def gone_through(self) -> bool:
        """Whether all of them were."""
        return self._turns is not None and not self._turns.left

    @property
    def elsewhere(self) -> tuple[int, int]:
        """Finished and remaining rows of the batches that others went through meanwhile."""
        return (0, 0) if self._turns is None else self._turns.elsewhere

    @property
    def ahead(self) -> int | None:
        """About how many rows will still be handed out, by this worker or another; ``None``: it has not begun.

        Rows of batches that nobody looked at count as unfinished, and as selected as often as those before them were.
        """
        turns, turn = self._turns, self._turn
        if turns is None:
            return None
        share = self._through / self._planned if self._planned else 1.0
        here = 0.0 if turn is None else max(0.0, turn.part.rows * share - turn.known - turn.given)
        return round(turns.rows_ahead * min(1.0, share) + here)

    def blocks(
        self, rows: RowReader, lease: HeldLease, keeper: LeaseKeeper
    ) -> Generator[Sequence[DataItem], None, None]:
        """Everything that has to be asked; runs in the reader's thread."""
        job, making = self._job, self._making
        company = Company(lease.worker, lease.live) if isinstance(lease, WorkerLease) else None
        rule, only_failed = making.begin(company), making.only_failed
        turns = self._turns = self._take_turns(rows, lease, keeper, rule=f"{rule.name}{only_failed}")
        finished = FinishedBatches(
            FinishedRows(self._store, job.dataset, job.annotator, rule=rule, only_failed=only_failed)
        )
        while self.batches != self._options.max_batches and (turn := turns.next()) is not None:
            ids = finished.of(turn)
            self._turn = turn
            with closing(_generator(self._read(rows, turn, ids))) as blocks:
                for block in blocks:
                    self.batches += turn.given == 0 and len(block) > 0
                    self.handed_out += len(block)
                    turn.given += len(block)
                    if self.open is not None:
                        self.open.hand_out(turn, block)
                    yield block
            self._turn = None
            self._through += turn.known + turn.given
            self._planned += turn.part.rows
            turns.end_reading(turn)

    def _read(self, rows: RowReader, turn: Turn, ids: LeftOut) -> Iterable[Sequence[DataItem]]:
        def left_out(count: int) -> None:
            turn.known = count
            self.already_done += count

        if self.open is None:
            left_out(len(ids))
            return rows.read(turn.batch, leave_out=ids)
        self.open.begin(turn)
        return rows.read(turn.batch, leave_out=ids, part=turn.part, left_out=left_out)

    def _take_turns(self, rows: RowReader, lease: HeldLease, keeper: LeaseKeeper, *, rule: str) -> Turns:
        job = self._job
        if not isinstance(lease, WorkerLease):
            return InOrder([Part(batch, rows=rows.size(batch)) for batch in job.batches])
        most = min(_LOOK_AGAIN_SECONDS, self._options.lock_ttl_ms / 4_000)

        def pause(waits: int) -> bool:
            return self.ending.wait(min(most, _FIRST_LOOK_SECONDS * 2 ** min(waits, _DOUBLINGS)))

        worker = Worker(job.dataset, job.annotator, lease.worker, keeper.must_stop, pause)
        parts = [part for batch in job.batches for part in rows.parts(batch)]

        def selection(batch: str) -> str:
            return f"{rows.selection(batch)} {rule}"

        shared = Shared(self._store, worker, parts, selection=selection, since=job.since)
        self.open = OpenTurns(shared.give_back)
        return shared


def _generator(blocks: Iterable[Sequence[DataItem]]) -> Generator[Sequence[DataItem], None, None]:
    """Any iterable as something that can be closed; what it iterates over is closed with it."""
    if isinstance(blocks, Generator):
        return blocks
    return (block for block in blocks)
