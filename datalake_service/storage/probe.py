"""Does the store keep its word? Conditional writes and permissions are tried once, and the result is kept in the lake.

A server that ignores conditions answers every write with success: nobody would notice two owners of one lock. With a
mutex (``mutexed.py``) such a store can be used all the same; the record then says which. A folder is not probed,
because its conditions are our own code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol, runtime_checkable

from datalake_service.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    NotAuthenticatedError,
    NotSupportedError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreError,
)
from datalake_service.storage.base import CreateOnly, IfMatch, ObjectStore, Overwrite
from datalake_service.storage.scratch import StoreWrapper
from datalake_utils.ids import random_hex

RECORD_KEY: Final = ".datalake/probe.json"
"""Says that the store honours conditions. No dataset's name starts with a dot."""
SCRATCH_PREFIX: Final = ".datalake/probe/"
"""Where the probe writes; each one under a name of its own."""

_FORMAT: Final = 1
_DIGITS: Final = 16
_NO_ETAG: Final = "0" * 32
"""No version has it."""
_OLD: Final = timedelta(hours=1)
"""Scratch objects of this age were left by a probe that died."""
_SAME_TIME: Final = timedelta(minutes=5)
"""A record that lies in the store for so much longer or shorter than it says was copied here from elsewhere."""


@dataclass(frozen=True, slots=True)
class Honours:
    """Which conditions of a write the store heeds."""

    create_if_absent: bool
    replace_if_etag: bool
    replace_needs_object: bool = True
    """Whether an object that is not there is not replaced: it would be created (older versions of MinIO did that)."""

    @property
    def ignored(self) -> tuple[str, ...]:
        """Those that it does not, in words."""
        words = {
            "create-if-absent (If-None-Match)": self.create_if_absent,
            "replace-if-ETag (If-Match)": self.replace_if_etag,
        }
        if self.replace_if_etag:
            words["replace-if-ETag of what is not there (If-Match)"] = self.replace_needs_object
        return tuple(word for word, heeded in words.items() if not heeded)


@runtime_checkable
class Guarded(Protocol):
    """A wrapper that makes conditions true if the store does not honour them."""

    def guard(self) -> str | None:
        """Name the server of the mutex that this takes; ``None``: none is needed."""
        ...


def require_conditions(store: ObjectStore) -> None:
    """Return if locks and merges are safe on ``store``. Costs one small read, and the first time a probe.

    Raises:
        StoreError: The store ignores conditions, and no mutex is configured, or another one than other machines use;
            nothing must be locked or merged there.
        AccessDeniedError: A permission is missing; each missing one is named.
    """
    if not store.uri.startswith("s3://"):
        return
    recorded = _recorded(store)
    if recorded is not None and recorded.mutex is None:
        return
    guard = _guard_of(store)
    if recorded is not None and recorded.mutex == guard:
        return
    honours = probe(store)
    if honours.ignored:
        others = "" if recorded is None else f"; other machines use {recorded.mutex} here"
        msg = (
            f"{store.uri}: the store ignores {' and '.join(honours.ignored)}, so two machines could overwrite each "
            "other unnoticed; locks and merges are refused: use a store that honours conditional writes, or start "
            f"'datalake mutex serve' and set WSS_MUTEX_BASE_URL to its address everywhere{others}"
        )
        raise StoreError(msg)
    _record(store, guard)


def needs_mutex(store: ObjectStore, base_url: str) -> bool:
    """Whether ``store`` ignores conditions, so that those who use the mutex at ``base_url`` have to take it.

    Raises:
        StoreError: Other machines use another mutex here, or the store failed.
        AccessDeniedError: A permission is missing; each missing one is named.
    """
    recorded = _recorded(store)
    if recorded is None:
        return bool(probe(store).ignored)
    if recorded.mutex not in {None, base_url}:
        raise StoreError(
            f"{store.uri}: other machines use the mutex {recorded.mutex}, and this one {base_url}, so they would not "
            f"see each other's locks: set WSS_MUTEX_BASE_URL to the same address everywhere (if none of them works any "
            f"more, remove {RECORD_KEY})"
        )
    return recorded.mutex is not None


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
    missing_key = f"{key}-missing"
    permissions = _Permissions(store.uri)
    honours: Honours | None = None
    try:
        with permissions.needed("write objects (s3:PutObject)"):
            honours = _try_conditions(store, key, missing_key, permissions)
            with permissions.needed("read objects (s3:GetObject)"):
                store.get(key)
        with permissions.needed("list the bucket (s3:ListBucket)"):
            left = _left_behind(store, key)
    finally:
        with permissions.needed("delete objects (s3:DeleteObject)"):
            store.delete_many((key, missing_key))
    permissions.check()
    store.delete_many(left)
    if honours is None:
        raise AccessDeniedError(f"{store.uri}: the probe could not write")
    return honours


