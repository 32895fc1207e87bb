"""A language model service by script: OpenAI's chat completions on 127.0.0.1, and every kind of trouble they can make.

Counts what it was asked; each request is answered by what ``answer`` makes of it.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What is sent."""

    content: object = "{}"
    """The model's words; anything but text is turned into JSON."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    finish_reason: str = "stop"
    refusal: str | None = None
    usage: Mapping[str, Any] | None = None
    """``None``: 10 tokens in, 5 out; empty: it does not say."""
    error: Mapping[str, Any] | None = None
    """Body of an error."""
    raw: bytes | None = None
    """The body as it is, in the place of all that."""
    cut: int | None = None
    """So many bytes of the body are sent, then the connection is closed."""
    reset: bool = False
    """The connection is reset in the place of an answer."""
    seconds: float = 0.0
    """What it takes."""

    def body(self) -> bytes:
        """What stands in the answer."""
        if self.raw is not None:
            return self.raw
        if self.status >= 400:
            return json.dumps({"error": self.error or {"message": "as the script says"}}).encode()
        text = self.content if isinstance(self.content, str) else json.dumps(self.content)
        message = {"role": "assistant", "content": text, "refusal": self.refusal}
        usage = {"prompt_tokens": 10, "completion_tokens": 5} if self.usage is None else self.usage
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        return json.dumps({"model": "scripted-1", "choices": [choice], "usage": usage}).encode()


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    number: int
    headers: Mapping[str, str]
    body: dict[str, Any]
    moment: float

    @property
    def prompt(self) -> str:
        """The last message."""
        return str(self.body["messages"][-1]["content"])


Answer = Callable[[Asked], Reply]


class ScriptedModel:
    """The service; ``asked`` holds every request that arrived whole."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def endpoint(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def note(self, headers: Mapping[str, str], body: dict[str, Any]) -> Asked:
        """Count a request."""
        with self._lock:
            asked = Asked(len(self.asked), headers, body, time.monotonic())
            self.asked.append(asked)
            return asked

    def start(self) -> None:
        """Listen."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, and let go those whom it lets wait."""
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away in the middle are part of the script."""


def _handler(model: ScriptedModel) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != "/v1/chat/completions":
                self.send_error(404)
                return
            self._reply(model.answer(model.note({k.lower(): v for k, v in self.headers.items()}, body)))

        def _reply(self, reply: Reply) -> None:
            if reply.seconds:
                model.stopping.wait(reply.seconds)
            if reply.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
                return
            body = reply.body()
            self.send_response(reply.status)
            for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if reply.cut is None else body[: reply.cut])
            if reply.cut is not None:
                self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


def in_turn(*replies: Reply, then: Reply | None = None) -> Answer:
    """The first request gets the first reply, and so on; the rest gets ``then``."""

    def answer(asked: Asked) -> Reply:
        return replies[asked.number] if asked.number < len(replies) else then or Reply()

    return answer


@contextmanager
def scripted_model(answer: Answer) -> Iterator[ScriptedModel]:
    """A service while the context lasts."""
    model = ScriptedModel(answer)
    model.start()
    try:
        yield model
    finally:
        model.stop()
