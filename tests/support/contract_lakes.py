"""Lakes of every kind, each with a side door through which a test sees what a store did."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING, Protocol

from botocore.exceptions import ClientError

from datalake_service.errors import (
    StoreError,
)
from datalake_service.storage import FolderStore, ObjectStore, RetryingStore
from datalake_service.storage.mutexed import MutexedStore
from datalake_service.storage.observed import ObservedStore, RequestCounts
from datalake_utils.ids import random_hex
from tests.support.faulty_store import FaultyStore
from tests.support.servers import S3Server
from tests.support.staging_store import StagingStore

if TYPE_CHECKING:
    import pytest

PREFIX = "some/prefix"


class SideDoor(Protocol):
    """The same objects, without the code under test."""

    def read(self, key: str) -> bytes | None: ...

    def write(self, key: str, body: bytes) -> None: ...

    def keys(self) -> set[str]: ...


@dataclass(frozen=True)
class Files:
    """A folder as files."""

    root: Path

    def read(self, key: str) -> bytes | None:
        path = self.root / key
        return path.read_bytes() if path.is_file() else None

    def write(self, key: str, body: bytes) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(body)

    def keys(self) -> set[str]:
        own = self.root / ".tmp"
        files = (path for path in self.root.rglob("*") if path.is_file() and own not in path.parents)
        return {path.relative_to(self.root).as_posix() for path in files}


@dataclass(frozen=True)
class Bucket:
    """A bucket through a plain client."""

    server: S3Server
    name: str

    def read(self, key: str) -> bytes | None:
        try:
            answer = self.server.client().get_object(Bucket=self.name, Key=f"{PREFIX}/{key}")
        except ClientError:
            return None
        body: bytes = answer["Body"].read()
        return body

    def write(self, key: str, body: bytes) -> None:
        self.server.client().put_object(Bucket=self.name, Key=f"{PREFIX}/{key}", Body=body)

    def keys(self) -> set[str]:
        answer = self.server.client().list_objects_v2(Bucket=self.name)
        return {entry["Key"].removeprefix(f"{PREFIX}/") for entry in answer.get("Contents", ())}


@dataclass(frozen=True)
class Lake:
    """A store, and the side door to what it holds."""

    store: ObjectStore
    side: SideDoor


WRAPPERS: dict[str, Callable[[ObjectStore], ObjectStore]] = {
    "plain": lambda store: store,
    "retrying": RetryingStore,
    "observed": lambda store: ObservedStore(store, RequestCounts()),
    "faulty": FaultyStore,
    "all": lambda store: ObservedStore(RetryingStore(FaultyStore(store)), RequestCounts()),
}


KINDS = [
    *(f"folder-{wrapper}" for wrapper in WRAPPERS),
    "folder-durable",
    "folder-opened",
    "s3-plain",  # of another server than the next one
    "s3-opened",  # with the wrappers of the product; each alone, and all together, are tried on a folder
    "folder-mutexed",
    *(["s3-mutexed"] if "TEST_S3_ENDPOINT" in os.environ else []),  # test_mutexed.py has what is special about it
]


def mutexed_lake(kind: str, root: Path, request: pytest.FixtureRequest) -> Lake:
    """A store that ignores conditions, or is taken for one, with the mutex."""
    mutex_url: str = request.getfixturevalue("mutex_url")
    if kind == "folder":
        careless = StagingStore(FolderStore(root, durable=False), uri=f"s3://bucket/{random_hex(8)}")
        return Lake(RetryingStore(MutexedStore(careless, mutex_url)), Files(root))
    server: S3Server = request.getfixturevalue("s3_server")
    bucket = server.make_bucket()
    store = MutexedStore(server.store_in(bucket, PREFIX), mutex_url)
    store._needed = True
    return Lake(RetryingStore(store), Bucket(server, bucket))


def together(number: int, action: Callable[[int], str]) -> list[str]:
    """Run ``action`` in that many threads at once; returns the kinds of error, '' for success."""
    barrier = Barrier(number)

    def run(index: int) -> str:
        barrier.wait()
        try:
            return action(index)
        except StoreError as error:
            return error.kind

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(run, range(number)))
