"""Conditions on a store that ignores them: what the mutex makes true, whatever becomes of a request."""

from __future__ import annotations

import pickle
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from datalake_service.catalog.leases import Lease
from datalake_service.errors import (
    AlreadyExistsError,
    ConfigError,
    OutcomeUnknownError,
    PreconditionFailedError,
    StoreError,
    StoreUnavailableError,
)
from datalake_service.mutex.client import Mutex
from datalake_service.storage import CreateOnly, FolderStore, IfMatch, ObjectStore, Overwrite, RetryingStore, open_store
from datalake_service.storage.mutexed import TTL, MutexedStore
from datalake_service.storage.probe import RECORD_KEY, require_conditions
from datalake_service.storage.s3 import S3Store
from datalake_utils.backoff import Backoff
from datalake_utils.clock import Clock, ManualClock, SystemClock
from tests.support.mutex_server import mutex_server
from tests.support.servers import S3Server
from tests.support.staging_store import Publication, StagingStore

NOWHERE = "ws://127.0.0.1:1"
NOW = timedelta(0)


@pytest.fixture
def server_clock() -> ManualClock:
    """The clock of the mutex."""
    return ManualClock()


@pytest.fixture
def url(server_clock: ManualClock) -> Iterator[str]:
    """A server of the mutex whose time is turned by hand."""
    with mutex_server(clock=server_clock) as found:
        yield found


@pytest.fixture
def careless(folder_store: FolderStore) -> StagingStore:
    """A store that ignores conditions."""
    return StagingStore(folder_store)


def mutexed(store: StagingStore, url: str, clock: Clock | None = None, ttl: timedelta = TTL) -> MutexedStore:
    """A client of its own, which does not wait for others."""
    return MutexedStore(store, url, clock=clock, wait=NOW, ttl=ttl)


def content(store: StagingStore, key: str) -> bytes:
    """What stands there."""
    return store.inner.get(key)[0]


# When it is used --------------------------------------------------------------------------------------------


def test_a_store_that_honours_conditions_needs_no_mutex(s3_store: S3Store) -> None:
    """It is not even asked whether it is there."""
    store = RetryingStore(MutexedStore(s3_store, NOWHERE))
    store.put("a", b"1", mode=CreateOnly())
    with pytest.raises(AlreadyExistsError):
        store.put("a", b"2", mode=CreateOnly())
    require_conditions(store)
    require_conditions(s3_store)
    again = MutexedStore(s3_store, NOWHERE)
    assert again.guard() is None


def test_without_a_condition_no_mutex_is_taken(careless: StagingStore) -> None:
    """An object with one owner can be overwritten while the server is away."""
    store = mutexed(careless, NOWHERE)
    store.put("a", b"1", mode=Overwrite())
    assert content(careless, "a") == b"1"


def test_a_mutex_that_cannot_be_reached_is_told_in_one_line(careless: StagingStore) -> None:
    """At once, and before anything is written."""
    clock = ManualClock()
    store = RetryingStore(mutexed(careless, NOWHERE), clock=clock)
    with pytest.raises(StoreError, match=r"^cannot reach the mutex ws://127\.0\.0\.1:1 \(.*WSS_MUTEX_BASE_URL") as told:
        store.put("a", b"1", mode=CreateOnly())
    assert not isinstance(told.value, StoreUnavailableError)
    assert clock.slept == []
    assert list(careless.inner.list("")) == []
    assert careless.staged == []


def test_a_mutex_that_went_away_is_waited_for(careless: StagingStore) -> None:
    """Once it was there, its absence is an outage: nothing was written, and the put may be repeated."""
    with mutex_server() as url:
        store = mutexed(careless, url)
        store.put("a", b"1", mode=CreateOnly())
    with pytest.raises(StoreUnavailableError, match="cannot reach the mutex"):
        store.put("b", b"1", mode=CreateOnly())


def test_a_careless_store_with_a_mutex_is_accepted_once(careless: StagingStore, url: str) -> None:
    """The probe goes through the mutex; the record says which, and does not count for those without."""
    require_conditions(RetryingStore(mutexed(careless, url)))
    assert [meta.key for meta in careless.inner.list("")] == [RECORD_KEY]
    careless.asked.clear()
    require_conditions(RetryingStore(mutexed(careless, url)))
    assert careless.asked == ["get", "get"]
    with pytest.raises(StoreError, match=f"ignores create-if-absent .* other machines use {url} here"):
        require_conditions(careless)


