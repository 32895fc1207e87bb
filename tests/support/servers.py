"""Servers for tests: on 127.0.0.1, on a free port, stopped by whoever started them."""

from __future__ import annotations

import io
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypedDict

from botocore.config import Config
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from datalake_service.aws.session import make_session
from datalake_service.storage.s3 import S3Store
from datalake_utils.ids import random_hex
from tests.support.loopback import running

ACCESS_KEY = "test-access-key"
SECRET_KEY = "test-secret-key-that-must-never-be-shown"
_numbers = itertools.count(1)
_run = random_hex(6)


class Options(TypedDict):
    """How to reach a server, as keywords."""

    endpoint_url: str
    access_key: str
    secret_key: str


@dataclass(frozen=True)
class S3Server:
    """Where a server is, and the side door to what it holds."""

    endpoint_url: str
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY
    region: str = "us-east-1"
    _clients: list[Any] = field(default_factory=list, repr=False, compare=False)

    @property
    def options(self) -> Options:
        """Keywords for ``open_store`` and ``S3Store``."""
        return {"endpoint_url": self.endpoint_url, "access_key": self.access_key, "secret_key": self.secret_key}

    def client(self) -> Any:
        """Return a plain client, for looking at the bucket without the code under test."""
        if not self._clients:
            client = make_session().client(
                "s3",
                self.region,
                endpoint_url=self.endpoint_url,
                aws_access_key_id=self.access_key,
                aws_secret_access_key=self.secret_key,
                config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
            )
            self._clients.append(client)
        return self._clients[0]

    def make_bucket(self, name: str = "") -> str:
        """Make a bucket (with a fresh name by default) and return its name."""
        name = name or f"lake-{_run}-{next(_numbers)}"
        self.client().create_bucket(Bucket=name)
        return name

    def make_store(self, prefix: str = "some/prefix") -> S3Store:
        """Return a store in a bucket of its own."""
        return self.store_in(self.make_bucket(), prefix)

    def store_in(self, bucket: str, prefix: str = "some/prefix") -> S3Store:
        """Return a store in a bucket that exists, or not."""
        return S3Store(bucket, prefix, **self.options)

    def at(self, endpoint_url: str) -> S3Server:
        """Return the same server by another way, such as a proxy."""
        return S3Server(endpoint_url, self.access_key, self.secret_key, self.region)


class _OneAtATime:
    """Serialise requests, as S3 does conditional writes.

    moto checks a condition and stores the body without a lock around the two, so that a race could have two
    winners there, which would be a fault of the server and not of the code under test. A read of an object that is
    replaced meanwhile fails there. And it ignores If-Match on the request that joins parts.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ.get("CONTENT_LENGTH"):  # read outside the lock: a slow client must not stop the others
            environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        with self._lock:
            if environ["REQUEST_METHOD"] == "POST" and not self._may_join(environ):
                start_response("412 Precondition Failed", [("Content-Type", "application/xml")])
                return [b"<Error><Code>PreconditionFailed</Code></Error>"]
            return list(self._app(environ, start_response))

    def _may_join(self, environ: dict[str, Any]) -> bool:
        wanted = environ.get("HTTP_IF_MATCH")
        if wanted is None or "uploadId=" not in environ.get("QUERY_STRING", ""):
            return True
        seen: dict[str, str] = {}
        look = {name: value for name, value in environ.items() if name not in {"HTTP_IF_MATCH", "CONTENT_LENGTH"}}
        look |= {"REQUEST_METHOD": "HEAD", "QUERY_STRING": "", "wsgi.input": io.BytesIO()}
        list(self._app(look, lambda _, headers, *__: seen.update({name.lower(): value for name, value in headers})))
        return seen.get("etag", "").strip('"') == str(wanted).strip('"')


class _QuietHandler(MotoRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Run moto's S3 in threads of this process; or use the server that ``TEST_S3_ENDPOINT`` names.

    The latter is for trying other servers (``TEST_S3_ACCESS_KEY`` and ``TEST_S3_SECRET_KEY`` belong to it).
    Its buckets stay.
    """
    if endpoint := os.environ.get("TEST_S3_ENDPOINT"):
        access_key, secret_key = (os.environ.get(f"TEST_S3_{name}_KEY", "test") for name in ("ACCESS", "SECRET"))
        yield S3Server(endpoint, access_key, secret_key)
        return
    with moto_server() as server:
        yield server


@contextmanager
def moto_server() -> Iterator[S3Server]:
    """Run moto's S3 in threads of this process, whatever the environment says."""
    app = _OneAtATime(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_QuietHandler)
    with running(server, "s3-server") as address:
        yield S3Server(address)
