from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator

import pytest

from datalake_service.config.compute import RayEngine as RaySettings
from datalake_service.config.compute import SparkEngine as SparkSettings
from datalake_service.engines.ray import RayEngine
from datalake_service.engines.spark import SparkEngine
from tests.engines.lakes import Lakes

COMMAND = "is not installed; ./build.sh test --engines installs it"


@pytest.fixture(scope="session")
def local_rows(tmp_path_factory: pytest.TempPathFactory) -> Lakes:
    """What the LOCAL engine makes of each dataset: the others are compared with it."""
    return Lakes(tmp_path_factory.mktemp("local"))


@pytest.fixture(scope="session")
def ray_engine() -> Iterator[RayEngine]:
    """A Ray of its own with two processors, on 127.0.0.1."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip(f"ray {COMMAND}")
    engine = RayEngine(RaySettings.model_validate({"computeEngineType": "RAY", "concurrency": 2}), turn_seconds=0.5)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def spark_engine() -> Iterator[SparkEngine]:
    """A Spark on this machine with two threads."""
    require_spark()
    engine = SparkEngine(spark_settings(master="local[2]"), turn_seconds=1.0)
    yield engine
    engine.close()


def require_spark() -> None:
    """Skip if it cannot run here."""
    if importlib.util.find_spec("pyspark") is None:
        pytest.skip(f"pyspark {COMMAND}")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java 17 or newer: apt-get install openjdk-17-jre-headless")


def spark_settings(**settings: object) -> SparkSettings:
    """Settings of the SPARK engine."""
    conf = {"spark.sql.shuffle.partitions": "2"}
    document = {"computeEngineType": "SPARK", "driverMemoryInMegabytes": 700, "sparkConf": conf} | settings
    return SparkSettings.model_validate(document)
