from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest

from datalake_utils.garbage import fewer_collections


@pytest.fixture(autouse=True)
def _usual() -> Iterator[None]:
    """Whatever a test does, the others collect as usual."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_rows_that_come_and_go_are_not_looked_at() -> None:
    """No collection while fewer containers than asked for are alive; afterwards everything is as it was."""
    before = gc.get_threshold()
    with fewer_collections(50_000):
        collections = [generation["collections"] for generation in gc.get_stats()]
        for _ in range(100):
            rows = [{"a": [number]} for number in range(5_000)]
            del rows
        assert [generation["collections"] for generation in gc.get_stats()] == collections
    assert gc.get_threshold() == before


def test_garbage_of_others_is_still_collected() -> None:
    """Cycles do not pile up for ever."""
    with fewer_collections(5_000):
        collections = gc.get_stats()[0]["collections"]
        for _ in range(20_000):
            cycle: list[object] = []
            cycle.append(cycle)
        assert gc.get_stats()[0]["collections"] > collections


def test_the_last_to_leave_restores_what_the_first_found() -> None:
    """Nested, and by several threads in any order."""
    before = gc.get_threshold()
    second_is_in = threading.Event()

    def first() -> None:
        with fewer_collections(30_000):
            second_is_in.wait(10)

    thread = threading.Thread(target=first)
    thread.start()
    with fewer_collections(20_000), fewer_collections(10_000):
        second_is_in.set()
        thread.join()
        assert gc.get_threshold()[0] >= 20_000
    assert gc.get_threshold() == before


def test_an_error_restores_too() -> None:
    """Like every context manager."""
    before = gc.get_threshold()
    with pytest.raises(ValueError, match="x"), fewer_collections(9_999):
        raise ValueError("x")
    assert gc.get_threshold() == before


def test_who_collects_never_goes_on_so() -> None:
    """Collection that was switched off by its threshold stays off."""
    gc.set_threshold(0)
    with fewer_collections(10_000):
        assert gc.get_threshold()[0] == 0
    assert gc.get_threshold()[0] == 0