def test_one_lake_has_one_mutex(careless: StagingStore, url: str) -> None:
    """Locks of two servers would not see each other."""
    require_conditions(mutexed(careless, url))
    other = mutexed(careless, NOWHERE)
    for use in (lambda: require_conditions(other), lambda: other.put("a", b"1", mode=CreateOnly())):
        with pytest.raises(StoreError, match=f"other machines use the mutex {url}, and this one {NOWHERE}"):
            use()
    assert {meta.key for meta in careless.inner.list("")} == {RECORD_KEY}


def test_the_address_names_the_mutex() -> None:
    """As keyword of ``open_store``; a token shows nowhere."""
    store = open_store("s3://bucket/p", mutex_url="wss://host/base/", mutex_token="never-shown")
    assert "wss://host/base" in repr(store)
    assert "never-shown" not in repr(store)
    with pytest.raises(ConfigError, match="ws://host:port"):
        open_store("s3://bucket/p", mutex_url="http://host")
    assert "Mutexed" not in repr(open_store("s3://bucket/p"))


def test_a_lease_holds_on_a_careless_store(careless: StagingStore, url: str) -> None:
    """Of many takers at once exactly one has it, again and again."""

    def taken(store: ObjectStore) -> int:
        start = threading.Barrier(6)

        def take(_: int) -> Lease:
            lease = Lease(store, "lock", ttl=timedelta(hours=1))
            start.wait()
            lease.acquire()
            return lease

        with ThreadPoolExecutor(6) as pool:
            leases = list(pool.map(take, range(6)))
        held = sum(lease.held for lease in leases)
        for lease in leases:
            lease.release()
        return held

    store = RetryingStore(MutexedStore(careless, url))
    assert [taken(store) for _ in range(3)] == [1, 1, 1]


# Outcomes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_file", [True, False])
def test_a_lost_answer_is_settled_by_looking(
    careless: StagingStore,
    url: str,
    tmp_path: Path,
    as_file: bool,
) -> None:
    """It cannot be taken back, and the object changed: nobody else could have changed it."""
    store = mutexed(careless, url)
    careless.fate = Publication.LOST
    bodies: list[bytes | Path] = [b"one", b"two"]
    if as_file:
        for number, data in enumerate((b"one", b"two")):
            path = tmp_path / f"{number}"
            path.write_bytes(data)
            bodies[number] = path
    first = store.put("a", bodies[0], mode=CreateOnly())
    second = store.put("a", bodies[1], mode=IfMatch(first.etag))
    assert content(careless, "a") == b"two"
    assert second == careless.head("a")


@pytest.mark.parametrize("fate", [Publication.LATE, Publication.REFUSED])
def test_what_was_not_written_is_taken_back(careless: StagingStore, url: str, fate: Publication) -> None:
    """So it may be repeated, by us or by others, and nothing comes late."""
    store = mutexed(careless, url)
    careless.fate = fate
    with pytest.raises(StoreUnavailableError, match="planned"):
        store.put("a", b"late", mode=CreateOnly())
    assert careless.staged == []
    careless.fate = Publication.APPLIED
    store.put("a", b"1", mode=CreateOnly())
    careless.deliver()
    assert content(careless, "a") == b"1"


def test_what_cannot_be_taken_back_is_unknown_and_keeps_the_key_locked(
    careless: StagingStore, url: str, server_clock: ManualClock
) -> None:
    """The next one waits until the time limit is over, takes it back, and is not overwritten."""
    careless.fate, careless.unreachable = Publication.LATE, True
    with pytest.raises(OutcomeUnknownError, match="planned: no answer"):
        mutexed(careless, url).put("a", b"late", mode=CreateOnly())
    careless.fate, careless.unreachable = Publication.APPLIED, False
    other = mutexed(careless, url)
    with pytest.raises(StoreUnavailableError, match="written by somebody else: a write of a, for 30 s at most"):
        other.put("a", b"other", mode=CreateOnly())
    server_clock.advance(31)
    other.put("a", b"other", mode=CreateOnly())
    careless.deliver()
    assert content(careless, "a") == b"other"


