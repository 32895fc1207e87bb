from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from datalake_service.catalog.datasets import list_datasets
from datalake_service.errors import AccessDeniedError, StoreError
from datalake_service.storage.base import CreateOnly, IfMatch, ObjectMeta, ObjectStore, Overwrite, PutMode
from datalake_service.storage.folder import FolderStore
from datalake_service.storage.probe import RECORD_KEY, SCRATCH_PREFIX, Honours, probe, require_conditions
from datalake_service.storage.s3 import S3Store
from tests.support.careless_store import CarelessStore
from tests.support.fault_proxy import Fault, fault_proxy
from tests.support.policy_proxy import CONDITIONS, PolicyProxy, policy_proxy
from tests.support.servers import S3Server

CREATE, REPLACE = "create-if-absent (If-None-Match)", "replace-if-ETag (If-Match)"


def test_both_kinds_of_store_honour_conditions_and_nothing_is_left(any_store: ObjectStore) -> None:
    """The probe removes what it wrote."""
    assert probe(any_store) == Honours(create_if_absent=True, replace_if_etag=True)
    assert list(any_store.list("")) == []


@pytest.mark.parametrize(
    ("ignores", "named"),
    [((CreateOnly,), [CREATE]), ((IfMatch,), [REPLACE]), ((CreateOnly, IfMatch), [CREATE, REPLACE])],
)
def test_a_store_that_ignores_conditions_is_refused(
    folder_store: FolderStore, ignores: tuple[type[CreateOnly | IfMatch], ...], named: list[str]
) -> None:
    """What it ignores is named, and it is asked again the next time: a server can be replaced."""
    store = CarelessStore(folder_store, ignores=ignores)
    for _ in range(2):
        with pytest.raises(StoreError) as refused:
            require_conditions(store)
        assert f"s3://bucket/lake: the store ignores {' and '.join(named)}, so " in str(refused.value)
    assert list(folder_store.list("")) == []
    require_conditions(CarelessStore(folder_store))


def test_a_good_store_is_probed_once(s3_store: S3Store) -> None:
    """The record costs one read from then on, and is no dataset."""
    require_conditions(s3_store)
    assert [meta.key for meta in s3_store.list("")] == [RECORD_KEY]
    assert list(list_datasets(s3_store)) == []
    again = CarelessStore(s3_store, uri=s3_store.uri)
    require_conditions(again)
    assert again.asked == ["get"]


def test_a_folder_is_not_probed(folder_store: FolderStore) -> None:
    """Its conditions are our own code."""
    require_conditions(folder_store)
    assert list(folder_store.list("")) == []


def test_the_record_of_another_lake_does_not_count(folder_store: FolderStore) -> None:
    """Neither one with another address, nor one that lies here for much longer or shorter than it says."""
    bad = CarelessStore(folder_store, ignores=(CreateOnly,))
    require_conditions(CarelessStore(folder_store))
    require_conditions(bad)  # it believes the record
    document = json.loads(folder_store.get(RECORD_KEY)[0])
    day = timedelta(days=1).total_seconds()
    for change in ({"uri": "s3://other/lake"}, {"probedAt": document["probedAt"] - day}, {"format": "1"}, {"uri": 1}):
        folder_store.put(RECORD_KEY, json.dumps({**document, **change}).encode(), mode=Overwrite())
        with pytest.raises(StoreError, match="ignores create-if-absent"):
            require_conditions(bad)
    for junk in (b"", b"[]", b'{"format": 1}', b"\xff"):
        folder_store.put(RECORD_KEY, junk, mode=Overwrite())
        with pytest.raises(StoreError, match="ignores create-if-absent"):
            require_conditions(bad)


@pytest.mark.parametrize(
    ("denies", "named"),
    [
        (["put"], ["write objects (s3:PutObject)"]),
        (["list"], ["list the bucket (s3:ListBucket)"]),
        (["delete"], ["delete objects (s3:DeleteObject)"]),
        (["get"], ["read objects (s3:GetObject)"]),
        (["list", "delete"], ["list the bucket (s3:ListBucket)", "delete objects (s3:DeleteObject)"]),
        (["put", "list"], ["write objects (s3:PutObject)", "list the bucket (s3:ListBucket)"]),
    ],
)
def test_every_missing_permission_is_named(folder_store: FolderStore, denies: list[str], named: list[str]) -> None:
    """All at once, so that a policy is changed once."""
    with pytest.raises(AccessDeniedError) as denied:
        require_conditions(CarelessStore(folder_store, denies=denies))
    expected = f"s3://bucket/lake: the credentials may not {'; '.join(named)}: allow it in their policy ("
    assert str(denied.value).startswith(expected)


