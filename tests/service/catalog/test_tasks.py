from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_service.catalog import layout
from datalake_service.catalog.tasks import (
    TRANSITIONS,
    TaskCounts,
    TaskEvent,
    TaskState,
    TaskStatus,
    create_task,
    create_tasks,
    load_task,
    load_tasks,
    move,
    reset,
    save_task,
)
from datalake_service.errors import ObjectNotFoundError, PreconditionFailedError, StoreError, UsageError
from datalake_service.storage import FolderStore, Overwrite
from tests.support.repository import ROOT

NOW = datetime(2026, 11, 20, 13, 5, 9, 123456, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """An empty lake."""
    return FolderStore(tmp_path, durable=False)


def task(name: str = "t1", status: TaskStatus = TaskStatus.CREATED) -> TaskState:
    """A task that nothing has happened to."""
    return TaskState(id=name, item=f"logs/{name}.gz", batch="b1", status=status, created_at=NOW)


counts = st.builds(TaskCounts, *[st.integers(0, 2**60)] * 5)
states = st.builds(
    TaskState,
    id=st.text("abc", min_size=1),
    item=st.text(),
    batch=st.text(),
    status=st.sampled_from(TaskStatus),
    attempt=st.integers(0),
    worker=st.none() | st.text(),
    run=st.none() | st.text(),
    input=st.none() | st.dictionaries(st.text(), st.text() | st.integers()),
    checkpoint=st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=4),
    rejection_files=st.integers(0),
    rejection_files_ever=st.integers(0),
    counts=counts,
    notes=st.lists(st.text()).map(tuple),
    error=st.none() | st.text(),
    created_at=st.datetimes(timezones=st.just(UTC), min_value=datetime(1970, 1, 1)),  # noqa: DTZ001 - hypothesis wants it
    started_at=st.none() | st.just(NOW),
    finished_at=st.none() | st.just(NOW),
)


@given(states)
def test_a_state_reads_back_as_it_was_written(state: TaskState) -> None:
    """Nothing is lost on the way through its object."""
    assert TaskState.from_json(json.dumps(state.to_dict()).encode(), key="k") == state


@given(counts, counts)
def test_counts_add_up(one: TaskCounts, other: TaskCounts) -> None:
    """The sum of two accounts has the sum of each column."""
    both = (one + other).to_dict()
    assert both == {name: value + other.to_dict()[name] for name, value in one.to_dict().items()}


def test_counts_balance_when_every_record_is_accounted_for() -> None:
    """A record is a document, a skip or a rejection."""
    assert TaskCounts(records=6, documents=3, skips=2, rejections=1).balanced
    assert not TaskCounts(records=6, documents=3, skips=2).balanced


@pytest.mark.parametrize("status", TaskStatus)
@pytest.mark.parametrize("event", TaskEvent)
def test_a_move_is_in_the_table_or_refused(status: TaskStatus, event: TaskEvent) -> None:
    """There is no move beside the table, and a refusal says which moves there are."""
    state = task(status=status)
    if (status, event) in TRANSITIONS:
        assert move(state, event, error="e").status is TRANSITIONS[status, event]
        assert move(state, event, error="e").error == "e"
    else:
        with pytest.raises(UsageError, match=rf"task t1 is {status}: '{event}' is not possible, only .*(start|reset)"):
            move(state, event)


def test_every_task_can_be_brought_to_an_end() -> None:
    """From each status a completed task can be reached: none is a trap."""
    reaches = {TaskStatus.COMPLETED}
    for _ in TaskStatus:
        reaches |= {origin for (origin, _), target in TRANSITIONS.items() if target in reaches}
    assert reaches == set(TaskStatus)


def test_the_design_page_shows_the_table() -> None:
    """Whoever changes a move changes the page."""
    page = (ROOT / "docs/design/008-tasks.md").read_text(encoding="utf-8")
    for status in TaskStatus:
        cells = [str(TRANSITIONS.get((status, event), "-")) for event in TaskEvent]
        assert f"| {status} | {' | '.join(cells)} |" in page


def test_a_reset_task_begins_at_the_beginning() -> None:
    """Only who it is, how often it was tried and what may lie about survive."""
    state = task(status=TaskStatus.RUNNING)
    worn = move(
        state, TaskEvent.COMPLETE, checkpoint=[1], counts=TaskCounts(1, 1), notes=("cut off",), error="e",
        rejection_files=2, rejection_files_ever=3, attempt=4, input={"etag": "e"}, started_at=NOW, finished_at=NOW,
    )  # fmt: skip
    again = reset(worn)
    assert again.status is TaskStatus.CREATED
    assert (again.checkpoint, again.input, again.counts, again.notes, again.error) == (
        None,
        None,
        TaskCounts(),
        (),
        None,
    )
    assert (again.rejection_files, again.rejection_files_ever, again.attempt) == (0, 3, 4)


def test_a_task_is_created_once(store: FolderStore) -> None:
    """Planning again finds the task as it stands."""
    first = create_task(store, "d", task())
    moved = save_task(store, "d", move(first.state, TaskEvent.START, attempt=1), etag=first.etag)
    assert create_task(store, "d", task()) == moved == load_task(store, "d", "t1")


def test_who_comes_late_is_told(store: FolderStore) -> None:
    """Two workers with the same version of a task: one of them keeps it."""
    first = create_task(store, "d", task())
    save_task(store, "d", move(first.state, TaskEvent.START, worker="fast"), etag=first.etag)
    with pytest.raises(PreconditionFailedError):
        save_task(store, "d", move(first.state, TaskEvent.START, worker="slow"), etag=first.etag)
    assert load_task(store, "d", "t1").state.worker == "fast"


def test_all_tasks_are_loaded_in_order(store: FolderStore) -> None:
    """Of this dataset, and nothing else that lies there."""
    created = create_tasks(store, "d", [task(f"t{number:02}") for number in range(40, 0, -1)])
    create_task(store, "d2", task("other"))
    store.put(layout.tasks_prefix("d") + "notes.txt", b"?", mode=Overwrite())
    assert [stored.state.id for stored in created] == [f"t{number:02}" for number in range(40, 0, -1)]
    assert [stored.state.id for stored in load_tasks(store, "d")] == [f"t{number:02}" for number in range(1, 41)]
    assert [stored.state.id for stored in load_tasks(store, "d", among={"t07", "t99", "t03"})] == ["t03", "t07"]
    assert load_tasks(store, "nothing") == []


def test_a_task_that_is_not_there_is_not_found(store: FolderStore) -> None:
    """With its key in the message."""
    with pytest.raises(ObjectNotFoundError, match="t9"):
        load_task(store, "d", "t9")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"format": 1, "id": "x"}', b"\xff"])
def test_a_damaged_state_is_named(store: FolderStore, body: bytes) -> None:
    """With its key, and what to do."""
    store.put(layout.task_key("d", "t1"), body, mode=Overwrite())
    with pytest.raises(StoreError, match=r"d/\.state/tasks/t1\.json is not a task state .*; delete it"):
        load_task(store, "d", "t1")


def test_a_state_of_a_newer_version_is_refused(store: FolderStore) -> None:
    """Rather than read half."""
    newer = task().to_dict() | {"format": 2}
    store.put(layout.task_key("d", "t1"), json.dumps(newer).encode(), mode=Overwrite())
    with pytest.raises(StoreError, match="please upgrade"):
        load_task(store, "d", "t1")
