from __future__ import annotations

from pathlib import Path

import pytest

from datalake_service.engines.ray import RayEngine
from datalake_service.engines.spark import SparkEngine
from datalake_service.pipeline.engine import Engine
from tests.engines.commands import command, killed_in_the_middle, spark_connect_server, write_file
from tests.engines.conftest import require_spark
from tests.engines.lakes import Lakes, annotator, lines, project, run

pytestmark = pytest.mark.filterwarnings("ignore")

SLOW = {"seconds": 0.15}
"""Six tasks of nine seconds each: none ends before its first checkpoint, after two."""


def finishes(engine: Engine, settings: dict[str, object], tmp_path: Path, local_rows: Lakes) -> None:
    """A run that was killed is finished by the next one, and the rows are the same."""
    slow = project(tmp_path / "code", parameters=SLOW, files=6, records=60)
    killed_in_the_middle(write_file(slow, settings), tmp_path / "lake")
    fast = project(tmp_path / "code", files=6, records=60)
    report = run(fast, tmp_path / "lake", engine)
    assert not report.failures
    assert lines(tmp_path / "lake") == local_rows.of("long", fast)


def test_a_killed_run_on_ray(ray_engine: RayEngine, tmp_path: Path, local_rows: Lakes) -> None:
    """With its Ray, which ends with it."""
    finishes(ray_engine, {"computeEngineType": "RAY", "concurrency": 2}, tmp_path, local_rows)


def test_a_killed_run_on_spark(spark_engine: SparkEngine, tmp_path: Path, local_rows: Lakes) -> None:
    """With its Spark, which ends with it."""
    settings: dict[str, object] = {"computeEngineType": "SPARK", "master": "local[2]", "driverMemoryInMegabytes": 700}
    finishes(spark_engine, settings, tmp_path, local_rows)


def test_spark_connect(tmp_path: Path, local_rows: Lakes) -> None:
    """A cluster that only a port is known of: tasks, a worker that dies, an annotator."""
    require_spark()
    (tmp_path / "server").mkdir()
    parameters = {"kill_at": "3-11", "marker": str(tmp_path / "deaths"), "deaths": 1}
    config = project(tmp_path / "code", parameters=parameters, annotators=[annotator()])
    with spark_connect_server(tmp_path / "server") as address:
        file = write_file(config, {"computeEngineType": "SPARK", "remote": address, "concurrency": 2})
        process = command(file, tmp_path / "lake")
        _, told = process.communicate()
    assert process.returncode == 0, told.decode()
    assert (tmp_path / "deaths").read_text(encoding="utf-8") == "+"
    plain = project(tmp_path / "code", annotators=[annotator()])
    assert lines(tmp_path / "lake") == local_rows.of("annotated project", plain)
