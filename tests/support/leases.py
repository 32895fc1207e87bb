"""A lease on one key."""

from __future__ import annotations

from datetime import timedelta

from datalake_service.catalog.leases import Lease
from datalake_service.storage.base import ObjectStore
from datalake_utils.clock import Clock

KEY = "posts/annotations/lang/.temp/.lock"


HOUR = timedelta(hours=1)


def lease(store: ObjectStore, clock: Clock, *, ttl: timedelta = HOUR, owner: str = "somebody") -> Lease:
    """A lease on the one key of these tests."""
    return Lease(store, KEY, ttl=ttl, owner=owner, clock=clock)
