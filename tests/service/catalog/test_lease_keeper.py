"""What renews a lease as long as its owner works."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from datalake_service.catalog.lease_keeper import LeaseKeeper
from datalake_service.errors import LeaseLostError
from datalake_service.storage.folder import FolderStore
from datalake_utils.clock import ManualClock, SystemClock
from tests.support.faulty_store import Fault, FaultyStore
from tests.support.leases import KEY, lease


def test_the_keeper_waits_until_a_minute_before_the_deadline(store: FolderStore) -> None:
    """Renewal starts then, and then only."""
    clock = ManualClock()
    mine = lease(store, clock)
    assert mine.acquire()
    keeper = LeaseKeeper(mine)
    assert keeper.pause() == 3_540
    clock.advance(3_540)
    assert keeper.pause() == 0
    assert keeper.must_stop() is None


def test_work_stops_before_the_deadline(store: FolderStore) -> None:
    """Fifteen seconds before the lease runs out it is time to store what there is."""
    clock = ManualClock()
    mine = lease(store, clock)
    assert mine.acquire()
    keeper = LeaseKeeper(mine)
    clock.advance(3_584)
    assert keeper.must_stop() is None
    clock.advance(1)
    assert isinstance(keeper.must_stop(), LeaseLostError)
    assert keeper.held, "what is finished can still be stored"


def test_a_lease_is_kept_longer_than_its_time(tmp_path: Path) -> None:
    """The keeper renews again and again; somebody who tries all the time never gets it."""
    store = FolderStore(tmp_path, durable=False)
    mine = lease(store, SystemClock(), ttl=timedelta(seconds=2))
    assert mine.acquire()
    keeper = LeaseKeeper(mine)
    keeper.start()
    other = lease(store, SystemClock(), ttl=timedelta(seconds=2))
    while other.holder is None or other.holder.number < 3:
        assert not other.acquire()
        assert keeper.must_stop() is None
    keeper.stop()
    mine.release()
    assert other.acquire()


def test_a_keeper_that_cannot_renew_says_why(tmp_path: Path) -> None:
    """The store is away: work has to stop in time, and the reason is the store's."""
    faulty = FaultyStore(FolderStore(tmp_path, durable=False))
    mine = lease(faulty, SystemClock(), ttl=timedelta(milliseconds=600))
    assert mine.acquire()
    faulty._plan = lambda _: Fault.UNAVAILABLE
    keeper = LeaseKeeper(mine)
    keeper.start()
    while (reason := keeper.must_stop()) is None:
        pass
    keeper.stop()
    assert "could not be renewed in time" in str(reason)


def test_a_keeper_whose_lease_was_taken_says_so_at_once(tmp_path: Path) -> None:
    """Somebody broke the lock: the next renewal notices, long before the deadline."""
    store = FolderStore(tmp_path, durable=False)
    mine = lease(store, SystemClock(), ttl=timedelta(seconds=1))
    assert mine.acquire()
    store.delete(KEY)
    assert lease(store, SystemClock()).acquire()
    keeper = LeaseKeeper(mine)
    keeper.start()
    while (reason := keeper.must_stop()) is None:
        pass
    keeper.stop()
    assert "taken over" in str(reason)
    assert not keeper.held
