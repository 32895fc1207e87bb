"""Lambda's Runtime API on loopback: what a function's process asks for its next event, and answers to.

The wire format is AWS's: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html. One server stands for one
environment of a function, so one event is under way at a time.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from datalake_utils.ids import random_hex
from tests.support.loopback import QuietHandler, running, server_of

_PREFIX: Final = "/2018-06-01/runtime"
_FUNCTION: Final = "arn:aws:lambda:us-east-1:123456789012:function:datalake"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the function's process said to one event."""

    body: Any
    """The decoded JSON."""
    failed: bool
    """Whether the function raised; then ``body`` has ``errorMessage`` and ``errorType``."""


class RuntimeApi:
    """Hands out events, and takes their answers."""

    def __init__(self) -> None:
        self.url = ""
        """``host:port``, the value of ``AWS_LAMBDA_RUNTIME_API``."""
        self.start_error: Any = None
        """What the process said when it could not start."""
        self._events: queue.Queue[tuple[str, bytes, float] | None] = queue.Queue()
        self._answers: dict[str, queue.Queue[Answer]] = {}
        self._asked = threading.Event()

    def wait_until_asked(self, timeout: float = 60.0) -> bool:
        """Whether the process has asked for an event, or said that it cannot start, within so many seconds."""
        return self._asked.wait(timeout)

    def invoke(self, event: object, *, timeout: float = 60.0, deadline_ms: float = 4_102_444_800_000) -> Answer:
        """Hand out an event and wait for its answer; raises ``queue.Empty`` when there is none in time."""
        request = random_hex(16)
        answer: queue.Queue[Answer] = queue.Queue(1)
        self._answers[request] = answer
        self._events.put((request, json.dumps(event).encode(), deadline_ms))
        return answer.get(timeout=timeout)

    def next_event(self) -> tuple[str, bytes, float] | None:
        """Wait for an event; None when the server is being stopped."""
        self._asked.set()
        return self._events.get()

    def take(self, request: str, body: object, *, failed: bool) -> None:
        """Take an answer."""
        self._answers.pop(request).put(Answer(body, failed))

    def cannot_start(self, body: object) -> None:
        """Take what the process says instead of asking."""
        self.start_error = body
        self._asked.set()

    def stop(self) -> None:
        """Let those who wait for an event go."""
        self._events.put(None)


class _Handler(QuietHandler):
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body in one packet: a delayed acknowledgement would cost 40 ms
    api: RuntimeApi

    def do_GET(self) -> None:
        event = self.api.next_event()
        if event is None:
            self.close_connection = True
            return
        request, body, deadline = event
        headers = {
            "Lambda-Runtime-Aws-Request-Id": request,
            "Lambda-Runtime-Deadline-Ms": str(int(deadline)),
            "Lambda-Runtime-Invoked-Function-Arn": _FUNCTION,
            "Lambda-Runtime-Trace-Id": "Root=1-00000000-000000000000000000000000",
            "Content-Type": "application/json",
        }
        self._say(200, body, headers)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        found = json.loads(body) if body else None
        *_, request, verb = self.path.split("/")
        if self.path == f"{_PREFIX}/init/error":
            self.api.cannot_start(found)
        elif verb in {"response", "error"}:
            self.api.take(request, found, failed=verb == "error")
        self._say(202, b'{"status":"OK"}', {"Content-Type": "application/json"})

    def _say(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


@contextmanager
def runtime_api() -> Iterator[RuntimeApi]:
    """Serve the Runtime API on 127.0.0.1, on a free port."""
    api = RuntimeApi()
    server = server_of(_Handler, api=api)
    api.url = f"127.0.0.1:{server.server_port}"
    with running(server, "runtime-api"):
        try:
            yield api
        finally:
            api.stop()
