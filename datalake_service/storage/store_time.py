"""What time it is for a store: the date that it gives to an object which is written now."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from datalake_service.storage.base import ObjectStore, Overwrite

TIME_KEY: Final = ".datalake/time"
"""Holds nothing; its date is what counts. No dataset's name starts with a dot."""


def store_time(store: ObjectStore) -> datetime:
    """Ask the store what time it is; costs one small write.

    Machines are minutes off; times of objects are only compared with each other, and with this.

    Raises:
        StoreError: The lake cannot be written.
    """
    return store.put(TIME_KEY, b"{}", mode=Overwrite()).last_modified
