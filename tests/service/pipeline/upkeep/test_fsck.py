"""A lake is damaged in every way; the check names each, and nothing else."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from datalake_service.catalog import layout
from datalake_service.catalog.datasets import DatasetState, update_dataset
from datalake_service.catalog.manifests import RunManifest, format_time
from datalake_service.catalog.tasks import TaskState, TaskStatus, create_task
from datalake_service.errors import DatasetNotFoundError, StoreUnavailableError
from datalake_service.pipeline.ingest import ingest_iterator
from datalake_service.pipeline.merging.merge import merge_annotator, merge_batch
from datalake_service.pipeline.upkeep.cleanup import clean_up
from datalake_service.pipeline.upkeep.fsck import check_dataset
from datalake_service.pipeline.upkeep.fsck_findings import Finding, FindingKind
from datalake_service.storage.base import ObjectStore, Overwrite
from datalake_service.storage.folder import FolderStore
from tests.support.annotations import ListRows, run
from tests.support.faulty_store import Crash, Fault, FaultyStore, at
from tests.support.lake import put_annotations, put_rows
from tests.support.remote import RemoteStore
from tests.support.s3_server import strict_s3

BATCH, LANG = "posts/b1/", "posts/annotations/lang/"
MERGED, ANNOTATED = f"{BATCH}merged.parquet", f"{LANG}b1/merged.parquet"
NO_TIME = timedelta(0)
Damage = Callable[[ObjectStore], str]
"""Damages a lake; answers the key of what should be found."""


def ingest(store: ObjectStore, start: int, count: int, batch: str = "b1") -> str:
    """A run of rows in chunks of five; two of them in ten have the same text."""
    rows = [{"id": f"r{n:04d}", "text": f"row {n // 2 if n % 10 == 1 else n}"} for n in range(start, start + count)]
    rows_in = ingest_iterator(store, rows, dataset="posts", batch=batch, chunk_size=5, deduplicate_on=["text"])
    return asyncio.run(rows_in).run


def build(store: ObjectStore) -> None:
    """Merged rows with duplicates and rejections, merged annotations, and some of both that wait."""
    store.put(f"{BATCH}foreign.jsonl", b'{"text": "f"}\nno row\n', mode=Overwrite())
    ingest(store, 0, 20)
    assert merge_batch(store, "posts", "b1").duplicates == 2
    run(store, ListRows({"b1": ["r0000", "r0002"]}), lambda item: {"ok": True})
    merge_annotator(store, "posts", "lang")
    run(store, ListRows({"b1": ["r0003", "r0004"]}), lambda item: {"ok": True})
    ingest(store, 20, 12)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake in good order; not to be changed."""
    root = tmp_path_factory.mktemp("built") / "lake"
    build(FolderStore(root, durable=False))
    return root


@pytest.fixture
def store(built: Path, tmp_path: Path) -> ObjectStore:
    """A lake in good order."""
    shutil.copytree(built, tmp_path / "lake")
    return FolderStore(tmp_path / "lake", durable=False)


def check(store: ObjectStore, *, older_than: timedelta = NO_TIME, memory_bytes: int = 1 << 20) -> list[Finding]:
    """Everything that is found."""
    return list(check_dataset(store, "posts", older_than=older_than, memory_bytes=memory_bytes))


def found(store: ObjectStore) -> set[tuple[str, str]]:
    """Kind and key of everything that is found."""
    return {(str(finding.kind), finding.key) for finding in check(store)}


def key_of(store: ObjectStore, prefix: str, ending: str) -> str:
    """The first key with an ending."""
    return next(meta.key for meta in store.list(prefix) if meta.key.endswith(ending))


def put(store: ObjectStore, key: str, body: bytes = b"{}") -> str:
    """Write an object; answers its key."""
    return store.put(key, body, mode=Overwrite()).key


def edit(store: ObjectStore, key: str, change: Callable[[bytes], bytes]) -> str:
    """Change the bytes of an object."""
    return put(store, key, change(store.get(key)[0]))


