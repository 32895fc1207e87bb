"""What dead processes leave is removed, and nothing that somebody may come back to, be it after days of sleep."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import timedelta

import pytest

from datalake_service.catalog import layout
from datalake_service.catalog.leases import Lease
from datalake_service.errors import AccessDeniedError
from datalake_service.pipeline.ingest import ingest_iterator
from datalake_service.pipeline.merging.merge import merge_batch
from datalake_service.pipeline.upkeep.cleanup import clean_up
from datalake_service.storage.base import Leftover, Overwrite
from datalake_service.storage.folder import FolderStore
from datalake_service.storage.scratch import find_leftovers, scratch_folder
from datalake_service.storage.store_time import TIME_KEY
from tests.support.faulty_store import Fault, FaultyStore, at
from tests.support.leftovers import BATCH, TEMP, Hooked, age, claim, ingest, names, put, removed
from tests.support.s3_server import StrictS3, strict_s3

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