def test_what_a_dead_probe_left_is_removed(folder_store: FolderStore) -> None:
    """When it is old; another probe may be under way."""
    key = f"{SCRATCH_PREFIX}left"
    folder_store.put(key, b"1", mode=Overwrite())
    probe(folder_store)
    assert [meta.key for meta in folder_store.list("")] == [key]
    path = folder_store.root / key
    os.utime(path, (1, 1))
    probe(folder_store)
    assert list(folder_store.list("")) == []


# Over HTTP --------------------------------------------------------------------------------------------


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[PolicyProxy]:
    """A server that can be told what to deny and to ignore."""
    with policy_proxy(s3_server) as running:
        yield running


def through(proxy: PolicyProxy) -> S3Store:
    """A store whose requests go through the proxy."""
    return proxy.server.store_in(proxy.target.make_bucket(), "lake")


WRITE, LIST, DELETE = (
    "write objects (s3:PutObject)",
    "list the bucket (s3:ListBucket)",
    "delete objects (s3:DeleteObject)",
)


@pytest.mark.parametrize(
    ("denied", "named"),
    [
        (["s3:ListBucket"], [LIST]),
        (["s3:DeleteObject"], [DELETE]),
        (["s3:GetObject"], ["read objects (s3:GetObject)"]),
        ([CONDITIONS], ["write objects under a condition (s3:PutObject with If-None-Match or If-Match)"]),
        (["s3:PutObject"], [WRITE]),
        (["s3:PutObject", "s3:DeleteObject"], [WRITE, DELETE]),
        (["s3:PutObject", "s3:DeleteObject", "s3:ListBucket"], [WRITE, LIST, DELETE]),
    ],
)
def test_every_permission_that_a_server_denies_is_named(
    proxy: PolicyProxy, denied: list[str], named: list[str]
) -> None:
    """Exactly those, in one line; nothing is left if that can be helped."""
    store = through(proxy)
    proxy.denied = denied
    with pytest.raises(AccessDeniedError) as caught:
        require_conditions(store)
    assert str(caught.value).startswith(f"{store.uri}: the credentials may not {'; '.join(named)}: allow it in")
    assert "\n" not in str(caught.value)
    proxy.denied = []
    left = [meta.key for meta in store.list("")]
    assert len(left) == (1 if denied == ["s3:DeleteObject"] else 0)
    require_conditions(store)


@pytest.mark.parametrize("conditions", ["unknown", "ignores_conditions"])
def test_a_server_without_conditions_is_refused(proxy: PolicyProxy, conditions: str) -> None:
    """Whether it says that it does not know them, or says nothing."""
    store = through(proxy)
    setattr(proxy, conditions, [CONDITIONS])
    with pytest.raises(StoreError, match=r"the store ignores create-if-absent .* and replace-if-ETag .*are refused"):
        require_conditions(store)
    assert list(store.list("")) == []


def test_a_server_that_creates_what_it_should_replace_is_refused(folder_store: FolderStore) -> None:
    """Older versions of MinIO honour If-Match only where something stands."""

    class Creates(CarelessStore):
        def put(self, key: str, body: bytes | Path, *, mode: PutMode) -> ObjectMeta:
            lacking = isinstance(mode, IfMatch) and not (folder_store.root / key).exists()
            return super().put(key, body, mode=Overwrite() if lacking else mode)

    with pytest.raises(StoreError, match=r"ignores replace-if-ETag of what is not there \(If-Match\), so"):
        require_conditions(Creates(folder_store))
    assert list(folder_store.list("")) == []


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("RequestTimeTooSkewed", "the clock of this machine differs from that of the store by more than it allows"),
        ("SignatureDoesNotMatch", "the signature was not accepted; check the secret key and the region"),
        ("ExpiredToken", "the session token has expired"),
    ],
)
def test_who_is_not_known_lacks_no_permission(s3_server: S3Server, code: str, says: str) -> None:
    """Every request is refused then, and no policy would help: the message names the clock, or the key."""
    with fault_proxy(s3_server) as proxy:
        store = proxy.server.store_in(s3_server.make_bucket(), "lake")
        proxy.plan(*(Fault("answer_only", verb, times=99, status=403, code=code) for verb in ("GET", "PUT", "DELETE")))
        with pytest.raises(AccessDeniedError, match=says) as caught:
            require_conditions(store)
    assert "\n" not in str(caught.value)
    assert "policy" not in str(caught.value)
