from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from datalake_service.storage.folder import FolderStore
from datalake_service.viewer.app import make_app
from datalake_service.viewer.events import LOCAL_PACE, Watcher
from datalake_service.viewer.security import COOKIE, Access, cookie_value, is_loopback
from tests.support.live import Written, looking, written

TOKEN = "a token, of any text"


class Site:
    """The application, asked without a socket."""

    def __init__(self, lake: Written, answers: Any, access: Access) -> None:
        self.lake = lake
        self.app = make_app(answers, Watcher(answers._lake, LOCAL_PACE), access)

    def ask(self, method: str, path: str, **how: Any) -> httpx.Response:
        """One request."""

        async def run() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8765") as client:
                return await client.request(method, path, **how)

        return asyncio.run(run())

    def get(self, path: str, **headers: str) -> httpx.Response:
        """One request."""
        return self.ask("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.fixture(scope="module")
def lake() -> Iterator[Written]:
    """A few rows."""
    with written() as made:
        made.write("b1", [{"text": "<script>alert(1)</script>", "big": 2**60, "deep": {"x": [2**70, float("nan")]}}])
        made.merge("b1")
        made.write("b1", [{"text": "x" * 5000 + "\udc80", "f": float("inf")}], minutes=1)
        yield made


@pytest.fixture(scope="module")
def site(lake: Written) -> Iterator[Site]:
    """A viewer that only this machine can reach."""
    with looking(lake.store) as answers:
        yield Site(lake, answers, Access.of("127.0.0.1", names=["box"], token=None))


@pytest.fixture(scope="module")
def guarded(lake: Written) -> Iterator[Site]:
    """A viewer that others can reach."""
    with looking(lake.store) as answers:
        yield Site(lake, answers, Access.of("0.0.0.0", names=["box"], token=TOKEN))


PATHS = [
    "/",
    "/d/posts",
    "/d/posts/row/b1/x%2Fy",
    "/operations",
    "/static/js/main.js",
    "/api/lake",
    "/nope",
    "/static/x",
]


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_says_what_a_browser_may_do(site: Site, path: str) -> None:
    """Nothing but our own scripts, no frames, no guessing of types, no other host, also for errors."""
    answer = site.get(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cache-control"] in ("no-store", "no-cache")
    assert "access-control-allow-origin" not in answer.headers
    assert "server" not in answer.headers


def test_a_browser_keeps_the_files_of_the_page(site: Site) -> None:
    """They are at an address of their content; what is not there is not kept, and the page itself is asked for anew."""
    page = site.get("/d/posts")
    named = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert len(named) >= 8
    assert page.headers["cache-control"] == "no-cache"
    folder = named[0].removesuffix("favicon.svg")
    for name in [*named, f"{folder}js/help.js"]:
        assert name.startswith(folder)
        answer = site.get(name)
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "private, max-age=31536000, immutable")
        assert answer.content == site.get(name.replace(folder, "/static/")).content
    missing = site.get(f"{folder}js/nope.js")
    assert (missing.status_code, missing.headers["cache-control"]) == (404, "no-store")


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("127.0.0.1:8765", 200), ("[::1]:8765", 200), ("BOX:1", 200), ("evil.example", 403),
     ("localhost.evil.example", 403), ("10.0.0.1", 403), ("", 403), ("[", 403), ("127.0.0.1@evil.example", 403)],
)  # fmt: skip
def test_only_its_own_names_are_answered(site: Site, host: str, status: int) -> None:
    """A page that lets its own name point here (DNS rebinding) is refused."""
    assert site.get("/api/lake", host=host).status_code == status


@pytest.mark.parametrize(
    ("headers", "path", "status"),
    [
        ({"sec_fetch_site": "same-origin"}, "/api/lake", 200),
        ({"sec_fetch_site": "none", "sec_fetch_mode": "navigate"}, "/api/lake", 200),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}, "/d/posts", 200),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}, "/api/lake", 403),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"}, "/d/posts", 403),
        ({"sec_fetch_site": "same-site"}, "/api/lake", 403),
        ({"origin": "http://localhost:8765"}, "/api/lake", 200),
        ({"origin": "http://evil.example"}, "/api/lake", 403),
        ({"origin": "null"}, "/api/lake", 403),
    ],
)
def test_pages_of_other_sites_may_not_ask(site: Site, headers: dict[str, str], path: str, status: int) -> None:
    """They may link here, and that is all."""
    assert site.get(path, **headers).status_code == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_is_ever_changed(site: Site, method: str) -> None:
    """Only reading, and the conversion of filters, which holds nothing."""
    for path in ("/", "/api/lake", "/api/datasets/posts", "/static/js/main.js"):
        assert site.ask(method, path).status_code == 405
    assert site.ask("POST", "/api/filters", json={"sql": "n > 1"}).status_code == 200


def test_without_the_token_nothing_is_told(guarded: Site) -> None:
    """Others get in with the token: once in the address, then by a cookie that scripts cannot read."""
    assert guarded.get("/api/lake").status_code == 401
    assert guarded.get("/").status_code == 401
    assert guarded.get("/static/js/main.js").status_code == 401
    assert guarded.ask("GET", "/", params={"token": "wrong"}).status_code == 401
    assert guarded.ask("GET", "/api/lake", params={"token": TOKEN}).status_code == 401
    let_in = guarded.ask("GET", "/d/posts", params={"filter": "a b", "token": TOKEN})
    assert let_in.status_code == 303
    assert let_in.headers["location"] == "/d/posts?filter=a+b"
    cookie = let_in.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert TOKEN not in cookie
    assert guarded.get("/api/lake", cookie=f"{COOKIE}={cookie_value(TOKEN)}").status_code == 200
    assert guarded.get("/api/lake", cookie=f"{COOKIE}={TOKEN}").status_code == 401
    assert guarded.get("/api/lake", cookie='"; =;;\x7f').status_code == 401
    assert guarded.get("/api/lake", authorization=f"Bearer {TOKEN}").status_code == 200
    assert guarded.get("/api/lake", authorization=f"Bearer {TOKEN}", host="10.1.2.3").status_code == 200
    assert guarded.get("/api/lake", authorization=f"Bearer {TOKEN}", host="evil.example").status_code == 403


