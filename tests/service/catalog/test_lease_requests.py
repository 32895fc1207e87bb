"""What a lease costs in requests over HTTP, counted by the server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from datalake_service.catalog.leases import Lease
from datalake_service.storage.open import open_store
from tests.support.s3_server import StrictS3, strict_s3

KEY = "posts/annotations/lang/.temp/.lock"


@pytest.fixture
def strict() -> Iterator[StrictS3]:
    """An S3 server that counts."""
    with strict_s3() as running:
        yield running


def test_taking_and_giving_back_costs_at_most_four_requests(strict: StrictS3) -> None:
    """The first time, and when it was given back before; renewing costs one."""
    bucket = strict.server.make_bucket()
    store = open_store(f"s3://{bucket}/lake", **strict.server.options)
    requests = strict.contents.requests
    for _ in range(3):
        before = requests.total()
        lease = Lease(store, KEY, ttl=timedelta(hours=1))
        assert lease.acquire()
        taken = requests.total() - before
        lease.renew()
        renewed = requests.total() - before - taken
        lease.release()
        assert (taken, renewed, requests.total() - before - taken - renewed) == (2, 1, 1)
