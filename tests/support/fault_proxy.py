"""A proxy in front of an S3 server that loses answers, makes up others, and hangs up in the middle.

Faults are given as a list; each applies to the next requests that it fits, a number of times, then is used up.
"""

from __future__ import annotations

import http.client
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

from tests.support.loopback import QuietHandler, running
from tests.support.servers import S3Server

Action = Literal["lose_answer", "lose_request", "answer_only", "apply_and_answer", "cut"]
"""``lose_answer``: pass on, then hang up. ``lose_request``: hang up. ``answer_only``: answer ``status`` without
passing on. ``apply_and_answer``: pass on, then answer ``status``. ``cut``: hang up after ``at`` bytes of the body."""


@dataclass
class Fault:
    """What goes wrong with some requests."""

    action: Action
    method: str
    contains: str = ""
    """Text that the path with the query must contain."""
    times: int = 1
    status: int = 500
    code: str = "InternalError"
    at: int = 0

    def fits(self, method: str, path: str) -> bool:
        return self.times > 0 and method == self.method and self.contains in path


class FaultProxy:
    """The proxy: where it is, what to do wrong, what it saw."""

    def __init__(self, target: S3Server) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self.seen: list[str] = []
        """Method of every request that arrived, in order."""
        self.target = urlsplit(target.endpoint_url).netloc
        self._origin = target
        self.port = 0

    @property
    def server(self) -> S3Server:
        """The server as seen through the proxy."""
        return self._origin.at(f"http://127.0.0.1:{self.port}")

    def plan(self, *faults: Fault) -> None:
        """Replace the faults, and forget what was seen."""
        with self._lock:
            self._faults = list(faults)
            self.seen.clear()

    def fault_for(self, method: str, path: str) -> Fault | None:
        """Note a request and use up the first fault that fits it."""
        with self._lock:
            self.seen.append(method)
            for fault in self._faults:
                if fault.fits(method, path):
                    fault.times -= 1
                    return fault
        return None


class _Handler(QuietHandler):
    disable_nagle_algorithm = True  # head and body are two writes: the second would wait for an acknowledgement
    proxy: FaultProxy

    def handle_one(self) -> None:
        fault = self.proxy.fault_for(self.command, self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        action = fault.action if fault else "pass"
        if action == "lose_request" or len(body) < length:  # the latter: whoever sent it was killed
            self.close_connection = True
            return
        if fault is not None and action == "answer_only":
            self._make_up(fault)
            return
        connection = http.client.HTTPConnection(self.proxy.target)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in {"expect", "connection"}}
        connection.request(self.command, self.path, body or None, {**headers, "Connection": "close"})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if action == "lose_answer":
            self.close_connection = True
        elif fault is not None and action == "apply_and_answer":
            self._make_up(fault)
        else:
            self._pass_back(answer, content, cut=fault.at if fault is not None and action == "cut" else None)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_one

    def _pass_back(self, answer: http.client.HTTPResponse, content: bytes, *, cut: int | None) -> None:
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in {"connection", "transfer-encoding"}:
                self.send_header(name, value)
        if answer.getheader("Content-Length") is None and self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content if cut is None else content[:cut])
        if cut is not None:
            self.close_connection = True

    def _make_up(self, fault: Fault) -> None:
        body = b"" if self.command == "HEAD" else f"<Error><Code>{fault.code}</Code></Error>".encode()
        self.send_response(fault.status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that is gone
            super().handle_error(request, client_address)


@contextmanager
def fault_proxy(target: S3Server, proxy: FaultProxy | None = None) -> Iterator[FaultProxy]:
    """Run a proxy in front of ``target``; ``proxy`` decides about faults in its own way."""
    proxy = proxy or FaultProxy(target)
    handler = type("Handler", (_Handler,), {"proxy": proxy})
    server = _Server(("127.0.0.1", 0), handler)
    proxy.port = server.server_port
    with running(server, "fault-proxy"):
        yield proxy
