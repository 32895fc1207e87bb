from __future__ import annotations

from pathlib import Path

import pytest

from datalake_service.config.compute import RayEngine as Settings
from datalake_service.engines.ray import RayEngine
from datalake_service.errors import UsageError
from tests.engines import behaviour
from tests.engines.lakes import annotator, lines, project, run

pytestmark = pytest.mark.filterwarnings("ignore")


def test_an_annotator_that_dies_goes_on(ray_engine: RayEngine, tmp_path: Path) -> None:
    """It is opened again by the actor that takes its place, and only then."""
    opened = behaviour.annotates_the_same(ray_engine, tmp_path)
    assert len(opened) == len(set(opened)) == 2


def test_an_annotator_of_batches(ray_engine: RayEngine, tmp_path: Path) -> None:
    """Rows travel together."""
    one = project(tmp_path / "one", annotators=[annotator("handler.Many")])
    run(one, tmp_path / "lake", ray_engine)
    assert sum("/annotations/" in line for line in lines(tmp_path / "lake")) == 120


def test_an_annotator_in_several_actors(ray_engine: RayEngine, tmp_path: Path) -> None:
    """Each is opened once, whatever they do."""
    settings = ray_engine._settings
    resources = {"length": {"actors": 2, "numCpus": 0.5, "memoryInMegabytes": 50}}
    document = settings.model_dump(by_alias=True, mode="json") | {"annotatorResources": resources}
    engine = RayEngine(Settings.model_validate(document))
    parameters = {"opened": str(tmp_path / "opened")}
    report = run(project(tmp_path / "code", annotators=[annotator(parameters=parameters)]), tmp_path / "lake", engine)
    assert report.annotators[0].report.annotated == 120
    assert len(set((tmp_path / "opened").read_text(encoding="utf-8").split())) == 2


def test_a_cluster_that_does_not_answer(ray_engine: RayEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, in time; Ray itself would try for minutes."""
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    document = {"computeEngineType": "RAY", "address": "127.0.0.1:9", "connectTimeoutInSeconds": 1}
    with pytest.raises(UsageError, match=r"computeEngine.address: no Ray answers at 127.0.0.1:9 within 1 s"):
        run(project(tmp_path / "code"), tmp_path / "lake", RayEngine(Settings.model_validate(document)))
