"""HTTP servers of tests: on 127.0.0.1, on a free port, in threads of this process, without a word on the terminal."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer

_POLL_SECONDS = 0.02
"""How soon a server hears that it is to end; 0.5 s is what the library has, for each of them."""


class QuietHandler(BaseHTTPRequestHandler):
    """Answers requests of one connection, one after the other."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def server_of(handler: type[BaseHTTPRequestHandler], **attributes: object) -> ThreadingHTTPServer:
    """A server whose handlers have these attributes; it has its port, and does not answer yet."""
    return ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (handler,), attributes))


@contextmanager
def running(server: HTTPServer, name: str) -> Iterator[str]:
    """Let a server answer; yields its address."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), name=name, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
