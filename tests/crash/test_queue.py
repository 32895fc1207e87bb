from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.catalog.tasks import TaskStatus
from datalake_service.pipeline.jobs.engine import LakeOutput, QueueInput, TaskJob
from datalake_service.storage import FolderStore
from tests.crash.deaths import examples
from tests.support.faulty_clients import FaultyClients
from tests.support.faulty_store import Crash, Fault, FaultyStore
from tests.support.queue_tasks import MESSAGES, queue_job
from tests.support.sqs_server import Sqs, sqs_server
from tests.support.tasks import TickingClock, after, run_here, state_of, stored_rejections, write_module

BODIES = [f"{word} {number}" for number in range(2) for word in ("doc", "own", "bad", "doc", "skip")]
CRASHES = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER)


@dataclass(frozen=True)
class Outcome:
    """Everything that must not depend on how it came about."""

    rows: Mapping[tuple[str, str], Any]
    """By batch and id; rows of one id are equal."""
    rejected: frozenset[tuple[str, str]]
    deleted: frozenset[str]


@pytest.fixture(scope="module")
def sqs() -> Iterator[Sqs]:
    """One server for all tests."""
    with sqs_server() as server:
        yield server


class World:
    """A lake and a queue, for one task."""

    def __init__(
        self, sqs: Sqs, folder: Path, bodies: list[str], *, queue: str = "orders", chunk_size: int = 3
    ) -> None:
        sqs.reset()
        sqs.make_queue(queue)
        self.sqs = sqs
        self.queue = queue
        for number, body in enumerate(bodies):
            sqs.send(queue, body, group=f"g{number % 2}" if queue.endswith(".fifo") else None)
            sqs.now += 900  # so that they belong to several batches
        self.inner = FolderStore(folder / "lake", durable=False)
        self.code = write_module(folder / "code", MESSAGES)
        self._chunk_size = chunk_size

    def attempt(
        self,
        *,
        in_store: tuple[int, Fault] | None = None,
        in_queue: tuple[int, Fault] | None = None,
        pace: float = 0.9,
        looks: int | None = None,
    ) -> tuple[TaskStatus | None, int, int]:
        """One worker, which dies as planned; ``None`` if it did. Tells how many operations it came to."""
        store = FaultyStore(self.inner, dict([in_store]) if in_store else None)
        clients = FaultyClients(self.sqs.clients(), dict([in_queue]) if in_queue else None, store=store)
        status = None
        with suppress(Crash):
            stop = after(looks) if looks is not None else (lambda: False)
            status = run_here(self._job(store, clients), stop=stop, clock=TickingClock(pace)).status
        self.sqs.now += 31  # what a dead worker has taken comes again
        return status, len(store.operations), len(clients.operations)

    def _job(self, store: FaultyStore, clients: FaultyClients) -> TaskJob:
        job = queue_job(self.inner, self.code, clients, queue=self.queue)
        output = LakeOutput(chunk_size=self._chunk_size, batch_by_time="{date:%Y%m%d-%H}")
        assert isinstance(job.input, QueueInput)
        return replace(job, store=store, output=output)

    def outcome(self) -> Outcome:
        """What is there now; the task has to be completed."""
        state = state_of(self.inner)
        assert state.status is TaskStatus.COMPLETED
        assert state.counts.balanced
        assert not self.sqs.queues[self.queue].messages
        rows: dict[tuple[str, str], Any] = {}
        for batch, row in stored_rows(self.inner):
            assert rows.setdefault((batch, row["id"]), row) == row
        lines = [line for found in stored_rejections(self.inner).values() for line in found]
        rejected = frozenset((line["startOffset"], line["message"]) for line in lines)
        return Outcome(rows, rejected, frozenset(self.sqs.queues[self.queue].deleted))


def stored_rows(store: FolderStore) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of all chunks of all batches, with their batch."""
    for meta in store.list("d/"):
        _, batch, name = meta.key.split("/", 2)
        if "_chunk_" in name:
            for line in store.get(meta.key)[0].splitlines():
                yield batch, json.loads(line)


def clean_run(sqs: Sqs, folder: Path, bodies: list[str], **settings: Any) -> tuple[Outcome, int, int]:
    """What a task leaves behind if nothing goes wrong, and how many operations that takes."""
    world = World(sqs, folder, bodies, **settings)
    status, stored, asked = world.attempt()
    assert status is TaskStatus.COMPLETED
    return world.outcome(), stored, asked


@pytest.mark.parametrize(
    ("where", "queue"), [("in_store", "orders"), ("in_queue", "orders"), ("in_queue", "orders.fifo")]
)
def test_a_crash_at_any_operation_changes_nothing(sqs: Sqs, tmp_path: Path, where: str, queue: str) -> None:
    """Of the lake or of the queue: rows and rejections are those of a run without a crash, and the queue is empty."""
    expected, stored, asked = clean_run(sqs, tmp_path / "clean", BODIES, queue=queue)
    assert {batch for batch, _ in expected.rows} >= {"20261120-13", "20261120-14"}
    assert len(expected.rejected) == 2
    operations = stored if where == "in_store" else asked
    assert operations > 10
    for number in range(1, operations + 1):  # before it, is after the one before it, of the lake or of the queue
        world = World(sqs, tmp_path / str(number), BODIES, queue=queue)
        planned: dict[str, Any] = {where: (number, Fault.CRASH_AFTER)}
        assert world.attempt(**planned)[0] is None, number
        assert world.attempt()[0] is TaskStatus.COMPLETED
        assert world.outcome() == expected, number


crash = st.tuples(st.sampled_from(["in_store", "in_queue"]), st.integers(1, 25), st.sampled_from(CRASHES))


@settings(max_examples=examples(6))
@given(
    st.lists(st.sampled_from(["doc", "own", "bad", "skip", "raise", "set"]), max_size=30),
    st.lists(crash, max_size=4),
    st.integers(1, 7),
    st.sampled_from([0.1, 3.0, 40.0]),
    st.integers(0, 12),
    st.sampled_from(["orders", "orders.fifo"]),
)
def test_any_number_of_crashes_and_stops_changes_nothing(
    sqs: Sqs,
    words: list[str],
    crashes: list[tuple[str, int, Fault]],
    chunk_size: int,
    pace: float,
    looks: int,
    queue: str,
) -> None:
    """Whatever is in the queue, however chunks are cut and checkpoints made."""
    bodies = [f"{word} {number}" for number, word in enumerate(words)]
    with tempfile.TemporaryDirectory() as folder:
        expected, _, _ = clean_run(sqs, Path(folder, "clean"), bodies, queue=queue, chunk_size=chunk_size)
        world = World(sqs, Path(folder, "world"), bodies, queue=queue, chunk_size=chunk_size)
        for where, number, fault in crashes:
            planned: dict[str, Any] = {where: (number, fault)}
            world.attempt(**planned, pace=pace, looks=looks)
        while world.attempt(pace=pace)[0] is not TaskStatus.COMPLETED:
            pass
        assert world.outcome() == expected
