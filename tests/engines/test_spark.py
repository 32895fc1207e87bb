from __future__ import annotations

import socket
from pathlib import Path

import pytest

from datalake_service.engines.spark import SparkEngine
from datalake_service.errors import UsageError
from tests.engines import behaviour
from tests.engines.conftest import require_spark, spark_settings
from tests.engines.lakes import project, run

pytestmark = pytest.mark.filterwarnings("ignore")


def test_an_annotator_that_dies_goes_on(spark_engine: SparkEngine, tmp_path: Path) -> None:
    """Its batch is free when the lease of its worker has run out, or is known to be dead."""
    behaviour.annotates_the_same(spark_engine, tmp_path)


def test_a_cluster_that_does_not_answer(tmp_path: Path) -> None:
    """One line, in time; Spark itself would try for minutes."""
    require_spark()
    engine = SparkEngine(spark_settings(remote="sc://127.0.0.1:9", connectTimeoutInSeconds=1))
    with pytest.raises(UsageError, match=r"computeEngine.remote: no Spark answers at sc://127.0.0.1:9 within 1 s"):
        run(project(tmp_path / "code"), tmp_path / "lake", engine)


def test_a_server_that_says_nothing(tmp_path: Path) -> None:
    """It takes connections, and is no Spark."""
    require_spark()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        remote = f"sc://127.0.0.1:{silent.getsockname()[1]}"
        engine = SparkEngine(spark_settings(remote=remote, connectTimeoutInSeconds=1))
        with pytest.raises(
            UsageError, match=rf"what listens at {remote} says nothing within 1 s; is that Spark Connect"
        ):
            run(project(tmp_path / "code"), tmp_path / "lake", engine)


def test_a_jar_that_is_not_there(tmp_path: Path) -> None:
    """Told before Spark starts."""
    require_spark()
    engine = SparkEngine(spark_settings(jars=["nowhere/*.jar"]))
    with pytest.raises(UsageError, match=r"computeEngine.jars: there is no file nowhere/\*.jar"):
        run(project(tmp_path / "code"), tmp_path / "lake", engine)
