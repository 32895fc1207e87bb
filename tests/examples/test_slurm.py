"""The scripts of the Slurm example, without Slurm: processes that annotate one batch, processes that read files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from datalake_service.catalog import layout
from datalake_service.catalog.tasks import TaskStatus, load_tasks
from datalake_service.storage import FolderStore
from tests.cli.commands import datalake, environment
from tests.support import warm
from tests.support.repository import ROOT

ROWS = 12_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the example, with its rows in a lake."""
    folder = tmp_path / "slurm"
    shutil.copytree(ROOT / "example_configs" / "slurm", folder)
    done = datalake(
        "datasets", "create", "--configFile", "dataset.json", cwd=folder, DATALAKE_URI=str(tmp_path / "lake")
    )
    assert done.status == 0, done.err
    program = tmp_path / "bin" / "datalake"
    program.parent.mkdir()
    warm.write_program(program)
    return folder


def start(folder: Path, script: str = "annotate.sbatch", **more: str) -> subprocess.Popen[str]:
    """One task of the array: the script, in the shell that Slurm would use."""
    env = environment(DATALAKE_URI=str(folder.parent / "lake"), SLURM_SUBMIT_DIR=str(folder), **more)
    env["PATH"] = f"{folder.parent / 'bin'}{os.pathsep}{env['PATH']}"
    return subprocess.Popen(
        ["bash", str(folder / script)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_four_workers_do_the_work_and_the_last_reports_the_whole(folder: Path) -> None:
    """Every row once; whoever ends last merges, and says what all of them did."""
    lake = FolderStore(folder.parent / "lake")
    workers = [start(folder) for _ in range(4)]
    try:
        answers = [worker.communicate(timeout=120) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0] * 4, answers
    outcomes = [json.loads(out)["annotators"][0] for out, _ in answers]
    assert sum(one["annotated"] for one in outcomes) == ROWS
    wholes = [one["allWorkers"] for one in outcomes if "allWorkers" in one]
    assert sum(whole["annotated"] for whole in wholes) == ROWS
    assert (sum(whole["workers"] for whole in wholes), sum(whole["failed"] for whole in wholes)) == (4, 0)
    assert list(lake.list(layout.worker_leases_prefix("character-names", "script"))) == []
    exported = datalake(
        "export", "--datasetName", "character-names", "--output", "-", cwd=folder, DATALAKE_URI=str(lake.root)
    )
    rows = [json.loads(line) for line in exported.out.splitlines()]
    assert Counter(row["id"] for row in rows).most_common(1)[0][1] == 1
    assert {row["script.script"] for row in rows} >= {"Latin", "Greek", "Cyrillic"}
    assert sum(row["script.script"] is None for row in rows) == 0


def test_a_worker_that_is_asked_to_end_leaves_the_rest_to_others(folder: Path) -> None:
    """As Slurm does before the time is over: what was answered is stored, and no row is asked twice."""
    config = json.loads((folder / "annotate.json").read_text(encoding="utf-8"))
    config["annotators"][0]["parameters"] = {"seconds": 0.05}
    config["annotators"][0]["flush"] = {"rows": 50}
    (folder / "annotate.json").write_text(json.dumps(config), encoding="utf-8")
    prefix = layout.annotator_temp_prefix("character-names", "script")
    lake = FolderStore(folder.parent / "lake")
    worker = start(folder)
    while not any("_chunk_" in meta.key for meta in lake.list(prefix)):
        assert worker.poll() is None, worker.communicate()
    worker.send_signal(signal.SIGTERM)
    _, err = worker.communicate(timeout=60)
    assert worker.returncode == 143, err
    stored = sum(len(lake.get(meta.key)[0].splitlines()) for meta in lake.list(prefix) if "_chunk_" in meta.key)
    config["annotators"][0]["parameters"] = {"seconds": 0.0}
    (folder / "annotate.json").write_text(json.dumps(config), encoding="utf-8")
    other = start(folder)
    out, err = other.communicate(timeout=60)
    assert other.returncode == 0, err
    outcome = json.loads(out)["annotators"][0]
    assert (outcome["annotated"], outcome["alreadyDone"]) == (ROWS - stored, stored)
    assert (outcome["allWorkers"]["workers"], outcome["allWorkers"]["annotated"]) == (2, ROWS)
    assert (outcome["allWorkers"]["lost"], outcome["allWorkers"]["errors"]) == (0, ["interrupted"])


def test_workers_read_the_files_together(folder: Path) -> None:
    """Three tasks of the other array, one of which is asked to end: the two that are left do what it leaves."""
    workers = [start(folder, "worker.sbatch", SLURM_CPUS_PER_TASK="1") for _ in range(3)]
    lake = FolderStore(folder.parent / "lake")
    try:
        while not any(True for _ in lake.list(layout.task_claims_prefix("functions"))):
            assert any(worker.poll() is None for worker in workers), [worker.communicate() for worker in workers]
        workers[0].send_signal(signal.SIGTERM)
        answers = [worker.communicate(timeout=120) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    # It may have been done already, or not have begun to listen.
    assert workers[0].returncode in (0, 143, -signal.SIGTERM), answers[0]
    assert [worker.returncode for worker in workers[1:]] == [0, 0], answers
    reports = [json.loads(out) for out, _ in answers[1:]]
    assert {report["status"] for report in reports} == {"COMPLETED"}
    assert len({report["rows"] for report in reports}) == 1
    states = [stored.state for stored in load_tasks(lake, "functions")]
    assert {state.status for state in states} == {TaskStatus.COMPLETED}
    assert sum(state.counts.documents for state in states) == reports[0]["rows"] > 500
