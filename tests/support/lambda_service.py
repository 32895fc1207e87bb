"""Lambda on loopback: the two requests that the LAMBDA engine makes, answered by real processes of the function.

Each environment is a process of AWS's own runtime client (``awslambdaric``) with a Runtime API of its own. An
invocation takes an idle environment or starts one, and is ended like Lambda ends it: after the function's time-out, and
when the process dies. What AWS does besides can be ordered: throttle, lose an answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.support.lambda_runtime import RuntimeApi, runtime_api
from tests.support.loopback import QuietHandler, running, server_of
from tests.support.repository import ROOT

_PATH: Final = re.compile(r"/2015-03-31/functions/(?P<name>[^/]+)/(?P<what>invocations|configuration)")
ENTRY: Final = (sys.executable, "-m", "awslambdaric", "datalake_service.runtime.lambda_entry.handler")


class Environment:
    """One process of the function."""

    def __init__(self, folder: Path, variables: Mapping[str, str], entry: tuple[str, ...] = ENTRY) -> None:
        self.folder = folder
        self._api = runtime_api()
        self.api: RuntimeApi = self._api.__enter__()
        settings = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "AWS_LAMBDA_RUNTIME_API": self.api.url,
            "AWS_LAMBDA_FUNCTION_NAME": "datalake",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "LAMBDA_TASK_ROOT": str(folder),
            **variables,
        }
        self.process = subprocess.Popen(
            entry, cwd=folder, env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def invoke(self, event: Any, *, seconds: float, told: float, hangs: Callable[[], bool]) -> tuple[object, bool]:
        """The answer, and whether it is a failure; what Lambda says if the process dies or is too late.

        Args:
            event: What the function gets.
            seconds: When it is ended.
            told: When it is told that it will be.
            hangs: Asked now and then whether to end it at once.
        """
        self.api.wait_until_asked()
        if self.api.start_error is not None:
            return self.api.start_error, True
        ends = time.monotonic() + seconds
        answers: queue.Queue[tuple[object, bool]] = queue.Queue()
        deadline = (time.time() + told) * 1000

        def ask() -> None:
            with contextlib.suppress(queue.Empty):  # the process was ended
                answer = self.api.invoke(event, timeout=seconds + 60, deadline_ms=deadline)
                answers.put((answer.body, answer.failed))

        threading.Thread(target=ask, daemon=True).start()
        while time.monotonic() < ends and not hangs():
            try:
                return answers.get(timeout=0.02)
            except queue.Empty:
                if (status := self.process.poll()) is not None:
                    reason = "signal: killed" if status < 0 else f"exit status {status}"
                    return {
                        "errorType": "Runtime.ExitError",
                        "errorMessage": f"Runtime exited with error: {reason}",
                    }, True
        self.stop()
        return {"errorType": "Sandbox.Timedout", "errorMessage": f"Task timed out after {seconds:.2f} seconds"}, True

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        self._api.__exit__(None, None, None)


class LambdaService:
    """One function. Orders are attributes; they may be changed at any time."""

    def __init__(self, folder: Path, *, seconds: float, variables: Mapping[str, str], entry: tuple[str, ...]) -> None:
        self.folder = folder
        self.megabytes = 512
        self.endpoint_url = ""
        self.at_once = 0
        self._usual_seconds, self._variables, self._entry = seconds, variables, entry
        self._idle: list[Environment] = []
        self._all: list[Environment] = []
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forget all orders, and what was counted: for the next test."""
        self.seconds = self._usual_seconds
        self.told: float | None = None
        """What an invocation is told that it has, if that is not ``seconds``: so a slow machine ends nothing."""
        self.hangs: Callable[[], bool] = lambda: False
        """Says whether what is invoked is to be ended now, as if its time were over."""
        self.throttle = 0
        """So many of the next invocations are throttled."""
        self.lose = 0
        """So many of the next answers never arrive, although the function has worked."""
        self.denied = False
        self.invocations = self.most_at_once = 0
        self.failures: list[Any] = []
        """What was answered to invocations that failed."""

    def deploy(self, folder: Path) -> None:
        """Make the modules of ``folder`` those of the image; environments of another one are not used again."""
        with self._lock:
            self.folder = folder
            others = [environment for environment in self._idle if environment.folder != folder]
            self._idle = [environment for environment in self._idle if environment.folder == folder]
        for environment in others:
            environment.stop()

    def invoke(self, event: Any) -> tuple[object, bool]:
        """One invocation in an environment of its own."""
        with self._lock:
            self.invocations += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            environment = self._idle.pop() if self._idle else None
        if environment is None or not environment.alive:
            environment = Environment(self.folder, self._variables, self._entry)
            with self._lock:
                self._all.append(environment)
        try:
            told = self.seconds if self.told is None else self.told
            answer, failed = environment.invoke(event, seconds=self.seconds, told=told, hangs=self.hangs)
        finally:
            with self._lock:
                self.at_once -= 1
        with self._lock:
            if failed:
                self.failures.append(answer)
            is_current = environment.folder == self.folder
            if is_current and environment.alive:
                self._idle.append(environment)
        if not is_current:
            environment.stop()
        return answer, failed

    def stop(self) -> None:
        """End all environments."""
        for environment in self._all:
            if environment.alive:
                environment.stop()


class _Handler(QuietHandler):
    service: LambdaService

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(json.loads(body) if body else {})

    def _answer(self, event: object) -> None:
        service, found = self.service, _PATH.fullmatch(self.path)
        if found is None or found["name"] != "datalake":
            self._say(404, {"Message": "Function not found"}, code="ResourceNotFoundException")
        elif service.denied:
            self._say(403, {"Message": "not allowed"}, code="AccessDeniedException")
        elif found["what"] == "configuration":
            self._say(200, {"Timeout": int(service.seconds), "MemorySize": service.megabytes})
        elif service.throttle > 0:
            service.throttle -= 1
            self._say(429, {"Message": "Rate Exceeded."}, code="TooManyRequestsException")
        else:
            answer, failed = service.invoke(event)
            if service.lose > 0:
                service.lose -= 1
                self.close_connection = True
                self.connection.close()
                return
            self._say(200, answer, failed=failed)

    def _say(self, status: int, body: object, *, code: str = "", failed: bool = False) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        if code:
            self.send_header("x-amzn-ErrorType", code)
        if failed:
            self.send_header("X-Amz-Function-Error", "Unhandled")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def lambda_service(
    folder: Path, *, seconds: float = 60.0, variables: Mapping[str, str] | None = None, entry: tuple[str, ...] = ENTRY
) -> Iterator[LambdaService]:
    """Serve the function ``datalake``, whose image has the modules of ``folder``, on 127.0.0.1, on a free port."""
    service = LambdaService(folder, seconds=seconds, variables=variables or {}, entry=entry)
    try:
        with running(server_of(_Handler, service=service), "lambda") as service.endpoint_url:
            yield service
    finally:
        service.stop()
