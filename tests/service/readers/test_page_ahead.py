from __future__ import annotations

import threading

import pytest

from datalake_service.readers.page_ahead import PageAhead
from datalake_service.readers.shards import IteratorExpiredError, Page, Place, Shard


class Pages:
    """A stream whose pages are named like their iterators; it notes who reads them."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def shards(self) -> tuple[list[Shard], float | None]:
        """None."""
        return [], None

    def iterator(self, shard: str, place: Place) -> str:
        """The first."""
        del shard, place
        return "1"

    def read(self, iterator: str) -> Page:
        """A page, when the test lets it come."""
        self.asked.append((iterator, threading.current_thread().name.rpartition("_")[0]))
        self.begun.set()
        self.go_on.wait()
        if iterator == "expired":
            raise IteratorExpiredError
        return Page([{"of": iterator}], None, up_to_date=False, at=None)

    def keeps_seconds(self) -> float | None:
        """For ever."""
        return None


def test_a_page_is_read_while_the_one_before_is_worked_on() -> None:
    """By another thread, once; others are read when they are wanted."""
    pages = Pages()
    ahead = PageAhead(pages)
    assert ahead.read("1").records == [{"of": "1"}]
    pages.begun.clear()
    pages.go_on.clear()
    ahead.ask("2")
    assert pages.begun.wait(30)  # and this thread goes on
    pages.go_on.set()
    assert ahead.read("2").records == [{"of": "2"}]
    assert ahead.read("3").records == [{"of": "3"}]
    ahead.close()
    assert [iterator for iterator, _ in pages.asked] == ["1", "2", "3"]
    assert pages.asked[1][1] == "page-ahead"
    assert pages.asked[2][1] != "page-ahead"


def test_what_went_wrong_is_told_when_the_page_is_wanted() -> None:
    """And once: the next request is a new one."""
    ahead = PageAhead(Pages())
    ahead.ask("expired")
    with pytest.raises(IteratorExpiredError):
        ahead.read("expired")
    assert ahead.read("4").records == [{"of": "4"}]
    ahead.close()


def test_a_page_of_another_iterator_is_forgotten() -> None:
    """Reading went on somewhere else."""
    ahead = PageAhead(Pages())
    ahead.ask("old")
    assert ahead.read("new").records == [{"of": "new"}]
    assert ahead.read("old").records == [{"of": "old"}]
    ahead.close()


def test_the_thread_ends_with_it() -> None:
    """Whether something was asked for or not; it may be closed twice."""
    PageAhead(Pages()).close()
    ahead = PageAhead(Pages())
    ahead.ask("1")
    ahead.close()
    ahead.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("page-ahead")]
