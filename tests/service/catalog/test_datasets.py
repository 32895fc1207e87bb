from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from datalake_service.catalog import layout
from datalake_service.catalog.datasets import (
    DatasetRun,
    DatasetState,
    RunStatus,
    list_datasets,
    load_dataset,
    update_dataset,
)
from datalake_service.errors import DatasetNotFoundError, StoreError
from datalake_service.storage import FolderStore, Overwrite

NOW = datetime(2026, 11, 20, 13, 5, 9, 123456, tzinfo=UTC)
NEW = DatasetState(dataset="d", created_at=NOW, config={"datasetName": "d"})


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """An empty lake."""
    return FolderStore(tmp_path, durable=False)


def run(number: int) -> DatasetRun:
    """A run that ended well."""
    return DatasetRun(id=f"{number:06x}", status=RunStatus.COMPLETED, started_at=NOW, ended_at=NOW)


def test_a_state_reads_back_as_it_was_written(store: FolderStore) -> None:
    """Runs, report and all."""
    open_run = DatasetRun(id="a", status=RunStatus.RUNNING, started_at=NOW)
    readings = {"{date}": {"connectorDestination": "FOLDER"}}
    state = replace(
        NEW, unmerged=("b1",), rows={"b1": 3}, readings=readings, runs=(run(1), open_run), report={"rows": 3}
    )
    assert update_dataset(store, "d", lambda _: state) == state == load_dataset(store, "d")


def test_a_change_starts_from_what_is_there(store: FolderStore) -> None:
    """None at first, then the last state."""
    seen: list[DatasetState | None] = []

    def change(state: DatasetState | None) -> DatasetState:
        seen.append(state)
        return replace(state or NEW, runs=(*(state or NEW).runs, run(len(seen))))

    first = update_dataset(store, "d", change)
    second = update_dataset(store, "d", change)
    assert seen == [None, first]
    assert [entry.id for entry in second.runs] == ["000001", "000002"]


def test_a_change_that_comes_late_is_made_again(store: FolderStore) -> None:
    """On the state of whoever was faster: nothing of it is lost."""
    update_dataset(store, "d", lambda _: NEW)
    intruders = iter([("b1",), ("b2",)])

    def change(state: DatasetState | None) -> DatasetState:
        assert state is not None
        for batches in intruders:  # once for each call
            update_dataset(store, "d", lambda other: replace(other or NEW, unmerged=batches))  # noqa: B023 - called at once
            break
        return replace(state, unmerged=(*state.unmerged, "mine"))

    assert update_dataset(store, "d", change).unmerged == ("b2", "mine")


def test_a_state_that_never_stands_still_is_an_error(store: FolderStore) -> None:
    """Rather than a loop without end."""
    update_dataset(store, "d", lambda _: NEW)
    turns = iter(range(1_000))

    def change(state: DatasetState | None) -> DatasetState:
        moving = replace(NEW, unmerged=(str(next(turns)),))
        store.put(layout.dataset_state_key("d"), json.dumps(moving.to_dict()).encode(), mode=Overwrite())
        return state or NEW

    with pytest.raises(StoreError, match="20 times in a row"):
        update_dataset(store, "d", change)


def test_old_runs_are_forgotten(store: FolderStore) -> None:
    """The object of a dataset that runs every minute stays small."""
    state = update_dataset(store, "d", lambda _: replace(NEW, runs=tuple(run(number) for number in range(80))))
    assert [entry.id for entry in state.runs] == [f"{number:06x}" for number in range(30, 80)]


def test_a_dataset_that_no_file_created_is_not_found(store: FolderStore) -> None:
    """Even if it has rows."""
    store.put("d/b1/merged.parquet", b"", mode=Overwrite())
    with pytest.raises(DatasetNotFoundError, match="no dataset 'd' was created in"):
        load_dataset(store, "d")
    assert list(list_datasets(store)) == ["d"]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"format": 1}'])
def test_a_damaged_state_is_named(store: FolderStore, body: bytes) -> None:
    """With its key, and what to do."""
    store.put(layout.dataset_state_key("d"), body, mode=Overwrite())
    with pytest.raises(StoreError, match=r"d/\.state/dataset\.json is not the state of a dataset .*; move it away"):
        load_dataset(store, "d")
