from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.commands import datalake
from tests.support.repository import ROOT
from tests.support.servers import S3Server

EXAMPLE = str(ROOT / "example_configs" / "tracebacks" / "dataset.json")


@pytest.fixture
def variables(s3_server: S3Server) -> dict[str, str]:
    """A lake in a bucket of its own, as the environment names it."""
    return {
        "S3_BUCKET": s3_server.make_bucket(),
        "S3_PREFIX": "some/prefix",
        "S3_ENDPOINT_URL": s3_server.endpoint_url,
        "S3_ACCESS_KEY": s3_server.access_key,
        "S3_SECRET_KEY": s3_server.secret_key,
        "AWS_DEFAULT_REGION": s3_server.region,
    }


def test_every_command_works_on_a_bucket(tmp_path: Path, variables: dict[str, str]) -> None:
    """The same answers as on a folder; keys are never shown, and nothing is written here."""
    root = f"s3://{variables['S3_BUCKET']}/some/prefix"
    created = datalake("datasets", "create", "--configFile", EXAMPLE, cwd=tmp_path, **variables)
    assert created.status == 0, created.err
    assert (created.json["uri"], created.json["rows"]) == (root, 93)
    again = datalake("datasets", "create", "--configFile", EXAMPLE, cwd=tmp_path, **variables)
    assert again.json["records"] == 0
    (listed,) = datalake("datasets", "list", cwd=tmp_path, **variables).json["datasets"]
    assert (listed["datasetName"], listed["status"]) == ("tracebacks", "COMPLETED")
    view = datalake("datasets", "view", "--datasetName", "tracebacks", cwd=tmp_path, **variables)
    assert (view.json["rows"], view.json["tasks"]) == (93, {"COMPLETED": 4})
    errors = datalake("errors", "list", "--datasetName", "tracebacks", cwd=tmp_path, **variables)
    assert len(errors.json["errors"]) == 1
    assert datalake("clean-up", cwd=tmp_path, **variables).out == ""
    exported = datalake("export", "--datasetName", "tracebacks", "--output", "-", cwd=tmp_path, **variables)
    assert len(exported.out.splitlines()) == 93
    deleted = datalake("datasets", "delete", "--datasetName", "tracebacks", "--yes", cwd=tmp_path, **variables)
    assert deleted.status == 0
    purged = datalake("clean-up", "--grace", "0s", cwd=tmp_path, **variables)
    assert '"status":"purged"' in purged.out
    assert datalake("datasets", "list", cwd=tmp_path, **variables).json["datasets"] == []
    for done in (created, again, view, errors, exported, deleted, purged):
        assert variables["S3_SECRET_KEY"] not in done.out + done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"S3_BUCKET": "no-such-bucket"}, "the bucket 'no-such-bucket' does not exist"),
        ({"S3_ENDPOINT_URL": "http://127.0.0.1:9"}, "cannot reach http://127.0.0.1:9"),
        ({"S3_ACCESS_KEY": "", "S3_SECRET_KEY": ""}, "no usable credentials"),
    ],
)
def test_a_store_that_cannot_be_used_is_one_line(
    tmp_path: Path, variables: dict[str, str], changed: dict[str, str], said: str
) -> None:
    """It says what to look at, with exit status 1."""
    nowhere = {"HOME": str(tmp_path), "AWS_CONFIG_FILE": "none", "AWS_SHARED_CREDENTIALS_FILE": "none"}
    done = datalake("datasets", "list", cwd=tmp_path, **{**variables, **nowhere, **changed})
    assert (done.status, done.out) == (1, "")
    assert said in done.err
    assert len(done.err.splitlines()) == 1
