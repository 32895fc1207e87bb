"""Every implementation of the object store, and every wrapper."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from datalake_service.storage import FolderStore, open_store
from tests.support.contract_lakes import KINDS, PREFIX, WRAPPERS, Bucket, Files, Lake, mutexed_lake
from tests.support.mutex_server import mutex_server
from tests.support.servers import S3Server


@pytest.fixture(params=KINDS)
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """A new lake of each kind."""
    kind, _, wrapper = request.param.partition("-")
    if wrapper == "mutexed":
        return mutexed_lake(kind, tmp_path / "lake", request)
    if kind == "folder":
        root = tmp_path / "lake"
        if wrapper == "opened":
            return Lake(open_store(root.as_uri()), Files(root))
        folder = FolderStore(root, durable=wrapper == "durable")
        return Lake(WRAPPERS[wrapper](folder) if wrapper in WRAPPERS else folder, Files(root))
    server: S3Server = request.getfixturevalue("other_s3_server" if wrapper == "plain" else "s3_server")
    bucket = server.make_bucket()
    side = Bucket(server, bucket)
    if wrapper == "opened":
        return Lake(open_store(f"s3://{bucket}/{PREFIX}/", **server.options), side)
    return Lake(WRAPPERS[wrapper](server.store_in(bucket, PREFIX)), side)


@pytest.fixture(scope="session")
def mutex_url() -> Iterator[str]:
    """The server of the mutex."""
    with mutex_server() as url:
        yield url
