"""What the checks of this folder are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from datalake_service.errors import StoreError
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.open import open_store
from datalake_service.storage.probe import require_conditions
from tests.conformance.checks import Access, Note
from tests.support.mutex_server import mutex_server
from tests.support.servers import S3Server


@pytest.fixture(scope="session")
def refusal(s3_server: S3Server) -> str:
    """Why ``datalake`` does not lock or merge on this server without help; empty if it does."""
    try:
        require_conditions(open_store(f"s3://{s3_server.make_bucket()}/lake", **s3_server.options))
    except StoreError as error:
        return str(error)
    return ""


@pytest.fixture(scope="session")
def access(s3_server: S3Server, refusal: str) -> Iterator[Access]:
    """How to reach the server; with a mutex if it is refused without one."""
    if not refusal:
        yield Access(s3_server)
        return
    with mutex_server() as url:
        yield Access(s3_server, url)


@pytest.fixture
def lake(access: Access) -> ObjectStore:
    """A new lake, as its user would open it."""
    return access.open(f"s3://{access.server.make_bucket()}/lake")


@pytest.fixture
def note(record_property: Callable[[str, object], None], access: Access) -> Note:
    """Notes what was seen, for the table."""
    how = "with the mutex: " if access.mutex_url else ""
    return lambda seen: record_property("seen", how + seen)
