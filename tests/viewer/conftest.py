from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.browser import MISSING, BrowserThread, find_browser
from tests.support.viewer_lake import make_lake
from tests.support.viewer_server import ViewerServer

if TYPE_CHECKING:
    from playwright.sync_api import Page, Response

IN_THREAD = pytest.StashKey[BrowserThread]()


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """Tests that have a browser run in its thread."""
    thread = pyfuncitem.stash.get(IN_THREAD, None)
    if thread is not None:
        plain: Callable[..., object] = pyfuncitem.obj
        pyfuncitem.obj = lambda **given: thread.call(plain, **given)
    return (yield)


@pytest.fixture(scope="session")
def browser_thread() -> Iterator[BrowserThread]:
    """One browser for all tests of a worker."""
    executable = find_browser()
    if executable is None:
        pytest.skip(MISSING)
    thread = BrowserThread(executable)
    yield thread
    thread.close()


@pytest.fixture(scope="session")
def viewer(tmp_path_factory: pytest.TempPathFactory, browser_thread: BrowserThread) -> Iterator[ViewerServer]:
    """A viewer over a lake that nobody changes."""
    folder = tmp_path_factory.mktemp("viewer") / "lake"
    asyncio.run(make_lake(folder))
    with ViewerServer(folder) as server:
        yield server


class Watched:
    """What went wrong in a page while a test ran, and what it asked for.

    An answer of the API that says what is wrong with a question is no fault; what the page does with it is for tests.
    """

    def __init__(self, page: Page) -> None:
        """Listen."""
        self.faults: list[str] = []
        self.asked: list[str] = []
        self._page = page
        self._listening: dict[Any, Callable[..., None]] = {
            "console": lambda message: self._hear(message.type, message.text),
            "pageerror": lambda error: self.faults.append(str(error)),
            "response": self._look,
            "request": lambda request: self.asked.append(request.url),
        }
        for event, listener in self._listening.items():
            page.on(event, listener)

    def leave(self) -> None:
        """Do not listen any more: the page is used again."""
        for event, listener in self._listening.items():
            self._page.remove_listener(event, listener)

    def _hear(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"} and "Failed to load resource" not in text:
            self.faults.append(text)

    def _look(self, response: Response) -> None:
        if response.status >= 500 or (response.status >= 400 and "/api/" not in response.url):
            self.faults.append(f"{response.status} {response.url}")


@pytest.fixture
def new_page(request: pytest.FixtureRequest, browser_thread: BrowserThread) -> Iterator[Callable[..., Page]]:
    """Make pages, each with storage of its own; nothing in them may fail unseen."""
    pages: list[tuple[Page, Watched]] = []
    request.node.stash[IN_THREAD] = browser_thread

    def make(**options: object) -> Page:
        page = browser_thread.new_page(**options)
        pages.append((page, browser_thread.call(Watched, page)))
        return page

    yield make
    for page, watched in pages:
        browser_thread.call(watched.leave)
        browser_thread.close_page(page)
    for _, watched in pages:
        assert watched.faults == []
        foreign = [url for url in watched.asked if not url.startswith(("http://127.0.0.1:", "data:", "blob:"))]
        assert foreign == []


@pytest.fixture
def page(new_page: Callable[..., Page], viewer: ViewerServer) -> Page:
    """A page on the viewer of the lake that nobody changes: addresses need no host."""
    return new_page(base_url=viewer.url)
