from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from datalake_service.errors import AccessDeniedError, StoreError
from datalake_service.storage.base import CreateOnly, IfMatch, Overwrite, PutMode
from datalake_service.storage.s3 import S3Store
from tests.support.policy_proxy import JOINING, PolicyProxy, policy_proxy
from tests.support.servers import S3Server

FIVE_MIB = 5 * 1024**2


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[PolicyProxy]:
    """A server that can be told what to ignore."""
    with policy_proxy(s3_server) as running:
        yield running


@pytest.fixture
def store(proxy: PolicyProxy) -> S3Store:
    """A store whose large files begin at 5 MiB."""
    bucket = proxy.target.make_bucket()
    return S3Store(bucket, "lake", single_put_limit=FIVE_MIB, part_size=FIVE_MIB, **proxy.server.options)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of two parts."""
    file = tmp_path / "large"
    file.write_bytes(bytes(FIVE_MIB + 1))
    return file


@pytest.mark.parametrize("how", ["create", "replace"])
def test_a_server_that_joins_parts_without_looking_gets_no_large_commit(
    store: S3Store, proxy: PolicyProxy, large: Path, how: str
) -> None:
    """It would overwrite somebody else's version unnoticed. Nothing of the file is sent, nothing is left."""
    before = store.put("a", b"theirs", mode=CreateOnly())
    proxy.ignores_conditions = [JOINING]
    key, mode = ("a", IfMatch(before.etag)) if how == "replace" else ("b", CreateOnly())
    for _ in range(2):
        with pytest.raises(StoreError, match=r"ignores the condition on the one that joins them.*make batches smaller"):
            store.put(key, large, mode=mode)
    assert [meta.key for meta in store.list("")] == ["a"]
    assert "Uploads" not in proxy.target.client().list_multipart_uploads(Bucket=store.uri.split("/")[2])
    assert store.put("c", large, mode=Overwrite()).size == FIVE_MIB + 1


def test_what_a_server_does_is_tried_once(store: S3Store, proxy: PolicyProxy, large: Path) -> None:
    """From then on a large write costs its parts and three requests; the result goes to other processes, too."""
    modes: list[PutMode] = [CreateOnly(), CreateOnly()]
    store.put("first", large, mode=modes[0])
    proxy.seen.clear()
    pickle.loads(pickle.dumps(store)).put("second", large, mode=modes[1])
    assert len(proxy.seen) == 5
    assert [meta.key for meta in store.list("")] == ["first", "second"]


def test_a_missing_permission_is_no_answer(store: S3Store, proxy: PolicyProxy, large: Path) -> None:
    """It is reported as what it is, and asked again the next time."""
    proxy.denied = [JOINING]
    with pytest.raises(AccessDeniedError, match="do not allow s3:PutObject"):
        store.put("a", large, mode=CreateOnly())
    proxy.denied = []
    store.put("a", large, mode=CreateOnly())
