"""From ``computeEngine`` to the engine. Each is imported where it is asked for: most need libraries of their own."""

from __future__ import annotations

from datalake_service.config import compute
from datalake_service.config.dataset import DatasetConfig
from datalake_service.pipeline.jobs.engine import Engine


def engine_of(config: DatasetConfig) -> Engine:
    """Return the engine that a dataset file names. Nothing is started yet."""
    settings = config.compute_engine
    if isinstance(settings, compute.RayEngine):
        from datalake_service.engines.ray import RayEngine

        return RayEngine(settings)
    if isinstance(settings, compute.SparkEngine):
        from datalake_service.engines.spark import SparkEngine

        return SparkEngine(settings)
    if isinstance(settings, compute.LambdaEngine | compute.LambdaAndSagemakerEngine):
        from datalake_service.engines.aws_lambda import FunctionSettings, LambdaEngine

        return LambdaEngine(FunctionSettings.of(settings), region=config.region)
    from datalake_service.engines.local import LocalEngine

    return LocalEngine(concurrency=settings.concurrency)
