from __future__ import annotations

import gzip
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.catalog.tasks import TaskCounts, TaskStatus
from datalake_service.pipeline.jobs.engine import TaskJob
from datalake_service.storage import FolderStore
from datalake_service.storage.base import ObjectStore
from tests.crash.deaths import examples
from tests.support.faulty_store import Crash, Fault, FaultyStore
from tests.support.machines import MACHINES, machine_job, pair
from tests.support.tasks import (
    TickingClock,
    after,
    merged_rows,
    run_here,
    state_of,
    stored_rejections,
    write_module,
)

UNEVEN = """
class Uneven(MultipleFileStateMachineReader):
    # Two pairs of A for one of B, which it begins with late; knows the step before.
    def get_s3_file_types(self):
        return {"A", "B"}

    def parse_document(self, last_processed_record_types, last_processed_doc, file_readers):
        before = None if last_processed_doc is None else last_processed_doc.document_key_values_map.get("name")
        taken = []
        begins = last_processed_record_types["A"] is None and file_readers["A"].next_record(peek=True)
        for kind in ("A",) if begins else ("A", "A", "B"):
            header = file_readers[kind].next_record()
            if header is None:
                continue
            if header.status == "ERROR":
                return header
            body = file_readers[kind].next_record()
            taken.append([kind, header.document.document_key_values_map["key"], body and str(body.status)])
        if len(taken) == 1 and taken[0][1] == "raise":
            raise ValueError("no")
        return Document({"name": str(taken), "before": before})
"""


@dataclass(frozen=True)
class Outcome:
    """Everything that a task leaves behind and that must not depend on how it came about."""

    rows: Mapping[str, Any]
    rejected: list[tuple[str, str, str]]
    counts: TaskCounts
    notes: tuple[str, ...]


class World:
    """A lake and two files, for one task."""

    def __init__(self, folder: Path, contents: Mapping[str, bytes]) -> None:
        self.inner = FolderStore(folder / "lake", durable=False)
        self.code = write_module(folder / "code", MACHINES + UNEVEN)
        (self.code / "input").mkdir()
        for kind, content in contents.items():
            (self.code / "input" / kind).write_bytes(content)

    def job(self, store: ObjectStore) -> TaskJob:
        """The task, for a worker that sees the lake as ``store``."""
        files = {"A": "A", "B": "B"}
        return replace(machine_job(self.inner, self.code, files, reader="handler.Uneven", chunk_size=3), store=store)

    def outcome(self) -> Outcome:
        """What is there now; the task has to be completed."""
        state = state_of(self.inner)
        assert state.status is TaskStatus.COMPLETED
        assert state.counts.balanced
        files = stored_rejections(self.inner)
        assert len(files) == state.rejection_files
        rejected = [
            (line["source"], line["startOffset"], line["message"])
            for _, lines in sorted(files.items())
            for line in lines
        ]
        return Outcome(merged_rows(self.inner), rejected, replace(state.counts, size=0), tuple(sorted(state.notes)))


def packed(words: list[str], *, cut: int) -> bytes:
    """Pairs in members of a few bytes each, the end of the file cut off."""
    plain = b"".join(
        b"@nonsense\n" if word == "none" else pair(word, f"{word} {number}") for number, word in enumerate(words)
    )
    members = b"".join(gzip.compress(plain[at : at + 23], 1) for at in range(0, len(plain), 23)) or gzip.compress(b"")
    return members[: len(members) - cut]


words = st.lists(st.sampled_from(["doc", "bad", "raise", "skip", "none", "doc"]), max_size=24)
cuts = st.sampled_from([0, 0, 5, 30])
crashes = st.lists(st.tuples(st.integers(1, 30), st.sampled_from([Fault.CRASH_BEFORE, Fault.CRASH_AFTER])), max_size=5)


@settings(max_examples=examples(15), deadline=None)
@given(words, words, cuts, cuts, crashes, st.sampled_from([0.1, 3.0, 40.0]), st.integers(0, 12))
def test_any_number_of_crashes_and_stops_changes_nothing(
    first: list[str],
    second: list[str],
    cut_first: int,
    cut_second: int,
    crashes: list[tuple[int, Fault]],
    pace: float,
    looks: int,
) -> None:
    """Whatever is in the files, wherever they are damaged, and whichever of them the reader is slower to read."""
    contents = {"A": packed(first, cut=cut_first), "B": packed(second, cut=cut_second)}
    with tempfile.TemporaryDirectory() as folder:
        clean = World(Path(folder, "clean"), contents)
        assert run_here(clean.job(clean.inner), clock=TickingClock(3.0)).status is TaskStatus.COMPLETED
        expected = clean.outcome()
        world = World(Path(folder, "world"), contents)
        for number, fault in crashes:
            store = FaultyStore(world.inner, {number: fault})
            with suppress(Crash):
                run_here(world.job(store), stop=after(looks), clock=TickingClock(pace))
        assert run_here(world.job(world.inner), clock=TickingClock(pace)).status is TaskStatus.COMPLETED
        assert world.outcome() == expected
