from __future__ import annotations

import json
import os
from datetime import timedelta

import pytest

from datalake_service.catalog.datasets import list_datasets
from datalake_service.errors import AccessDeniedError, StoreError
from datalake_service.storage.base import CreateOnly, IfMatch, ObjectStore, Overwrite
from datalake_service.storage.folder import FolderStore
from datalake_service.storage.probe import RECORD_KEY, SCRATCH_PREFIX, Honours, probe, require_conditions
from datalake_service.storage.s3 import S3Store
from tests.support.careless_store import CarelessStore

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
    for change in ({"uri": "s3://other/lake"}, {"probedAt": document["probedAt"] - day}, {"format": 2}, {"uri": 1}):
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
