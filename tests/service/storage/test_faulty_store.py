"""The faulty store of the tests does what it is told, and only that."""

from __future__ import annotations

import pytest

from datalake_service.errors import ObjectNotFoundError, OutcomeUnknownError, StoreUnavailableError
from datalake_service.storage import CreateOnly, FolderStore, Overwrite
from datalake_utils.clock import ManualClock
from tests.support.faulty_store import Crash, Fault, FaultyStore, at, seeded


def test_a_crash_before_changes_nothing(folder_store: FolderStore) -> None:
    """The operation did not take effect, and nothing else does afterwards."""
    store = FaultyStore(folder_store, {2: Fault.CRASH_BEFORE})
    store.put("a", b"", mode=CreateOnly())
    with pytest.raises(Crash):
        store.put("b", b"", mode=CreateOnly())
    for call in (lambda: store.delete("a"), lambda: store.put("c", b"", mode=CreateOnly()), lambda: store.get("a")):
        with pytest.raises(Crash):
            call()
    assert [meta.key for meta in folder_store.list("")] == ["a"]
    assert store.dead


def test_a_crash_after_took_effect(folder_store: FolderStore) -> None:
    """The operation took effect and its caller never learns it, not even that it was refused."""
    with pytest.raises(Crash):
        FaultyStore(folder_store, {1: Fault.CRASH_AFTER}).put("a", b"", mode=CreateOnly())
    assert [meta.key for meta in folder_store.list("")] == ["a"]
    with pytest.raises(Crash):
        FaultyStore(folder_store, {1: Fault.CRASH_AFTER}).put("a", b"", mode=CreateOnly())


def test_a_crash_in_the_middle_of_many_deletes(folder_store: FolderStore) -> None:
    """Half of the keys are gone."""
    keys = [f"d/{number}" for number in range(6)]
    for key in keys:
        folder_store.put(key, b"", mode=CreateOnly())
    with pytest.raises(Crash):
        FaultyStore(folder_store, {1: Fault.CRASH_MIDDLE}).delete_many(keys)
    assert [meta.key for meta in folder_store.list("")] == keys[3:]


def test_lost_and_unknown_look_the_same(folder_store: FolderStore) -> None:
    """With and without effect, the caller of a put hears that the outcome is unknown; others may simply repeat."""
    store = FaultyStore(folder_store, {1: Fault.LOST, 2: Fault.UNKNOWN, 3: Fault.LOST, 4: Fault.UNAVAILABLE})
    for key in ("lost", "unknown"):
        with pytest.raises(OutcomeUnknownError):
            store.put(key, b"", mode=CreateOnly())
    assert [meta.key for meta in folder_store.list("")] == ["lost"]
    with pytest.raises(StoreUnavailableError):
        store.delete("lost")
    with pytest.raises(ObjectNotFoundError):
        folder_store.head("lost")
    with pytest.raises(StoreUnavailableError):
        store.put("x", b"", mode=Overwrite())
    assert list(folder_store.list("")) == []


def test_slow_takes_a_minute(folder_store: FolderStore) -> None:
    """A slow operation works, and the clock moves on."""
    clock = ManualClock()
    FaultyStore(folder_store, {1: Fault.SLOW}, clock=clock).put("a", b"", mode=CreateOnly())
    assert clock.monotonic() == 60
    assert folder_store.get("a")[0] == b""


def test_faults_can_be_aimed(folder_store: FolderStore) -> None:
    """A fault at the n-th operation of a kind on some keys."""
    store = FaultyStore(folder_store, at("put", Fault.UNAVAILABLE, key="merged", nth=2))
    store.put("merged", b"", mode=Overwrite())
    store.put("other", b"", mode=Overwrite())
    with pytest.raises(StoreUnavailableError):
        store.put("merged", b"", mode=Overwrite())
    store.put("merged", b"", mode=Overwrite())


def test_a_seed_is_a_script(folder_store: FolderStore) -> None:
    """The same seed plans the same faults at the same operations; another seed others."""

    def run(seed: int) -> list[int]:
        store = FaultyStore(folder_store, seeded(seed, 0.5))
        failed = []
        for number in range(40):
            try:
                store.put("a", b"", mode=Overwrite())
            except (StoreUnavailableError, OutcomeUnknownError):
                failed.append(number)
        return failed

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert 10 < len(run(1)) < 30


def test_operations_are_numbered_from_one(folder_store: FolderStore) -> None:
    """What was asked is listed, writes apart from reads."""
    store = FaultyStore(folder_store)
    store.put("a", b"", mode=CreateOnly())
    list(store.list(""))
    store.delete_many(["a", "b"])
    assert [(asked.number, asked.verb, asked.key) for asked in store.operations] == [
        (1, "put", "a"), (2, "list", ""), (3, "delete_many", "a"),
    ]  # fmt: skip
    assert [asked.number for asked in store.writes] == [1, 3]