def drop(store: ObjectStore, key: str) -> str:
    """Remove an object."""
    store.delete(key)
    return key


def scramble(body: bytes) -> bytes:
    """Other bytes where the first column of a Parquet file lies."""
    return body[:30] + bytes(byte ^ 0xFF for byte in body[30:200]) + body[200:]


def edit_record(store: ObjectStore, key: str, change: Callable[[Any], object]) -> str:
    """Change the commit record of a merged object."""
    file = pq.ParquetFile(io.BytesIO(store.get(key)[0]))
    record = json.loads(file.metadata.metadata[b"datalake"])
    change(record)
    body = io.BytesIO()
    pq.write_table(file.read().replace_schema_metadata({b"datalake": json.dumps(record)}), body)
    return put(store, key, body.getvalue())


def lie(store: ObjectStore, key: str, name: str) -> str:
    """Make a commit record count wrongly."""
    return edit_record(store, key, lambda record: record["counts"].update({name: 77}))


def forge_run(store: ObjectStore) -> str:
    """A manifest under the name of another run."""
    return put(store, f"{BATCH}abcdef.manifest.json", store.get(key_of(store, BATCH, ".manifest.json"))[0])


def kill_writer(store: ObjectStore) -> str:
    """A run that did not end."""
    key = key_of(store, BATCH, ".manifest.json")
    return edit(store, key, lambda body: json.dumps({**json.loads(body), "completedAt": None}).encode())


def make_older(store: ObjectStore, key: str, days: int) -> str:
    """Let an object have been written so many days ago; answers its key."""
    assert isinstance(store, FolderStore)
    then = datetime.now(UTC).timestamp() - days * 86_400
    os.utime(store.root / key, (then, then))
    return key


def dead_run(store: ObjectStore) -> str:
    """A run that did not come to its first chunk."""
    manifest = RunManifest("abcdef", "rows", datetime.now(UTC), None, 100)
    return put(store, f"{BATCH}abcdef.manifest.json", manifest.to_json())


def older_duplicates(store: ObjectStore) -> str:
    """Those of a merge that died before another one committed."""
    return make_older(store, put(store, f"{BATCH}duplicates/0123456789ab.jsonl", b""), 2)


def lost_rejections(store: ObjectStore) -> str:
    """A rejection file behind those that a completed task counts."""
    state = TaskState(
        id="t1", item="x", batch="b1", status=TaskStatus.COMPLETED, rejection_files=0, created_at=datetime.now(UTC)
    )
    create_task(store, "posts", state)
    return put(store, layout.task_rejections_key(layout.rejected_prefix("posts", "b1"), "t1", 0), b"")


def temporary_file(store: ObjectStore) -> str:
    """What a write leaves that is killed."""
    assert isinstance(store, FolderStore)
    (store.root / ".tmp/put").mkdir(parents=True, exist_ok=True)
    (store.root / ".tmp/put/half").write_bytes(b"...")
    return ".tmp/put/half"


def forget_merged(store: ObjectStore) -> str:
    """A batch that had rows, and has none."""
    now = datetime.now(UTC)
    state = DatasetState(dataset="posts", created_at=now, config={}, rows={"b0": 3, "b1": 20})
    update_dataset(store, "posts", lambda _: state)
    return "posts/b0/merged.parquet"


def same_ids(store: ObjectStore) -> str:
    """Two rows with one id in a batch of its own."""
    return put_rows(store, "posts", "b2", [{"id": "x"}, {"id": "y"}, {"id": "x"}]).key


def annotation_of_nothing(store: ObjectStore) -> str:
    """An annotation of a row that the batch does not have."""
    return put_annotations(store, "posts", "other", "b1", {"r0000": {"a": 1}, "nobody": {"a": 1}}).key


def rows_as_annotations(store: ObjectStore) -> str:
    """Annotations where rows should be."""
    return put(store, "posts/b2/merged.parquet", store.get(ANNOTATED)[0])


