"""What engines that run annotators have to do, as a check that the tests of each call."""

from __future__ import annotations

from pathlib import Path

from datalake_service.pipeline.engine import Engine
from tests.engines.lakes import Lakes, annotator, lines, project, run


def annotates_the_same(engine: Engine, tmp_path: Path, local_rows: Lakes) -> None:
    """Also with an annotator whose process is killed; every row counts once, and one that is refused failed."""
    marker = tmp_path / "deaths"
    parameters = {"kill_at": "2-5", "marker": str(marker), "deaths": 1, "opened": str(tmp_path / "opened")}
    config = project(tmp_path / "code", annotators=[annotator(parameters=parameters)])
    (tmp_path / "code" / "input" / "0.txt").write_text("0-0\nrefuse\n", encoding="utf-8")
    report = run(config, tmp_path / "lake", engine)
    (outcome,) = report.annotators
    assert outcome.error is None
    assert marker.read_text(encoding="utf-8") == "+"
    assert (outcome.report.annotated, outcome.report.failed, outcome.report.already_done) == (101, 1, 0)
    plain = project(tmp_path / "plain", annotators=[annotator()])
    (tmp_path / "plain" / "input" / "0.txt").write_text("0-0\nrefuse\n", encoding="utf-8")
    assert lines(tmp_path / "lake") == local_rows.of("annotated", plain)
