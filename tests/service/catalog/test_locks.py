"""Locks seen from outside, and broken on purpose."""

from __future__ import annotations

from datetime import timedelta

import pytest

from datalake_service.catalog import layout
from datalake_service.catalog.leases import Lease, grace
from datalake_service.catalog.locks import LockStatus, break_lock, find_lock, find_locks
from datalake_service.errors import LeaseLostError, OutcomeUnknownError, PreconditionFailedError, StoreUnavailableError
from datalake_service.storage.base import ObjectStore, Overwrite
from datalake_service.storage.folder import FolderStore
from datalake_utils.clock import ManualClock
from tests.support.faulty_store import Fault, FaultyStore, at

KEY = layout.annotator_lease_key("posts", "lang")
HOUR = timedelta(hours=1)


def taken(store: ObjectStore, annotator: str = "lang") -> Lease:
    """A lease that is held."""
    lease = Lease(store, layout.annotator_lease_key("posts", annotator), ttl=HOUR, owner="me", clock=ManualClock())
    assert lease.acquire()
    return lease


def test_what_is_held_is_listed_and_what_was_given_back_is_not(store: FolderStore, store_clock: ManualClock) -> None:
    """Ages and expiry are by the store's clock."""
    taken(store, "a")
    taken(store, "b").release()
    store.put(layout.annotator_temp_prefix("posts", "c") + "x.jsonl", b"", mode=Overwrite())
    store_clock.advance(600)
    (lock,) = find_locks(store, "posts")
    assert (lock.dataset, lock.annotator, lock.status) == ("posts", "a", LockStatus.HELD)
    assert lock.record is not None
    assert lock.record.owner == "me"
    assert lock.to_dict()["ageSeconds"] == pytest.approx(600, abs=1)
    assert lock.expires_in.total_seconds() == pytest.approx(3000 + grace(HOUR).total_seconds(), abs=1)
    assert lock.renewal_in.total_seconds() == pytest.approx(2940, abs=1)


def test_a_lock_of_a_dead_owner_is_shown_as_expired(store: FolderStore, store_clock: ManualClock) -> None:
    """It is exactly then that another worker could take it."""
    taken(store)
    store_clock.advance((HOUR + grace(HOUR)).total_seconds() - 1)
    held = find_lock(store, "posts", "lang")
    store_clock.advance(2)
    expired = find_lock(store, "posts", "lang")
    assert held is not None
    assert expired is not None
    assert (held.status, expired.status) == (LockStatus.HELD, LockStatus.EXPIRED)
    assert expired.renewal_in == timedelta(0)


def test_after_breaking_it_is_free_and_the_owner_notices_when_it_renews(store: FolderStore) -> None:
    """The owner cannot take it back by renewing or by giving it back."""
    owner = taken(store)
    lock = find_lock(store, "posts", "lang")
    assert lock is not None
    break_lock(store, lock)
    assert find_lock(store, "posts", "lang") is None
    new = taken(store)
    with pytest.raises(LeaseLostError):
        owner.renew()
    owner.release()
    new.renew()
    assert new.held


def test_a_lock_that_was_renewed_meanwhile_stays(store: FolderStore) -> None:
    """Its owner is alive: look again before breaking it."""
    owner = taken(store)
    lock = find_lock(store, "posts", "lang")
    assert lock is not None
    owner.renew()
    with pytest.raises(PreconditionFailedError, match="nothing was changed: look again"):
        break_lock(store, lock)
    owner.renew()


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.UNKNOWN, Fault.UNAVAILABLE])
def test_a_lost_answer_is_settled_by_reading_back(store: FolderStore, fault: Fault) -> None:
    """Broken, or an error: never an error for what was done."""
    taken(store)
    lock = find_lock(store, "posts", "lang")
    assert lock is not None
    faulty = FaultyStore(store, at("put", fault))
    if fault is Fault.LOST:
        break_lock(faulty, lock)
        assert find_lock(store, "posts", "lang") is None
    else:
        with pytest.raises((StoreUnavailableError, OutcomeUnknownError), match="planned"):
            break_lock(faulty, lock)
        assert find_lock(store, "posts", "lang") is not None


def test_a_lock_that_cannot_be_read_can_be_broken(store: FolderStore) -> None:
    """It would stay in the way for ever."""
    store.put(KEY, b"{", mode=Overwrite())
    lock = find_lock(store, "posts", "lang")
    assert lock is not None
    assert lock.status is LockStatus.UNREADABLE
    assert KEY in (lock.error or "")
    break_lock(store, lock)
    assert taken(store).held
