"""Delivery in batches: whatever the service answers, each record is accepted or refused exactly once, within limits."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_service.errors import AccessDeniedError, StoreError, StoreUnavailableError
from datalake_service.writers.delivery import (
    ACCEPTED,
    MOST_BYTES,
    Again,
    Answer,
    ContentError,
    Delivery,
    Limits,
    Parcel,
    Refused,
)
from datalake_utils.clock import ManualClock

AGAIN, BAD, POISON, ACCEPT = "again", "bad", "poison", "accept"


class Service:
    """A service in memory: each record says what becomes of it, and how often it has to be sent before that."""

    def __init__(self, limits: Limits, *, busy: Sequence[int] = ()) -> None:
        self.limits = limits
        self.accepted: list[object] = []
        self.requests: list[list[Parcel]] = []
        self.tries: Counter[object] = Counter()
        self.failures: list[str] = []
        self._busy = set(busy)
        self._lanes: set[str] = set()
        self._lock = threading.Lock()

    def send(self, parcels: Sequence[Parcel]) -> Sequence[Answer]:
        with self._lock:
            self._enter(parcels)
            number = len(self.requests)
        try:
            if number in self._busy:
                raise StoreUnavailableError("busy")
            if any(parcel.content[0] == POISON for parcel in parcels):
                raise ContentError("one of them is wrong")
            with self._lock:
                return [self._answer(parcel) for parcel in parcels]
        finally:
            with self._lock:
                self._lanes -= {parcel.lane for parcel in parcels if parcel.lane is not None}

    def _enter(self, parcels: Sequence[Parcel]) -> None:
        self.requests.append(list(parcels))
        if not parcels or len(parcels) > self.limits.records:
            self.failures.append(f"{len(parcels)} records in a request")
        if len(parcels) > 1 and sum(parcel.size for parcel in parcels) > self.limits.size:
            self.failures.append("too many bytes in a request")
        lanes = [parcel.lane for parcel in parcels if parcel.lane is not None]
        if len(set(lanes)) < len(lanes) or self._lanes & set(lanes):
            self.failures.append("two records of a lane are on their way")
        self._lanes |= set(lanes)

    def _answer(self, parcel: Parcel) -> Answer:
        fate, times = parcel.content
        self.tries[parcel.tag] += 1
        if self.tries[parcel.tag] <= times:
            return Again("slow down")
        if fate == BAD:
            return Refused("not this one")
        self.accepted.append(parcel.tag)
        return ACCEPTED


PARCELS = st.lists(
    st.tuples(
        st.sampled_from([ACCEPT, ACCEPT, ACCEPT, BAD, POISON]),
        st.integers(0, 2),
        st.integers(1, 120),
        st.sampled_from([None, None, "a", "b", "c"]),
    ),
    max_size=60,
)


@given(PARCELS, st.integers(1, 10), st.integers(50, 300), st.integers(1, 4), st.sets(st.integers(1, 12)), st.data())
def test_each_record_is_accepted_or_refused_once_within_limits(
    records: list[tuple[str, int, int, str | None]],
    most: int,
    size: int,
    senders: int,
    busy: set[int],
    data: st.DataObject,
) -> None:
    """For any answers, sizes and lanes: no request is over a limit, no record is lost, lanes keep their order."""
    service = Service(Limits(most, size), busy=sorted(busy))
    delivery = Delivery(service, clock=ManualClock(), senders=senders)
    flushes = data.draw(st.sets(st.integers(0, len(records))))
    refused: list[tuple[object, str]] = []
    try:
        for number, (fate, times, length, lane) in enumerate(records):
            delivery.add(Parcel((fate, times), length, lane, number))
            if delivery.saturated:
                delivery.wait_for_room()
                assert not delivery.saturated
            if number in flushes:
                delivery.flush()
                refused += delivery.refused()
                assert len(refused) + len(service.accepted) == number + 1
        delivery.flush()
        refused += delivery.refused()
    finally:
        delivery.close()
    assert service.failures == []
    expected = {number for number, record in enumerate(records) if record[0] == ACCEPT}
    assert sorted(map(str, service.accepted)) == sorted(map(str, expected))
    assert Counter(tag for tag, _ in refused) == Counter(set(range(len(records))) - expected)
    assert delivery.accepted == len(expected)
    assert delivery.waiting == 0
    lanes: dict[str, list[int]] = defaultdict(list)
    for tag in service.accepted:
        assert isinstance(tag, int)
        lane = records[tag][3]
        if lane is not None:
            lanes[lane].append(tag)
    assert all(tags == sorted(tags) for tags in lanes.values())


def _delivery(
    send: Callable[[Sequence[Parcel]], Sequence[Answer]], *, records: int = 2
) -> tuple[Delivery, ManualClock]:
    class Scripted:
        limits = Limits(records, 1_000)

        def send(self, parcels: Sequence[Parcel]) -> Sequence[Answer]:
            return send(parcels)

    clock = ManualClock()
    return Delivery(Scripted(), clock=clock, senders=1), clock


def test_only_what_was_not_taken_is_sent_again() -> None:
    """The records of a batch that were accepted are not sent a second time."""
    seen: list[list[object]] = []

    def send(parcels: Sequence[Parcel]) -> Sequence[Answer]:
        seen.append([parcel.tag for parcel in parcels])
        return [Again("busy") if parcel.tag == 1 and len(seen) < 3 else ACCEPTED for parcel in parcels]

    delivery, clock = _delivery(send, records=3)
    for number in range(3):
        delivery.add(Parcel("", 1, tag=number))
    delivery.flush()
    delivery.close()
    assert seen == [[0, 1, 2], [1], [1]]
    assert len(clock.slept) == 2
    assert all(0.05 <= seconds <= 0.2 for seconds in clock.slept)


def test_a_service_that_takes_nothing_fails_after_the_patience_is_over() -> None:
    """Waits grow up to five seconds; after five minutes without a single success the error says why."""
    delivery, clock = _delivery(lambda parcels: [Again("the stream is busy")] * len(parcels))
    delivery.add(Parcel("", 1))
    with pytest.raises(StoreUnavailableError, match=r"the stream is busy \(given up after 300 s without success\)"):
        delivery.flush()
    delivery.close()
    assert 300 <= sum(clock.slept) < 310
    assert max(clock.slept) <= 5


def test_an_error_of_the_whole_request_is_raised_and_counts_nothing() -> None:
    """Without permission nothing is refused: every record is still waiting, and the error is the service's."""

    def send(_parcels: Sequence[Parcel]) -> Sequence[Answer]:
        raise AccessDeniedError("not allowed")

    delivery, _ = _delivery(send)
    delivery.add(Parcel("", 1))
    for _ in range(2):
        with pytest.raises(AccessDeniedError, match="not allowed"):
            delivery.flush()
    with pytest.raises(AccessDeniedError, match="not allowed"):
        delivery.add(Parcel("", 1))
    delivery.close()
    assert delivery.refused() == []
    assert delivery.accepted == 0


