"""One bucket and the client that talks to it: made at first use, in the process that uses it."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from typing import TYPE_CHECKING, Any

from datalake_service.aws.client_errors import CLIENT_ERRORS
from datalake_service.storage.s3_errors import Place, place_of, translate

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.awsrequest import AWSRequest
    from botocore.client import BaseClient  # its methods are made at run time

_REGION_OF_OTHERS = "us-east-1"
"""What S3-compatible servers expect in a signature unless they say otherwise."""


class S3Bucket:
    """Sends requests about one bucket and turns errors into ours.

    Thread-safe. Picklable: the other process makes its own client (and so does a forked child, because
    connections must not be shared between processes).
    """

    def __init__(
        self,
        name: str,
        *,
        endpoint_url: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
        session_token: str | None = None,
        region: str | None = None,
        connect_timeout: float = 10,
        read_timeout: float = 60,
    ) -> None:
        """Note the settings; nothing is sent. Timeouts are seconds without any progress."""
        self.name = name
        self.place: Place = place_of(name, endpoint_url)
        self._settings = {
            "endpoint_url": endpoint_url,
            "aws_access_key_id": access_key,
            "aws_secret_access_key": secret_key,
            "aws_session_token": session_token,
            "region_name": region,
        }
        self._timeouts = (connect_timeout, read_timeout)
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._client: BaseClient | None = None
        self._process = 0

    def __getstate__(self) -> dict[str, object]:
        """Send the settings, not the connections."""
        return {"name": self.name, "place": self.place, "_settings": self._settings, "_timeouts": self._timeouts}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Start without a client."""
        self.__dict__.update(state)
        self._forget()

    def __repr__(self) -> str:
        """Show bucket and server, never a key."""
        return f"S3Bucket({self.name!r}, endpoint={self.place.endpoint!r})"

    def send(self, operation: str, *, action: str, key: str = "", **parameters: object) -> dict[str, Any]:
        """Send one request, once, and return the answer.

        Args:
            operation: A method of the client, such as ``get_object``.
            action: The permission it needs, for messages.
            key: The key in the bucket, for messages, and for the request unless empty.
            parameters: Of the request.
        """
        try:
            return self.send_raw(operation, key=key, **parameters)
        except CLIENT_ERRORS as error:
            raise translate(error, self.place, action=action, key=key) from error

    def send_raw(self, operation: str, *, key: str = "", **parameters: object) -> dict[str, Any]:
        """Send one request like ``send``, but let out the errors of the client library."""
        if key:
            parameters["Key"] = key
        method: Callable[..., dict[str, Any]] = getattr(self.client(), operation)
        return method(Bucket=self.name, **parameters)

    def client(self) -> BaseClient:
        """Return the client of this process."""
        if self._client is None or self._process != os.getpid():
            if self._process not in {0, os.getpid()}:
                self._lock = threading.Lock()  # a lock copied by fork may be held by nobody
            with self._lock:
                if self._client is None or self._process != os.getpid():
                    self._client = self._connect()
                    self._process = os.getpid()
        return self._client

    def _connect(self) -> BaseClient:
        from botocore.config import Config

        from datalake_service.aws.session import make_session

        settings = dict(self._settings)
        session = make_session()
        own_server = bool(settings["endpoint_url"])
        if own_server and not settings["region_name"]:
            settings["region_name"] = session.region_name or _REGION_OF_OTHERS
        # Other servers often know neither virtual hosts nor the newer trailing checksums.
        checksums = dict.fromkeys(_CHECKSUMS, "when_required") if own_server else {}
        config = Config(
            connect_timeout=self._timeouts[0],
            read_timeout=self._timeouts[1],
            max_pool_connections=64,
            tcp_keepalive=True,
            # The library must never repeat a request: a conditional write that was applied and then
            # repeated fails against itself, and the caller would be told that somebody else won.
            retries={"total_max_attempts": 1, "mode": "standard"},
            s3={"addressing_style": "path" if own_server else "auto"},
            **checksums,
        )
        client = session.client("s3", config=config, **settings)
        client.meta.events.register("before-sign.s3.DeleteObjects", _add_md5)
        return client


_CHECKSUMS = ("request_checksum_calculation", "response_checksum_validation")


def _add_md5(request: AWSRequest, **_: object) -> None:
    """Add the checksum that older servers insist on for a bulk delete (the library stopped sending it)."""
    digest = hashlib.md5(request.body, usedforsecurity=False).digest()
    request.headers["Content-MD5"] = base64.b64encode(digest).decode()
