"""What writers, clean-ups, annotators and readers do: the product's own code, one process each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from datalake_service.catalog import layout
from datalake_service.catalog.manifests import RunKind, claim_run
from datalake_service.catalog.parts import Part
from datalake_service.chunks import writer as chunks
from datalake_service.chunks.encoder import RowEncoder
from datalake_service.errors import (
    AnnotationLockError,
    DatasetNotFoundError,
    DatasetNotMergedError,
    LeaseLostError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreError,
)
from datalake_service.pipeline.annotation.batch_turns import InOrder, Shared, Turn, Turns, Worker
from datalake_service.pipeline.annotation.finished_batches import FinishedBatches
from datalake_service.pipeline.annotation.finished_rows import FinishedRows
from datalake_service.pipeline.annotation.lease import AnnotatorLease, HeldLease, WorkerLease
from datalake_service.pipeline.upkeep.cleanup import clean_up
from datalake_service.pipeline.views.plan import ViewRequest
from datalake_service.pipeline.views.views import DatasetView
from datalake_service.storage.base import ObjectStore
from datalake_service.tables.objects.merged import MergedFile
from datalake_utils.clock import Clock
from tests.simulation.model import ANNOTATOR, DATASET
from tests.simulation.scheduler import Process

if TYPE_CHECKING:
    from tests.simulation.scenario import World

BATCHES = ("b1", "b10")
TTL = timedelta(seconds=120)
PART_ROWS = 5
"""Rows of each part of a batch that workers share."""


@dataclass
class Session:
    """One process at work."""

    world: World
    process: Process
    store: ObjectStore
    clock: Clock

    def hex(self, digits: int) -> str:
        """A random name."""
        return f"{self.world.scheduler.random.getrandbits(4 * digits):0{digits}x}"

    def writer(
        self, prefix: str, kind: RunKind, *, chunk_size: int, deduplicate_on: tuple[str, ...] | None = None
    ) -> chunks.ChunkWriter:
        """Claim a run, as ``ingest_iterator`` and ``annotate`` do."""
        manifest = claim_run(
            self.store, prefix, kind=kind, deduplicate_on=deduplicate_on, chunk_size=chunk_size,
            now=self.clock.now(), draw=lambda: self.hex(6),
        )  # fmt: skip
        encoder = RowEncoder(reserved=()) if kind == "annotation" else RowEncoder()
        return chunks.ChunkWriter(self.store, prefix, manifest, clock=self.clock, encoder=encoder, uploads=2)


Actor = Callable[[Session], None]


@dataclass
class Writer:
    """Appends rows to a batch. It goes on where the last acknowledgement was, or with new rows if they have no id."""

    name: str
    batch: str
    rows: int
    own_ids: bool = False
    deduplicate_on: tuple[str, ...] | None = None
    stored: int = 0
    starts: int = 0

    def __call__(self, session: Session) -> None:
        model, random = session.world.model, session.world.scheduler.random
        self.starts += 1
        repeats = self.own_ids or self.deduplicate_on is not None
        writer = session.writer(
            layout.batch_prefix(DATASET, self.batch), "rows", chunk_size=3, deduplicate_on=self.deduplicate_on
        )
        added: list[str] = []
        try:
            number = self.stored
            while number < self.rows:
                value = f"{self.name}-{number}" + ("" if repeats else f"-{self.starts}")
                model.offered[self.batch].add(value)
                added.append(value)
                writer.add({"id": value, "value": value} if self.own_ids else {"value": value})
                if self.deduplicate_on is not None and random.random() < 0.2:
                    writer.add({"value": value})
                number += 1
                if random.random() < 0.2:
                    writer.flush()
                    model.promised(self.batch, added)
                    self.stored = number
                    session.clock.sleep(random.uniform(0, 100))
        except StoreError:
            writer.close()
            raise
        writer.close()
        model.promised(self.batch, added)
        self.stored = number

    @property
    def finished(self) -> bool:
        """Whether all rows were acknowledged."""
        return self.stored >= self.rows


@dataclass
class CleanUp:
    """Merges everything a few times."""

    rounds: int
    errors: list[str] = field(default_factory=list)

    def __call__(self, session: Session) -> None:
        while self.rounds > 0:
            self.rounds -= 1
            for result in clean_up(session.store, datasets={DATASET: None}, clock=session.clock):
                if result.error is not None:
                    assert "Parquet" not in result.error, result.error
                    assert "damaged" not in result.error, result.error
                    self.errors.append(result.error)
            session.clock.sleep(session.world.scheduler.random.uniform(0, 200))


@dataclass
class Reader:
    """Reads the dataset a few times: as a view, or (faster) one merged object after the other."""

    rounds: int
    view: bool = False

    def __call__(self, session: Session) -> None:
        model, random = session.world.model, session.world.scheduler.random
        while self.rounds > 0:
            self.rounds -= 1
            session.clock.sleep(random.uniform(0, 300))
            since = {batch: len(model.versions[batch]) for batch in BATCHES}
            for batch, rows in (_view(session) if self.view else _objects(session)).items():
                model.seen(batch, rows, since=since[batch])


def _view(session: Session) -> dict[str, list[tuple[str, str]]]:
    try:
        view = DatasetView(session.store, ViewRequest(dataset=DATASET, annotator_columns={}))
        found: dict[str, list[tuple[str, str]]] = {batch: [] for batch in view.batches}
        for row in view:
            found[row["_batch"]].append((row["id"], row["value"]))
    except (DatasetNotFoundError, DatasetNotMergedError):
        return {}
    return found


def _objects(session: Session) -> dict[str, list[tuple[str, str]]]:
    found = {}
    for batch in BATCHES:
        rows = read_columns(session, batch, ("id", "value"))
        if rows is not None:
            found[batch] = [(name, value) for name, value in rows]
    return found


def read_columns(session: Session, batch: str, names: tuple[str, ...]) -> list[tuple[str, ...]] | None:
    """Some columns of a merged object; started again if it is replaced meanwhile. ``None``: not merged yet."""
    for _ in range(5):
        try:
            meta = session.store.head(layout.merged_key(layout.batch_prefix(DATASET, batch)))
            with closing(MergedFile(session.store, meta)) as merged:
                rows: list[tuple[str, ...]] = []
                for number in range(len(merged.group_sizes)):
                    columns = []
                    for name in names:
                        session.clock.sleep(session.world.scheduler.random.uniform(0, 10))
                        columns.append(merged.values(merged.read_group(number, [name]), name))
                    rows += zip(*columns, strict=True)
                return rows
        except ObjectNotFoundError:
            return None
        except PreconditionFailedError:
            continue
    return None


@dataclass
class Annotator:
    """Asks the rows that were not asked yet; as ``annotate`` does, without its event loop. Alone, or one of many."""

    rounds: int
    once: bool = False
    """It ends when it has seen everything done."""

    def __call__(self, session: Session) -> None:
        random = session.world.scheduler.random
        while self.rounds > 0:
            self.rounds -= 1
            session.clock.sleep(random.uniform(0, 50))
            kind = WorkerLease if random.random() < session.world.share else AnnotatorLease
            lease = kind(session.store, DATASET, ANNOTATOR, ttl=TTL, clock=session.clock, draw=lambda: session.hex(32))
            with session.world.watched(session.process, lease):
                try:
                    lease.take()
                    if _Asking(session, lease).work() and self.once:
                        self.rounds = 0
                except AnnotationLockError:
                    pass
                finally:
                    lease.give_back()


class _Asking:
    """One annotation run, its lease held."""

    def __init__(self, session: Session, lease: HeldLease) -> None:
        self._session = session
        self._world = session.world
        self._random = session.world.scheduler.random
        self._lease = lease
        self._keeper = lease.keeper()
        self._writer: chunks.ChunkWriter | None = None
        self._added: list[tuple[str, str]] = []
        self._complete: list[Turn] = []
        self._pauses = 0
        self._gave_up = False

    def work(self) -> bool:
        """Ask until nothing is left, or the lease demands an end; answers whether nothing is left."""
        self._keeper.start()
        try:
            versions = {batch: list(self._world.model.versions[batch][-1:]) for batch in BATCHES}
            planned = {batch: self._version(batch) for batch in BATCHES}
            turns = self._turns(planned)
            done = FinishedBatches(FinishedRows(self._session.store, DATASET, ANNOTATOR))
            try:
                while (turn := turns.next()) is not None:
                    with self._world.acts(self._session.process, self._lease, self._batch_of(turn)):
                        todo = self._todo(turn, done)
                        self._ask(turn, todo)
                    turns.end_reading(turn)
                    if todo:
                        self._complete.append(turn)
                    if self._random.random() < 0.5:
                        self._store(turns)
                self._store(turns)
                self._check_end(versions)
            except StoreError:
                if self._writer is not None:
                    self._writer.close()
                raise
            except LeaseLostError:
                self._close()
                raise
            self._close()
        except LeaseLostError:
            return False  # it starts again
        finally:
            self._keeper.stop()
        return not self._gave_up

    def _turns(self, planned: Mapping[str, tuple[str, int]]) -> Turns:
        if not isinstance(self._lease, WorkerLease):
            return InOrder([Part(batch) for batch in BATCHES])
        worker = Worker(DATASET, ANNOTATOR, self._lease.worker, self._keeper.must_stop, self._pause)
        parts = [
            Part(batch, number, number * PART_ROWS, (number + 1) * PART_ROWS)
            for batch in BATCHES
            for number in range(max(1, -(-planned[batch][1] // PART_ROWS)))
        ]
        return Shared(self._session.store, worker, parts, selection=lambda batch: planned[batch][0])

    def _pause(self, waits: int) -> bool:
        self._session.clock.sleep(self._random.uniform(10, 40))
        self._pauses += 1
        self._gave_up = self._pauses > 8
        return self._gave_up

    def _batch_of(self, turn: Turn) -> str | None:
        """What nobody else may ask meanwhile; ``None``: anything."""
        return turn.part.name if isinstance(self._lease, WorkerLease) else None

    def _version(self, batch: str) -> tuple[str, int]:
        """The version of a batch, and how many rows it has."""
        while True:
            try:
                meta = self._session.store.head(layout.merged_key(layout.batch_prefix(DATASET, batch)))
                with closing(MergedFile(self._session.store, meta)) as merged:
                    return meta.etag, sum(merged.group_sizes)
            except ObjectNotFoundError:
                return "none", 0
            except PreconditionFailedError:
                continue

    def _todo(self, turn: Turn, done: FinishedBatches) -> list[str]:
        known = {name for batch, name in self._world.model.annotated if batch == turn.batch}
        finished = set(done.of(turn))
        rows = (read_columns(self._session, turn.batch, ("id",)) or [])[turn.part.first : turn.part.end]
        todo = [name for (name,) in rows if name not in finished]
        turn.known, turn.handed_out = len(rows) - len(todo), len(todo)
        again = known & set(todo)
        assert not again, f"asked again although the answers were stored: {sorted(again)}"
        return todo

    def _ask(self, turn: Turn, todo: list[str]) -> None:
        for name in todo:
            lost = self._keeper.must_stop()
            if lost is not None:
                raise lost
            self._world.asks(self._session.process, self._lease, turn.batch, name)
            self._session.clock.sleep(self._random.uniform(0, 30))
            self._add(turn.batch, name)
            turn.answered += 1
            turn.finished += 1
            if self._random.random() < 0.1:
                self._flush()

    def _add(self, batch: str, name: str) -> None:
        if self._writer is None:
            self._writer = self._session.writer(
                layout.annotator_temp_prefix(DATASET, ANNOTATOR), "annotation", chunk_size=4
            )
        self._writer.add({"id": name, "_batch": batch, "_status": "done", "_error": None, "_metadata": None,
                          "_annotated_at": "2026-01-01T00:00:00.000000Z", "n": 1})  # fmt: skip
        self._added.append((batch, name))

    def _flush(self) -> None:
        if self._writer is not None:
            self._writer.flush()
            self._world.model.promised_annotations(self._added)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._world.model.promised_annotations(self._added)

    def _store(self, turns: Turns) -> None:
        """What ``annotation_output.py`` does: batches that are complete are stored, then given back."""
        self._flush()
        self._give_back(turns)

    def _give_back(self, turns: Turns) -> None:
        if isinstance(turns, Shared):
            turns.give_back(self._complete)
        self._complete = []

    def _check_end(self, versions: Mapping[str, list[tuple[tuple[str, str], ...]]]) -> None:
        """Who went through everything, or believes that others did, has seen every row of the beginning done."""
        if self._gave_up:
            return
        stored = self._world.model.stored_annotations()
        rows = {(batch, name) for batch, seen in versions.items() for version in seen for name, _ in version}
        assert rows <= stored, f"believed to be done: {sorted(rows - stored)}"
