from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support.live import written

ROOT = Path(__file__).parents[3]


@contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, and the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "datalake_service", "viewer", "--port", "0", "--no-open", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    with process.stdout as told:
        try:
            yield process, json.loads(told.readline())["address"]
        finally:
            process.kill()
            process.wait()


@contextmanager
def asking(address: str, path: str) -> Iterator[http.client.HTTPResponse]:
    """One request."""
    port = int(address.partition("/?")[0].rstrip("/").rpartition(":")[2])
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", path)
        with closing(connection.getresponse()) as answer:
            yield answer


def test_the_command_serves_until_it_is_asked_to_end() -> None:
    """It prints where, answers over a socket, and ends in order although somebody still listens."""
    with written() as lake:
        lake.write("b1", [{"n": 1}])
        with started("--root", lake.store.uri) as (process, address):
            where = "n%20%3E%200%20" + "AND%20TRUE%20" * 1_000
            with asking(address, f"/api/datasets/posts/rows?where={where}") as answer:
                assert answer.status == 200
                assert len(json.loads(answer.read())["rows"]) == 1
            with asking(address, "/api/events?dataset=posts") as stream:
                assert stream.getheader("content-type", "").startswith("text/event-stream")
                assert b"listening" in stream.readline()
                process.terminate()
                assert process.wait(60) in (0, 130, 143)


def test_with_a_token_nobody_else_gets_in() -> None:
    """It is part of the address that is printed."""
    with written() as lake:
        lake.write("b1", [{"n": 1}])
        with started("--root", lake.store.uri, "--token", "s3 cret") as (_, address):
            assert address.endswith("/?token=s3%20cret")
            with asking(address, "/api/lake") as answer:
                assert answer.status == 401


@pytest.mark.parametrize("command", [["--help"], ["viewer", "--help"], ["datasets", "list", "--uri", "./nowhere"]])
def test_the_web_is_loaded_by_nobody_else(command: list[str], tmp_path: Path) -> None:
    """Other commands start as fast as they did."""
    code = (
        "import sys; from datalake_service.cli.main import run; run(sys.argv[1:]); "
        "print({'starlette', 'uvicorn', 'duckdb'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.stderr.strip().endswith("set()")
