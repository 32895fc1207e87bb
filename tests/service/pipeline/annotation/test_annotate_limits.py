"""Limits and budgets in whole runs: shared, killed at any moment, with clocks that jump; and who is refused."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_interfaces import DataItem
from datalake_service.annotating.limits import Limit
from datalake_service.annotating.policy import CallPolicy
from datalake_service.annotating.usage import Budget
from datalake_service.catalog import layout
from datalake_service.catalog.leases import time_key
from datalake_service.catalog.ledger_record import Ledger
from datalake_service.errors import BudgetExceededError, LimitExceededError, StoreError, UsageError
from datalake_service.pipeline.annotation import output as annotation_output
from datalake_service.pipeline.annotation import rows_to_ask, shared_limits
from datalake_service.pipeline.annotation import run as annotation_run
from datalake_service.pipeline.annotation.annotate import annotate as start_annotating
from datalake_service.pipeline.annotation.job import AnnotationJob, AnnotationOptions
from datalake_service.pipeline.upkeep.fsck import check_dataset
from datalake_service.pipeline.upkeep.fsck_findings import FindingKind
from datalake_service.storage.base import ObjectStore, Overwrite
from datalake_service.storage.folder import FolderStore
from datalake_utils.clock import SystemClock
from tests.support.annotations import ANNOTATOR, DATASET, ListRows, chunk_rows, ids, start, until
from tests.support.faulty_store import Crash, Fault, FaultyStore
from tests.support.lake import put_rows

BATCHES = {f"b{number}": ids(10) for number in range(6)}
CONCURRENCY = 3


@pytest.fixture(autouse=True, scope="module")
def _impatient() -> Iterator[None]:
    """Everything that is done now and then is done often."""
    pace = replace(shared_limits.PACE, interval=0.1, of_each=0.0, alone=0.1, look=0.01, starving=0.02)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_to_ask, "_LOOK_AGAIN_SECONDS", 0.02)
        patch.setattr(annotation_output, "_GIVE_BACK_SECONDS", 0.02)
        patch.setattr(annotation_run, "TICK", 0.01)
        patch.setattr(shared_limits, "PACE", pace)
        yield


def ledger(store: ObjectStore) -> Ledger:
    """As it stands."""
    key = layout.ledger_key(DATASET, ANNOTATOR)
    return Ledger.from_json(store.get(key)[0], key=key)


class Paid:
    """An annotator that costs one for each call, and remembers its calls."""

    def __init__(self, seconds: float = 0.002) -> None:
        self.seconds = seconds
        self.calls: Counter[tuple[str, str]] = Counter()

    async def __call__(self, item: DataItem) -> dict[str, Any]:
        self.calls[item.batch, item.id] += 1
        item.spend(cost=1.0, input_tokens=1)
        await asyncio.sleep(self.seconds)
        return {"n": 1}


def policy(cost: float | None = None, **more: Any) -> CallPolicy:
    """With a budget, if it says so."""
    return CallPolicy(budget=None if cost is None else Budget(cost=cost), **more)


@given(
    deaths=st.lists(st.tuples(st.integers(1, 45), st.sampled_from(list(Fault))), max_size=4),
    budget=st.sampled_from([7.0, 25.0, 500.0]),
    shared=st.booleans(),
)
@settings(max_examples=12)
def test_a_budget_survives_deaths_at_any_operation(
    deaths: list[tuple[int, Fault]], budget: float, *, shared: bool
) -> None:
    """Alone or shared: it is passed by the calls that were in flight at the deaths and at the end, at most."""
    paid = Paid()
    options: dict[str, Any] = {
        "shared": shared,
        "max_concurrency": CONCURRENCY,
        "chunk_size": 2,
        "calls": policy(budget),
    }

    async def place(store: FolderStore) -> None:
        while True:
            death = dict([deaths.pop()]) if deaths else {}
            faulty = FaultyStore(store, death)
            try:
                await start(faulty, ListRows(BATCHES), paid, **options)
            except BudgetExceededError:
                return
            except (Crash, StoreError, LimitExceededError):
                if not death:
                    raise
                for key in own_leases(faulty):
                    store.delete(key)
                continue
            return

    async def main(store: FolderStore) -> None:
        await asyncio.gather(*(place(store) for _ in range(2 if shared else 1)))

    died = len(deaths)
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(Path(folder), durable=False)
        asyncio.run(main(store))
        spent = paid.calls.total()
        assert spent <= budget + CONCURRENCY * (died + 2)
        if budget < len(BATCHES) * 10:  # else whoever starts after the end begins anew
            assert ledger(store).account.spent["cost"] >= min(spent, budget) - CONCURRENCY * (died + 2)
        if not died:
            assert spent == 60 if budget > 60 else spent >= budget
            assert ledger(store).members == {}


def own_leases(store: FaultyStore) -> set[str]:
    """The leases that a dead worker wrote: they have run out, as it were."""
    own = {one.key for one in store.operations if one.verb == "put" and one.key.endswith(".lock")}
    return {key for key in own if "/.shared/" in key or "/.temp/" in key}


def test_workers_that_share_keep_a_budget_together(folder_store: FolderStore) -> None:
    """Three workers, one budget; a larger one goes on with what is left, to the end, and then it begins anew."""
    paid = Paid()

    async def round_of(cost: float) -> list[object]:
        options: dict[str, Any] = {"shared": True, "max_concurrency": CONCURRENCY, "calls": policy(cost)}
        workers = (start(folder_store, ListRows(BATCHES), paid, **options) for _ in range(3))
        return await asyncio.gather(*workers, return_exceptions=True)

    first = asyncio.run(round_of(20))
    assert all(isinstance(one, BudgetExceededError) for one in first), first
    assert 20 <= paid.calls.total() <= 20 + 3 * CONCURRENCY
    before = paid.calls.total()
    again = asyncio.run(round_of(20))
    assert all(isinstance(one, BudgetExceededError) for one in again), again
    assert paid.calls.total() == before
    last = asyncio.run(round_of(65))
    assert not [one for one in last if isinstance(one, BaseException)], last
    assert max(paid.calls.values()) == 1
    assert len(paid.calls) == 60
    assert ledger(folder_store).account.complete
    new = Paid()
    rows = ListRows({**BATCHES, "b9": ids(5)})
    asyncio.run(start(folder_store, rows, new, shared=True, calls=policy(5)))
    assert new.calls.total() == 5
    assert ledger(folder_store).account.spent["cost"] == 5


@pytest.mark.parametrize(("price", "budget"), [(0.01, 0.1), (0.1, 0.3), (1e-7, 7e-7), (0.3, 0.9), (1 / 3, 5.0)])
def test_prices_that_are_no_binary_numbers_end_as_well(folder_store: FolderStore, price: float, budget: float) -> None:
    """What is left in the last digit buys nothing, and nobody waits for it."""

    async def function(item: DataItem) -> dict[str, Any]:
        item.spend(cost=price)
        await asyncio.sleep(0.001)
        return {"n": 1}

    with pytest.raises(BudgetExceededError):
        asyncio.run(start(folder_store, ListRows(BATCHES), function, calls=policy(budget), max_concurrency=2))
    assert budget * 0.99 <= ledger(folder_store).account.spent["cost"] <= budget + 2.01 * price


def test_a_run_that_stops_early_does_not_end_its_budget(folder_store: FolderStore) -> None:
    """``max_batches`` leaves batches over: the next run goes on with the same money."""
    paid = Paid()
    run_one: dict[str, Any] = {"calls": policy(25), "max_batches": 1, "max_concurrency": 1}
    for _ in range(2):
        asyncio.run(start(folder_store, ListRows(BATCHES), paid, **run_one))
    assert paid.calls.total() == 20
    with pytest.raises(BudgetExceededError, match="budget of 25 cost is used up: 25 since"):
        asyncio.run(start(folder_store, ListRows(BATCHES), paid, calls=policy(25), max_concurrency=1))
    assert paid.calls.total() == 25


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (
            CallPolicy(requests=Limit(600_000)),
            CallPolicy(requests=Limit(900)),
            "work with 600,000 requests in 60 s, this",
        ),
        (CallPolicy(requests=Limit(600_000)), None, "have 600,000 requests in 60 s, this one has no limits"),
        (None, CallPolicy(requests=Limit(900)), "have no limits, this one has 900 requests in 60 s"),
        (policy(500), policy(600), "a budget of 500 cost for each run, this one has a budget of 600 cost"),
        (CallPolicy(at_once=5), CallPolicy(at_once=6), "work with 5 calls at once, this one has 6 calls at once"),
    ],
)
def test_other_limits_are_refused_while_a_worker_lives(
    folder_store: FolderStore, first: CallPolicy | None, second: CallPolicy | None, message: str
) -> None:
    """The one that came first goes on undisturbed, and the other one may come when it has ended."""

    async def main() -> None:
        slow, other = Paid(seconds=0.02), Paid()
        options: dict[str, Any] = {"shared": True, "max_concurrency": 1}
        working = asyncio.create_task(start(folder_store, ListRows(BATCHES), slow, calls=first, **options))
        await until(lambda: bool(slow.calls))
        with pytest.raises(UsageError, match=message):
            await start(folder_store, ListRows(BATCHES), other, calls=second, **options)
        assert not other.calls
        assert (await working).annotated == 60
        await start(folder_store, ListRows({"b9": ids(3)}), other, calls=second, **options)
        assert len(other.calls) == 3

    asyncio.run(main())


class Jumping(SystemClock):
    """A wall clock that somebody sets again and again, hours ahead and back."""

    def __init__(self, hours: float) -> None:
        self._hours = hours
        self._looks = 0

    def now(self) -> datetime:
        self._looks += 1
        return super().now() + timedelta(hours=self._hours * (self._looks % 3 - 1))

    def now_ns(self) -> int:
        return int(self.now().timestamp() * 1e9)


@pytest.mark.parametrize("hours", [5.0, -5.0, 24 * 400.0])
def test_a_wall_clock_that_jumps_in_the_middle_harms_nothing(tmp_path: Path, hours: float) -> None:
    """Of two workers that share, a limit and a budget among them: each row once, nothing lost, the budget counted."""
    store = FolderStore(tmp_path / "lake", durable=False)
    paid = Paid()

    async def worker(sign: int) -> None:
        job = AnnotationJob(DATASET, ANNOTATOR, list(BATCHES))
        calls = CallPolicy(requests=Limit(100_000), budget=Budget(cost=1_000))
        options = AnnotationOptions(shared=True, max_concurrency=2, chunk_size=3, lock_ttl_ms=20_000, calls=calls)
        await start_annotating(
            store, job, rows=ListRows(BATCHES), function=paid, options=options, clock=Jumping(sign * hours)
        )

    async def main() -> None:
        await asyncio.gather(worker(1), worker(-1))

    asyncio.run(main())
    assert set(paid.calls.values()) == {1}
    rows = Counter((row["_batch"], row["id"]) for row in chunk_rows(store))
    assert rows == Counter((batch, name) for batch, names in BATCHES.items() for name in names)
    assert ledger(store).account.spent["cost"] == 60
    assert ledger(store).members == {}


def test_calls_at_once_of_two_workers(folder_store: FolderStore) -> None:
    """Together never more than allowed, although each has more workers."""
    inside = most = 0

    async def function(item: DataItem) -> dict[str, Any]:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.005)
        inside -= 1
        return {}

    async def main() -> None:
        options: dict[str, Any] = {"shared": True, "max_concurrency": 8, "calls": CallPolicy(at_once=5, adaptive=False)}
        await asyncio.gather(*(start(folder_store, ListRows(BATCHES), function, **options) for _ in range(2)))

    asyncio.run(main())
    assert 2 <= most <= 5


def test_a_store_that_fails_for_a_while_is_waited_for(folder_store: FolderStore) -> None:
    """Renewals that fail are tried again; every row is asked once."""

    class Flaky(FaultyStore):
        tries = 0

        def get(self, key: str, *, etag: str | None = None) -> Any:
            if key == layout.ledger_key(DATASET, ANNOTATOR):
                self.tries += 1
                if 2 < self.tries < 6:
                    raise StoreError("not now")
            return super().get(key, etag=etag)

    paid = Paid(seconds=0.02)
    store = Flaky(folder_store)
    calls = CallPolicy(requests=Limit(100_000))
    asyncio.run(start(store, ListRows(BATCHES), paid, shared=True, max_concurrency=2, calls=calls))
    assert store.tries > 6
    assert set(paid.calls.values()) == {1}


def test_the_ledger_is_checked_like_everything_else(folder_store: FolderStore) -> None:
    """It is no stranger, and one that cannot be read is found."""
    put_rows(folder_store, DATASET, "b0", [{"id": name} for name in BATCHES["b0"]])
    with suppress(BudgetExceededError):
        asyncio.run(start(folder_store, ListRows(BATCHES), Paid(), calls=CallPolicy(budget=Budget(calls=5, per="day"))))
    key = layout.ledger_key(DATASET, ANNOTATOR)
    assert {meta.key for meta in folder_store.list(layout.annotator_prefix(DATASET, ANNOTATOR))} >= {key, time_key(key)}
    assert not [finding for finding in check_dataset(folder_store, DATASET) if "ledger" in finding.key]
    folder_store.put(key, b"{}", mode=Overwrite())
    assert [finding.kind for finding in check_dataset(folder_store, DATASET) if finding.key == key] == [
        FindingKind.UNREADABLE
    ]
