"""Which batch of an annotation run is next: one after the other, or those that no other worker has.

``docs/design/012-shared-annotators.md`` says what workers promise each other. Runs in the reader's thread, except for
``give_back``. Reads no rows.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from threading import Lock
from typing import Protocol

from datalake_interfaces.annotators import DataItem
from datalake_service.catalog.claims import Claim, Claims, Seen
from datalake_service.catalog.fencing import Workers, is_gone
from datalake_service.catalog.parts import Part
from datalake_service.errors import LeaseLostError, StoreError
from datalake_service.events import ANNOTATION_BATCH_TAKEN_OVER, ANNOTATION_CLAIM_NOT_RELEASED, ANNOTATION_WAITING, emit
from datalake_service.storage.base import ObjectStore


@dataclass(slots=True, eq=False)
class Turn:
    """One batch, or a part of one, that is this worker's to read and to ask."""

    part: Part
    in_parts: bool = False
    """Whether the batch has other parts, too."""
    selection: str = ""
    """Names the rows that are selected."""
    claim: Claim | None = None
    """``None``: the whole annotator is this worker's."""
    changed: bool = False
    """Whether others may have stored rows of it that no look at the beginning could see."""
    known: int = 0
    """Finished rows before this worker asked any."""
    given: int = 0
    """Rows that the reader has found to be asked."""
    handed_out: int = 0
    """The same, as those know who follow the answers."""
    all_read: bool = False
    """Whether that is the last word."""
    answered: int = 0
    """Rows in chunks, stored or not."""
    finished: int = 0
    """Those of them that need not be asked again."""

    @property
    def batch(self) -> str:
        """The batch."""
        return self.part.batch

    @property
    def complete(self) -> bool:
        """Whether only storing is left to do."""
        return self.all_read and self.answered == self.handed_out

    def seen(self) -> Seen:
        """What there is to say of it when everything is stored."""
        return Seen(self.selection, self.known + self.finished, self.handed_out - self.finished)


class Turns(Protocol):
    """Batches for the reader, one at a time."""

    @property
    def left(self) -> int:
        """Batches that neither this worker nor another one went through."""
        ...

    @property
    def elsewhere(self) -> tuple[int, int]:
        """Finished and remaining rows of the batches that others went through meanwhile."""
        ...

    @property
    def rows_ahead(self) -> int:
        """Rows of what neither this worker has begun nor another one went through, finished or not."""
        ...

    def next(self) -> Turn | None:
        """The next batch or part; ``None``: that was all. Waits, if it has to."""
        ...

    def end_reading(self, turn: Turn) -> None:
        """Hear that all rows of a batch were handed out."""
        ...


class InOrder:
    """All batches, for a worker that works alone."""

    elsewhere = (0, 0)

    def __init__(self, batches: Iterable[Part]) -> None:
        """Begin with the first."""
        self._batches = list(batches)
        self._next = 0
        self.rows_ahead = sum(part.rows for part in self._batches)
        """Rows of those that were not begun."""

    @property
    def left(self) -> int:
        """Batches that were not looked at."""
        return len(self._batches) - self._next

    def next(self) -> Turn | None:
        """The next batch."""
        if not self.left:
            return None
        self._next += 1
        part = self._batches[self._next - 1]
        self.rows_ahead -= part.rows
        return Turn(part)

    def end_reading(self, turn: Turn) -> None:
        """Do nothing: nobody waits for it."""


@dataclass(frozen=True, slots=True)
class Worker:
    """One of the workers that share an annotator."""

    dataset: str
    annotator: str
    name: str
    must_stop: Callable[[], LeaseLostError | None]
    """Says when its lease demands that it ends."""
    pause: Callable[[int], bool]
    """Waits a while before the next look at what others have; answers whether to give up waiting.

    Told how often it waited before since there was something to take.
    """