def edit_record_of_b2(store: ObjectStore) -> str:
    """The rows of one batch in the place of another's, nothing else wrong."""
    put(store, "posts/b2/merged.parquet", store.get(MERGED)[0])
    return edit_record(store, "posts/b2/merged.parquet", lambda record: record.update(duplicates=None))


CHUNK = "_chunk_00000.jsonl"
DAMAGES: dict[str, tuple[set[str], Damage]] = {
    "merged object cut": ({"unreadable"}, lambda s: edit(s, MERGED, lambda body: body[:-10])),
    "merged object scrambled": ({"unreadable"}, lambda s: edit(s, MERGED, scramble)),
    "annotations scrambled": ({"unreadable"}, lambda s: edit(s, ANNOTATED, scramble)),
    "annotations for rows": ({"unreadable"}, rows_as_annotations),
    "manifest junk": ({"unreadable"}, lambda s: edit(s, key_of(s, BATCH, ".manifest.json"), lambda _: b"{")),
    "forged manifest": ({"unreadable"}, forge_run),
    "chunk line junk": (
        {"unreadable", "wrongCount"},
        lambda s: edit(s, key_of(s, BATCH, CHUNK), lambda body: b"!" + body[1:]),
    ),
    "annotation line junk": (
        {"unreadable", "wrongCount"},
        lambda s: edit(s, key_of(s, f"{LANG}.temp/", CHUNK), lambda body: body.replace(b"_status", b"_statuz", 1)),
    ),
    "rejections junk": ({"unreadable"}, lambda s: edit(s, key_of(s, f"{BATCH}rejected/", ".jsonl"), lambda _: b"[\n")),
    "lock junk": ({"unreadable"}, lambda s: put(s, layout.annotator_lease_key("posts", "lang"))),
    "dataset state junk": ({"unreadable"}, lambda s: put(s, layout.dataset_state_key("posts"))),
    "chunk lost": ({"missing"}, lambda s: drop(s, key_of(s, BATCH, CHUNK))),
    "duplicates lost": ({"missing"}, lambda s: drop(s, key_of(s, f"{BATCH}duplicates/", ".jsonl"))),
    "merged object lost": ({"missing"}, forget_merged),
    "ids twice": ({"duplicatedIds"}, same_ids),
    "annotation of nothing": ({"noBaseRow"}, annotation_of_nothing),
    "annotations without a batch": (
        {"noBaseRow"},
        lambda s: put_annotations(s, "posts", "lang", "b9", {"x": "failed"}).key,
    ),
    "another batch": ({"misplaced"}, edit_record_of_b2),
    "chunk shorter": (
        {"wrongCount"},
        lambda s: edit(s, key_of(s, BATCH, CHUNK), lambda body: body[: body.index(b"\n") + 1]),
    ),
    "rows miscounted": ({"wrongCount"}, lambda s: lie(s, MERGED, "rows")),
    "statuses miscounted": ({"wrongCount"}, lambda s: lie(s, ANNOTATED, "done")),
    "duplicates shorter": (
        {"wrongCount"},
        lambda s: edit(s, key_of(s, f"{BATCH}duplicates/", ".jsonl"), lambda _: b""),
    ),
    "duplicates of a lost merge": ({"unreferenced"}, lambda s: put(s, f"{BATCH}duplicates/0123456789ab.jsonl")),
    "duplicates without a merged object": (
        {"unreferenced"},
        lambda s: put(s, "posts/b0/duplicates/0123456789ab.jsonl"),
    ),
    "dead writer": ({"unreferenced"}, kill_writer),
    "dead run": ({"leftover"}, dead_run),
    "older duplicates of a lost merge": ({"leftover"}, older_duplicates),
    "rejections that don't count": ({"leftover"}, lost_rejections),
    "temporary file": ({"leftover"}, temporary_file),
    "file of a shared annotator": ({"unreferenced"}, lambda s: put(s, f"{LANG}.shared/workers/notes.txt")),
    "claim junk": ({"unreadable"}, lambda s: put(s, layout.claim_key("posts", "lang", "b1"))),
    "worker's lease junk": ({"unreadable"}, lambda s: put(s, layout.worker_lease_key("posts", "lang", "a" * 32))),
    "claim of a task junk": ({"unreadable"}, lambda s: put(s, f"{layout.task_claims_prefix('posts')}t1.json")),
    "lease of a worker of tasks junk": ({"unreadable"}, lambda s: put(s, layout.task_worker_key("posts", "a" * 32))),
    "lease of the planning worker junk": ({"unreadable"}, lambda s: put(s, layout.planning_lease_key("posts"))),
    "file among the claims of tasks": ({"unreferenced"}, lambda s: put(s, "posts/.state/claims/notes.txt")),
    "requests to stop junk": ({"unreadable"}, lambda s: put(s, layout.stop_key("posts"))),
    "chunk without manifest": ({"unreferenced"}, lambda s: put(s, f"{BATCH}abcdef{CHUNK}", b'{"a":1}\n')),
    "file in a batch": ({"unreferenced"}, lambda s: put(s, f"{BATCH}notes.txt")),
    "folder in a batch": ({"unreferenced"}, lambda s: put(s, f"{BATCH}more/x.jsonl")),
    "folder in a dataset": ({"unreferenced"}, lambda s: put(s, "posts/.more/x.json")),
    "file in the state": ({"unreferenced"}, lambda s: put(s, "posts/.state/x.json")),
    "file of an annotator": ({"unreferenced"}, lambda s: put(s, f"{LANG}.temp/notes.txt")),
    "file with annotations": ({"unreferenced"}, lambda s: put(s, f"{LANG}b1/notes.txt")),
}


