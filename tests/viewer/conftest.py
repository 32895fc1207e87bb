from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.support.browser import MISSING, BrowserThread, find_browser
from tests.support.viewer_lake import make_lake
from tests.support.viewer_server import ViewerServer

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
    """What a page said and asked for while a test ran."""

    def __init__(self, page: Page) -> None:
        """Listen."""
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(f"pageerror: {error}"))
        page.on("request", lambda request: self.asked.append(request.url))


@pytest.fixture
def new_page(request: pytest.FixtureRequest, browser_thread: BrowserThread) -> Iterator[Callable[..., Page]]:
    """Make pages, each with storage of its own; nothing in them may fail unseen."""
    pages: list[tuple[Page, Watched]] = []
    request.node.stash[IN_THREAD] = browser_thread

    def make(**options: object) -> Page:
        page = browser_thread._new_page(dict(options)) if pages_in_thread() else browser_thread.new_page(**options)
        pages.append((page, Watched(page)))
        return page

    def pages_in_thread() -> bool:
        import threading

        return threading.current_thread().name.startswith("browser")

    yield make
    for page, _ in pages:
        browser_thread.close_page(page)
    for _, watched in pages:
        errors = [line for line in watched.said if line.startswith(("error", "pageerror")) and "net::ERR" not in line]
        expected = request.node.get_closest_marker("page_errors")
        assert expected is not None or errors == []
        foreign = [url for url in watched.asked if not url.startswith(("http://127.0.0.1:", "data:", "blob:"))]
        assert foreign == []


@pytest.fixture
def page(new_page: Callable[..., Page], viewer: ViewerServer) -> Page:
    """A page on the viewer of the lake that nobody changes: addresses need no host."""
    return new_page(base_url=viewer.url)


@pytest.fixture
def own_lake(tmp_path: Path) -> Path:
    """A place for a lake that one test changes."""
    return tmp_path / "lake"
