"""A table that is scanned by workers that die: each item is in the lake once, each refused one is rejected once."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.catalog.tasks import TaskState, TaskStatus, create_task
from datalake_service.pipeline.jobs.engine import HandlerSpec, LakeOutput, TaskJob
from datalake_service.pipeline.jobs.stream_inputs import SegmentInput
from datalake_service.storage import FolderStore
from datalake_service.storage.base import ObjectStore
from tests.crash.deaths import KINDS, Death, dies, examples
from tests.support.memory_table import MemoryTable
from tests.support.tasks import (
    NOW,
    TickingClock,
    merged_rows,
    run_here,
    state_of,
    stored_rejections,
    write_module,
)

READER = """
from datalake_interfaces import DynamoDBTableItemReader

class Items(DynamoDBTableItemReader):
    def parse_dynamo_db_item(self, table, segment, keys, item):
        if item["text"] == "bad":
            raise ValueError("a bad item")
        return SkipDoc() if item["text"] == "skip" else Document({"text": item["text"]})
"""
WORDS = st.sampled_from(["good", "bad", "skip"])


class World:
    """A lake, a table, and a task for each segment."""

    def __init__(self, folder: Path, words: list[str], hidden: frozenset[int], segments: int) -> None:
        self.inner = FolderStore(folder / "lake", durable=False)
        self.code = write_module(folder / "code", READER)
        self.words = words
        items = [{"id": {"N": str(number)}, "text": {"S": word}} for number, word in enumerate(words)]
        self.table = MemoryTable(items, hidden=hidden)
        self.tasks = [f"t{segment}" for segment in range(segments)]
        for task in self.tasks:
            create_task(self.inner, "d", TaskState(id=task, item=task, batch="b", created_at=NOW))

    def run(self, store: ObjectStore, pace: float = 0.9) -> None:
        """Work on every task."""
        for segment, task in enumerate(self.tasks):
            source = SegmentInput(
                clients=self.table, table="items", segment=segment, segments=len(self.tasks), continuous=False
            )
            job = TaskJob(
                task=task,
                source="dynamodb://items",
                input=source,
                output=LakeOutput(chunk_size=2),
                handler=HandlerSpec("handler.Items", self.code),
                store=store,
                dataset="d",
                batch="b",
            )
            run_here(job, clock=TickingClock(pace))

    def texts(self) -> int:
        """How many rows a merge would keep."""
        return len(merged_rows(self.inner))

    def rejected(self) -> list[dict[str, Any]]:
        """All rejections that count."""
        return [line for lines in stored_rejections(self.inner).values() for line in lines]


@settings(max_examples=examples(20))
@given(
    words=st.lists(WORDS, max_size=25),
    hidden=st.frozensets(st.integers(0, 24)),
    segments=st.integers(1, 3),
    deaths=st.lists(st.tuples(st.integers(1, 40), st.sampled_from(KINDS)), max_size=5),
)
def test_whatever_dies_each_item_is_there_once(
    words: list[str], hidden: frozenset[int], segments: int, deaths: list[Death]
) -> None:
    """Also where pages are empty, and where a worker dies in the middle of one."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), words, hidden, segments)
        for death in deaths:
            dies(world.inner, world.run, death)
        world.run(world.inner)
        shown = [word for number, word in enumerate(words) if number not in hidden]
        assert {state_of(world.inner, task).status for task in world.tasks} == {TaskStatus.COMPLETED}
        assert world.texts() == shown.count("good")
        assert len(world.rejected()) == shown.count("bad")
        counts = sum((state_of(world.inner, task).counts.skips for task in world.tasks), 0)
        assert counts == shown.count("skip")


def test_a_table_that_is_throttled_is_waited_for(tmp_path: Path) -> None:
    """It was scaled down in the middle of a scan."""
    world = World(tmp_path, ["good"] * 10, frozenset(), 1)
    world.table.errors = ["", *["ProvisionedThroughputExceededException"] * 9, "", *["ThrottlingException"] * 9]
    world.run(world.inner)
    assert world.texts() == 10


@pytest.mark.parametrize("code", ["ResourceNotFoundException", "AccessDeniedException"])
def test_a_table_that_is_gone_fails_its_task(tmp_path: Path, code: str) -> None:
    """What was read before is kept, and the line names the table."""
    world = World(tmp_path, ["good"] * 10, frozenset(), 1)
    world.table.errors = ["", code]
    world.run(world.inner)
    state = state_of(world.inner, "t0")
    assert state.status is TaskStatus.FAILED
    assert "the table 'items'" in str(state.error)
    assert world.texts() == 3
