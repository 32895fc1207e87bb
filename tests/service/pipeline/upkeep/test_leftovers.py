"""What dead processes leave is removed, and nothing that somebody may come back to, be it after days of sleep."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from datalake_service.catalog import layout
from datalake_service.catalog.leases import Lease
from datalake_service.catalog.manifests import claim_run
from datalake_service.catalog.tasks import TaskState, TaskStatus, create_task
from datalake_service.chunks.writer import ChunkWriter
from datalake_service.errors import AccessDeniedError, UsageError
from datalake_service.pipeline.ingest import ingest_iterator
from datalake_service.pipeline.merging.merge import merge_batch
from datalake_service.pipeline.upkeep.cleanup import clean_up
from datalake_service.storage.base import Leftover, ObjectMeta, ObjectStore, Overwrite, PutMode
from datalake_service.storage.folder import FolderStore
from datalake_service.storage.scratch import find_leftovers, scratch_folder
from datalake_service.storage.store_time import TIME_KEY
from datalake_utils.clock import ManualClock
from tests.support.faulty_store import Fault, FaultyStore, at
from tests.support.merging import read_record
from tests.support.s3_server import StrictS3, strict_s3

BATCH = layout.batch_prefix("posts", "b")
TEMP = layout.annotator_temp_prefix("posts", "lang")
MERGED = layout.merged_key(BATCH)
ASIDE = layout.duplicates_prefix("posts", "b")
LINE = b'{"id": "1", "text": "a"}\n'


def claim(store: ObjectStore, prefix: str = BATCH, run: str = "aaaaaa") -> ChunkWriter:
    """The writer of a new run."""
    clock = ManualClock(datetime.now(UTC))
    manifest = claim_run(
        store, prefix, kind="rows", deduplicate_on=["text"], chunk_size=1, now=clock.now(), draw=lambda: run
    )
    return ChunkWriter(store, prefix, manifest, clock=clock)


def age(store: FolderStore, days: float, *keys: str) -> None:
    """Make objects as old as this, all of them if none is named."""
    for meta in list(store.list("")):
        if not keys or meta.key in keys:
            then = datetime.now(UTC).timestamp() - days * 86_400
            os.utime(store.root / meta.key, (then, then))


def put(store: FolderStore, key: str, days: float = 0, body: bytes = LINE) -> str:
    """An object of an age; answers its key."""
    store.put(key, body, mode=Overwrite())
    age(store, days, key)
    return key


def removed(store: ObjectStore, **options: Any) -> Mapping[str, int]:
    """What clean-up removes, of all datasets; it must not fail."""
    results = list(clean_up(store, **options))
    assert [result.error for result in results if result.error] == []
    return {kind: number for result in results for kind, number in (result.removed or {}).items()}


def names(store: ObjectStore, prefix: str = BATCH) -> set[str]:
    """What lies in a folder."""
    return {meta.key.removeprefix(prefix) for meta in store.list(prefix)}


class Hooked(FaultyStore):
    """A store in which something happens right before an operation, once."""

    def __init__(self, inner: ObjectStore, verb: str, key: str, happens: Callable[[], object], *, nth: int = 1) -> None:
        super().__init__(inner)
        self.at, self.happens, self.left = (verb, key), happens, nth

    def _before(self, verb: str, key: str) -> None:
        self.left -= (verb, key) == self.at
        if self.left == 0:
            self.left -= 1
            self.happens()

    def list(self, prefix: str) -> Iterator[ObjectMeta]:
        self._before("list", prefix)
        return super().list(prefix)

    def put(self, key: str, body: bytes | Path, *, mode: PutMode) -> ObjectMeta:
        self._before("put", key)
        return super().put(key, body, mode=mode)

    def delete(self, key: str, *, etag: str | None = None) -> None:
        self._before("delete", key)
        super().delete(key, etag=etag)


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


# Duplicates -----------------------------------------------------------------------------------------


def ingest(store: ObjectStore, *texts: str) -> None:
    """A run of rows that is deduplicated by its text."""
    rows = ({"text": text} for text in texts)
    asyncio.run(ingest_iterator(store, rows, dataset="posts", batch="b", deduplicate_on=["text"]))


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


# The lake -------------------------------------------------------------------------------------------


def test_temporary_files_of_the_dead_go(folder_store: FolderStore) -> None:
    """By age, and never while somebody holds the scratch folder."""
    put(folder_store, f"{BATCH}rejected/x.jsonl")
    own = folder_store.root / ".tmp"
    half = own / "put" / "half-written"
    half.parent.mkdir(exist_ok=True)
    half.write_bytes(b"...")
    dead = own / "scratch" / "dead"
    dead.mkdir(parents=True)
    with scratch_folder(folder_store) as alive:
        found = [(one.name, one.what) for one in find_leftovers(folder_store)]
        assert found == [(".tmp/put/half-written", "a temporary file"), (".tmp/scratch/dead", "a scratch folder")]
        assert removed(folder_store) == {}
        for path in (half, dead, alive):
            os.utime(path, (1, 1))
        assert removed(folder_store) == {"writes": 2}
        assert alive.exists()
    assert not half.exists()
    assert not dead.exists()


@pytest.fixture(scope="module")
def strict() -> Iterator[StrictS3]:
    """An S3 server whose clock can be set."""
    with strict_s3() as running:
        yield running


def test_uploads_are_judged_by_the_clock_of_the_store(strict: StrictS3) -> None:
    """Ours may be days off; uploads of others in the bucket are theirs."""
    contents = strict.contents
    bucket = strict.server.make_bucket()
    store = strict.server.store_in(bucket, "lake")
    client = strict.server.client()
    contents.skew = timedelta(days=-10)
    client.create_multipart_upload(Bucket=bucket, Key="lake/posts/b/merged.parquet")
    client.create_multipart_upload(Bucket=bucket, Key="other/posts/b/merged.parquet")
    assert removed(store) == {}, "it was begun ten days ago by our clock, just now by the store's"
    (found,) = find_leftovers(store, prefix="posts/")
    assert (found.name, found.what) == ("posts/b/merged.parquet", "an unfinished upload")
    assert abs(found.touched - contents.now()) < timedelta(minutes=1)
    contents.skew += timedelta(days=2)
    assert list(find_leftovers(store, prefix="mails/")) == []
    assert removed(store) == {"writes": 1}
    assert [key for key, _, _ in contents.unfinished(bucket)] == ["other/posts/b/merged.parquet"]
    assert removed(store) == {}


def test_probes_that_died_go(strict: StrictS3) -> None:
    """Their scratch objects; the record of the last probe stays."""
    contents = strict.contents
    store = strict.server.make_store()
    assert removed(store) == {}
    contents.skew = timedelta(days=-2)
    store.put(".datalake/probe/0123", b"1", mode=Overwrite())
    contents.skew = timedelta()
    assert removed(store) == {"probes": 1}
    assert names(store, ".datalake/") == {"probe.json", "time"}


def test_uploads_that_cannot_be_seen_are_no_failure(folder_store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy need not allow it; it is said, and the rest is done."""

    def denied(_store: object, *_arguments: object) -> Iterator[Leftover]:
        raise AccessDeniedError("allow s3:ListBucketMultipartUploads")

    monkeypatch.setattr(FolderStore, "find_leftovers", denied)
    put(folder_store, f"{BATCH}x.jsonl")
    merged, note = clean_up(folder_store)
    assert merged.result is not None
    assert note.warnings == ("unfinished uploads stay: allow s3:ListBucketMultipartUploads",)
    assert (note.dataset, note.error) == (None, None)


