"""A browser for tests: one for each worker, in a thread of its own.

A page takes a second of processor time to make, and its context as long again. So pages are used again, by one test
after the other, where the options are the same; what one stored, and what it made of the page, is gone before the next.

Playwright's plain interface runs an event loop in the thread that uses it, where ``asyncio.run`` then refuses to work.
So whatever talks to the browser runs in one thread, and the other tests of the worker keep theirs.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, ParamSpec, TypeVar

from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

VARIABLE: Final = "TEST_BROWSER"
NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING: Final = (
    f"no browser: none of {', '.join(NAMES)} is installed and {VARIABLE} names none; on Debian and Ubuntu: "
    "apt-get install --no-install-recommends chromium fonts-dejavu-core"
)
_PATIENCE: Final = 30_000
"""Milliseconds that a condition is waited for: a busy machine is no failure."""
_STORED: Final = "cookies,local_storage,indexeddb,service_workers,cache_storage"
"""All that a page can store; not the files that the browser keeps, as a browser does."""
_MOST_IDLE: Final = 5
"""Pages that are kept for the next test."""
_MEDIA: Final[dict[str, Any]] = {"color_scheme": "light", "reduced_motion": "no-preference"}
"""What a context emulates that is not told otherwise."""
_ARGUMENTS: Final = ("--no-sandbox", "--disable-dev-shm-usage")

_P = ParamSpec("_P")
_T = TypeVar("_T")


def find_browser() -> str | None:
    """The browser that is installed, or the one that the environment names."""
    named = os.environ.get(VARIABLE)
    if named:
        return shutil.which(named)
    return next((path for path in map(shutil.which, NAMES) if path is not None), None)


class BrowserThread:
    """A browser, and the thread in which it is spoken to."""

    def __init__(self, executable: str) -> None:
        """Start the browser."""
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="browser")
        self._thread: threading.Thread | None = None
        self._thread = self.call(threading.current_thread)
        self._idle: list[tuple[dict[str, Any], Page]] = []
        self._used: dict[Page, dict[str, Any]] = {}
        self._playwright: Playwright
        self._browser: Browser
        self._playwright, self._browser = self.call(self._start, executable)

    @staticmethod
    def _start(executable: str) -> tuple[Playwright, Browser]:
        playwright = sync_playwright().start()
        expect.set_options(timeout=_PATIENCE)
        return playwright, playwright.chromium.launch(executable_path=executable, args=list(_ARGUMENTS))

    def call(self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run something in the thread of the browser, which may be this one."""
        if threading.current_thread() is self._thread:
            return function(*args, **kwargs)
        return self._pool.submit(function, *args, **kwargs).result()

    def new_page(self, **options: Any) -> Page:
        """A page with nothing of another in it: its own storage and cookies. Close it with ``close_page``."""
        return self.call(self._new_page, options)

    def _new_page(self, options: dict[str, Any]) -> Page:
        known = next((page for given, page in self._idle if given == options), None)
        self._idle = [(given, page) for given, page in self._idle if page is not known]
        if known is None:
            context = self._browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
            context.grant_permissions(["clipboard-read", "clipboard-write"])
            context.set_default_timeout(_PATIENCE)
            known = context.new_page()
        else:
            known.bring_to_front()  # what has the focus in it is inactive while another page is in front
        self._used[known] = options
        return known

    def close_page(self, page: Page) -> None:
        """Forget a page and what it stored."""
        self.call(self._close_page, page)

    def _close_page(self, page: Page) -> None:
        options = self._used.pop(page)
        if page.is_closed() or page.context.pages != [page] or not page.url.startswith(options.get("base_url", "none")):
            page.context.close()
            return
        page.evaluate("sessionStorage.clear()")
        page.goto("about:blank")
        page.unroute_all()
        media = {name: options.get(name, usual) for name, usual in _MEDIA.items()}
        page.emulate_media(**media)
        stored = {"origin": options["base_url"], "storageTypes": _STORED}
        session = page.context.new_cdp_session(page)
        session.send("Storage.clearDataForOrigin", stored)
        session.detach()
        page.context.clear_cookies()
        self._idle.append((options, page))
        while len(self._idle) > _MOST_IDLE:
            self._idle.pop(0)[1].context.close()

    def close(self) -> None:
        """End the browser."""
        self.call(self._browser.close)
        self.call(self._playwright.stop)
        self._pool.shutdown()