def _try_conditions(store: ObjectStore, key: str, missing_key: str, permissions: _Permissions) -> Honours | None:
    try:
        return Honours(
            create_if_absent=_heeds_absence(store, key),
            replace_if_etag=_heeds_etag(store, key),
            replace_needs_object=_heeds_lack(store, missing_key),
        )
    except NotAuthenticatedError:
        raise
    except AccessDeniedError as error:
        store.put(key, b"1", mode=Overwrite())  # else nothing may be written at all
        permissions.lack("write objects under a condition (s3:PutObject with If-None-Match or If-Match)", error)
        return None


def _heeds_absence(store: ObjectStore, key: str) -> bool:
    try:
        store.put(key, b"1", mode=CreateOnly())
    except (AlreadyExistsError, NotSupportedError):  # it refuses whatever carries the condition
        return False
    try:
        store.put(key, b"2", mode=CreateOnly())
    except AlreadyExistsError:
        return True
    return False


def _heeds_etag(store: ObjectStore, key: str) -> bool:
    old, current = (store.put(key, body, mode=Overwrite()) for body in (b"3", b"4"))
    try:
        store.put(key, b"5", mode=IfMatch(old.etag))
    except PreconditionFailedError:
        pass
    except NotSupportedError:
        return False
    else:
        return False
    try:
        store.put(key, b"6", mode=IfMatch(current.etag))
    except PreconditionFailedError:  # it refuses whatever carries a condition
        return False
    return True


def _heeds_lack(store: ObjectStore, missing_key: str) -> bool:
    try:
        store.put(missing_key, b"7", mode=IfMatch(_NO_ETAG))
    except (PreconditionFailedError, NotSupportedError, AccessDeniedError):  # without s3:ListBucket: denied
        return True
    return False


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
        except NotAuthenticatedError:  # no policy helps
            raise
        except AccessDeniedError as error:
            self.lack(permission, error)

    def lack(self, permission: str, error: AccessDeniedError) -> None:
        self.missing.append(permission)
        self.reason = self.reason or error

    def check(self) -> None:
        if self.reason is not None:
            lacking = "; ".join(self.missing)
            msg = f"{self.uri}: the credentials may not {lacking}: allow it in their policy ({self.reason})"
            raise AccessDeniedError(msg) from self.reason


@dataclass(frozen=True, slots=True)
class _Record:
    """What was found out about the store."""

    mutex: str | None
    """The server that is needed; ``None``: the store honours conditions."""


def _guard_of(store: ObjectStore) -> str | None:
    while not isinstance(store, Guarded):
        if not isinstance(store, StoreWrapper):
            return None
        store = store.inner
    return store.guard()


def _record(store: ObjectStore, mutex: str | None) -> None:
    """Remember that all is well. The record holds the store's time, by which a copy of it is recognised."""
    now = store.put(RECORD_KEY, b"{}", mode=Overwrite()).last_modified
    document: dict[str, object] = {
        "format": _FORMAT,
        "uri": store.uri,
        "honoursConditions": mutex is None,
        "probedAt": now.timestamp(),
    }
    if mutex is not None:
        document["mutex"] = mutex
    store.put(RECORD_KEY, json.dumps(document).encode(), mode=Overwrite())


def _recorded(store: ObjectStore) -> _Record | None:
    try:
        body, meta = store.get(RECORD_KEY)
    except (ObjectNotFoundError, AccessDeniedError):  # without s3:ListBucket a missing key is refused: the probe says
        return None
    try:
        document = json.loads(body)
        if isinstance(document["format"], int) and document["format"] > _FORMAT:
            msg = (
                f"{RECORD_KEY} has format {document['format']}; this version of datalake reads up to {_FORMAT}: please "
                "upgrade it"
            )
            raise StoreError(msg)
        probed_at = datetime.fromtimestamp(document["probedAt"], meta.last_modified.tzinfo)
        honours, mutex = document["honoursConditions"] is True, document.get("mutex")
        if (
            document["format"] == _FORMAT
            and document["uri"] == store.uri
            and abs(meta.last_modified - probed_at) < _SAME_TIME
            and (honours or isinstance(mutex, str))
        ):
            return _Record(None if honours else mutex)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        return None
    return None
