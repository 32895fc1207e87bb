"""From ``computeEngine`` of a dataset file to the engine."""

from __future__ import annotations

from datalake_service.config.compute import ComputeEngine
from datalake_service.config.compute import LocalEngine as LocalSettings
from datalake_service.engines.local import LocalEngine
from datalake_service.errors import ConfigError
from datalake_service.pipeline.engine import Engine


def make_engine(settings: ComputeEngine) -> Engine:
    """Return the engine that a dataset file asks for.

    Raises:
        ConfigError: This version does not have it.
    """
    if isinstance(settings, LocalSettings):
        return LocalEngine(concurrency=settings.concurrency)
    raise ConfigError(f"computeEngine.computeEngineType: {settings.compute_engine_type} is not available")
