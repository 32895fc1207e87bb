"""A bucket that lacks a permission: what needs it says so by name, and everything else works."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from datalake_service.catalog.datasets import list_datasets
from datalake_service.errors import AccessDeniedError
from datalake_service.pipeline.ingest import ingest_iterator
from datalake_service.pipeline.upkeep.cleanup import BatchResult, clean_up
from datalake_service.pipeline.views.plan import ViewRequest
from datalake_service.pipeline.views.views import DatasetView
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.open import open_store
from datalake_service.storage.scratch import clean_leftovers
from tests.cli.commands import datalake
from tests.support.policy_proxy import PolicyProxy, policy_proxy
from tests.support.servers import S3Server

READ_ONLY = ("s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload")


@pytest.fixture(scope="module")
def proxy(other_s3_server: S3Server) -> Iterator[PolicyProxy]:
    """A server that can be told what to deny."""
    with policy_proxy(other_s3_server) as running:
        yield running


@pytest.fixture
def lake(proxy: PolicyProxy) -> ObjectStore:
    """A merged row, and one that waits to be merged; everything is allowed still."""
    proxy.denied = ()
    store = open_store(f"s3://{proxy.target.make_bucket()}/lake", **proxy.server.options)
    write(store, "one")
    assert errors(list(clean_up(store))) == []
    write(store, "two")
    return store


def write(store: ObjectStore, text: str) -> None:
    """Store a row."""
    asyncio.run(ingest_iterator(store, [{"id": text, "text": text}], dataset="posts", batch="b"))


def texts(store: ObjectStore) -> list[str]:
    """The merged rows."""
    with DatasetView(store, ViewRequest(dataset="posts")) as rows:
        return sorted(row["text"] for row in rows)


def errors(results: list[BatchResult]) -> list[str]:
    """What could not be done."""
    return [result.error for result in results if result.error is not None]


def said(results: list[BatchResult]) -> str:
    """Everything that a clean-up had to say."""
    return "\n".join((*errors(results), *(warning for result in results for warning in result.warnings)))


def test_a_read_only_bucket_can_be_read(lake: ObjectStore, proxy: PolicyProxy, tmp_path: Path) -> None:
    """Whoever writes is told what is missing, in one line; nothing is half done."""
    proxy.denied = READ_ONLY
    assert texts(lake) == ["one"]
    assert list(list_datasets(lake)) == ["posts"]
    with pytest.raises(AccessDeniedError, match="do not allow s3:PutObject"):
        write(lake, "three")
    (error,) = errors(list(clean_up(lake)))
    assert "do not allow s3:PutObject" in error
    assert "\n" not in error
    server = proxy.server
    variables = {"S3_ENDPOINT_URL": server.endpoint_url, "S3_ACCESS_KEY": server.access_key}
    listed = datalake("datasets", "list", "--uri", lake.uri, cwd=tmp_path, **variables, S3_SECRET_KEY=server.secret_key)
    assert (listed.status, listed.json["datasets"][0]["datasetName"]) == (0, "posts")
    proxy.denied = ()
    assert errors(list(clean_up(lake))) == []
    assert texts(lake) == ["one", "two"]


@pytest.mark.parametrize(("denied", "named"), [("s3:ListBucket", "s3:ListBucket"), ("s3:GetObject", "s3:GetObject")])
def test_who_may_not_read_is_told_so(lake: ObjectStore, proxy: PolicyProxy, denied: str, named: str) -> None:
    """By every way to read; nothing is taken for missing or empty."""
    proxy.denied = [denied]
    with pytest.raises(AccessDeniedError, match=named):
        texts(lake)
    try:
        complaint = said(list(clean_up(lake)))
    except AccessDeniedError as error:
        complaint = str(error)
    assert named in complaint
    proxy.denied = ()
    assert errors(list(clean_up(lake))) == []
    assert texts(lake) == ["one", "two"]


def test_without_deletion_a_merge_commits_and_says_what_stays(lake: ObjectStore, proxy: PolicyProxy) -> None:
    """The chunks stay and are not merged again; they go when it is allowed."""
    proxy.denied = ["s3:DeleteObject"]
    for _ in range(2):
        assert "s3:DeleteObject" in said(list(clean_up(lake)))
        assert texts(lake) == ["one", "two"]
    proxy.denied = ()
    assert errors(list(clean_up(lake))) == []
    assert texts(lake) == ["one", "two"]
    assert [meta.key for meta in lake.list("posts/") if meta.key.endswith(".jsonl")] == []


@pytest.mark.parametrize("denied", ["s3:ListBucketMultipartUploads", "s3:AbortMultipartUpload"])
def test_uploads_that_may_not_be_cleaned_up_keep_nothing_from_being_merged(
    lake: ObjectStore, proxy: PolicyProxy, denied: str
) -> None:
    """The permission is named; the uploads stay."""
    client, bucket = proxy.target.client(), lake.uri.split("/")[2]
    client.create_multipart_upload(Bucket=bucket, Key="lake/posts/b/merged.parquet")  # moto says that it is from 2010
    proxy.denied = [denied]
    with pytest.raises(AccessDeniedError, match=denied):
        clean_leftovers(lake, older_than=timedelta(days=1))
    assert denied in said(list(clean_up(lake)))
    assert texts(lake) == ["one", "two"]
    assert len(client.list_multipart_uploads(Bucket=bucket)["Uploads"]) == 1
    proxy.denied = ()
    assert said(list(clean_up(lake))) == ""
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)