def test_a_lake_in_good_order_has_no_findings(any_store: ObjectStore) -> None:
    """In a folder and in a bucket, with everything in it that can be; and nothing is changed by looking."""
    build(any_store)
    watched = FaultyStore(any_store)
    assert check(watched) == []
    assert watched.writes == []


@pytest.mark.parametrize("name", DAMAGES)
def test_every_damage_is_found(store: ObjectStore, name: str) -> None:
    """It and nothing else."""
    kinds, damage = DAMAGES[name]
    key = damage(store)
    assert found(store) == {(kind, key) for kind in kinds}


def test_only_what_is_left_over_is_harmless(store: ObjectStore) -> None:
    """And what is young is not called left over."""
    put(store, f"{BATCH}notes.txt")
    kill_writer(store)
    assert [finding.is_damage for finding in check(store)] == [False, False]
    assert check(store, older_than=timedelta(hours=1)) == []
    same_ids(store)
    (finding,) = check(store, older_than=timedelta(hours=1))
    assert finding.is_damage
    assert finding.message == "1 rows have the id of an earlier row, among them 'x'"


def test_what_clean_up_removes_is_told_with_the_time(store: ObjectStore) -> None:
    """The time of the default age; and then clean-up does it."""
    key = dead_run(store)
    (finding,) = check(store)
    assert finding.removable_at == store.head(key).last_modified + timedelta(days=1)
    assert finding.message.endswith(f"clean-up removes it from {finding.removable_at:%Y-%m-%d %H:%M} UTC on")
    assert finding.to_dict()["removableAt"] == format_time(finding.removable_at)
    make_older(store, key, 2)
    make_older(store, lost_rejections(store), 3)
    messages = [finding.message for finding in check(store, older_than=timedelta(hours=1))]
    assert messages == [
        "its run never ended, and has no chunk; the next clean-up removes it",
        "its task is complete, and does not count it; the next clean-up --thorough removes it",
    ]
    assert [dict(result.removed or {}) for result in clean_up(store, thorough=True)][-1] == {
        "manifests": 1, "rejections": 1,
    }  # fmt: skip
    assert check(store, older_than=timedelta(hours=1)) == []