# All of it ------------------------------------------------------------------------------------------


def test_leases_of_dead_workers_go(folder_store: FolderStore) -> None:
    """And those of living ones stay, however long they work; so does one whose time limit is longer than the age."""

    def lease(worker: str, ttl: timedelta, days: float, *, released: bool = False) -> str:
        key = layout.worker_lease_key("posts", "lang", worker * 32)
        taken = Lease(folder_store, key, ttl=ttl, owner="annotate posts/lang")
        assert taken.acquire()
        if released:
            taken.release()
        age(folder_store, days, key)
        return key

    minute = timedelta(minutes=1)
    dead, slow = lease("a", minute, 2), lease("c", timedelta(days=3), 2)
    young, alive = lease("d", minute, 0.5), lease("e", timedelta(hours=1), 0)
    given_back = lease("b", minute, 2, released=True)
    key = layout.task_worker_key("posts", "f" * 32)
    assert Lease(folder_store, key, ttl=minute, owner="worker of posts").acquire()
    age(folder_store, 2, key)
    assert removed(folder_store) == {"workers": 3}
    assert list(folder_store.list(layout.task_workers_prefix("posts"))) == []
    left = {meta.key for meta in folder_store.list(layout.worker_leases_prefix("posts", "lang"))}
    assert left & {dead, given_back} == set()
    assert {slow, young, alive} <= left


