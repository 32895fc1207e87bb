"""What the checks of this folder are given."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from datalake_service.errors import StoreError
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.open import open_store
from datalake_service.storage.probe import require_conditions
from tests.conformance.checks import Note
from tests.support.servers import S3Server

REFUSED = "refused: "


@pytest.fixture
def refusal(s3_server: S3Server) -> str:
    """Why ``datalake`` does not lock or merge on this server; empty if it does."""
    try:
        require_conditions(open_store(f"s3://{s3_server.make_bucket()}/lake", **s3_server.options))
    except StoreError as error:
        return str(error)
    return ""


@pytest.fixture
def lake(s3_server: S3Server, refusal: str) -> ObjectStore:
    """A new lake, as its user would open it; the check ends here if the server is refused."""
    if refusal:
        pytest.skip(REFUSED + refusal)
    return open_store(f"s3://{s3_server.make_bucket()}/lake", **s3_server.options)


@pytest.fixture
def note(record_property: Callable[[str, object], None]) -> Note:
    """Notes what was seen, for the table."""
    return lambda seen: record_property("seen", seen)
