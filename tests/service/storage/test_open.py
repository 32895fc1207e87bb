"""What a user may write as the address of a lake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from datalake_service.errors import ConfigError
from datalake_service.storage import CreateOnly, FolderStore, RetryingStore, open_store
from datalake_service.storage.s3 import S3Store
from datalake_service.storage.scratch import innermost
from tests.support.repository import ROOT
from tests.support.servers import S3Server


@pytest.mark.parametrize("form", ["{}", "file://{}", "file://localhost{}", "FILE://{}", "{}/"])
def test_folders(tmp_path: Path, form: str) -> None:
    """A path, as it is or as a URL, is a folder."""
    store = open_store(form.format(tmp_path / "lake"))
    assert isinstance(store, RetryingStore)
    assert isinstance(innermost(store), FolderStore)
    assert store.uri == str(tmp_path / "lake")


def test_a_path_object(tmp_path: Path) -> None:
    """A ``Path`` is a folder whatever is in its name."""
    assert open_store(tmp_path / "s3:" / "x").uri == str(tmp_path / "s3:" / "x")


def test_names_in_a_url_are_decoded(tmp_path: Path) -> None:
    """``file:`` URLs carry spaces and others as percent codes, paths do not."""
    assert open_store((tmp_path / "my lake").as_uri()).uri == str(tmp_path / "my lake")
    assert open_store(f"{tmp_path}/my%20lake").uri == f"{tmp_path}/my%20lake"


@pytest.mark.parametrize(
    ("uri", "prefix"),
    [("", ""), ("/", ""), ("/a", "/a"), ("/a/b/", "/a/b"), ("/a b+%20/ü", "/a b+%20/ü"), ("//a", "/a")],
)
def test_buckets(s3_server: S3Server, uri: str, prefix: str) -> None:
    """A bucket with or without a prefix; slashes around the prefix do not count, and the rest is exact."""
    bucket = s3_server.make_bucket()
    store = open_store(f"s3://{bucket}{uri}", **s3_server.options)
    assert isinstance(innermost(store), S3Store)
    assert store.uri == f"s3://{bucket}{prefix}"
    store.put("x", b"1", mode=CreateOnly())
    [found] = s3_server.client().list_objects_v2(Bucket=bucket)["Contents"]
    assert found["Key"] == f"{prefix.lstrip('/')}/x".lstrip("/")


@pytest.mark.parametrize(
    ("uri", "options", "says"),
    [
        ("", {}, "empty"),
        ("gs://bucket/x", {}, "unknown scheme 'gs'"),
        ("https://bucket/x", {}, "unknown scheme 'https'"),
        ("s3://", {}, "no usable bucket"),
        ("s3:///x", {}, "no usable bucket"),
        ("s3://my bucket/x", {}, "no usable bucket"),
        ("file://host/x", {}, "another machine"),
        ("s3://bucket", {"endpoint_url": "localhost:9000"}, "http://"),
        ("s3://bucket", {"access_key": "a"}, "secret key is missing"),
        ("s3://bucket", {"secret_key": "very-secret"}, "access key is missing"),
        ("s3://bucket", {"session_token": "very-secret"}, "session token"),
    ],
)
def test_what_cannot_work_is_refused(uri: str, options: dict[str, str], says: str) -> None:
    """A wrong address is refused at once, says how to write it, and shows no secret."""
    with pytest.raises(ConfigError, match=says) as caught:
        open_store(uri, **options)
    assert "very-secret" not in str(caught.value)


def test_a_file_is_no_lake(tmp_path: Path) -> None:
    """A path to a file is refused at once."""
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(ConfigError, match="is a file"):
        open_store(str(tmp_path / "x"))


def test_a_folder_does_not_load_the_libraries_of_s3(tmp_path: Path) -> None:
    """A lake in a folder starts without the third of a second that the S3 client takes to load."""
    code = f"import sys; from datalake_service.storage import open_store; open_store({str(tmp_path)!r});"
    code += "sys.exit('boto3' in sys.modules or 'botocore' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
