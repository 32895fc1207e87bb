"""The lease: one holder at a time, whatever the store answers and whatever the clocks of machines say."""

from __future__ import annotations

import contextlib
import json
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_service.catalog.leases import Lease, LeaseRecord, grace, has_expired
from datalake_service.errors import LeaseLostError, OutcomeUnknownError, StoreError, StoreUnavailableError
from datalake_service.storage.folder import FolderStore
from datalake_utils.clock import ManualClock, SystemClock
from tests.support.faulty_store import Fault, FaultyStore, at
from tests.support.leases import HOUR, KEY, lease


def test_one_holds_it_until_it_is_given_back(store: FolderStore) -> None:
    """The second is refused and told who has it; then it is free at once."""
    first, second = lease(store, ManualClock(), owner="the first"), lease(store, ManualClock())
    assert first.acquire()
    assert first.remaining > 0
    assert not second.acquire()
    assert not second.held
    assert second.holder is not None
    assert second.holder.in_words().startswith("the first on ")
    first.release()
    assert not first.held
    assert second.acquire()


def test_the_lock_says_who_where_and_how_long(store: FolderStore, tmp_path: Path) -> None:
    """A person who looks at the object sees owner, host, process, time and limit."""
    assert lease(store, ManualClock(datetime(2026, 11, 20, tzinfo=UTC)), owner="annotate posts/lang").acquire()
    said = json.loads((tmp_path / KEY).read_bytes())
    assert said["owner"] == "annotate posts/lang"
    assert said["host"]
    assert said["pid"] > 0
    assert (said["acquiredAt"], said["ttlMs"]) == ("2026-11-20T00:00:00.000000Z", 3_600_000)


def test_expiry_is_judged_by_the_clock_of_the_store(store: FolderStore, store_clock: ManualClock) -> None:
    """A machine whose clock is ten hours ahead takes nothing; time that passed at the store counts."""
    dead, other = lease(store, ManualClock()), lease(store, ManualClock(datetime(2026, 1, 1, 10, tzinfo=UTC)))
    assert dead.acquire()
    assert not other.acquire()
    store_clock.advance((HOUR + grace(HOUR)).total_seconds())
    assert not other.acquire(), "the grace is over a moment later"
    store_clock.advance(1)
    assert other.acquire()


def test_the_deadline_counts_from_before_the_request(tmp_path: Path) -> None:
    """A slow answer makes the lease shorter for its owner, never longer."""
    clock = ManualClock()
    slow = FaultyStore(FolderStore(tmp_path, durable=False, clock=clock), at("put", Fault.SLOW), clock=clock)
    mine = lease(slow, clock)
    assert mine.acquire()
    assert mine.remaining == HOUR.total_seconds() - 60


def test_renewal_moves_the_deadline_for_everybody(store: FolderStore, store_clock: ManualClock) -> None:
    """After a renewal the lease lasts its full time again, by the owner's clock and by the store's."""
    clock = ManualClock()
    mine, other = lease(store, clock), lease(store, ManualClock())
    assert mine.acquire()
    for _ in range(3):
        clock.advance(3_500)
        store_clock.advance(3_500)
        mine.renew()
        assert mine.remaining == HOUR.total_seconds()
        assert not other.acquire()


def test_a_lease_that_ran_out_is_not_renewed(store: FolderStore) -> None:
    """Even if nobody took it: somebody may be about to."""
    clock = ManualClock()
    mine = lease(store, clock)
    assert mine.acquire()
    clock.advance(3_600)
    assert not mine.held
    with pytest.raises(LeaseLostError, match="ran out"):
        mine.renew()


def test_who_was_overtaken_frees_nothing(store: FolderStore, store_clock: ManualClock) -> None:
    """An owner that slept gives back what is not its own any more: the successor's lock stays."""
    sleeper, successor, third = (lease(store, ManualClock()) for _ in range(3))
    assert sleeper.acquire()
    store_clock.advance(4_000)
    assert successor.acquire()
    sleeper.release()
    assert not third.acquire()
    successor.renew()


