"""A store that ignores conditional writes is refused before anything is locked or merged."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from datalake_service.errors import StoreError
from datalake_service.pipeline.annotation.lease import AnnotatorLease
from datalake_service.pipeline.upkeep.cleanup import clean_up
from datalake_service.storage.base import CreateOnly, Overwrite
from datalake_service.storage.folder import FolderStore
from tests.support.careless_store import CarelessStore

KEY = "posts/one/x.jsonl"


@pytest.fixture
def careless(folder_store: FolderStore) -> CarelessStore:
    """A bucket whose server ignores create-if-absent, with rows that wait."""
    folder_store.put(KEY, b'{"text": "a"}\n', mode=Overwrite())
    return CarelessStore(folder_store, ignores=(CreateOnly,))


def test_clean_up_merges_nothing(careless: CarelessStore) -> None:
    """The rows stay as they are."""
    with pytest.raises(StoreError, match="locks and merges are refused"):
        list(clean_up(careless))
    assert [meta.key for meta in careless.inner.list("")] == [KEY]


def test_no_annotator_is_leased(careless: CarelessStore) -> None:
    """No row is asked, so nothing is paid for."""

    async def annotate() -> None:
        with ThreadPoolExecutor(1) as threads:
            async with AnnotatorLease(careless, "posts", "lang").held(threads):
                pytest.fail("the lease was taken")

    with pytest.raises(StoreError, match="locks and merges are refused"):
        asyncio.run(annotate())
    assert [meta.key for meta in careless.inner.list("")] == [KEY]


def test_on_a_store_that_honours_them_clean_up_merges(careless: CarelessStore) -> None:
    """The same store without the fault."""
    assert [result.error for result in clean_up(CarelessStore(careless.inner))] == [None]