def test_the_token_leads_nowhere_else(guarded: Site) -> None:
    """The address it is taken out of stays on this host."""
    for path in ("//evil.example/x", "/\\evil.example", "/%5Cevil.example", "/%2F%2Fevil.example"):
        answer = guarded.ask("GET", f"http://localhost:8765{path}", params={"token": TOKEN})
        location = answer.headers.get("location", "/")
        assert location.startswith("/")
        assert not location.startswith(("//", "/\\"))


def test_loopback_is_known() -> None:
    """What only this machine can reach."""
    assert [is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "box", "")] == [False] * 5


GARBAGE = [
    "/api/datasets/posts/rows?limit=0",
    "/api/datasets/posts/rows?limit=x",
    "/api/datasets/posts/rows?nope=1",
    "/api/datasets/posts/rows?limit=1&limit=2",
    "/api/datasets/posts/rows?cursor=AAAA",
    "/api/datasets/posts/rows?cursor=%F0",
    "/api/datasets/posts/rows?filter=%7B",
    "/api/datasets/posts/rows?filter=%7B%22type%22%3A%22x%22%7D",
    "/api/datasets/posts/rows?where=nope(",
    "/api/datasets/posts/rows?search=x",
    "/api/datasets/nope",
    "/api/datasets/..%2f..%2fetc",
    "/api/datasets/.state",
    "/api/datasets/%00",
    "/api/datasets/posts/row?batch=b1&id=nope",
    "/api/datasets/posts/row?batch=..&id=x",
    "/api/datasets/posts/cell?batch=b1&id=x&column=y",
    "/api/datasets/posts/row",
    "/api/datasets/posts/rejections?cursor=x",
    "/api/datasets/posts/failures?cursor=x",
    "/api/activity?from=yesterday",
    "/api/activity?bucket=minute&from=1900-01-01",
    "/api/datasets/posts/export?format=xlsx",
    "/api/lake?x=1",
    "/api/datasets/posts/profile",
    "/static/%2e%2e/app.py",
    "/api",
    "/api/",
    "/api/datasets//rows",
]


@pytest.mark.parametrize("path", GARBAGE)
def test_nonsense_is_answered_in_one_line(site: Site, path: str) -> None:
    """A status, what is wrong, and nothing of how the server is made."""
    answer = site.get(path)
    assert answer.status_code in (400, 404, 409), answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "field", "kind"}
    assert error["message"]
    assert "\n" not in error["message"]
    assert "Traceback" not in answer.text
    assert ".py" not in answer.text


def test_an_internal_error_says_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What went wrong stands in the log of the one who runs the viewer."""

    def broken(*_: object) -> object:
        raise KeyError("secret-of-the-inside")

    monkeypatch.setattr("datalake_service.viewer.answering.count_dataset", broken)
    with caplog.at_level(logging.ERROR):
        answer = site.get("/api/lake")
    assert answer.status_code == 500
    assert "secret-of-the-inside" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "log" in answer.json()["error"]["message"]


def test_a_store_that_fails_is_503(tmp_path: Any) -> None:
    """It is not the visitor's fault."""
    from datalake_service.errors import StoreUnavailableError

    class Away(FolderStore):
        def list_folders(self, prefix: str) -> Iterator[str]:
            raise StoreUnavailableError("the store does not answer")

    with looking(Away(tmp_path)) as answers:
        site = Site(Written(answers._lake.store), answers, Access.of("127.0.0.1", names=[], token=None))
        answer = site.get("/api/lake")
        assert answer.status_code == 503
        assert answer.json()["error"]["message"] == "the store does not answer"


def test_values_are_json_that_browsers_read_exactly(site: Site) -> None:
    """Integers beyond 2**53 and numbers that are none go as text; surrogates are replaced; long texts are cut."""
    answer = site.get("/api/datasets/posts/rows?columns=text&columns=big&columns=deep&columns=f&textLimit=100")
    page = json.loads(answer.content.decode("utf-8", "strict"), parse_constant=pytest.fail)
    new, old = page["rows"]
    assert old["cells"][:2] == ["<script>alert(1)</script>", str(2**60)]
    assert old["cells"][2] == {"x": [str(2**70), "NaN"]}
    assert [1, 1] in page["big"]
    assert new["cells"][3] == "Infinity"
    assert page["truncated"][0][:2] == [0, 0]
    whole = site.ask("GET", "/api/datasets/posts/cell", params={"batch": "b1", "id": new["id"], "column": "text"})
    assert whole.headers["content-type"].startswith("text/plain")
    assert whole.headers["content-disposition"].startswith("attachment")
    assert whole.text == "x" * 5000 + "\N{REPLACEMENT CHARACTER}"


def test_html_of_rows_is_only_text(site: Site) -> None:
    """The only HTML that is ever sent is the page itself."""
    for path in ("/api/datasets/posts/rows", "/api/datasets/posts/export", "/api/datasets/posts/export?format=csv"):
        assert "html" not in site.get(path).headers["content-type"]
