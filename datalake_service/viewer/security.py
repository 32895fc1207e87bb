"""Who may ask: the host that was meant, pages of our own, and where others can reach the viewer, those with a token.

Answers say what a browser may do with them: run nothing but our own scripts, ask nobody but us.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from datalake_service.viewer.headers import HEADERS
from datalake_service.viewer.problems import problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE: Final = "datalake_viewer"
_OURS: Final = frozenset({"same-origin", "none"})
_SAFE: Final = frozenset({"GET", "HEAD"})
_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask."""

    hosts: frozenset[str]
    """Names by which the viewer may be called."""
    any_address: bool = False
    """Whether it may be called by any IP address: a page of somebody else has a name."""
    token: str | None = None
    """What has to be shown; ``None``: nothing, because only this machine can reach it."""

    @classmethod
    def of(cls, host: str, *, names: Collection[str], token: str | None) -> Access:
        """For a viewer that listens at ``host`` and is also called ``names``."""
        known = {name.lower() for name in names} | _LOOPBACK_NAMES
        if not is_loopback(host):
            known.add(host.lower())
        return cls(frozenset(known), any_address=not is_loopback(host), token=token)

    def knows_host(self, header: str | None) -> bool:
        """Whether a ``Host`` header names this viewer."""
        if not header:
            return False
        try:
            name = urlsplit(f"//{header}").hostname
        except ValueError:
            return False
        if name is None:
            return False
        return name in self.hosts or (self.any_address and _is_address(name))

    def is_token(self, shown: str | None) -> bool:
        """Whether it is the token."""
        return self.token is not None and shown is not None and _same(shown, self.token)

    def is_cookie(self, shown: str | None) -> bool:
        """Whether it is what the cookie holds: not the token itself, which may be used elsewhere."""
        return self.token is not None and shown is not None and _same(shown, cookie_value(self.token))


def cookie_value(token: str) -> str:
    """What the cookie of somebody who has shown the token holds."""
    return sha256(b"datalake viewer\0" + token.encode("utf-8", "surrogatepass")).hexdigest()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guard:
    """Lets requests through, or answers them itself; adds the headers that make answers safe."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        """Stand before ``app``."""
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store" if scope["path"].startswith("/api") else "no-cache")
            await send(message)

        refused = self._refused(scope)
        await (self._app if refused is None else refused)(scope, receive, with_headers)

    def _refused(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if not self._access.knows_host(headers.get("host")):
            return problem(403, "this viewer is not called like that; see --allow-host", "HostError")
        if scope["method"] not in _SAFE and not (scope["method"] == "POST" and scope["path"] == "/api/filters"):
            return problem(405, "the viewer only reads", "MethodError")
        if not _is_ours(scope, headers):
            return problem(403, "pages of other sites may not ask", "OriginError")
        return None if self._access.token is None else self._without_token(scope, headers)

    def _without_token(self, scope: Scope, headers: Headers) -> Response | None:
        shown = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        token = next((value for name, value in shown if name == "token"), None)
        if token is not None and not scope["path"].startswith("/api"):
            if not self._access.is_token(token):
                return PlainTextResponse("This is not the token that the viewer printed when it was started.", 401)
            return _redirect(scope, [pair for pair in shown if pair[0] != "token"], token, headers)
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._access.is_token(bearer):
            return None
        if self._access.is_cookie(_cookie(headers)):
            return None
        if scope["path"].startswith("/api"):
            return problem(401, "show the token: open the address that the viewer printed", "TokenError")
        return PlainTextResponse("Open the address that the viewer printed when it was started: it has the token.", 401)


def _is_ours(scope: Scope, headers: Headers) -> bool:
    """Whether a browser asks for a page of ours, or for somebody who followed a link."""
    site = headers.get("sec-fetch-site")
    follows = scope["method"] in _SAFE and headers.get("sec-fetch-mode") == "navigate"
    page = not scope["path"].startswith("/api")
    if site is not None and site not in _OURS and not (follows and page):
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")


def _cookie(headers: Headers) -> str | None:
    jar = SimpleCookie()
    try:
        jar.load(headers.get("cookie", ""))
    except CookieError:
        return None
    found = jar.get(COOKIE)
    return None if found is None else found.value


def _redirect(scope: Scope, left: list[tuple[str, str]], token: str, headers: Headers) -> Response:
    """The same address without the token, which the browser keeps as a cookie."""
    # Two slashes at the beginning would name another host.
    path = "/" + scope["path"].lstrip("/").replace("\\", "%5C")
    query = urlencode(left)
    answer = RedirectResponse(path + (f"?{query}" if query else ""), 303)
    secure = headers.get("x-forwarded-proto") == "https" or scope.get("scheme") == "https"
    answer.set_cookie(COOKIE, cookie_value(token), httponly=True, samesite="strict", secure=secure, path="/")
    return answer