def test_what_comes_late_but_before_the_next_one_looks_is_seen(
    careless: StagingStore, url: str, server_clock: ManualClock
) -> None:
    """Then it is the next one that has lost."""
    careless.fate, careless.unreachable = Publication.LATE, True
    with pytest.raises(OutcomeUnknownError):
        mutexed(careless, url).put("a", b"late", mode=CreateOnly())
    careless.deliver()
    careless.fate = Publication.APPLIED
    server_clock.advance(31)
    with pytest.raises(AlreadyExistsError):
        mutexed(careless, url).put("a", b"other", mode=CreateOnly())
    assert content(careless, "a") == b"late"


# Time -------------------------------------------------------------------------------------------------------


def test_a_holder_that_slept_publishes_nothing(careless: StagingStore, url: str, server_clock: ManualClock) -> None:
    """It slept between comparing and writing, past the end of its lock; meanwhile another one wrote."""
    clock = ManualClock()
    sleeper, other = mutexed(careless, url, clock), mutexed(careless, url)

    def sleep(_: str) -> None:
        careless.before_publish = lambda _: None
        clock.advance(31)
        server_clock.advance(31)
        other.put("a", b"other", mode=CreateOnly())

    careless.before_publish = sleep
    with pytest.raises(OutcomeUnknownError):
        sleeper.put("a", b"sleeper", mode=CreateOnly())
    assert content(careless, "a") == b"other"
    with pytest.raises(AlreadyExistsError):
        sleeper.put("a", b"sleeper", mode=CreateOnly())


