from __future__ import annotations

import contextlib
from datetime import timedelta
from pathlib import Path

import pytest

from datalake_service.catalog import deletions
from datalake_service.catalog.deletions import DeletionStatus
from datalake_service.errors import DatasetNotFoundError, NameNotAllowedError
from datalake_service.pipeline.upkeep.lifecycle import (
    GRACE,
    PurgeResult,
    delete_dataset,
    purge_deleted,
    require_dataset,
    restore_dataset,
)
from datalake_service.storage.base import ObjectStore, Overwrite
from datalake_service.storage.folder import FolderStore
from datalake_utils.clock import ManualClock, SystemClock
from tests.support.faulty_store import Crash, Fault, FaultyStore, at

AT_ONCE = timedelta(0)
KEYS = [f"d/b{number}/{name}" for number in range(3) for name in ("merged.parquet", "manifest.yaml", "x.jsonl")]


def fill(store: ObjectStore, *more: str) -> None:
    """A dataset ``d`` of nine objects, and one beside it whose name begins the same."""
    for key in (*KEYS, "dd/b/x.jsonl", *more):
        store.put(key, b"x", mode=Overwrite())


def keys(store: ObjectStore) -> list[str]:
    """What is in the lake."""
    return [meta.key for meta in store.list("")]


def test_a_deleted_dataset_is_purged_when_its_time_has_come(any_store: ObjectStore) -> None:
    """Everything of it, nothing of its neighbour; the name is free then."""
    fill(any_store)
    delete_dataset(any_store, "d")
    assert list(purge_deleted(any_store)) == []
    assert list(purge_deleted(any_store, grace=AT_ONCE, datasets=["dd"])) == []
    assert list(purge_deleted(any_store, grace=AT_ONCE)) == [PurgeResult("d", 10)]
    assert keys(any_store) == ["dd/b/x.jsonl"]
    assert deletions.find_deletion(any_store, "d") is None
    with pytest.raises(DatasetNotFoundError):
        require_dataset(any_store, "d")


def test_a_restored_dataset_is_not_purged(any_store: ObjectStore) -> None:
    """However long ago it was deleted."""
    fill(any_store)
    delete_dataset(any_store, "d")
    assert restore_dataset(any_store, "d")
    assert list(purge_deleted(any_store, grace=AT_ONCE)) == []
    assert set(KEYS) < set(keys(any_store))


@pytest.mark.parametrize("days", [-30, 30])
def test_time_passes_by_the_clock_of_the_store(tmp_path: Path, days: int) -> None:
    """Whatever this machine believes: the store is a month behind, or ahead."""
    clock = ManualClock(SystemClock().now() + timedelta(days=days))
    store = FolderStore(tmp_path, durable=False, clock=clock)
    fill(store)
    delete_dataset(store, "d")
    clock.advance(timedelta(days=7).total_seconds() - 60)
    assert list(purge_deleted(store)) == []
    found = deletions.find_deletion(store, "d")
    assert found is not None
    assert found.status is DeletionStatus.DELETED
    assert set(KEYS) < set(keys(store))
    clock.advance(120)
    assert list(purge_deleted(store)) == [PurgeResult("d", 10)]
    assert timedelta(days=7) == GRACE


@pytest.mark.parametrize("name", ["none", "dd2"])
def test_what_is_not_there_cannot_be_deleted(folder_store: ObjectStore, name: str) -> None:
    """Nor restored; nothing is written."""
    fill(folder_store)
    for action in (delete_dataset, restore_dataset):
        with pytest.raises(DatasetNotFoundError, match=f"no dataset '{name}'"):
            action(folder_store, name)
    with pytest.raises(NameNotAllowedError):
        delete_dataset(folder_store, "../d")
    assert len(keys(folder_store)) == 10


def test_one_that_cannot_be_purged_does_not_keep_the_others(folder_store: ObjectStore) -> None:
    """Its marker cannot be read, here; the next dataset is removed."""
    fill(folder_store, "a/b/x.jsonl")
    for name in ("a", "d"):
        delete_dataset(folder_store, name)
    folder_store.put("a/.state/deleted.json", b"?", mode=Overwrite())
    bad, good = purge_deleted(folder_store, grace=AT_ONCE)
    assert (bad.dataset, good) == ("a", PurgeResult("d", 10))
    assert bad.error is not None


def test_a_purge_that_died_anywhere_is_finished_by_the_next(folder_store: ObjectStore) -> None:
    """Before or after any operation took effect, or in the middle: in the end nothing is left, nothing else gone."""
    fill(folder_store)
    delete_dataset(folder_store, "d")
    clean = FaultyStore(folder_store)
    list(purge_deleted(clean, grace=AT_ONCE))
    deaths = 0
    for number in range(1, len(clean.operations) + 1):
        for fault in (Fault.CRASH_BEFORE, Fault.CRASH_MIDDLE, Fault.CRASH_AFTER):
            fill(folder_store)
            delete_dataset(folder_store, "d")
            with contextlib.suppress(Crash):
                list(purge_deleted(FaultyStore(folder_store, {number: fault}), grace=AT_ONCE))
                continue
            deaths += 1
            list(purge_deleted(folder_store, grace=AT_ONCE))
            assert keys(folder_store) == ["dd/b/x.jsonl"]
    assert deaths == 3 * len(clean.operations)


def test_a_store_that_fails_leaves_a_purge_for_the_next_time(folder_store: ObjectStore) -> None:
    """The error is told; running it again removes the rest."""
    fill(folder_store)
    delete_dataset(folder_store, "d")
    (result,) = purge_deleted(FaultyStore(folder_store, at("delete_many", Fault.UNAVAILABLE)), grace=AT_ONCE)
    assert result.error is not None
    assert list(purge_deleted(folder_store, grace=AT_ONCE)) == [PurgeResult("d", 10)]
