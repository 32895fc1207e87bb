"""What ``ObservedStore`` reports."""

from __future__ import annotations

from typing import Any

import pytest

from datalake_service.errors import ObjectNotFoundError
from datalake_service.storage import CreateOnly, FolderStore, Overwrite
from datalake_service.storage.observed import Observation, ObservedStore, RequestCounts, Tally
from datalake_utils.clock import ManualClock
from tests.support.faulty_store import Fault, FaultyStore


def test_calls_and_bytes_are_counted_by_verb(folder_store: FolderStore) -> None:
    """Every verb counts as one request, with the bytes that went over the wire."""
    counts = RequestCounts()
    store = ObservedStore(folder_store, counts)
    store.put("d/a", b"12345", mode=CreateOnly())
    store.put("d/b", b"123", mode=Overwrite())
    store.get("d/a")
    store.head("d/a")
    with store.open("d/a", start=1) as stream:
        stream.read(2)
        assert counts["read"] == Tally()
    list(store.list(""))
    list(store.list_folders(""))
    store.delete("d/a")
    store.delete_many(["d/b", "d/c"])

    assert counts["put"] == Tally(calls=2, requests=2, bytes_written=8)
    assert counts["get"] == Tally(calls=1, requests=1, bytes_read=5)
    assert counts["head"] == counts["open"] == counts["list"] == counts["list_folders"] == Tally(calls=1, requests=1)
    assert counts["read"].bytes_read == 4
    assert counts["delete"] == counts["delete_many"] == Tally(calls=1, requests=1)
    assert counts.total == Tally(calls=9, requests=9, bytes_read=9, bytes_written=8)
    counts.clear()
    assert counts.total == Tally()


def test_pages_are_requests(folder_store: FolderStore) -> None:
    """A listing or a deletion of more than 1,000 keys costs more than one request."""
    counts = RequestCounts()
    store = ObservedStore(folder_store, counts)
    for number in range(1_001):
        folder_store.put(f"d/{number}", b"", mode=CreateOnly())
    keys = [meta.key for meta in store.list("")]
    assert counts["list"].requests == 2
    store.delete_many(keys)
    assert counts["delete_many"].requests == 2
    assert list(store.list("")) == []
    assert counts["list"].requests == 3


def test_errors_are_counted_and_pass(folder_store: FolderStore) -> None:
    """An error is reported by its kind and reaches the caller."""
    seen: list[Observation] = []
    with pytest.raises(ObjectNotFoundError):
        ObservedStore(folder_store, seen.append).get("a")
    assert [(call.verb, call.key, call.error) for call in seen] == [("get", "a", "not_found")]


def test_time_is_measured(folder_store: FolderStore) -> None:
    """The seconds of a call are those of the clock that was given."""
    seen: list[Observation] = []
    clock = ManualClock()
    slow = FaultyStore(folder_store, {1: Fault.SLOW}, clock=clock)
    ObservedStore(slow, seen.append, clock=clock).put("a", b"", mode=CreateOnly())
    assert [call.seconds for call in seen] == [60.0]


def test_a_listing_that_is_left_early_is_no_error(folder_store: FolderStore) -> None:
    """Whoever takes only the first item made one request without an error."""
    seen: list[Observation] = []
    for number in range(3):
        folder_store.put(f"d/{number}", b"", mode=CreateOnly())
    listing: Any = ObservedStore(folder_store, seen.append).list("")
    next(listing)
    listing.close()
    assert [(call.requests, call.error) for call in seen] == [(1, "")]
