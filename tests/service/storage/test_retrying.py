"""What ``RetryingStore`` repeats, what it settles, and what it leaves to the caller."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from datalake_service.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    ObjectNotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    StoreUnavailableError,
)
from datalake_service.storage import CreateOnly, FolderStore, IfMatch, ObjectMeta, Overwrite, PutMode, RetryingStore
from datalake_utils.clock import ManualClock
from tests.support.faulty_store import Fault, FaultyStore, Operation, Plan, at, seeded

_T = TypeVar("_T")


def patient(inner: FolderStore, plan: Plan | dict[int, Fault]) -> tuple[RetryingStore, FaultyStore, ManualClock]:
    """Wrap a store with faults and patience; the waits take no time."""
    faulty = FaultyStore(inner, plan)
    clock = ManualClock()
    return RetryingStore(faulty, clock=clock), faulty, clock


def test_an_outage_is_sat_out(folder_store: FolderStore) -> None:
    """A store that worked before is asked eight times, with growing waits."""
    store, faulty, clock = patient(folder_store, dict.fromkeys(range(2, 9), Fault.UNAVAILABLE))
    store.put("a", b"1", mode=CreateOnly())
    assert store.get("a")[0] == b"1"
    assert [operation.verb for operation in faulty.operations] == ["put"] + ["get"] * 8
    assert len(clock.slept) == 7
    assert 15 < sum(clock.slept) < 45
    assert all(later > earlier * 0.9 for earlier, later in zip(clock.slept, clock.slept[1:], strict=False))


def test_patience_has_an_end(folder_store: FolderStore) -> None:
    """After the last attempt, the error of the store is raised as it is."""
    store, faulty, _ = patient(folder_store, dict.fromkeys(range(2, 99), Fault.UNAVAILABLE))
    store.put("a", b"1", mode=CreateOnly())
    with pytest.raises(StoreUnavailableError, match="planned"):
        store.get("a")
    assert len(faulty.operations) == 9


def test_a_store_that_never_answered_is_given_up_soon(folder_store: FolderStore) -> None:
    """A wrong address is reported after three attempts and less than a second."""
    store, faulty, clock = patient(folder_store, lambda _: Fault.UNAVAILABLE)
    with pytest.raises(StoreUnavailableError):
        store.put("a", b"1", mode=CreateOnly())
    assert len(faulty.operations) == 3
    assert sum(clock.slept) < 1


def test_an_answer_is_an_answer(folder_store: FolderStore) -> None:
    """A refusal shows that the store is there: from then on there is more patience. It is not repeated itself."""
    store, faulty, _ = patient(folder_store, dict.fromkeys(range(2, 8), Fault.UNAVAILABLE))
    with pytest.raises(ObjectNotFoundError):
        store.get("a")
    with pytest.raises(ObjectNotFoundError):
        store.head("a")
    assert [operation.verb for operation in faulty.operations] == ["get"] + ["head"] * 7


class Forbidden(FaultyStore):
    """A store that forbids to look after it failed to answer."""

    def head(self, key: str) -> ObjectMeta:
        raise AccessDeniedError("planned")


MODES = ["create", "replace"]


def _mode(store: FolderStore, how: str) -> PutMode:
    return IfMatch(store.put("a", b"old", mode=CreateOnly()).etag) if how == "replace" else CreateOnly()


@pytest.mark.parametrize("how", MODES)
@pytest.mark.parametrize("body_is", ["bytes", "file"])
def test_a_lost_answer_is_settled_by_the_content(
    folder_store: FolderStore, tmp_path: Path, how: str, body_is: str
) -> None:
    """A write of unknown outcome that stands there, byte for byte, was applied; it is not sent again."""
    mode = _mode(folder_store, how)
    file = tmp_path / "body"
    file.write_bytes(b"mine" * 1_000_000)
    store, faulty, _ = patient(folder_store, at("put", Fault.LOST))
    meta = store.put("a", file if body_is == "file" else file.read_bytes(), mode=mode)
    assert meta == folder_store.head("a")
    assert [operation.verb for operation in faulty.operations].count("put") == 1


@pytest.mark.parametrize("how", MODES)
def test_a_lost_request_is_sent_again(folder_store: FolderStore, how: str) -> None:
    """A write of unknown outcome that is not there is sent again under its condition."""
    mode = _mode(folder_store, how)
    store, faulty, _ = patient(folder_store, at("put", Fault.UNKNOWN))
    store.put("a", b"mine", mode=mode)
    assert folder_store.get("a")[0] == b"mine"
    assert len(faulty.writes) == 2


@pytest.mark.parametrize("how", MODES)
def test_the_second_sending_does_not_fail_against_the_first(folder_store: FolderStore, how: str) -> None:
    """Lost, looked for in vain while the store was away, sent again and refused: the first one was ours."""
    mode = _mode(folder_store, how)
    plan = {1: Fault.LOST, 2: Fault.UNAVAILABLE}
    store, faulty, _ = patient(folder_store, plan)
    meta = store.put("a", b"mine", mode=mode)
    assert meta == folder_store.head("a")
    assert len(faulty.writes) == 2


@pytest.mark.parametrize("how", MODES)
@pytest.mark.parametrize("theirs", [b"them", b"much longer than ours"])
def test_a_lost_race_is_a_lost_race(folder_store: FolderStore, how: str, theirs: bytes) -> None:
    """A write of unknown outcome after which another version stands there is refused, not repeated for ever."""
    mode = _mode(folder_store, how)
    folder_store.put("a", theirs, mode=Overwrite())
    store, _, _ = patient(folder_store, at("put", Fault.UNKNOWN))
    with pytest.raises((AlreadyExistsError, PreconditionFailedError)):
        store.put("a", b"ours", mode=mode)
    assert folder_store.get("a")[0] == theirs


def test_unknown_stays_unknown(folder_store: FolderStore) -> None:
    """What cannot be settled is never reported as a failure, though the last error was one of availability."""
    store, _, _ = patient(folder_store, lambda asked: Fault.UNKNOWN if asked.number == 1 else Fault.UNAVAILABLE)
    with pytest.raises(OutcomeUnknownError):
        store.put("a", b"mine", mode=CreateOnly())


def test_unknown_stays_unknown_when_looking_is_forbidden(folder_store: FolderStore) -> None:
    """The same when the last error was about the permission to look."""
    store = RetryingStore(Forbidden(folder_store, at("put", Fault.LOST)), clock=ManualClock())
    with pytest.raises(OutcomeUnknownError):
        store.put("a", b"mine", mode=CreateOnly())


def test_an_overwrite_may_be_repeated(folder_store: FolderStore) -> None:
    """Writing the same twice is the same as once, so an overwrite is never of unknown outcome."""
    store, _, _ = patient(folder_store, lambda asked: Fault.UNKNOWN if asked.verb == "put" else None)
    with pytest.raises(StoreUnavailableError):
        store.put("a", b"mine", mode=Overwrite())
    store, _, _ = patient(folder_store, at("put", Fault.UNKNOWN))
    store.put("a", b"mine", mode=Overwrite())
    assert folder_store.get("a")[0] == b"mine"


class BreakingLists(FaultyStore):
    """Listings that break after every two items."""

    def list(self, prefix: str) -> Iterator[ObjectMeta]:
        return self._broken(self.inner.list(prefix))

    def list_folders(self, prefix: str) -> Iterator[str]:
        return self._broken(self.inner.list_folders(prefix))

    def _broken(self, items: Iterator[_T]) -> Iterator[_T]:
        self.operations.append(Operation(len(self.operations) + 1, "list", ""))
        allowed = 2 * len(self.operations)
        for number, item in enumerate(items):
            if number == allowed:
                raise StoreUnavailableError("planned")
            yield item


def test_a_broken_listing_goes_on_behind_the_last_key(folder_store: FolderStore) -> None:
    """A listing that breaks again and again shows every key once, in order."""
    keys = [f"{number:02d}/x" for number in range(11)]
    for key in keys:
        folder_store.put(key, b"", mode=CreateOnly())
    for _ in range(2):
        store = RetryingStore(BreakingLists(folder_store), clock=ManualClock())
        assert [meta.key for meta in store.list("")] == keys
        store = RetryingStore(BreakingLists(folder_store), clock=ManualClock())
        assert [f"{name}/x" for name in store.list_folders("")] == keys


def test_a_prefix_is_checked_at_once(folder_store: FolderStore) -> None:
    """A wrong prefix is refused when the listing is asked for, not when it is read."""
    with pytest.raises(ValueError, match="slash"):
        RetryingStore(folder_store).list("b1")


@pytest.mark.parametrize("seed", range(20))
def test_a_third_of_all_operations_fails_and_nothing_is_lost(folder_store: FolderStore, seed: int) -> None:
    """Through faults of every kind at random, a counter under compare-and-swap counts every success once.

    The bodies differ from attempt to attempt, as those of locks and commits do.
    """
    clock = ManualClock()
    store = RetryingStore(FaultyStore(folder_store, seeded(seed, 0.33)), attempts=30, first_attempts=30, clock=clock)
    store.put("counter", b"0 start", mode=CreateOnly())
    for round_ in range(30):
        body, meta = store.get("counter")
        value = int(body.split()[0])
        assert value == round_
        store.put("counter", b"%d round %d" % (value + 1, round_), mode=IfMatch(meta.etag))
    assert folder_store.get("counter")[0] == b"30 round 29"
