"""Many processes, each with several threads, that write one key at the same moment, round after round."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from typing import Literal

from datalake_service.errors import StoreError
from datalake_service.storage.base import CreateOnly, IfMatch, ObjectStore

Kind = Literal["create", "replace"]
_PATIENCE = 240.0
"""Seconds that a racer waits for the others before it gives up."""


@dataclass(frozen=True)
class Round:
    """How one round ended: who won, and what stands there."""

    winners: tuple[str, ...]
    losers: Counter[str]
    """How many lost with which kind of error."""
    standing: str
    """The writer whose bytes stand there."""


def race(store: ObjectStore, kind: Kind, *, processes: int, threads: int, rounds: int) -> Iterator[Round]:
    """Run it; the last process is this one's child like the others, so that none has an advantage."""
    if kind == "replace":
        for number in range(rounds):
            store.put(f"race/{kind}/{number}", b"start", mode=CreateOnly())
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes * threads)
    results = context.Queue()
    racers = [
        context.Process(target=_run, args=(store, kind, number, threads, rounds, barrier, results), daemon=True)
        for number in range(processes)
    ]
    for racer in racers:
        racer.start()
    try:
        outcomes = [outcome for _ in racers for outcome in results.get(timeout=_PATIENCE)]
    finally:
        for racer in racers:
            racer.join(5)
            racer.kill()
    for number in range(rounds):
        yield _round(store, kind, number, [told for round_, *told in outcomes if round_ == number])


def _round(store: ObjectStore, kind: Kind, number: int, told: Sequence[Sequence[str]]) -> Round:
    winners = tuple(name for name, outcome in told if outcome == "won")
    losers = Counter(outcome for _, outcome in told if outcome != "won")
    return Round(winners, losers, store.get(f"race/{kind}/{number}")[0].decode())


def _run(
    store: ObjectStore,
    kind: Kind,
    number: int,
    threads: int,
    rounds: int,
    barrier: Barrier,
    results: multiprocessing.Queue[list[tuple[int, str, str]]],
) -> None:
    def one(thread: int) -> list[tuple[int, str, str]]:
        name = f"process {number}, thread {thread}"
        return [(round_, name, _write(store, kind, round_, name, barrier)) for round_ in range(rounds)]

    with ThreadPoolExecutor(threads) as pool:
        results.put([told for thread in pool.map(one, range(threads)) for told in thread])


def _write(store: ObjectStore, kind: Kind, round_: int, name: str, barrier: Barrier) -> str:
    key = f"race/{kind}/{round_}"
    mode = CreateOnly() if kind == "create" else IfMatch(store.head(key).etag)
    barrier.wait(_PATIENCE)
    try:
        store.put(key, name.encode(), mode=mode)
    except StoreError as error:
        return error.kind
    return "won"
