from __future__ import annotations

import pickle
import threading
from datetime import UTC, datetime

import pytest

from datalake_service.catalog import layout
from datalake_service.catalog.stops import StopRequests, load_stops, request_run_stop, request_stop
from datalake_service.errors import StoreError, StoreUnavailableError
from datalake_service.pipeline.tasks.stopping import RunStops, TaskStops
from datalake_service.storage import FolderStore, Overwrite
from datalake_utils.clock import ManualClock
from tests.support.faulty_store import Fault, FaultyStore

NOW = datetime(2026, 11, 20, 13, tzinfo=UTC)


def test_a_request_stops_what_runs_and_nothing_that_begins_later(store: FolderStore) -> None:
    """It is never taken back."""
    before = load_stops(store, "d")
    assert before == StopRequests()
    request_stop(store, "d", now=NOW)
    asked = load_stops(store, "d")
    assert asked.asks_dataset(since=before)
    assert asked.asks_task("t1", since=before)
    assert not load_stops(store, "d").asks_dataset(since=asked)
    request_stop(store, "d", now=NOW)
    assert load_stops(store, "d").asks_dataset(since=asked)


def test_a_request_for_a_task_is_for_that_task(store: FolderStore) -> None:
    """Requests for others stay."""
    request_stop(store, "d", task="t1", now=NOW)
    request_stop(store, "d", task="t2", now=NOW)
    asked = load_stops(store, "d")
    assert asked.tasks.keys() == {"t1", "t2"}
    assert asked.asks_task("t1", since=StopRequests())
    assert not asked.asks_task("t3", since=StopRequests())
    assert not asked.asks_dataset(since=StopRequests())
    assert pickle.loads(pickle.dumps(asked)) == asked


def test_runs_that_ended_long_ago_are_forgotten(store: FolderStore) -> None:
    """Each is asked once, so the object would grow with every run that somebody interrupts."""
    request_stop(store, "d", task="t1", now=NOW)
    for number in range(130):
        request_run_stop(store, "d", f"run-{number}", now=NOW)
    asked = load_stops(store, "d")
    assert asked.runs == tuple(f"run-{number}" for number in range(30, 130))
    assert asked.tasks.keys() == {"t1"}
    assert pickle.loads(pickle.dumps(asked)) == asked


def test_requests_at_the_same_time_are_all_kept(store: FolderStore) -> None:
    """Each is a conditional write."""
    threads = [
        threading.Thread(target=request_stop, args=(store, "d"), kwargs={"task": f"t{number}", "now": NOW})
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(load_stops(store, "d").tasks) == 8


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.UNKNOWN])
def test_a_request_whose_answer_is_lost_is_made_again(store: FolderStore, fault: Fault) -> None:
    """To ask twice does no harm."""
    request_stop(FaultyStore(store, {2: fault}), "d", now=NOW)
    assert load_stops(store, "d").asks_dataset(since=StopRequests())


def test_a_damaged_object_is_told(store: FolderStore) -> None:
    """With what to do; a task that looks at it goes on."""
    store.put(layout.stop_key("d"), b"[]", mode=Overwrite())
    with pytest.raises(StoreError, match=r"d/\.state/stop\.json holds no requests .* delete it"):
        load_stops(store, "d")
    clock = ManualClock()
    stops = TaskStops(store, "d", "t1", since=StopRequests(), clock=clock)
    clock.advance(60)
    assert not stops.asked(clock.monotonic())


def test_a_task_looks_every_few_seconds(store: FolderStore) -> None:
    """Not before it is some seconds old, and not at every record."""
    clock, counted = ManualClock(), FaultyStore(store)
    stops = TaskStops(counted, "d", "t1", since=StopRequests(), clock=clock)
    request_stop(store, "d", task="t1", now=NOW)
    assert not stops.asked(clock.monotonic())
    assert counted.operations == []
    clock.advance(2)
    assert stops.asked(clock.monotonic())
    assert not stops.asked(clock.monotonic())
    assert len(counted.operations) == 1


def test_a_lake_that_does_not_answer_asks_for_nothing(store: FolderStore) -> None:
    """The task has other ways to find out."""
    clock = ManualClock()
    request_stop(store, "d", now=NOW)
    stops = TaskStops(FaultyStore(store, {1: Fault.UNAVAILABLE}), "d", "t1", since=StopRequests(), clock=clock)
    clock.advance(2)
    assert not stops.asked(clock.monotonic())
    clock.advance(2)
    assert stops.asked(clock.monotonic())


def test_a_run_sees_a_request(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread sets the event that the engine listens to, also after a look that failed."""
    monkeypatch.setattr("datalake_service.pipeline.tasks.stopping.LOOK_SECONDS", 0.01)
    stop = threading.Event()
    watch = RunStops(FaultyStore(store, {1: Fault.UNAVAILABLE}), "d", since=StopRequests(), stop=stop)
    with watch.watching():
        assert not stop.wait(0.05)
        request_stop(store, "d", now=NOW)
        assert stop.wait(30)
    assert watch.asked


def test_a_lake_that_cannot_be_written_is_told(store: FolderStore) -> None:
    """Nobody was asked."""
    with pytest.raises(StoreUnavailableError):
        request_stop(FaultyStore(store, {2: Fault.UNAVAILABLE}), "d", now=NOW)
