"""An emulator of AWS on this machine, to try sources and destinations without an account.

The emulator is ministack; for SageMaker, which it has not, a model stands in that knows nothing. Both listen to
loopback only and keep nothing.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from datalake_service.errors import UsageError
from datalake_utils.clock import Clock, SystemClock

DEFAULT_PORT: Final = 4566
"""Where emulators of AWS are usually found."""
REGION: Final = "eu-west-1"
_LOOPBACK: Final = "127.0.0.1"
_DIMENSIONS: Final = 16
_START_SECONDS: Final = 60.0
_SEED_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class DevAws:
    """An emulator that runs."""

    endpoint_url: str
    models_url: str
    """Of the stand-in for SageMaker's endpoints."""

    @property
    def variables(self) -> dict[str, str]:
        """What other commands need in their environment to use it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": self.models_url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "S3_ENDPOINT_URL": self.endpoint_url,
            "S3_ACCESS_KEY": "test",
            "S3_SECRET_KEY": "test",
        }

    def seed(self, script: Path, *, environ: Mapping[str, str] | None = None) -> None:
        """Run the script of an example that makes what its dataset file names.

        Raises:
            UsageError: It failed.
        """
        environment = {**(os.environ if environ is None else environ), **self.variables}
        try:
            done = subprocess.run(  # noqa: S603 - a script that the user named
                [sys.executable, script.name],
                cwd=script.parent,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=_SEED_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise UsageError(f"{script} did not end within {_SEED_SECONDS:.0f} seconds") from None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UsageError(f"{script} failed: {last}")


@contextmanager
def dev_aws(port: int = DEFAULT_PORT, *, folder: Path | None = None, clock: Clock | None = None) -> Iterator[DevAws]:
    """Run the emulator; it is stopped in the end. ``port`` 0: any that is free. ``folder``: for its files.

    Raises:
        UsageError: It is not installed, or could not be started.
    """
    if importlib.util.find_spec("ministack") is None:
        raise UsageError("the emulator is not installed: pip install 'datalake[dev-aws]'")
    port = port or _free_port()
    if _answers(port):
        raise UsageError(f"something listens to port {port} already: choose another one with --port, or stop it")
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dev-aws-")))
        stack.enter_context(_ministack(port, folder, clock or SystemClock()))
        models = stack.enter_context(_stand_in_models())
        yield DevAws(f"http://{_LOOPBACK}:{port}", models)


@contextmanager
def _ministack(port: int, folder: Path, clock: Clock) -> Iterator[None]:
    settings = {
        "BIND_HOST": _LOOPBACK,
        "MINISTACK_HOST": _LOOPBACK,
        "GATEWAY_PORT": str(port),
        "LOG_LEVEL": "WARNING",
        "TMPDIR": str(folder),
    }
    log = folder / "ministack.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ministack"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **settings},
            start_new_session=True,  # an interrupt at the terminal is ours to hear; the servers end in order
        )
    try:
        until = clock.monotonic() + _START_SECONDS
        while not _answers(port):
            if process.poll() is not None or clock.monotonic() > until:
                text = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                raise UsageError(f"ministack did not start: {(text or ['no message'])[-1]}")
            clock.sleep(0.05)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class _StandInModel(BaseHTTPRequestHandler):
    """Answers like an endpoint for feature extraction. What it says means nothing: it is derived from a digest."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        try:
            texts = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))["inputs"]
            status, body = HTTPStatus.OK, json.dumps([stand_in_vector(str(text)) for text in texts])
        except (ValueError, KeyError, TypeError):
            status, body = HTTPStatus.BAD_REQUEST, json.dumps({"message": 'send {"inputs": [texts]}'})
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name in the library
        """Say nothing: requests hold texts of rows."""


def stand_in_vector(text: str) -> Sequence[float]:
    """The vector of a text: the same for the same text, between -1 and 1, and without any meaning."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIMENSIONS).digest()
    return [round(byte / 127.5 - 1, 6) for byte in digest]


@contextmanager
def _stand_in_models() -> Iterator[str]:
    server = ThreadingHTTPServer((_LOOPBACK, 0), _StandInModel)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="models", daemon=True)
    thread.start()
    try:
        yield f"http://{_LOOPBACK}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((_LOOPBACK, port)) == 0
