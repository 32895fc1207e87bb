from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from datalake_service.catalog import deletions, layout
from datalake_service.catalog.deletions import DeletionStatus
from datalake_service.errors import DatasetNotFoundError, PreconditionFailedError, StoreError, UsageError
from datalake_service.storage.base import ObjectStore, Overwrite
from tests.support.faulty_store import Fault, FaultyStore, at


def test_a_dataset_is_deleted_restored_and_deleted_again(any_store: ObjectStore) -> None:
    """The marker says what holds; deleting twice keeps the first time."""
    assert deletions.find_deletion(any_store, "d") is None
    assert not deletions.is_deleted(any_store, "d")
    first = deletions.mark_deleted(any_store, "d")
    assert deletions.mark_deleted(any_store, "d") == first
    assert deletions.find_deletion(any_store, "d") == first
    assert deletions.is_deleted(any_store, "d")
    assert deletions.restore(any_store, "d") is True
    assert deletions.restore(any_store, "d") is False
    assert not deletions.is_deleted(any_store, "d")
    assert deletions.mark_deleted(any_store, "d").status is DeletionStatus.DELETED
    assert deletions.is_deleted(any_store, "d")


def test_touching_tells_the_time_and_keeps_the_day(any_store: ObjectStore) -> None:
    """The age of a deletion is the difference of two times of the store."""
    first = deletions.mark_deleted(any_store, "d")
    touched = deletions.touch(any_store, "d", first)
    assert touched.deleted_at == first.deleted_at
    assert touched.written_at >= first.written_at
    found = deletions.find_deletion(any_store, "d")
    assert found == touched
    with pytest.raises(PreconditionFailedError):
        deletions.touch(any_store, "d", first)


def test_there_is_no_way_back_from_purging(any_store: ObjectStore) -> None:
    """Whoever comes later is told."""
    deletions.begin_purge(any_store, "d", deletions.mark_deleted(any_store, "d"))
    with pytest.raises(UsageError, match="cannot be restored any more"):
        deletions.restore(any_store, "d")
    with pytest.raises(DatasetNotFoundError, match="being purged"):
        deletions.require_not_deleted(any_store, "d")
    assert deletions.mark_deleted(any_store, "d").status is DeletionStatus.PURGING


def test_restore_and_purge_cannot_both_win(any_store: ObjectStore) -> None:
    """Sixteen times at once: the marker ends as the winner wrote it, and the loser knows."""
    for number in range(8):
        name = f"d{number}"
        found = deletions.mark_deleted(any_store, name)
        barrier = threading.Barrier(2)

        def purge(name: str = name, found: deletions.Deletion = found, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait()
            try:
                deletions.begin_purge(any_store, name, found)
            except PreconditionFailedError:
                return False
            return True

        def restore(name: str = name, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait()
            try:
                return deletions.restore(any_store, name)
            except UsageError:
                return False

        with ThreadPoolExecutor(2) as pool:
            purged, restored = pool.submit(purge), pool.submit(restore)
        assert purged.result() != restored.result()
        assert deletions.is_deleted(any_store, name) is purged.result()


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.UNKNOWN])
def test_an_answer_that_was_lost_is_settled_by_looking(folder_store: ObjectStore, fault: Fault) -> None:
    """Deleting and restoring come to the same end, whether the write was applied or not."""
    deletions.mark_deleted(FaultyStore(folder_store, at("put", fault)), "d")
    assert deletions.is_deleted(folder_store, "d")
    assert deletions.restore(FaultyStore(folder_store, at("put", fault)), "d") is True
    assert not deletions.is_deleted(folder_store, "d")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"format": 99, "status": "DELETED", "deletedAt": null}'])
def test_a_marker_that_cannot_be_read_is_an_error(folder_store: ObjectStore, body: bytes) -> None:
    """Neither deleted nor not deleted: somebody has to look."""
    folder_store.put(layout.deletion_key("d"), body, mode=Overwrite())
    with pytest.raises(StoreError, match=r"d/\.state/deleted\.json"):
        deletions.is_deleted(folder_store, "d")