class Shared:
    """The batches that no other living worker has, until all were seen to the end by somebody.

    What is said of a batch holds for each part of a big one: parts are claimed one by one.
    """

    def __init__(
        self,
        store: ObjectStore,
        worker: Worker,
        parts: Collection[Part],
        *,
        selection: Callable[[str], str],
        since: Mapping[str, str] | None = None,
    ) -> None:
        """Look at what was claimed before: rows that are finished have to be read after this.

        Args:
            store: The lake.
            worker: Who asks; its lease is held.
            parts: Those to go through.
            selection: Names the rows of a batch that will be read.
            since: The claims, with their ETags, as they were when the run began whose workers these are; default: when
                this one begins.

        Raises:
            StoreError: The store failed.
        """
        self._worker = worker
        self._selection = selection
        self._claims = Claims(store, worker.dataset, worker.annotator, worker=worker.name)
        self._workers = Workers(store, worker.dataset, worker.annotator, gone=is_gone)
        self._began = dict(self._claims.versions())
        self._since = self._began if since is None else since
        self._parts = {part.name: part for part in parts}
        self._sizes = Counter(part.batch for part in parts)
        self._known: dict[str, Claim | None] = {name: None for name in self._parts if name not in self._began}
        """Claims as they were read last; ``None``: there was none."""
        self._open = set(self._parts)
        self._open_of = dict(self._sizes)
        """Parts of each batch that nobody went through; batches without any are not in it."""
        self.rows_ahead = sum(part.rows for part in parts)
        """Rows of what neither this worker has begun nor another one went through."""
        self._round = sorted(self._parts, key=self._place, reverse=True)  # the next one is taken from the end
        self._later: list[str] = []
        self._live: Collection[str] | None = None
        """Who lived when the claims in ``_known`` had been read; ``None``: not looked up yet."""
        self._took_some = True
        self._waiting = self._waits = 0
        self._elsewhere = [0, 0]
        self._lock = Lock()
        self._doubtful: list[tuple[Claim, Seen]] = []

    @property
    def left(self) -> int:
        """Batches that neither this worker nor another one went through."""
        return len(self._open_of)

    @property
    def elsewhere(self) -> tuple[int, int]:
        """Finished and remaining rows of the batches that others went through meanwhile."""
        finished, remaining = self._elsewhere
        return finished, remaining

    def next(self) -> Turn | None:
        """Claim the next batch that is free; waits while others have all that is left.

        Raises:
            LeaseLostError: The lease of this worker demands that it ends.
            StoreError: The store failed.
        """
        while True:
            while self._round:
                self._stop_if_lost()
                turn = self._try(self._round.pop())
                if turn is not None:
                    self._took_some, self._waits = True, 0
                    return turn
            if not self._later:
                return None
            if not self._took_some and self._wait():
                return None
            self._look_again()

    def end_reading(self, turn: Turn) -> None:
        """Give a batch back in which there was nothing to ask; others when all is answered and stored.

        Its answers may be on their way: whoever sees ``complete`` calls ``give_back`` when they are stored.
        """
        self._close(turn.part.name)
        if turn.handed_out:
            turn.all_read = True
        else:
            self.give_back([turn])

    def give_back(self, turns: Iterable[Turn]) -> None:
        """Say that batches were seen to the end; all their answers are stored. Any thread; raises nothing.

        What cannot be said now is said when this worker looks for batches the next time; at the latest its end
        makes all of its batches free.
        """
        with self._lock:
            todo = [*self._doubtful, *((turn.claim, turn.seen()) for turn in turns if turn.claim is not None)]
            self._doubtful = []
            for claim, seen in todo:
                try:
                    self._claims.give_back(claim, seen)
                except StoreError as error:
                    self._doubtful.append((claim, seen))
                    self._tell(ANNOTATION_CLAIM_NOT_RELEASED, logging.WARNING, batch=claim.batch, error=str(error))

    # One batch -----------------------------------------------------------------------------------------

    def _try(self, batch: str) -> Turn | None:
        """Claim a batch, unless another one has it or went through it."""
        claim = self._known[batch] if batch in self._known else self._read(batch)
        if claim is not None:
            if not self._is_free(claim):
                self._later.append(batch)
                return None
            if self._was_seen(claim):
                return None
        taken = self._claims.take(batch, over=claim)
        if taken is None:  # somebody was faster; who lives has to be looked up again for that claim
            self._known.pop(batch, None)
            self._later.append(batch)
            return None
        if claim is not None and not claim.record.released and claim.record.worker != self._worker.name:
            self._tell(ANNOTATION_BATCH_TAKEN_OVER, logging.WARNING, batch=batch, worker=claim.record.worker)
        changed = claim is not None and not (claim.record.released and claim.etag == self._began.get(batch))
        part = self._parts[batch]
        self.rows_ahead -= part.rows
        in_parts = self._sizes[part.batch] > 1
        return Turn(part, in_parts, self._selection(part.batch), taken, changed)

    def _read(self, batch: str) -> Claim | None:
        claim = self._known[batch] = self._claims.read(batch)
        return claim

    def _is_free(self, claim: Claim) -> bool:
        """Whether nobody acts on a batch. Who has it counts as alive as long as that was not looked up."""
        owner = claim.record.worker
        return (
            claim.record.released or owner == self._worker.name or (self._live is not None and owner not in self._live)
        )

    def _was_seen(self, claim: Claim) -> bool:
        """Whether another worker went through a batch since this one, or its run, began, and selected the same rows."""
        seen = claim.record.seen
        if seen is None or claim.etag == self._since.get(claim.batch):
            return False
        if seen.selection != self._selection(self._parts[claim.batch].batch):
            return False
        self._close(claim.batch)
        self.rows_ahead -= self._parts[claim.batch].rows
        self._elsewhere[0] += seen.finished
        self._elsewhere[1] += seen.remaining
        return True

    # Waiting -------------------------------------------------------------------------------------------

    def _look_again(self) -> None:
        """Another round over what others had: read the claims that changed, then (in this order) see who lives."""
        self.give_back(())
        versions = self._claims.versions()
        later, self._later = self._later, []
        for batch in later:
            known = self._known.get(batch)
            if known is None or known.etag != versions.get(batch):
                self._read(batch)
        owners = {claim.record.worker for batch in later if (claim := self._known[batch]) and not claim.record.released}
        self._live = self._workers.live(but=self._worker.name) if owners - {self._worker.name} else {}
        self._took_some = False
        self._round = later[::-1]

    def _wait(self) -> bool:
        if self._waiting != len(self._later):
            self._waiting = len(self._later)
            self._tell(ANNOTATION_WAITING, logging.INFO, batches=self._waiting)
        if self._worker.pause(self._waits):
            return True
        self._waits += 1
        self._stop_if_lost()
        return False

    def _stop_if_lost(self) -> None:
        lost = self._worker.must_stop()
        if lost is not None:
            raise lost

    def _close(self, name: str) -> None:
        if name not in self._open:
            return
        self._open.discard(name)
        batch = self._parts[name].batch
        self._open_of[batch] -= 1
        if not self._open_of[batch]:
            del self._open_of[batch]

    def _place(self, name: str) -> tuple[bytes, bytes]:
        """Where a part stands in this worker's order: elsewhere than in that of another one, beside its batch's."""
        return self._hash(self._parts[name].batch), self._hash(name)

    def _hash(self, name: str) -> bytes:
        return blake2b(f"{self._worker.name}/{name}".encode(), digest_size=8).digest()

    def _tell(self, event: str, level: int, **fields: object) -> None:
        emit(event, level=level, dataset=self._worker.dataset, annotator=self._worker.annotator, **fields)


