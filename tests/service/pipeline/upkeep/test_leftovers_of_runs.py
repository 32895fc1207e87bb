"""What writers, merges and tasks that died leave in a batch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from datalake_service.catalog import layout
from datalake_service.catalog.tasks import TaskState, TaskStatus, create_task
from datalake_service.errors import UsageError
from datalake_service.pipeline.merging.merge import merge_batch
from datalake_service.pipeline.upkeep.cleanup import clean_up
from datalake_service.storage.folder import FolderStore
from tests.support.faulty_store import Fault, FaultyStore, at
from tests.support.leftovers import ASIDE, BATCH, MERGED, TEMP, Hooked, age, claim, ingest, names, put, removed
from tests.support.merging import read_record

# Manifests ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", [BATCH, TEMP])
def test_the_manifest_of_a_dead_run_goes(folder_store: FolderStore, prefix: str) -> None:
    """When it is old, and the run has no chunk; the next clean-up finds nothing at all."""
    claim(folder_store, prefix)
    put(folder_store, f"{BATCH}rejected/x.jsonl")
    assert removed(folder_store) == {}
    age(folder_store, 0.9)
    assert removed(folder_store) == {}
    assert names(folder_store, prefix) >= {"aaaaaa.manifest.json"}
    age(folder_store, 1.1)
    assert removed(folder_store) == {"manifests": 1}
    assert "aaaaaa.manifest.json" not in names(folder_store, prefix)
    assert list(clean_up(folder_store)) == []


def test_the_age_is_a_setting(folder_store: FolderStore) -> None:
    """Two hours at least: a writer that lives is silent for one at most."""
    claim(folder_store)
    age(folder_store, 0.5)
    assert removed(folder_store, leftovers_older_than=timedelta(hours=13)) == {}
    assert removed(folder_store, leftovers_older_than=timedelta(hours=11)) == {"manifests": 1}
    with pytest.raises(UsageError, match="at least 2 hours"):
        clean_up(folder_store, leftovers_older_than=timedelta(hours=1))


def test_a_run_with_chunks_keeps_its_manifest_until_they_are_merged(folder_store: FolderStore) -> None:
    """The manifest says how they are deduplicated; it goes with the clean-up after."""
    writer = claim(folder_store)
    writer.add({"id": "1", "text": "a"})
    writer.flush()
    age(folder_store, 3)
    assert removed(folder_store) == {}
    assert "aaaaaa.manifest.json" in names(folder_store)
    assert removed(folder_store) == {"manifests": 1}
    assert read_record(folder_store, MERGED)["deduplicateOn"] == [["text"]]


def test_a_writer_that_comes_back_after_the_first_look_keeps_its_manifest(folder_store: FolderStore) -> None:
    """It has a chunk by the second look."""
    writer = claim(folder_store)
    age(folder_store, 3)

    def come_back() -> None:
        writer.add({"text": "a"})
        writer.flush()

    # The first listing of the batch is its merge's.
    assert removed(Hooked(folder_store, "list", BATCH, come_back, nth=2)) == {}
    assert names(folder_store) == {"aaaaaa.manifest.json", "aaaaaa_chunk_00000.jsonl"}


def test_a_writer_that_comes_back_after_the_last_look_keeps_its_manifest(folder_store: FolderStore) -> None:
    """It wrote it again: what was looked at is not what stands there."""
    writer = claim(folder_store)
    age(folder_store, 3)
    key = f"{BATCH}aaaaaa.manifest.json"
    assert removed(Hooked(folder_store, "delete", key, writer._save)) == {}
    assert names(folder_store) == {"aaaaaa.manifest.json"}


def test_a_writer_that_slept_for_days_goes_on(folder_store: FolderStore) -> None:
    """Its manifest was removed; its rows are merged as if nothing had been, dedup columns included."""
    writer = claim(folder_store)
    writer._clock.sleep(3 * 86_400)
    age(folder_store, 3)
    assert removed(folder_store) == {"manifests": 1}
    for row_id in ("1", "2"):
        writer.add({"id": row_id, "text": "a"})
    writer.flush()
    merge_batch(folder_store, "posts", "b")
    writer.close()
    record = read_record(folder_store, MERGED)
    assert (record["counts"]["rows"], record["counts"]["duplicates"]) == (1, 1)
    merge_batch(folder_store, "posts", "b")
    assert "aaaaaa.manifest.json" not in names(folder_store)


def test_the_manifest_of_a_completed_run_is_left_to_merges(folder_store: FolderStore) -> None:
    """They know whether all of its chunks are contained."""
    claim(folder_store).close()
    age(folder_store, 3)
    assert removed(folder_store) == {}


def test_duplicates_that_no_merge_refers_to_go(folder_store: FolderStore) -> None:
    """If they are older than the merged object, so that their merge cannot commit any more; those named stay."""
    ingest(folder_store, "a", "a")
    merge_batch(folder_store, "posts", "b")
    (named,) = names(folder_store, ASIDE)
    age(folder_store, 4)
    age(folder_store, 3, MERGED)
    lost = put(folder_store, f"{ASIDE}{'a' * 12}.jsonl", days=5)
    later = put(folder_store, f"{ASIDE}{'b' * 12}.jsonl", days=2)
    at_once = put(folder_store, f"{ASIDE}{'c' * 12}.jsonl", days=3.0002)
    assert removed(folder_store) == {"duplicates": 1}
    assert names(folder_store, ASIDE) == {named, later.removeprefix(ASIDE), at_once.removeprefix(ASIDE)}
    assert lost.removeprefix(ASIDE) not in names(folder_store, ASIDE)


def test_a_single_file_of_duplicates_is_looked_at_on_request(folder_store: FolderStore) -> None:
    """It is taken for the one that counts: otherwise every batch would cost a request."""
    ingest(folder_store, "a", "b")
    merge_batch(folder_store, "posts", "b")
    age(folder_store, 2)
    put(folder_store, f"{ASIDE}{'a' * 12}.jsonl", days=5)
    assert removed(folder_store) == {}
    assert removed(folder_store, thorough=True) == {"duplicates": 1}
    ingest(folder_store, "c", "c")
    merge_batch(folder_store, "posts", "b")
    age(folder_store, 2)
    assert removed(folder_store, thorough=True) == {}


def test_duplicates_without_a_merged_object_stay(folder_store: FolderStore) -> None:
    """The merge that put them aside may be asleep."""
    put(folder_store, f"{ASIDE}{'a' * 12}.jsonl", days=5)
    put(folder_store, f"{ASIDE}{'b' * 12}.jsonl", days=5)
    assert removed(folder_store, thorough=True) == {}


@pytest.mark.parametrize("first", [True, False])
def test_a_merge_that_slept_for_days_loses_nothing(folder_store: FolderStore, *, first: bool) -> None:
    """It wakes up before its commit: another merge got through, clean-up has been there, and it starts again."""
    if not first:
        ingest(folder_store, "x", "x")
        merge_batch(folder_store, "posts", "b")
        age(folder_store, 9)
    ingest(folder_store, "a", "a", "b")

    def meanwhile() -> None:
        age(folder_store, 6, *(meta.key for meta in folder_store.list(ASIDE)))
        merge_batch(folder_store, "posts", "b")
        age(folder_store, 3, *(meta.key for meta in folder_store.list(BATCH) if "duplicates" not in meta.key))
        cleaned.update(removed(folder_store, thorough=True))

    cleaned: dict[str, int] = {}
    merge_batch(Hooked(folder_store, "put", MERGED, meanwhile), "posts", "b")
    record = read_record(folder_store, MERGED)
    assert (record["counts"]["rows"], record["counts"]["duplicates"]) == ((2, 1) if first else (3, 2))
    assert f"{record['duplicates']}.jsonl" in names(folder_store, ASIDE)


def test_a_merge_that_slept_before_its_commit_still_has_its_duplicates(folder_store: FolderStore) -> None:
    """Nobody else merged: its commit is applied, and refers to what was put aside days ago."""
    ingest(folder_store, "a", "b")
    merge_batch(folder_store, "posts", "b")
    age(folder_store, 9)
    ingest(folder_store, "a")

    def meanwhile() -> None:
        age(folder_store, 5, *(meta.key for meta in folder_store.list(ASIDE)))
        dead = FaultyStore(folder_store, at("put", Fault.UNAVAILABLE, key="merged.parquet"))
        list(clean_up(dead, thorough=True))

    merge_batch(Hooked(folder_store, "put", MERGED, meanwhile), "posts", "b")
    record = read_record(folder_store, MERGED)
    assert f"{record['duplicates']}.jsonl" in names(folder_store, ASIDE)


# Rejections -----------------------------------------------------------------------------------------


def put_task(store: FolderStore, *, status: TaskStatus, counting: int, days: float = 3) -> None:
    """A task that counts so many of its rejection files."""
    state = TaskState(
        id="t1", item="x", batch="b", status=status, attempt=2, rejection_files=counting, rejection_files_ever=9,
        created_at=datetime.now(UTC),
    )  # fmt: skip
    store.delete(layout.task_key("posts", "t1"))
    create_task(store, "posts", state)
    age(store, days, layout.task_key("posts", "t1"))


def rejections(store: FolderStore, *days: float) -> list[str]:
    """So many rejection files of the task, with their ages."""
    prefix = layout.rejected_prefix("posts", "b")
    return [put(store, layout.task_rejections_key(prefix, "t1", n), age_) for n, age_ in enumerate(days)]


def test_rejections_that_do_not_count_go(folder_store: FolderStore) -> None:
    """Those of an attempt before the one that completed the task; the listing shows that something is odd."""
    for days in ((4, 4, 5), (4, 4, 2)):
        keys = rejections(folder_store, *days)
        put_task(folder_store, status=TaskStatus.COMPLETED, counting=2)
        assert removed(folder_store) == {"rejections": 1}
        assert names(folder_store, "") >= set(keys[:2])
        assert keys[2] not in names(folder_store, "")


def test_rejections_of_tasks_that_may_go_on_stay(folder_store: FolderStore) -> None:
    """Whatever their age; and so do those that are young, and those in order, unless one looks thoroughly."""
    rejections(folder_store, 4, 4, 5)
    for status in (TaskStatus.RUNNING, TaskStatus.FAILED, TaskStatus.STOPPED, TaskStatus.CREATED):
        put_task(folder_store, status=status, counting=1)
        assert removed(folder_store, thorough=True) == {}
    put_task(folder_store, status=TaskStatus.COMPLETED, counting=3)
    assert removed(folder_store, thorough=True) == {}
    rejections(folder_store, 5, 4.5, 4)
    put_task(folder_store, status=TaskStatus.COMPLETED, counting=1)
    assert removed(folder_store) == {}
    rejections(folder_store, 5, 4.5, 0.5)
    assert removed(folder_store, thorough=True) == {"rejections": 1}
