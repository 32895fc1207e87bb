"""Bytes at rest: one port (``base.py``), a plain folder, S3, and wrappers with the same protocol.

Knows keys and bytes; nothing of datasets, batches or rows.
"""

from __future__ import annotations

from datalake_service.storage.base import CreateOnly, IfMatch, ObjectMeta, ObjectStore, Overwrite, PutMode
from datalake_service.storage.folder import FolderStore
from datalake_service.storage.open import open_store
from datalake_service.storage.retrying import RetryingStore
from datalake_service.storage.scratch import clean_leftovers, scratch_folder

__all__ = [
    "CreateOnly",
    "FolderStore",
    "IfMatch",
    "ObjectMeta",
    "ObjectStore",
    "Overwrite",
    "PutMode",
    "RetryingStore",
    "clean_leftovers",
    "open_store",
    "scratch_folder",
]