class OpenTurns:
    """The batches of a shared worker between their first row and the last answer, seen from the event loop."""

    def __init__(self, give_back: Callable[[Sequence[Turn]], None]) -> None:
        """``give_back`` is called in a thread with batches whose answers are all stored."""
        self.give_back = give_back
        self._turns: dict[str, Turn] = {}
        self._of_row: dict[tuple[str, str], Turn] = {}
        """Who waits for the answer to a row, if several parts of its batch may be on their way."""

    def begin(self, turn: Turn) -> None:
        """Follow a batch, from before its first row is handed out."""
        self._turns[turn.part.name] = turn

    def hand_out(self, turn: Turn, items: Sequence[DataItem]) -> None:
        """Rows of it are about to be asked."""
        turn.handed_out += len(items)
        if turn.in_parts:
            self._of_row.update(((turn.batch, item.id), turn) for item in items)

    def note(self, batch: str, row_id: str, *, finished: bool) -> None:
        """An answer is in a chunk, stored or not."""
        turn = self._of_row.pop((batch, row_id), None) or self._turns[batch]
        turn.answered += 1
        turn.finished += finished

    def take_complete(self) -> list[Turn]:
        """Batches in which everything is answered; they are not followed any more."""
        return [self._turns.pop(turn.part.name) for turn in list(self._turns.values()) if turn.complete]