def test_who_was_overtaken_cannot_renew(store: FolderStore, store_clock: ManualClock) -> None:
    """It learns it from the store, whatever its own clock says."""
    sleeper, successor = (lease(store, ManualClock()) for _ in range(2))
    assert sleeper.acquire()
    store_clock.advance(4_000)
    assert successor.acquire()
    with pytest.raises(LeaseLostError, match="taken over"):
        sleeper.renew()
    assert not sleeper.held
    successor.renew()


@pytest.mark.parametrize("verb", ["acquire", "renew", "release"])
def test_a_lost_answer_is_settled_by_reading_back(tmp_path: Path, verb: str) -> None:
    """The write was applied and its answer never came: it counts."""
    nth = ["acquire", "renew", "release"].index(verb) + 1
    faulty = FaultyStore(FolderStore(tmp_path, durable=False), at("put", Fault.LOST, nth=nth))
    mine = lease(faulty, ManualClock())
    assert mine.acquire()
    mine.renew()
    mine.release()
    assert lease(faulty.inner, ManualClock()).acquire()


def test_an_unknown_outcome_is_not_a_lease(tmp_path: Path) -> None:
    """No answer, and no trace when it is read back: whoever asked does not hold it, and can ask again."""
    faulty = FaultyStore(FolderStore(tmp_path, durable=False), at("put", Fault.UNKNOWN))
    mine = lease(faulty, ManualClock())
    with pytest.raises(OutcomeUnknownError):
        mine.acquire()
    assert not mine.held
    assert mine.acquire()


@pytest.mark.parametrize("fault", [Fault.UNKNOWN, Fault.UNAVAILABLE])
def test_a_failed_renewal_keeps_the_old_deadline_and_is_repeated(tmp_path: Path, fault: Fault) -> None:
    """The deadline of the repetition counts from the first attempt, which may be the one that took effect."""
    clock = ManualClock()
    faulty = FaultyStore(FolderStore(tmp_path, durable=False, clock=clock), at("put", fault, nth=2))
    mine = lease(faulty, clock)
    assert mine.acquire()
    clock.advance(3_000)
    with pytest.raises((OutcomeUnknownError, StoreUnavailableError)):
        mine.renew()
    assert mine.remaining == 600
    clock.advance(100)
    mine.renew()
    assert mine.remaining == 3_500


def test_a_renewal_that_nobody_heard_of_is_given_back_too(tmp_path: Path) -> None:
    """The renewal took effect, its answer and the read-back were lost: release frees the lease all the same."""

    def plan(operation: object) -> Fault | None:
        number = getattr(operation, "number", 0)
        return {4: Fault.LOST, 5: Fault.UNAVAILABLE}.get(number)

    faulty = FaultyStore(FolderStore(tmp_path, durable=False), plan)
    mine = lease(faulty, ManualClock())
    assert mine.acquire()
    faulty.head(KEY)
    with pytest.raises(StoreUnavailableError):
        mine.renew()
    assert [operation.verb for operation in faulty.operations] == ["get", "put", "head", "put", "get"]
    mine.release()
    assert lease(faulty.inner, ManualClock()).acquire()


def test_taking_and_giving_back_costs_at_most_four_requests(tmp_path: Path) -> None:
    """Uncontended, for a lock that never was and for one that was given back."""
    counting = FaultyStore(FolderStore(tmp_path, durable=False))
    for _ in range(2):
        counting.operations.clear()
        mine = lease(counting, ManualClock())
        assert mine.acquire()
        mine.release()
        assert len(counting.operations) <= 4


