"""What the status of a file says of the object that it holds: its version, its size, its time."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from datalake_service.storage.base import ObjectMeta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def etag_of(found: os.stat_result) -> str:
    """Identify the version: inode, time in nanoseconds, size."""
    return f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"


def meta_of(key: str, found: os.stat_result) -> ObjectMeta:
    """Describe the object under ``key``."""
    written = _EPOCH + timedelta(microseconds=found.st_mtime_ns // 1000)
    return ObjectMeta(key, found.st_size, etag_of(found), written)