def test_a_sender_that_breaks_is_no_success() -> None:
    """An error that is none of ours comes to the caller as well."""

    def send(_parcels: Sequence[Parcel]) -> Sequence[Answer]:
        raise ZeroDivisionError

    delivery, _ = _delivery(send)
    delivery.add(Parcel("", 1))
    with pytest.raises(ZeroDivisionError):
        delivery.flush()
    delivery.close()


def test_the_other_records_of_a_bad_request_are_delivered() -> None:
    """When a service refuses a request because of one record, that record alone is refused, with its message."""

    def send(parcels: Sequence[Parcel]) -> Sequence[Answer]:
        if any(parcel.tag == 3 for parcel in parcels):
            raise ContentError("item 3 is wrong")
        return [ACCEPTED] * len(parcels)

    delivery, _ = _delivery(send, records=8)
    for number in range(8):
        delivery.add(Parcel("", 1, tag=number))
    delivery.flush()
    delivery.close()
    assert delivery.refused() == [(3, "item 3 is wrong")]
    assert delivery.accepted == 7


def test_large_records_saturate_by_their_bytes() -> None:
    """However few they are, records of more than the limit in bytes have to be waited for."""
    delivery, _ = _delivery(lambda parcels: [ACCEPTED] * len(parcels), records=1_000)
    delivery.add(Parcel("", MOST_BYTES))
    before = delivery.saturated
    delivery.wait_for_room()
    assert (before, delivery.saturated) == (True, False)
    delivery.close()


def test_closing_ends_the_waiting_of_a_sender() -> None:
    """Who closes without a flush does not wait until a busy service has lost its patience."""
    sent, answer = threading.Event(), threading.Event()

    def send(parcels: Sequence[Parcel]) -> Sequence[Answer]:
        sent.set()
        assert answer.wait(10)
        return [Again("busy")] * len(parcels)

    delivery, clock = _delivery(send, records=1)
    delivery.add(Parcel("", 1))
    assert sent.wait(10)
    closing = threading.Thread(target=delivery.close)
    closing.start()
    assert delivery._given_up.wait(10)
    answer.set()
    closing.join(10)
    with pytest.raises(StoreError, match="busy"):
        delivery.flush()
    assert clock.slept == []
