from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.commands import Done, datalake, started
from tests.support.otlp import Collector, attributes, collector
from tests.support.repository import ROOT


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The quickstart, with a few of its files; one of them has a record that cannot be used."""
    folder = tmp_path / "project"
    shutil.copytree(ROOT / "example_configs" / "quickstart", folder)
    document = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    document["manifestFile"]["globs"] = ["email/h*.py", "json/*.py"]
    (folder / "dataset.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


def create(project: Path, run: Callable[..., Done] = datalake, /, **environment: str) -> Done:
    """Run the dataset file."""
    return run("datasets", "create", "--configFile", "dataset.json", cwd=project, **environment)


def send_to(found: Collector) -> dict[str, str]:
    """The variables that turn it on."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": found.url}


def test_a_run_is_a_trace_and_counters(project: Path) -> None:
    """One span for the command, below it one for the run, each task, merge and annotator; counters have the sums."""
    with collector() as found:
        done = create(project, started, **send_to(found))
    assert (done.status, done.err) == (0, "")
    report = done.json
    assert report["tasks"]["completed"] > 1
    names = [span.name for span in found.spans]
    assert {name: names.count(name) for name in set(names)} == {
        "datalake.command": 1,
        "datalake.run": 1,
        "datalake.task": report["tasks"]["completed"],
        "datalake.merge": 1,
        "datalake.annotate": 1,
    }
    (root,) = (span for span in found.spans if span.name == "datalake.command")
    assert {span.trace_id for span in found.spans} == {root.trace_id}
    assert {span.parent_span_id for span in found.spans if span is not root} == {root.span_id}
    assert attributes(root)["datalake.command"] == "datalake datasets create"
    assert all(span.end_time_unix_nano >= span.start_time_unix_nano for span in found.spans)
    assert found.service_names == {"datalake"}
    assert found.counters["datalake.records",] == report["records"]
    assert found.counters["datalake.documents",] == report["documents"]
    assert found.counters["datalake.rejections",] == report["errors"]
    assert found.counters["datalake.annotations", "style", "done"] == report["annotators"][0]["annotated"]


def test_what_failed_is_marked(project: Path) -> None:
    """Texts of errors stay in the lake: they may quote a row."""
    (project / "dataset.json").write_text(
        json.dumps(json.loads((project / "dataset.json").read_text()) | {"onError": {"policy": "fail"}})
    )
    with collector() as found:
        assert create(project, **send_to(found)).status == 1
    failed = [span for span in found.spans if span.status.code == 2]
    assert {span.name for span in failed} >= {"datalake.command", "datalake.run", "datalake.task"}
    assert not any("error" in name for span in found.spans for name in attributes(span))


def test_nothing_is_loaded_where_nobody_asks(project: Path) -> None:
    """Neither the library nor a thread."""
    code = (
        "import sys; from datalake_service.cli.main import run; run(['datasets', 'list']);"
        "print([name for name in sys.modules if name.startswith('opentelemetry')], file=sys.stderr)"
    )
    settings = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=settings | {"PYTHONPATH": str(ROOT)},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stderr == "[]\n"


@pytest.mark.parametrize("environment", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_parts_can_be_turned_off(project: Path, environment: dict[str, str]) -> None:
    """By the standard variables."""
    with collector() as found:
        assert create(project, **send_to(found), **environment).status == 0
    assert found.spans == []
    assert bool(found.counters) == ("OTEL_SDK_DISABLED" not in environment)


def test_a_collector_that_is_not_there_harms_nothing(project: Path) -> None:
    """The run ends as it would have, and not much later."""
    with collector() as found:
        nobody = send_to(found)
    done = create(project, **nobody, OTEL_EXPORTER_OTLP_TIMEOUT="1")
    assert done.status == 0
    assert done.json["status"] == "COMPLETED"
