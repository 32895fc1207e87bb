from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from datalake_service.catalog import layout
from datalake_service.catalog.claims import Claims, ClaimsBelow
from datalake_service.catalog.leases import Lease
from datalake_service.storage.base import ObjectStore, Overwrite
from datalake_service.storage.open import open_store
from tests.cli.commands import datalake, datalake_on_terminal


@pytest.fixture
def lake(tmp_path: Path) -> ObjectStore:
    """Two datasets, each with an annotator at work."""
    store = open_store(tmp_path / "lake")
    for dataset in ("pages", "posts"):
        lease = Lease(store, layout.annotator_lease_key(dataset, "lang"), ttl=timedelta(hours=1), owner="annotate it")
        assert lease.acquire()
    return store


@pytest.mark.usefixtures("lake")
def test_locks_are_listed(tmp_path: Path) -> None:
    """Of the lake or of one dataset, for programs and for people."""
    answer = datalake("locks", "list", cwd=tmp_path).json
    assert [lock["datasetName"] for lock in answer["locks"]] == ["pages", "posts"]
    (lock,) = datalake("locks", "list", "--datasetName", "posts", cwd=tmp_path).json["locks"]
    assert (lock["annotatorName"], lock["status"], lock["owner"]) == ("lang", "HELD", "annotate it")
    assert lock["host"]
    assert lock["process"] > 0
    assert 0 < lock["expiresInSeconds"] <= 3605
    shown = datalake_on_terminal("locks", "list", cwd=tmp_path).out.splitlines()
    headings = "DATASET FOR WORKER HAS STATUS OWNER HOST PROCESS RENEWED EXPIRES"
    assert shown[0].split() == headings.split()
    assert " ago  in " in shown[1]
    missing = datalake("locks", "list", "--datasetName", "none", cwd=tmp_path)
    assert missing.status == 2
    assert "no dataset 'none'" in missing.err


def test_breaking_asks_and_says_what_may_happen(tmp_path: Path, lake: ObjectStore) -> None:
    """No leaves it, yes gives it back; the other dataset's stays."""
    which = ("locks", "break", "--datasetName", "posts", "--annotator", "lang")
    refused = datalake(*which, cwd=tmp_path)
    assert refused.status == 2
    assert "give --yes" in refused.err
    said_no = datalake_on_terminal(*which, cwd=tmp_path, answer="n\n")
    assert said_no.status == 2
    assert "held by annotate it on " in said_no.out
    assert "stops with LeaseLostError" in said_no.out
    assert "the lock was not broken" in said_no.out
    assert len(datalake("locks", "list", cwd=tmp_path).json["locks"]) == 2
    said_yes = datalake_on_terminal(*which, cwd=tmp_path, answer="y\n")
    assert said_yes.status == 0, said_yes.out
    assert "broke the lock of posts/lang" in said_yes.out
    assert [lock["datasetName"] for lock in datalake("locks", "list", cwd=tmp_path).json["locks"]] == ["pages"]
    again = datalake(*which, "--yes", cwd=tmp_path)
    assert again.status == 2
    assert "annotator 'lang' of posts: nothing is locked" in again.err
    lake.put(layout.annotator_lease_key("posts", "lang"), b"junk", mode=Overwrite())
    assert "is not a lock" in datalake_on_terminal("locks", "list", cwd=tmp_path).out
    broken = datalake(*which, "--yes", cwd=tmp_path)
    assert broken.json["broken"] is True
    assert broken.json["status"] == "UNREADABLE"


def test_workers_that_share_an_annotator_are_listed_and_broken_one_by_one(tmp_path: Path) -> None:
    """With the batches they have; one of several has to be named, by the beginning of its name."""
    store = open_store(tmp_path / "lake")
    for worker, batches in (("a" * 32, ["b1", "b2", "b3", "b4"]), ("b" * 32, [])):
        key = layout.worker_lease_key("posts", "lang", worker)
        assert Lease(store, key, ttl=timedelta(hours=1), owner="annotate it, shared").acquire()
        claims = Claims(store, "posts", "lang", worker=worker)
        for batch in batches:
            assert claims.take(batch, over=None)
    store.put(layout.claim_key("posts", "lang", "junk"), b"{", mode=Overwrite())
    first, second = datalake("locks", "list", cwd=tmp_path).json["locks"]
    assert (first["worker"], first["batches"]) == ("a" * 32, ["b1", "b2", "b3", "b4"])
    assert (second["worker"], second["batches"]) == ("b" * 32, [])
    shown = datalake_on_terminal("locks", "list", cwd=tmp_path).out
    assert "aaaaaaaa  b1, b2, b3 and 1 more" in shown
    which = ("locks", "break", "--datasetName", "posts", "--annotator", "lang")
    assert "worked on by aaaaaaaa, bbbbbbbb; say with --worker" in datalake(*which, "--yes", cwd=tmp_path).err
    assert datalake(*which, "--yes", "--worker", "c", cwd=tmp_path).status == 2
    broken = datalake_on_terminal(*which, "--worker", "a", cwd=tmp_path, answer="y\n")
    assert broken.status == 0, broken.out
    assert "batches: b1, b2, b3 and 1 more" in broken.out
    assert "its batches are free at once" in broken.out
    (left,) = datalake("locks", "list", cwd=tmp_path).json["locks"]
    assert left["worker"] == "b" * 32
    assert datalake(*which, "--yes", cwd=tmp_path).json["worker"] == "b" * 32


def test_locks_of_tasks_are_listed_and_broken(tmp_path: Path) -> None:
    """Of workers with the tasks they have, of who plans and of who merges; no annotator is named then."""
    store = open_store(tmp_path / "lake")
    keys = [
        layout.planning_lease_key("posts"),
        layout.merging_lease_key("posts"),
        layout.task_worker_key("posts", "a" * 32),
    ]
    for key in keys:
        assert Lease(store, key, ttl=timedelta(hours=1), owner="worker of posts").acquire()
    claims = ClaimsBelow(store, layout.task_claims_prefix("posts"), worker="a" * 32)
    assert claims.take("t1", over=None)
    listed = datalake("locks", "list", cwd=tmp_path).json["locks"]
    assert [(one["for"], one["annotatorName"], one["tasks"]) for one in listed] == [
        ("planning", None, []),
        ("merging", None, []),
        ("tasks", None, ["t1"]),
    ]
    which = ("locks", "break", "--datasetName", "posts", "--yes")
    assert "say with --worker" in datalake(*which, cwd=tmp_path).err
    broken = datalake_on_terminal(*which, "--worker", "a", cwd=tmp_path).out
    assert "broke the lock of posts, tasks: held by worker of posts" in broken
    assert "its tasks are free at once" in broken
    assert [one["for"] for one in datalake("locks", "list", cwd=tmp_path).json["locks"]] == ["planning", "merging"]