def test_nothing_is_sent_when_little_time_is_left(
    careless: StagingStore, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store took half of the time to answer the comparison: start over."""
    clock = ManualClock()
    store = mutexed(careless, url, clock)
    store.put("a", b"1", mode=CreateOnly())
    etag, head = careless.head("a").etag, careless.head

    def slow(key: str) -> object:
        clock.advance(8)
        return head(key)

    monkeypatch.setattr(careless, "head", slow)
    sent: list[str] = []
    careless.before_publish = sent.append
    with pytest.raises(StoreUnavailableError, match="too slow"):
        store.put("a", b"2", mode=IfMatch(etag))
    assert (sent, careless.staged) == ([], [])


def test_an_answer_after_the_time_is_no_answer(careless: StagingStore, url: str) -> None:
    """It was applied, but perhaps after somebody else looked: the caller has to look, too."""
    clock = ManualClock()
    careless.before_publish = lambda _: clock.advance(31)
    with pytest.raises(OutcomeUnknownError, match="the mutex ran out"):
        mutexed(careless, url, clock).put("a", b"1", mode=CreateOnly())
    clock = ManualClock()
    settled = RetryingStore(mutexed(careless, url, clock), clock=ManualClock())
    settled.put("b", b"1", mode=CreateOnly())
    assert content(careless, "b") == b"1"


def test_a_slow_publication_keeps_its_lock(careless: StagingStore) -> None:
    """It is renewed as long as the store needs."""
    with mutex_server() as url:
        store, other = mutexed(careless, url, ttl=timedelta(seconds=0.6)), mutexed(careless, url)
        seen: list[bool] = []

        def slow(key: str) -> None:
            for _ in range(6):
                SystemClock().sleep(0.2)
                probe = Mutex(url, f"{careless.uri}/{key}", ttl=timedelta(seconds=1))
                seen.append(probe.acquire())

        other.guard()
        careless.before_publish = slow
        store.put("a", b"1", mode=CreateOnly())
    assert seen == [False] * 6


def test_the_mutex_may_die_while_a_write_is_under_way(careless: StagingStore) -> None:
    """The lock counts until its deadline; giving it back is not heard, and no error."""
    stack = ExitStack()
    store = mutexed(careless, stack.enter_context(mutex_server()))
    store.guard()
    careless.before_publish = lambda _: stack.close()
    store.put("a", b"1", mode=CreateOnly())
    assert content(careless, "a") == b"1"


# Many at once -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_no_increment_is_lost_whatever_becomes_of_requests(folder_store: FolderStore, seed: int) -> None:
    """Answers get lost, requests come late or never, and cannot always be taken back."""
    careless = StagingStore(folder_store)
    dice = random.Random(seed)
    lock = threading.Lock()

    def fate(_: str) -> None:
        with lock:
            careless.deliver() if dice.random() < 0.2 else None
            careless.fate = dice.choices(list(Publication), weights=(6, 2, 2, 1))[0]
            careless.unreachable = dice.random() < 0.2

    with mutex_server() as url:
        store = MutexedStore(careless, url, ttl=timedelta(seconds=0.4))
        store.put("counter", b"0 start", mode=CreateOnly())
        careless.before_publish = fate

        def work(worker: int) -> tuple[int, int]:
            retrying = RetryingStore(store, backoff=Backoff(first=0.01, longest=0.1), attempts=50)
            done = unknown = 0
            while done < 5:
                body, meta = retrying.get("counter")
                new = f"{int(body.split()[0]) + 1} {worker} {done} {unknown} {meta.etag}".encode()
                try:
                    retrying.put("counter", new, mode=IfMatch(meta.etag))
                    done += 1
                except PreconditionFailedError:
                    continue
                except OutcomeUnknownError:
                    unknown += 1
            return done, unknown

        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(work, range(4)))
    done, unknown = sum(result[0] for result in results), sum(result[1] for result in results)
    careless.deliver()
    count = int(content(careless, "counter").split()[0])
    assert done <= count <= done + unknown


# On S3 ------------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(s3_store: S3Store) -> MutexedStore:
    """A bucket that is taken for one without conditions, by the server of the mutex that ``url`` starts."""
    store = MutexedStore(s3_store, NOWHERE)
    store._needed = True
    return store


@pytest.mark.parametrize("size", [0, 1, 6 * 1024**2])
def test_bodies_of_any_size_are_staged(
    bucket: MutexedStore, url: str, s3_server: S3Server, tmp_path: Path, size: int
) -> None:
    """As bytes and as files, in one part or several; what the write returns is what stands there."""
    bucket._base_url = url
    inner = bucket.inner
    assert isinstance(inner, S3Store)
    inner._part_size = 5 * 1024**2
    body = random.Random(size).randbytes(size)
    path = tmp_path / "body"
    path.write_bytes(body)
    first = bucket.put("ä b/+%/bytes", body, mode=CreateOnly())
    second = bucket.put("file", path, mode=CreateOnly())
    third = bucket.put("file", body + b"!", mode=IfMatch(second.etag))
    assert bucket.get("ä b/+%/bytes") == (body, first)
    assert bucket.get("file") == (body + b"!", third)
    for key, mode, error in (
        ("file", CreateOnly(), AlreadyExistsError),
        ("file", IfMatch(second.etag), PreconditionFailedError),
        ("nothing", IfMatch(second.etag), PreconditionFailedError),
    ):
        for data in (b"lost", path):
            with pytest.raises(error):
                bucket.put(key, data, mode=mode)
    assert uploads(s3_server, bucket) == []


def test_only_uploads_of_the_same_key_are_discarded(bucket: MutexedStore, url: str, s3_server: S3Server) -> None:
    """Whose name merely begins like it is somebody else's."""
    bucket._base_url = url
    inner = bucket.inner
    old, neighbour = inner.stage("a", b"old"), inner.stage("ab", b"neighbour")
    bucket.put("a", b"new", mode=CreateOnly())
    assert uploads(s3_server, bucket) == ["some/prefix/ab"]
    with pytest.raises((StoreUnavailableError, OutcomeUnknownError)):
        old.publish()
    assert not old.discard()
    neighbour.publish()
    assert not neighbour.discard()
    assert (bucket.get("a")[0], bucket.get("ab")[0]) == (b"new", b"neighbour")


def test_a_file_that_cannot_be_read_leaves_no_upload(bucket: MutexedStore, s3_server: S3Server, tmp_path: Path) -> None:
    """Nor is the mutex asked."""
    with pytest.raises(StoreError, match="no-such-file"):
        bucket.put("a", tmp_path / "no-such-file", mode=CreateOnly())
    assert uploads(s3_server, bucket) == []


def test_another_process_uses_the_same_mutex(bucket: MutexedStore, url: str) -> None:
    """What a worker process is sent knows the server, and that it is needed."""
    bucket._base_url = url
    sent: MutexedStore = pickle.loads(pickle.dumps(bucket))
    sent.put("a", b"1", mode=CreateOnly())
    with pytest.raises(AlreadyExistsError):
        bucket.put("a", b"2", mode=CreateOnly())
    assert sent.guard() == url


def uploads(server: S3Server, store: MutexedStore) -> list[str]:
    """The unfinished uploads of the bucket, by the side door."""
    name = store.uri.split("/")[2]
    return [upload["Key"] for upload in server.client().list_multipart_uploads(Bucket=name).get("Uploads", [])]
