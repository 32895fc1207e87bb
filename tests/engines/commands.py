"""Runs of a dataset file as processes: to be killed, or because a process can have one kind of Spark only."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datalake_service.catalog.tasks import load_tasks
from datalake_service.config.dataset import DatasetConfig
from datalake_service.storage.open import open_store
from tests.support import warm
from tests.support.repository import ROOT

_PATIENCE = 120.0


def write_file(config: DatasetConfig, engine: dict[str, Any]) -> Path:
    """The dataset file of a project, for an engine."""
    path = config.folder / "dataset.json"
    path.write_text(json.dumps({**config.document, "computeEngine": engine}), encoding="utf-8")
    return path


def command(file: Path, lake: Path) -> warm.Running | subprocess.Popen[bytes]:
    """``datalake datasets create``; see ``told`` for what it says."""
    said = told(lake)
    environment = {**os.environ, "DATALAKE_URI": str(lake), "PYTHONPATH": str(ROOT), "SPARK_LOCAL_IP": "127.0.0.1"}
    arguments = ("datasets", "create", "--configFile", str(file))
    return warm.popen(arguments, cwd=file.parent, env=environment, out=said, err=said)


def told(lake: Path) -> Path:
    """Where the command writes what it says."""
    return lake.with_name("said")


def killed_in_the_middle(file: Path, lake: Path) -> None:
    """Run a dataset file until a task has stored something, then kill the run without a word."""
    process = command(file, lake)
    pause = threading.Event()
    store = open_store(lake)
    try:
        for _ in range(int(_PATIENCE / 0.1)):
            if process.poll() is not None:
                break
            if any(stored.state.checkpoint is not None for stored in load_tasks(store, "d")):
                break
            pause.wait(0.1)
        assert process.poll() is None, told(lake).read_text(encoding="utf-8")
    finally:
        process.kill()
        process.wait()


@contextmanager
def spark_connect_server(folder: Path) -> Iterator[str]:
    """A Spark Connect server on a free port of 127.0.0.1."""
    import pyspark

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    submit = Path(pyspark.__file__).parent / "bin" / "spark-submit"
    settings = {
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(port),
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "700m",
        "spark.ui.enabled": "false",
        "spark.local.dir": str(folder),
    }
    arguments = [str(submit), "--master", "local[2]"]
    arguments += ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer"]
    arguments += [part for name, value in settings.items() for part in ("--conf", f"{name}={value}")]
    environment = {
        **os.environ,
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_HOME": str(submit.parents[1]),
    }
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [*arguments, "spark-internal"], env=environment, stdout=log, stderr=log, cwd=folder, start_new_session=True
        )
    try:
        _wait_for(port, process, folder / "server.log")
        yield f"sc://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    pause = threading.Event()
    for _ in range(int(_PATIENCE / 0.2)):
        assert process.poll() is None, log.read_text(encoding="utf-8")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            pause.wait(0.2)
    raise AssertionError(log.read_text(encoding="utf-8"))
