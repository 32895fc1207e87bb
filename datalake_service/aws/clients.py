"""The clients of AWS services: made at first use, in the process that uses them.

Region, credentials and endpoints are found by AWS's own library (profile, role, ``AWS_`` variables;
``AWS_ENDPOINT_URL`` or ``AWS_ENDPOINT_URL_SQS`` and the like for an emulator) unless they are given.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from datalake_service.errors import StoreError

if TYPE_CHECKING:
    from botocore.client import BaseClient  # its methods are made at run time

_REGION_OF_OTHERS = "us-east-1"
"""What emulators expect in a signature unless somebody says otherwise."""
CONNECTIONS = 32
"""Requests of one client at a time."""


class AwsClients:
    """Makes one client for each service and process.

    Thread-safe, as the clients are. Picklable: the other process makes its own clients (and so does a forked child,
    because connections must not be shared between processes).
    """

    def __init__(
        self,
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
        connect_timeout: float = 10,
        read_timeout: float = 60,
    ) -> None:
        """Note the settings; nothing is sent. Timeouts are seconds without any progress."""
        self._settings = {
            "region_name": region,
            "endpoint_url": endpoint_url,
            "aws_access_key_id": access_key,
            "aws_secret_access_key": secret_key,
        }
        self._timeouts = (connect_timeout, read_timeout)
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._clients: dict[str, BaseClient] = {}
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, object]:
        """Send the settings, not the connections."""
        return {"_settings": self._settings, "_timeouts": self._timeouts}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Start without a client."""
        self.__dict__.update(state)
        self._forget()

    def __repr__(self) -> str:
        """Show region and server, never a key."""
        region, endpoint = self._settings["region_name"], self._settings["endpoint_url"]
        return f"AwsClients(region={region!r}, endpoint_url={endpoint!r})"

    def client(self, service: str) -> BaseClient:
        """Return this process's client of ``service``, as boto3 names it (``sqs``, ``dynamodbstreams``).

        Raises:
            StoreError: The configuration of AWS cannot work.
        """
        if self._process != os.getpid():
            self._forget()  # a lock copied by fork may be held by nobody
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._connect(service)
            return self._clients[service]

    def _connect(self, service: str) -> BaseClient:
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, NoRegionError

        from datalake_service.aws.session import make_quick_session

        config = Config(
            connect_timeout=self._timeouts[0],
            read_timeout=self._timeouts[1],
            max_pool_connections=CONNECTIONS,
            tcp_keepalive=True,
            retries={"total_max_attempts": 1, "mode": "standard"},  # ``service.py`` repeats, and knows when to give up
        )
        try:
            session = make_quick_session()
            try:
                return session.client(service, config=config, **self._settings)
            except NoRegionError:
                client = session.client(service, config=config, **{**self._settings, "region_name": _REGION_OF_OTHERS})
        except (BotoCoreError, OSError, ValueError) as error:  # OSError: a program for credentials that is not there
            raise StoreError(f"the configuration of AWS cannot work: {' '.join(str(error).split())}") from error
        if is_of_aws(client.meta.endpoint_url):
            raise StoreError(f"no region for {service}: set region in the dataset file, or AWS_DEFAULT_REGION")
        return client


def is_of_aws(endpoint_url: str) -> bool:
    """Whether a server is one of AWS, and not an emulator or a proxy of somebody's own."""
    host = urlsplit(endpoint_url).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))
