"""Does the store keep its word? Conditional writes and permissions are tried once, and the result is kept in the lake.

A server that ignores conditions answers every write with success: nobody would notice two owners of one lock. A folder
is not probed for locks, because its conditions are our own code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from datalake_service.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreError,
)
from datalake_service.storage.base import CreateOnly, IfMatch, ObjectMeta, ObjectStore, Overwrite
from datalake_utils.ids import random_hex

RECORD_KEY: Final = ".datalake/probe.json"
"""Says that the store honours conditions. No dataset's name starts with a dot."""
SCRATCH_PREFIX: Final = ".datalake/probe/"
"""Where the probe writes; each one under a name of its own."""

_FORMAT: Final = 1
_DIGITS: Final = 16
_OLD: Final = timedelta(hours=1)
"""Scratch objects of this age were left by a probe that died."""
_SAME_TIME: Final = timedelta(minutes=5)
"""A record that lies in the store for so much longer or shorter than it says was copied here from elsewhere."""


@dataclass(frozen=True, slots=True)
class Honours:
    """Which conditions of a write the store heeds."""

    create_if_absent: bool
    replace_if_etag: bool

    @property
    def ignored(self) -> tuple[str, ...]:
        """Those that it does not, in words."""
        words = {
            "create-if-absent (If-None-Match)": self.create_if_absent,
            "replace-if-ETag (If-Match)": self.replace_if_etag,
        }
        return tuple(word for word, heeded in words.items() if not heeded)


def require_conditions(store: ObjectStore) -> None:
    """Return if locks and merges are safe on ``store``. Costs one small read, and the first time a probe.

    Raises:
        StoreError: The store ignores conditions; nothing must be locked or merged there.
        AccessDeniedError: A permission is missing; each missing one is named.
    """
    if not store.uri.startswith("s3://") or _is_recorded(store):
        return
    honours = probe(store)
    if honours.ignored:
        msg = (
            f"{store.uri}: the store ignores {' and '.join(honours.ignored)}, so two machines could overwrite each "
            "other unnoticed; locks and merges are refused: use a store that honours conditional writes"
        )
        raise StoreError(msg)
    _record(store)


def probe(store: ObjectStore, *, draw: Callable[[], str] | None = None) -> Honours:
    """Try every kind of request on a scratch object, and remove it again.

    One client sees whether conditions are ignored, not whether they are atomic under a race.

    Args:
        store: The store.
        draw: Returns a random name.

    Raises:
        AccessDeniedError: A permission is missing; each missing one is named.
        StoreError: The store failed.
    """
    key = SCRATCH_PREFIX + (draw() if draw is not None else random_hex(_DIGITS))
    permissions = _Permissions(store.uri)
    honours: Honours | None = None
    try:
        with permissions.needed("write objects (s3:PutObject)"):
            first = store.put(key, b"1", mode=CreateOnly())
            honours = Honours(_heeds_absence(store, key), _heeds_etag(store, key, first))
            with permissions.needed("read objects (s3:GetObject)"):
                store.get(key)
        with permissions.needed("list the bucket (s3:ListBucket)"):
            left = _left_behind(store, key)
    finally:
        with permissions.needed("delete objects (s3:DeleteObject)"):
            store.delete(key)
    permissions.check()
    store.delete_many(left)
    if honours is None:
        raise AccessDeniedError(f"{store.uri}: the probe could not write")
    return honours


def _heeds_absence(store: ObjectStore, key: str) -> bool:
    try:
        store.put(key, b"2", mode=CreateOnly())
    except AlreadyExistsError:
        return True
    return False


def _heeds_etag(store: ObjectStore, key: str, first: ObjectMeta) -> bool:
    current = store.put(key, b"3", mode=Overwrite())
    try:
        store.put(key, b"4", mode=IfMatch(first.etag))
    except PreconditionFailedError:
        pass
    else:
        return False
    try:
        store.put(key, b"5", mode=IfMatch(current.etag))
    except PreconditionFailedError:  # it refuses whatever carries a condition
        return False
    return True


def _left_behind(store: ObjectStore, key: str) -> list[str]:
    found = list(store.list(SCRATCH_PREFIX))
    now = max((meta.last_modified for meta in found if meta.key == key), default=None)
    return [] if now is None else [meta.key for meta in found if now - meta.last_modified > _OLD]


@dataclass(slots=True)
class _Permissions:
    """Collects what is not allowed, so that all of it can be named at once."""

    uri: str
    missing: list[str] = field(default_factory=list)
    reason: AccessDeniedError | None = None

    @contextmanager
    def needed(self, permission: str) -> Iterator[None]:
        try:
            yield
        except AccessDeniedError as error:
            self.missing.append(permission)
            self.reason = self.reason or error

    def check(self) -> None:
        if self.reason is not None:
            lacking = "; ".join(self.missing)
            msg = f"{self.uri}: the credentials may not {lacking}: allow it in their policy ({self.reason})"
            raise AccessDeniedError(msg) from self.reason


def _record(store: ObjectStore) -> None:
    """Remember that all is well. The record holds the store's time, by which a copy of it is recognised."""
    now = store.put(RECORD_KEY, b"{}", mode=Overwrite()).last_modified
    document = {"format": _FORMAT, "uri": store.uri, "honoursConditions": True, "probedAt": now.timestamp()}
    store.put(RECORD_KEY, json.dumps(document).encode(), mode=Overwrite())


def _is_recorded(store: ObjectStore) -> bool:
    try:
        body, meta = store.get(RECORD_KEY)
    except (ObjectNotFoundError, AccessDeniedError):  # without s3:ListBucket a missing key is refused: the probe says
        return False
    try:
        document = json.loads(body)
        probed_at = datetime.fromtimestamp(document["probedAt"], meta.last_modified.tzinfo)
        return (
            document["format"] == _FORMAT
            and document["uri"] == store.uri
            and document["honoursConditions"] is True
            and abs(meta.last_modified - probed_at) < _SAME_TIME
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return False
