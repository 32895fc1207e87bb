"""What the checks of this folder share: how much they do, how they reach the server, what they note for the table."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass

from datalake_service.storage.base import ObjectStore
from datalake_service.storage.mutexed import MutexedStore
from datalake_service.storage.open import open_store
from datalake_service.storage.retrying import RetryingStore
from datalake_service.storage.s3 import S3Store
from tests.support.servers import S3Server

FULL = "TEST_S3_ENDPOINT" in os.environ
"""Against a named server they do more than in the suite, where the server is moto."""

Note = Callable[[str], None]
"""Notes what was seen, for the table of the run."""


@dataclass(frozen=True)
class Access:
    """How to reach a server, as a user would."""

    server: S3Server
    mutex_url: str | None = None
    """The server of the mutex, if conditional writes need one."""

    def open(self, uri: str) -> ObjectStore:
        """A lake on it."""
        return open_store(uri, mutex_url=self.mutex_url, **self.server.options)

    def in_parts(self, uri: str, size: int) -> ObjectStore:
        """The same lake, where files of more bytes go in parts: not only those above 5 GiB."""
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        store = S3Store(bucket, prefix, single_put_limit=size, part_size=size, **self.server.options)
        return store if self.mutex_url is None else RetryingStore(MutexedStore(store, self.mutex_url))

    def variables(self) -> dict[str, str]:
        """The same for a command."""
        return {
            "S3_ENDPOINT_URL": self.server.endpoint_url,
            "S3_ACCESS_KEY": self.server.access_key,
            "S3_SECRET_KEY": self.server.secret_key,
            "WSS_MUTEX_BASE_URL": self.mutex_url or "",
        }


def seed() -> int:
    """The seed of what is random; ``CONFORMANCE_SEED`` replays one."""
    return int(os.environ.get("CONFORMANCE_SEED") or random.SystemRandom().randrange(10**9))
