"""From settings to an open lake."""

from __future__ import annotations

from datalake_service.config.settings import Settings
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.open import open_store


def open_lake(settings: Settings, *, region: str | None = None) -> ObjectStore:
    """Open the store of the lake; nothing is asked of it yet.

    Raises:
        ConfigError: The address cannot work.
    """
    return open_store(settings.uri, region=region, **settings.store_options())
