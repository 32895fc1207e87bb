"""When processes die in these tests, and how many examples are tried.

``CRASH_EXAMPLES=2000 ./build.sh test tests/crash`` tries more than the suite does;
``./build.sh soak --crashes`` does that with a seed that it shows.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from hypothesis import strategies as st

from datalake_service.storage.base import ObjectStore
from tests.support.faulty_store import Crash, Fault, FaultyStore

KINDS = (Fault.CRASH_BEFORE, Fault.CRASH_MIDDLE, Fault.CRASH_AFTER)
Death = tuple[int, Fault]
"""At which operation of the store, and whether that takes effect."""
IN_A_ROW = 5


def examples(usual: int) -> int:
    """How many examples are tried: ``usual`` in the suite, as many as were asked for otherwise."""
    return int(os.environ.get("CRASH_EXAMPLES") or usual)


def deaths(operations: int) -> st.SearchStrategy[list[Death]]:
    """Up to five deaths in a row, each within so many operations."""
    return st.lists(st.tuples(st.integers(1, operations), st.sampled_from(KINDS)), max_size=IN_A_ROW)


def every_death(peaceful: FaultyStore) -> list[Death]:
    """Every death that leaves a lake in a state of its own, by what a process did that came to its end.

    One before an operation leaves what one after the operation before it leaves, and one at a look what one after the
    last change leaves. Those would be tried twice.
    """
    after = [(one.number, Fault.CRASH_AFTER) for one in peaceful.writes]
    halves = [(one.number, Fault.CRASH_MIDDLE) for one in peaceful.writes if one.verb == "delete_many"]
    return [(1, Fault.CRASH_BEFORE), *sorted(after + halves, key=lambda death: death[0])]


def dies(store: ObjectStore, work: Callable[[ObjectStore], object], death: Death) -> bool:
    """Do some work in a process that dies; ``False``: it was done before it could die."""
    number, kind = death
    with suppress(Crash):
        work(FaultyStore(store, {number: kind}))
        return False
    return True
