"""A proxy in front of an S3 server that enforces a policy as S3 does, or forgets what it was asked to heed.

What is denied is answered with 403 AccessDenied; a bulk delete with 200 and an error for each key. Without
``s3:ListBucket`` a missing key is 403 as well, because its absence must not be told.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

from tests.support.loopback import QuietHandler, running, server_of
from tests.support.servers import S3Server

CONDITIONS = "s3:PutObject under a condition"
"""Not a permission of its own in S3; some policies and some servers deny it all the same."""
JOINING = "s3:PutObject, joining parts"
"""The request that completes a multipart upload."""
_CONDITION_HEADERS = ("if-match", "if-none-match")


class PolicyProxy:
    """The proxy: what is denied, what is forgotten, what it saw."""

    def __init__(self, target: S3Server) -> None:
        self.target = target
        self.denied: Collection[str] = ()
        """Actions that are denied, such as ``s3:ListBucket``."""
        self.unknown: Collection[str] = ()
        """Actions that the server does not implement: 501."""
        self.ignores_conditions: Collection[str] = ()
        """Actions whose If-Match and If-None-Match are dropped: the answer is a success."""
        self.seen: list[str] = []
        """The action of every request that arrived, in order."""
        self.port = 0

    @property
    def server(self) -> S3Server:
        """The server as seen through the proxy."""
        return self.target.at(f"http://127.0.0.1:{self.port}")


class _Handler(QuietHandler):
    proxy: PolicyProxy

    def handle_one(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        actions = self._actions()
        self.proxy.seen.append(actions[0])
        if set(actions) & set(self.proxy.unknown):
            self._answer(501, _error("NotImplemented", "A header you provided implies functionality that is not here."))
        elif set(actions) & set(self.proxy.denied):
            self._deny(body)
        else:
            self._pass_on(body, forget=bool(set(actions) & set(self.proxy.ignores_conditions)))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_one

    def _actions(self) -> list[str]:
        """What the request needs to be allowed, the permission first."""
        parts = urlsplit(self.path)
        query = parse_qs(parts.query, keep_blank_values=True)
        of_object = len(parts.path.strip("/").split("/", 1)) > 1
        conditional = any(name in self.headers for name in _CONDITION_HEADERS)
        match self.command:
            case "PUT" | "POST" if "delete" in query:
                return ["s3:DeleteObject"]
            case "PUT" | "POST":
                joining = self.command == "POST" and "uploadId" in query
                return ["s3:PutObject", *([CONDITIONS] if conditional else []), *([JOINING] if joining else [])]
            case "DELETE":
                return ["s3:AbortMultipartUpload" if "uploadId" in query else "s3:DeleteObject"]
            case _ if of_object:
                return ["s3:GetObject"]
            case _:
                return ["s3:ListBucketMultipartUploads" if "uploads" in query else "s3:ListBucket"]

    def _deny(self, body: bytes) -> None:
        if self.command == "POST" and "delete" in parse_qs(urlsplit(self.path).query, keep_blank_values=True):
            keys = re.findall(rb"<Key>(.*?)</Key>", body)
            errors = "".join(
                f"<Error><Key>{key.decode()}</Key><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
                for key in keys
            )
            self._answer(200, f"<DeleteResult>{errors}</DeleteResult>".encode())
            return
        self._answer(403, _error("AccessDenied", "Access Denied"))

    def _pass_on(self, body: bytes, *, forget: bool) -> None:
        dropped = {"expect", "connection", *(_CONDITION_HEADERS if forget else ())}
        headers = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
        connection = http.client.HTTPConnection(urlsplit(self.proxy.target.endpoint_url).netloc)
        connection.request(self.command, self.path, body or None, {**headers, "Connection": "close"})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.status == 404 and "s3:ListBucket" in self.proxy.denied:
            self._answer(403, _error("AccessDenied", "Access Denied"))
            return
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in {"connection", "transfer-encoding"}:
                self.send_header(name, value)
        if answer.getheader("Content-Length") is None and self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _answer(self, status: int, body: bytes) -> None:
        body = b"" if self.command == "HEAD" else body
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _error(code: str, message: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>".encode()


@contextmanager
def policy_proxy(target: S3Server) -> Iterator[PolicyProxy]:
    """Run a proxy in front of ``target``."""
    proxy = PolicyProxy(target)
    server = server_of(_Handler, proxy=proxy)
    proxy.port = server.server_port
    with running(server, "policy-proxy"):
        yield proxy
