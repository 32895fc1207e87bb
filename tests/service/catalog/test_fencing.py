"""Who lives, by the store's clock; and leases that ran out, taken away before anybody relies on their end."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from datalake_service.catalog import layout
from datalake_service.catalog.claims import ClaimRecord, Claims, Seen
from datalake_service.catalog.fencing import Workers, find_live
from datalake_service.catalog.leases import Lease, grace
from datalake_service.errors import LeaseLostError, StoreError
from datalake_service.storage.base import Overwrite
from datalake_service.storage.folder import FolderStore
from datalake_utils.clock import ManualClock
from tests.support.faulty_store import FaultyStore

MINUTE = timedelta(minutes=1)
ENDED = (MINUTE + grace(MINUTE)).total_seconds() + 0.001
KEY = layout.annotator_lease_key("d", "a")


@pytest.fixture
def clock() -> ManualClock:
    """The store's."""
    return ManualClock()


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> FolderStore:
    """A store whose time is turned by hand."""
    return FolderStore(tmp_path, durable=False, clock=clock)


def worker(store: FolderStore, name: str) -> Lease:
    """The lease of a worker whose own clock stands still, so that it believes in it for ever."""
    lease = Lease(store, layout.worker_lease_key("d", "a", name), ttl=MINUTE, owner=name, clock=ManualClock())
    assert lease.acquire()
    return lease


def test_a_lease_lives_until_the_store_says_that_it_ran_out(store: FolderStore, clock: ManualClock) -> None:
    """After that its owner cannot renew it, although its own clock says that it could."""
    assert find_live(store, KEY) is None
    lease = Lease(store, KEY, ttl=MINUTE, owner="me", clock=ManualClock())
    assert lease.acquire()
    clock.advance(60)
    found = find_live(store, KEY)
    assert found is not None
    assert found.owner == "me"
    clock.advance(ENDED - 60)
    assert find_live(store, KEY) is None
    with pytest.raises(LeaseLostError, match="taken over"):
        lease.renew()
    assert find_live(store, KEY) is None
    assert Lease(store, KEY, ttl=MINUTE, clock=ManualClock()).acquire()


def test_a_lease_that_is_renewed_under_our_eyes_lives(store: FolderStore, clock: ManualClock) -> None:
    """It ran out when it was read, and was renewed before it was taken away."""
    lease = Lease(store, KEY, ttl=MINUTE, clock=ManualClock())
    assert lease.acquire()
    clock.advance(ENDED)

    class Late(FaultyStore):
        renewed = False

        def put(self, key: str, body: Any, *, mode: Any) -> Any:
            if key == KEY and not self.renewed:
                self.renewed = True
                lease.renew()
            return super().put(key, body, mode=mode)

    assert find_live(Late(store), KEY) is not None
    lease.renew()


def test_workers_that_ran_out_are_taken_away_and_removed(store: FolderStore, clock: ManualClock) -> None:
    """Those that live are found; whoever only looks changes nothing; one's own is left out."""
    dead = worker(store, "dead")
    clock.advance(ENDED)
    alive = worker(store, "alive")
    workers = Workers(store, "d", "a")
    assert set(workers.live(look_only=True)) == {"alive"}
    assert len(list(store.list(layout.worker_leases_prefix("d", "a")))) == 2
    assert set(workers.live()) == {"alive"}
    assert workers.live(but="alive") == {}
    assert len(list(store.list(layout.worker_leases_prefix("d", "a")))) == 1
    with pytest.raises(LeaseLostError):
        dead.renew()
    alive.renew()
    assert set(workers.live()) == {"alive"}


def test_a_lease_that_was_not_renewed_is_not_read_again(store: FolderStore) -> None:
    """A look costs a listing, a write for the time, and a read for each lease that is new."""
    leases = [worker(store, name) for name in ("a", "b", "c")]
    counting = FaultyStore(store)
    workers = Workers(counting, "d", "a")
    assert len(workers.live()) == len(workers.live()) == 3
    assert Counter(operation.verb for operation in counting.operations) == {"list": 2, "put": 2, "get": 3}
    leases[0].renew()
    assert len(workers.live()) == 3
    assert Counter(operation.verb for operation in counting.operations) == {"list": 3, "put": 3, "get": 4}
    leases[1].release()
    assert set(workers.live()) == {"a", "c"}


def test_nobody_there_costs_one_listing(store: FolderStore) -> None:
    """As for a worker that works alone."""
    counting = FaultyStore(store)
    assert Workers(counting, "d", "a").live() == {}
    assert [operation.verb for operation in counting.operations] == ["list"]


def test_a_claim_is_taken_by_one_and_given_back_by_it_only(store: FolderStore) -> None:
    """Whoever read an older version gets nothing."""
    first, second = (Claims(store, "d", "a", worker=name) for name in ("first", "second"))
    assert first.read("b") is None
    mine = first.take("b", over=None)
    assert mine is not None
    assert second.take("b", over=None) is None
    assert first.read("b") == mine
    first.give_back(mine, Seen("s", 3, 1))
    first.give_back(mine, Seen("s", 3, 1))  # again, after a doubtful answer
    standing = second.read("b")
    assert standing is not None
    assert (standing.record.released, standing.record.seen) == (True, Seen("s", 3, 1))
    theirs = second.take("b", over=standing)
    assert theirs is not None
    first.give_back(mine, None)
    assert second.read("b") == theirs
    assert first.versions() == {"b": theirs.etag}


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1}', '{"format": 2}'])
def test_what_is_no_claim_is_an_error_that_names_it(store: FolderStore, text: str) -> None:
    """It counts as neither free nor held: a person decides."""
    key = layout.claim_key("d", "a", "b")
    store.put(key, text.encode(), mode=Overwrite())
    with pytest.raises(StoreError, match=key):
        Claims(store, "d", "a").read("b")


def test_a_record_says_what_it_said() -> None:
    """Through JSON and back."""
    record = ClaimRecord("w", 7, released=True, seen=Seen("s", 1, 2))
    assert ClaimRecord.from_json(record.to_json(), key="k") == record
