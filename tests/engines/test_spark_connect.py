from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.commands import command, spark_connect_server, told, write_file
from tests.engines.conftest import require_spark
from tests.engines.lakes import Lakes, annotator, lines, project

pytestmark = pytest.mark.filterwarnings("ignore")


def test_spark_connect(tmp_path: Path, local_rows: Lakes) -> None:
    """A cluster that only a port is known of: tasks, a worker that dies, an annotator."""
    require_spark()
    (tmp_path / "server").mkdir()
    parameters = {"kill_at": "3-11", "marker": str(tmp_path / "deaths"), "deaths": 1}
    config = project(tmp_path / "code", parameters=parameters, annotators=[annotator()])
    with spark_connect_server(tmp_path / "server") as address:
        file = write_file(config, {"computeEngineType": "SPARK", "remote": address, "concurrency": 2})
        status = command(file, tmp_path / "lake").wait()
    assert status == 0, told(tmp_path / "lake").read_text(encoding="utf-8")
    assert (tmp_path / "deaths").read_text(encoding="utf-8") == "+"
    plain = project(tmp_path / "code", annotators=[annotator()])
    assert lines(tmp_path / "lake") == local_rows.of("annotated project", plain)
