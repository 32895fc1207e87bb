from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event, Semaphore
from typing import get_args

import pytest

from datalake_service.errors import PreconditionFailedError, StoreError
from datalake_service.storage.base import CreateOnly, IfMatch, ObjectStore, Overwrite, PutMode
from tests.conformance.checks import FULL, Access, Note
from tests.conformance.racers import Kind, race

PROCESSES, THREADS, ROUNDS = (6, 3, 40) if FULL else (3, 2, 5)
PART = 5 * 1024 * 1024
REFUSED = "refused: "
LOSERS = {"create": {"already_exists"}, "replace": {"precondition_failed"}}


@pytest.mark.parametrize("kind", get_args(Kind))
def test_of_many_processes_one_wins(lake: ObjectStore, kind: Kind, note: Note) -> None:
    """Its bytes stand there, and every other writer was told that it lost: nobody is left in doubt."""
    rounds = list(race(lake, kind, processes=PROCESSES, threads=THREADS, rounds=ROUNDS))
    lost = sum((round_.losers for round_ in rounds), Counter[str]())
    winners = Counter(len(round_.winners) for round_ in rounds)
    note(f"{PROCESSES} processes x {THREADS} threads; winners: {dict(winners)}; losers: {dict(lost)}")
    assert len(rounds) == ROUNDS
    for round_ in rounds:
        assert round_.winners == (round_.standing,)
    assert set(lost) == LOSERS[kind]


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of two parts."""
    file = tmp_path / "large"
    file.write_bytes(bytes(2 * PART))
    return file


@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_large_commit_keeps_its_condition(
    lake: ObjectStore, access: Access, large: Path, kind: Kind, note: Note
) -> None:
    """Of several that join their parts at once, one wins. Where that is not so, it is refused before any part."""
    store = access.in_parts(lake.uri, PART)
    mode: PutMode = CreateOnly()
    if kind == "replace":
        mode = IfMatch(lake.put("large", b"start", mode=CreateOnly()).etag)
    together = Barrier(4)

    def commit(number: int) -> str:
        together.wait()
        try:
            store.put("large", large, mode=mode)
        except StoreError as error:
            return error.kind if error.kind != "store" else str(error)
        return f"won {number}"

    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(commit, range(4)))
    refused = {one for one in told if "ignores the condition" in one}
    if refused:
        assert len(refused) == 1
        assert [meta.size for meta in lake.list("") if meta.size > 5] == []
        pytest.skip(REFUSED + refused.pop())
    winners = [one for one in told if one.startswith("won")]
    note(f"4 threads: {Counter(one.split()[0] for one in told)}".replace("Counter", ""))
    assert len(winners) == 1
    assert set(told) - set(winners) <= LOSERS[kind]
    assert lake.head("large").size == 2 * PART


def test_a_pinned_read_sees_one_version(lake: ObjectStore, note: Note) -> None:
    """While the object is replaced all the time: all of one version or an error, never a mixture, never less."""
    size, replacements = 2_000_000, 60 if FULL else 12
    lake.put("big", b"0" * size, mode=CreateOnly())
    done, tried = Event(), Semaphore(0)
    seen: Counter[str] = Counter()

    def replace() -> None:
        try:
            for number in range(replacements):
                tried.acquire()  # one read for each replacement, so that some of them come to their end
                lake.put("big", str(number % 10).encode() * size, mode=Overwrite())
        finally:
            done.set()

    def read() -> None:
        while not done.is_set():
            try:
                pieces = _ranges(lake, size)
            except PreconditionFailedError:
                seen["replaced meanwhile"] += 1
                continue
            finally:
                tried.release()
            whole = len(pieces) == size and len(set(pieces)) == 1
            seen["one version" if whole else "a mixture, or less"] += 1

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(replace), *(pool.submit(read) for _ in range(3))]:
            future.result()
    note(f"{replacements} replacements; reads: {dict(seen)}")
    assert seen["a mixture, or less"] == 0
    assert len(set(_ranges(lake, size))) == 1


def _ranges(lake: ObjectStore, size: int) -> bytes:
    """Read an object in four requests, all pinned to what stood there first."""
    etag, step = lake.head("big").etag, size // 4
    pieces = []
    for start in range(0, size, step):
        with lake.open("big", start=start, end=start + step, etag=etag) as stream:
            pieces.append(stream.read())
    return b"".join(pieces)
