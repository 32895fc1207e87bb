from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from tests.support.repository import ROOT
from tests.support.servers import S3Server, moto_server

ENGINE = """#!/bin/sh
echo "$*" >>"{log}"
if [ "$1" = login ]; then cat >"{log}.password"; fi
"""


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """An ECR that knows of no repository yet."""
    with moto_server() as found:
        yield found


def push(folder: Path, server: S3Server, settings: str) -> subprocess.CompletedProcess[str]:
    """Push an image with an engine that only notes what it is asked."""
    engine, said = folder / "engine", folder / "stage.env"
    engine.write_text(ENGINE.format(log=folder / "log"), encoding="utf-8")
    engine.chmod(0o755)
    said.write_text(f"{settings}\nECR_ENDPOINT_URL={server.endpoint_url}\n", encoding="utf-8")
    command = ["deploy/push.py", "datalake:test", "abc-lambda", "test-lambda"]
    keys = {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
    return subprocess.run(
        [sys.executable, *command, "--engine", str(engine), "--settings", str(said)],
        cwd=ROOT, env=os.environ | keys, check=False, capture_output=True, text=True,
    )  # fmt: skip


def test_an_image_is_pushed_under_each_tag(tmp_path: Path, server: S3Server) -> None:
    """Login, tag, push; the password goes by standard input, and is shown nowhere."""
    session = boto3.session.Session(server.access_key, server.secret_key, region_name="us-east-1")
    client = session.client("ecr", endpoint_url=server.endpoint_url)
    uri = client.create_repository(repositoryName="datalake-test")["repository"]["repositoryUri"]
    done = push(tmp_path, server, "AWS_REGION=us-east-1\nECR_REPOSITORY=datalake-test")
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        [f"pushed {uri}:{tag}" for tag in ("abc-lambda", "test-lambda")],
    )
    asked = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert asked == [
        f"login --username AWS --password-stdin {uri.partition('/')[0]}",
        f"tag datalake:test {uri}:abc-lambda",
        f"push {uri}:abc-lambda",
        f"tag datalake:test {uri}:test-lambda",
        f"push {uri}:test-lambda",
    ]
    password = (tmp_path / "log.password").read_text(encoding="utf-8")
    assert password
    assert password not in done.stdout + done.stderr


def test_a_missing_repository_is_told_with_the_command_that_makes_it(tmp_path: Path, server: S3Server) -> None:
    """Nothing is pushed."""
    done = push(tmp_path, server, "AWS_REGION=us-east-1\nECR_REPOSITORY=other")
    assert done.returncode == 1
    assert done.stderr.strip().endswith("aws ecr create-repository --region us-east-1 --repository-name other")
    assert not (tmp_path / "log").exists()


def test_settings_that_are_missing_are_named(tmp_path: Path, server: S3Server) -> None:
    """With the file to write them into."""
    done = push(tmp_path, server, "AWS_REGION=us-east-1")
    assert (done.returncode, done.stderr) == (1, f"{tmp_path / 'stage.env'}: ECR_REPOSITORY must be set\n")


def test_prod_gets_no_uncommitted_changes(tmp_path: Path) -> None:
    """And there are only test and prod."""
    done = subprocess.run([ROOT / "build.sh", "push", "staging"], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "build.sh: there is test and prod, not 'staging'\n")
    clone = tmp_path / "clone"
    subprocess.run(["git", "init", "-q", str(clone)], check=True)
    (clone / "build.sh").write_bytes((ROOT / "build.sh").read_bytes())
    (clone / "build.sh").chmod(0o755)
    git = ["git", "-C", str(clone), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "all"], check=True)
    with (clone / "build.sh").open("a") as file:
        file.write("# changed\n")
    done = subprocess.run([clone / "build.sh", "push", "prod"], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "not committed" in done.stderr