@pytest.mark.parametrize("body", [b"", b"{}", b"not json", b'{"format": 1, "attempt": 5}'])
def test_what_is_no_lock_is_neither_free_nor_held(store: FolderStore, tmp_path: Path, body: bytes) -> None:
    """A damaged lock is shown to a person with its key, and left alone."""
    path = tmp_path / KEY
    path.parent.mkdir(parents=True)
    path.write_bytes(body)
    with pytest.raises(StoreError, match=r"\.temp/\.lock is not a lock"):
        lease(store, ManualClock()).acquire()
    assert path.read_bytes() == body


def test_a_lock_of_a_newer_version_is_refused(store: FolderStore, tmp_path: Path) -> None:
    """Its rules are not known here."""
    assert lease(store, ManualClock()).acquire()
    path = tmp_path / KEY
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"format": 2}), encoding="utf-8")
    with pytest.raises(StoreError, match="upgrade"):
        lease(store, ManualClock()).acquire()


def test_a_time_limit_has_to_be_positive(store: FolderStore) -> None:
    """Nothing can be done within no time."""
    with pytest.raises(ValueError, match="positive"):
        lease(store, ManualClock(), ttl=timedelta(0))


def test_of_many_threads_one_wins(store: FolderStore) -> None:
    """Eight takers at once, again and again: exactly one holds the lease."""
    for _ in range(10):
        takers = [lease(store, SystemClock()) for _ in range(8)]
        start = threading.Barrier(len(takers))

        def take(taker: Lease, start: threading.Barrier = start) -> None:
            start.wait()
            taker.acquire()

        threads = [threading.Thread(target=take, args=(taker,)) for taker in takers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        holders = [taker for taker in takers if taker.held]
        assert len(holders) == 1
        holders[0].release()


@given(
    ttl_ms=st.integers(1, 10**9),
    elapsed=st.floats(0, 2e6),
    truncated=st.floats(0, 0.999),
)
def test_a_lease_never_expires_before_its_owner_knows(ttl_ms: int, elapsed: float, truncated: float) -> None:
    """Times of the store in whole seconds, and clocks that differ by a thousandth, don't make it shorter."""
    ttl = timedelta(milliseconds=ttl_ms)
    record = LeaseRecord("a", 0, ttl, "", "", 1, datetime(2026, 1, 1, tzinfo=UTC))
    written = datetime(2026, 1, 1, 0, 0, 0, round(truncated * 1e6), tzinfo=UTC)
    now = (written + timedelta(seconds=elapsed * 1.001)).replace(microsecond=0)
    expired = has_expired(record, written=written.replace(microsecond=0), store_now=now)
    assert not (expired and elapsed < ttl.total_seconds())


ACTION = st.tuples(
    st.integers(0, 2),
    st.sampled_from(["acquire", "renew", "release", "pass", "jump"]),
    st.sampled_from([None, None, Fault.LOST, Fault.UNKNOWN, Fault.UNAVAILABLE]),
    st.integers(1, 90),
)


@given(st.lists(ACTION, max_size=40))
def test_never_two_holders(actions: list[tuple[int, str, Fault | None, int]]) -> None:
    """Three owners, faults at any write, wall clocks that jump: at any time at most one of them holds the lease."""
    for root in _folders():
        clocks = [ManualClock() for _ in range(4)]
        fault: list[Fault | None] = [None]

        def plan(operation: object, fault: list[Fault | None] = fault) -> Fault | None:
            return fault[0] if getattr(operation, "verb", "") == "put" else None

        faulty = FaultyStore(FolderStore(root, durable=False, clock=clocks[3]), plan)
        owners = [lease(faulty, clock, ttl=timedelta(seconds=60)) for clock in clocks[:3]]
        for number, action, kind, seconds in actions:
            fault[0] = kind
            if action == "pass":
                for clock in clocks:
                    clock.advance(seconds)
            elif action == "jump":
                clocks[number].jump(seconds * 100)
            else:
                with contextlib.suppress(StoreError, LeaseLostError):
                    getattr(owners[number], action)()
            assert sum(owner.held for owner in owners) <= 1


def _folders() -> Iterator[Path]:
    """One fresh folder for each example."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
