"""What writers, clean-ups, annotators and readers do: the product's own code, one process each."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from datalake_service.catalog import layout
from datalake_service.catalog.lease_keeper import LeaseKeeper
from datalake_service.catalog.leases import Lease
from datalake_service.catalog.manifests import RunKind, claim_run
from datalake_service.chunks import writer as chunks
from datalake_service.chunks.encoder import RowEncoder
from datalake_service.errors import (
    DatasetNotFoundError,
    DatasetNotMergedError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreError,
)
from datalake_service.pipeline.cleanup import clean_up
from datalake_service.pipeline.finished_rows import FinishedRows
from datalake_service.pipeline.view_plan import ViewRequest
from datalake_service.pipeline.views import DatasetView
from datalake_service.storage.base import ObjectStore
from datalake_service.tables.merged import MergedFile
from datalake_utils.clock import Clock
from tests.simulation.model import ANNOTATOR, DATASET
from tests.simulation.scheduler import Process

if TYPE_CHECKING:
    from tests.simulation.scenario import World

BATCHES = ("b1", "b10")
TTL = timedelta(seconds=120)


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
    """Asks the rows that were not asked yet, under the lease; as ``annotate`` does, without its event loop."""

    rounds: int

    def __call__(self, session: Session) -> None:
        world = session.world
        while self.rounds > 0:
            self.rounds -= 1
            session.clock.sleep(world.scheduler.random.uniform(0, 50))
            key = layout.annotator_lease_key(DATASET, ANNOTATOR)
            lease = Lease(session.store, key, ttl=TTL, clock=session.clock, draw=lambda: session.hex(32))
            world.leases.append((session.process, lease))
            try:
                if lease.acquire():
                    self._hold(session, lease)
            finally:
                lease.release()
                world.leases.remove((session.process, lease))

    def _hold(self, session: Session, lease: Lease) -> None:
        keeper = LeaseKeeper(lease)
        keeper.start()
        try:
            known = set(session.world.model.annotated)
            done = FinishedRows(session.store, DATASET, ANNOTATOR)
            todo = [(batch, name) for batch in BATCHES for name in self._missing(session, batch, done.of(batch))]
            again = known & set(todo)
            assert not again, f"asked again although the answers were stored: {sorted(again)}"
            if todo:
                self._ask(session, keeper, todo)
        finally:
            keeper.stop()

    def _missing(self, session: Session, batch: str, done: Collection[str]) -> list[str]:
        return [name for (name,) in read_columns(session, batch, ("id",)) or [] if name not in done]

    def _ask(self, session: Session, keeper: LeaseKeeper, todo: list[tuple[str, str]]) -> None:
        world, random = session.world, session.world.scheduler.random
        writer = session.writer(layout.annotator_temp_prefix(DATASET, ANNOTATOR), "annotation", chunk_size=4)
        added: list[tuple[str, str]] = []
        try:
            for batch, name in todo:
                lost = keeper.must_stop()
                if lost is not None:
                    break
                world.acting(session.process)
                session.clock.sleep(random.uniform(0, 30))
                writer.add({"id": name, "_batch": batch, "_status": "done", "_error": None, "_metadata": None,
                            "_annotated_at": "2026-01-01T00:00:00.000000Z", "n": 1})  # fmt: skip
                added.append((batch, name))
                if random.random() < 0.1:
                    writer.flush()
                    world.model.promised_annotations(added)
        except StoreError:
            writer.close()
            raise
        writer.close()
        world.model.promised_annotations(added)