def test_unfinished_uploads_are_told() -> None:
    """Those of the dataset."""
    with strict_s3() as running:
        bucket = running.server.make_bucket()
        store = running.server.store_in(bucket, "lake")
        put_rows(store, "posts", "b1", [{"text": "a"}])
        for key in ("lake/posts/b1/merged.parquet", "lake/mails/b1/merged.parquet"):
            running.server.client().create_multipart_upload(Bucket=bucket, Key=key)
        ((kind, key),) = found(store)
    assert (kind, key) == ("leftover", MERGED)


def test_a_chunk_that_was_merged_long_ago_is_not_missing(store: ObjectStore) -> None:
    """A long run's manifest names chunks that merges took, deleted, and forgot; rows say that they came from there."""
    key = key_of(store, BATCH, ".manifest.json")
    manifest, _ = store.get(key)
    merge_batch(store, "posts", "b1")
    ingest(store, 40, 3)
    merge_batch(store, "posts", "b1")  # forgets the names of the chunks that the first deleted
    put(store, key, manifest)
    assert check(store) == []
    lost = RunManifest.from_json(manifest, key=key)
    lost.chunks[1] = type(lost.chunks[1])(5, 10, {}, datetime(2020, 1, 1, tzinfo=UTC))
    put(store, key, lost.to_json())
    assert found(store) == {("missing", f"{BATCH}{lost.run}_chunk_00001.jsonl")}


def test_chunks_of_repeated_rows_are_not_missing(store: ObjectStore) -> None:
    """Merges died between deleting chunks and deleting manifests, and no row says that it came from them."""

    def put(ids: str) -> None:
        rows = [{"id": name, "text": name} for name in ids]
        asyncio.run(ingest_iterator(store, rows, dataset="posts", batch="b1", chunk_size=1))

    def dies(fault: Fault) -> None:
        with pytest.raises(Crash):
            merge_batch(FaultyStore(store, at("delete_many", fault)), "posts", "b1")

    put("abc")
    merge_batch(store, "posts", "b1")
    put("abc")
    dies(Fault.CRASH_AFTER)
    put("d")
    dies(Fault.CRASH_BEFORE)
    assert [finding for finding in check_dataset(store, "posts") if finding.kind is FindingKind.MISSING] == []
    lost = next(meta.key for meta in store.list("posts/b1/") if "_chunk_" in meta.key)
    put("e")
    chunk = next(meta.key for meta in store.list("posts/b1/") if "_chunk_" in meta.key and meta.key != lost)
    store.delete(chunk)
    findings = [finding for finding in check_dataset(store, "posts") if finding.kind is FindingKind.MISSING]
    assert [finding.key for finding in findings] == [chunk]


def test_what_is_merged_meanwhile_is_looked_at_again(store: ObjectStore) -> None:
    """Once: nothing is wrong. Always: it says so."""
    watched = RemoteStore(store)
    left = 1

    def replace(key: str) -> None:
        nonlocal left
        if key == MERGED and left:
            left -= 1
            put(store, MERGED, store.get(MERGED)[0])

    watched.before_open = replace
    assert check(watched) == []
    assert left == 0
    left = 1000
    assert {(str(finding.kind), finding.key) for finding in check(watched)} >= {("busy", BATCH)}
    assert not any(finding.is_damage for finding in check(watched))


@pytest.mark.parametrize(
    ("verb", "key"), [("open", MERGED), ("open", ".jsonl"), ("get", ".manifest.json"), ("get", "")]
)
def test_a_store_that_does_not_answer_is_no_damage(store: ObjectStore, verb: str, key: str) -> None:
    """The check ends with that error: it cannot say that all is well."""
    with pytest.raises(StoreUnavailableError):
        check(FaultyStore(store, at(verb, Fault.UNAVAILABLE, key=key)))


def test_no_such_dataset(folder_store: FolderStore) -> None:
    """It is not in good order: it is not there."""
    with pytest.raises(DatasetNotFoundError):
        check(folder_store)