def test_tallies_that_nobody_adds_up_go(folder_store: FolderStore) -> None:
    """Once nobody has worked for so long; as long as one is young the run goes on, and its last worker counts all."""
    first, second = (layout.tally_key("posts", "lang", worker * 32) for worker in "ab")
    other = put(folder_store, layout.tally_key("posts", "other", "c" * 32), days=3)
    put(folder_store, first, days=3)
    put(folder_store, second, days=0.5)
    assert removed(folder_store) == {"tallies": 1}
    assert names(folder_store, "posts/") == {key.removeprefix("posts/") for key in (first, second)}
    age(folder_store, 2, second)
    begun = layout.tally_key("posts", "lang", "d" * 32)
    hooked = Hooked(folder_store, "list", layout.tallies_prefix("posts", "lang"), lambda: put(folder_store, begun))
    assert removed(hooked) == {}
    age(folder_store, 2, begun)
    assert removed(folder_store) == {"tallies": 3}
    assert names(folder_store, "posts/") == set()
    assert other not in names(folder_store, "")


def test_a_dataset_that_fails_does_not_stop_the_others(folder_store: FolderStore) -> None:
    """One line says so."""
    for dataset in ("a", "b"):
        claim(folder_store, layout.batch_prefix(dataset, "x"))
    age(folder_store, 3)
    store = FaultyStore(folder_store, at("delete", Fault.UNAVAILABLE, key="a/x/"))
    results = [
        (result.dataset, result.error and result.error.startswith("leftovers stay: "), dict(result.removed or {}))
        for result in clean_up(store)
    ]
    assert [result for result in results if result[1] or result[2]] == [
        ("a", True, {}), ("b", None, {"manifests": 1}),
    ]  # fmt: skip


def test_a_choice_leaves_the_rest_alone(folder_store: FolderStore) -> None:
    """A batch, a dataset."""
    for batch in ("one", "two"):
        claim(folder_store, layout.batch_prefix("posts", batch))
    claim(folder_store, TEMP)
    age(folder_store, 3)
    assert removed(folder_store, datasets={"posts": ["two"]}) == {"manifests": 1}
    assert names(folder_store, "posts/") == {"one/aaaaaa.manifest.json", "annotations/lang/.temp/aaaaaa.manifest.json"}
    assert removed(folder_store, datasets={"posts": None}) == {"manifests": 2}


def test_nothing_is_written_when_nothing_is_left_over(folder_store: FolderStore) -> None:
    """The store is not even asked what time it is."""
    ingest(folder_store, "a", "a")
    merge_batch(folder_store, "posts", "b")
    store = FaultyStore(folder_store)
    assert list(clean_up(store)) == []
    assert store.writes == []
    assert TIME_KEY not in names(folder_store, "")


def fill(strict: StrictS3, bucket: str, count: int) -> None:
    """Batches as a merge leaves them, as far as a listing shows it; by a side door, because it is faster."""
    for number in range(count):
        for name in ("merged.parquet", "manifest.yaml", "duplicates/0123456789ab.jsonl"):
            strict.contents.put(bucket, f"lake/posts/b{number:04d}/{name}", b"", {})


def test_unchanged_batches_cost_their_listing(strict: StrictS3) -> None:
    """A thousand batches of which ten changed: two requests for 1,000 objects, and some for each that changed."""
    bucket = strict.server.make_bucket()
    store = strict.server.store_in(bucket, "lake")
    fill(strict, bucket, 990)
    list(clean_up(store))  # probes the store
    requests = strict.contents.requests

    def cost() -> int:
        before = requests.total()
        assert [result.error for result in clean_up(store)] == [None] * merged
        return requests.total() - before

    merged = 0
    unchanged = cost()
    for number in range(10):
        rows = ({"id": f"{n}", "text": f"{n // 2}"} for n in range(20))
        name = f"c{number:04d}"
        asyncio.run(ingest_iterator(store, rows, dataset="posts", batch=name, chunk_size=5, deduplicate_on=["text"]))
    merged = 10
    changed = cost()
    assert unchanged <= 2 * 3 + 6, "three pages"
    assert changed - unchanged <= 10 * 20
    merged = 0
    assert cost() <= unchanged + 2


def test_the_command_has_words_for_every_kind() -> None:
    """None is shown by its name in the code."""
    from datalake_service.cli.clean_up import _LEFTOVERS
    from datalake_service.pipeline.upkeep.leftovers import LeftoverKind

    assert set(_LEFTOVERS) == {str(kind) for kind in LeftoverKind}
