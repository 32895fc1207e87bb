from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import datalake
from tests.conformance.checks import FULL, Note
from tests.support.policy_proxy import CONDITIONS, policy_proxy
from tests.support.repository import ROOT
from tests.support.servers import S3Server

REFUSED = "refused: "
EXAMPLE = str(ROOT / "example_configs" / "tracebacks" / "dataset.json")


def test_conditional_writes_are_probed(refusal: str, note: Note) -> None:
    """The first line of the table: whether the server is used as it is."""
    if refusal:
        pytest.skip(REFUSED + refusal)
    note("it is used as it is")


@pytest.fixture
def careless(s3_server: S3Server, refusal: str) -> Iterator[S3Server]:
    """A server that ignores conditions: the one under test if it does, else one behind a proxy that drops them."""
    if refusal:
        yield s3_server
        return
    if FULL:
        pytest.skip("the server honours conditions")
    with policy_proxy(s3_server) as proxy:
        proxy.ignores_conditions = [CONDITIONS]
        yield proxy.server


@pytest.mark.parametrize(
    "command", [("clean-up",), ("datasets", "create", "--configFile", EXAMPLE)], ids=["clean-up", "create"]
)
def test_a_store_that_ignores_conditions_is_refused(
    careless: S3Server, tmp_path: Path, command: tuple[str, ...], note: Note
) -> None:
    """Before anything is written, in one line that says what is wrong with it and what would help."""
    bucket = careless.make_bucket()
    done = datalake(*command, "--uri", f"s3://{bucket}/lake", cwd=tmp_path, S3_ENDPOINT_URL=careless.endpoint_url,
                    S3_ACCESS_KEY=careless.access_key, S3_SECRET_KEY=careless.secret_key)  # fmt: skip
    note(f"{command[0]}: status {done.status}")
    assert (done.status, done.out) == (1, "")
    assert len(done.err.splitlines()) == 1
    assert "the store ignores create-if-absent (If-None-Match) and replace-if-ETag (If-Match)" in done.err
    assert "locks and merges are refused" in done.err
    assert "Contents" not in careless.client().list_objects_v2(Bucket=bucket)
