"""What engines that run annotators have to do, as a check that the tests of each call."""

from __future__ import annotations

from pathlib import Path

from datalake_service.engines.local import LocalEngine
from datalake_service.pipeline.jobs.engine import Engine
from tests.engines.lakes import annotator, lines, project, run


def annotates_the_same(engine: Engine, tmp_path: Path) -> list[str]:
    """Also with an annotator whose process is killed; every row counts once, and one that is refused failed.

    Returns which processes opened it.
    """
    marker, opened = tmp_path / "deaths", tmp_path / "opened"
    parameters = {"kill_at": "2-5", "marker": str(marker), "deaths": 1, "opened": str(opened)}
    config = project(tmp_path / "code", annotators=[annotator(parameters=parameters)])
    (tmp_path / "code" / "input" / "0.txt").write_text("0-0\nrefuse\n", encoding="utf-8")
    report = run(config, tmp_path / "lake", engine)
    (outcome,) = report.annotators
    assert outcome.error is None
    assert marker.read_text(encoding="utf-8") == "+"
    assert (outcome.report.annotated, outcome.report.failed, outcome.report.already_done) == (101, 1, 0)
    processes = opened.read_text(encoding="utf-8").split()
    run(config, tmp_path / "local", LocalEngine(concurrency=1))  # which kills nobody any more
    assert lines(tmp_path / "lake") == lines(tmp_path / "local")
    return processes
