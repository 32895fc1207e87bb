from __future__ import annotations

import gzip
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.catalog.tasks import TaskCounts, TaskStatus
from datalake_service.pipeline.jobs.engine import TaskJob
from datalake_service.storage import FolderStore
from datalake_service.storage.base import ObjectStore
from tests.crash.deaths import every_death, examples
from tests.support.faulty_store import Crash, Fault, FaultyStore
from tests.support.tasks import (
    LINES,
    TickingClock,
    after,
    file_job,
    merged_rows,
    run_here,
    state_of,
    stored_rejections,
    write_module,
)

LOG = "".join(f"{word} {number}\n" for number in range(6) for word in ("doc", "own", "bad", "doc", "skip"))
FILES = {
    "plain": LOG.encode(),
    "gzip members": b"".join(gzip.compress(line.encode()) for line in LOG.splitlines(keepends=True)),
    "cut off": (gzip.compress(LOG.encode()) + gzip.compress(b"doc lost\n" * 9))[:-9],
}


@dataclass(frozen=True)
class Outcome:
    """Everything that a task leaves behind and that must not depend on how it came about."""

    rows: Mapping[str, Any]
    rejected: list[tuple[str, str]]
    counts: TaskCounts


class World:
    """A lake and a file, for one task."""

    def __init__(self, folder: Path, content: bytes, *, chunk_size: int = 3) -> None:
        self.inner = FolderStore(folder / "lake", durable=False)
        self.code = write_module(folder / "code", LINES)
        self.chunk_size = chunk_size
        (self.code / "input").mkdir()
        (self.code / "input/in.log").write_bytes(content)

    def job(self, store: ObjectStore) -> TaskJob:
        """The task, for a worker that sees the lake as ``store``."""
        return replace(file_job(self.inner, self.code, name="in.log", chunk_size=self.chunk_size), store=store)

    def outcome(self) -> Outcome:
        """What is there now; the task has to be completed."""
        state = state_of(self.inner)
        assert state.status is TaskStatus.COMPLETED
        assert state.counts.balanced
        files = stored_rejections(self.inner)
        assert len(files) == state.rejection_files
        rejected = [(line["startOffset"], line["message"]) for _, lines in sorted(files.items()) for line in lines]
        return Outcome(merged_rows(self.inner), rejected, replace(state.counts, size=0))


def clean_run(folder: Path, content: bytes, *, chunk_size: int = 3) -> tuple[Outcome, FaultyStore]:
    """What a task leaves behind if nothing goes wrong, and a store that knows how it came about."""
    world = World(folder, content, chunk_size=chunk_size)
    store = FaultyStore(world.inner)
    assert run_here(world.job(store), clock=TickingClock(3.0)).status is TaskStatus.COMPLETED
    return world.outcome(), store


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_a_crash_at_any_operation_changes_nothing(tmp_path: Path, content: bytes) -> None:
    """Rows, rejections and counts are those of a run without a crash."""
    expected, peaceful = clean_run(tmp_path / "clean", content)
    assert len(peaceful.operations) > 15
    assert len(expected.rejected) >= 6
    for number, fault in every_death(peaceful):
        world = World(tmp_path / f"{number}-{fault.name}", content)
        with suppress(Crash):
            run_here(world.job(FaultyStore(world.inner, {number: fault})), clock=TickingClock(3.0))
        assert run_here(world.job(world.inner)).status is TaskStatus.COMPLETED
        assert world.outcome() == expected, (number, fault)


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.LOST, Fault.UNKNOWN])
def test_an_error_at_any_operation_loses_nothing(tmp_path: Path, fault: Fault) -> None:
    """The task fails or goes on, and the next run finds what is missing."""
    expected, peaceful = clean_run(tmp_path / "clean", FILES["plain"])
    for number in range(1, len(peaceful.operations) + 1):
        world = World(tmp_path / str(number), FILES["plain"])
        result = run_here(world.job(FaultyStore(world.inner, {number: fault})), clock=TickingClock(3.0))
        assert result.status in {TaskStatus.COMPLETED, TaskStatus.FAILED}
        assert run_here(world.job(world.inner)).status is TaskStatus.COMPLETED
        assert world.outcome() == expected, number


lines = st.sampled_from(["doc", "own", "bad", "skip", "raise", "set"])
crashes = st.lists(st.tuples(st.integers(1, 30), st.sampled_from([Fault.CRASH_BEFORE, Fault.CRASH_AFTER])), max_size=5)


@settings(max_examples=examples(20))
@given(st.lists(lines, max_size=40), st.integers(1, 7), crashes, st.sampled_from([0.1, 3.0, 40.0]), st.integers(0, 30))
def test_any_number_of_crashes_and_stops_changes_nothing(
    words: list[str], chunk_size: int, crashes: list[tuple[int, Fault]], pace: float, looks: int
) -> None:
    """Whatever is in the file, however chunks are cut and checkpoints made."""
    members = [gzip.compress(f"{word} {number}\n".encode()) for number, word in enumerate(words)]
    content = b"".join(members) or gzip.compress(b"")
    with tempfile.TemporaryDirectory() as folder:
        expected, _ = clean_run(Path(folder, "clean"), content, chunk_size=chunk_size)
        world = World(Path(folder, "world"), content, chunk_size=chunk_size)
        for number, fault in crashes:
            store = FaultyStore(world.inner, {number: fault})
            with suppress(Crash):
                run_here(world.job(store), stop=after(looks), clock=TickingClock(pace))
        assert run_here(world.job(world.inner), clock=TickingClock(pace)).status is TaskStatus.COMPLETED
        assert world.outcome() == expected
