from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest

from datalake_service.runtime.dev_aws import stand_in_vector
from tests.cli.commands import command, datalake, environment
from tests.support.repository import ROOT

_SECONDS = 60.0


@contextmanager
def running(*arguments: str, cwd: Path) -> Iterator[dict[str, Any]]:
    """The command at work, and what it printed; it ends when it is asked to."""
    process = subprocess.Popen(
        command("dev-aws", "--port", "0", *arguments),
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        yield json.loads(line)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=_SECONDS)


def test_it_runs_with_the_data_of_an_example_and_leaves_nothing(tmp_path: Path) -> None:
    """Until somebody ends it."""
    shutil.copytree(ROOT / "example_configs" / "dynamodb_table", tmp_path / "example")
    with running("--seed", "example", cwd=tmp_path) as told:
        assert told["seeded"] == ["example"]
        variables = told["variables"]
        session = boto3.session.Session("test", "test", region_name=variables["AWS_DEFAULT_REGION"])
        client = session.client("dynamodb", endpoint_url=variables["AWS_ENDPOINT_URL"])
        assert client.scan(TableName="books")["Count"] == 12
        body = json.dumps({"inputs": ["one", "two"]}).encode()
        address = f"{variables['AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME']}/endpoints/embedder/invocations"
        with urlopen(Request(address, body, method="POST"), timeout=_SECONDS) as answer:
            assert json.load(answer) == [stand_in_vector("one"), stand_in_vector("two")]
    port = int(variables["AWS_ENDPOINT_URL"].rpartition(":")[2])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--seed", "."), "--seed: there is no seed.py"),
        (("--seed", "broken"), "broken/seed.py failed: RuntimeError: no stream"),
    ],
)
def test_a_seed_that_cannot_be_run_is_told(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    """In one line, and nothing is left running."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "seed.py").write_text("raise RuntimeError('no stream')\n", encoding="utf-8")
    done = datalake("dev-aws", "--port", "0", *arguments, cwd=tmp_path)
    assert done.status == 2
    assert told in done.err


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    """Another emulator, probably."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = datalake("dev-aws", "--port", str(taken.getsockname()[1]), cwd=tmp_path)
    assert done.status == 2
    assert "choose another one with --port" in done.err
