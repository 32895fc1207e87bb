"""The server of the storm is as strict as S3, also when many ask at once; and the store gets through the storm."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from botocore.exceptions import ClientError

from datalake_service.errors import AlreadyExistsError, PreconditionFailedError, StoreUnavailableError
from datalake_service.storage.base import CreateOnly, IfMatch
from datalake_service.storage.open import open_store
from datalake_service.storage.retrying import RetryingStore
from datalake_service.storage.s3 import S3Store
from datalake_utils.clock import ManualClock
from tests.processes.storm import BadWeather
from tests.support.fault_proxy import Action, Fault, fault_proxy
from tests.support.s3_server import StrictS3, strict_s3

THREADS = 8


@pytest.fixture
def strict() -> Iterator[StrictS3]:
    """A server with short pages and a clock that is ten minutes fast."""
    with strict_s3(page_size=3, skew=timedelta(minutes=10)) as server:
        server.contents.make_bucket("bucket")
        yield server


def at_once(work: Callable[[int], Any]) -> list[Any]:
    """Call ``work`` in all threads at the same moment."""
    barrier = Barrier(THREADS)

    def one(number: int) -> Any:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, range(THREADS)))


def status_of(send: Callable[..., Any], **parameters: object) -> int:
    """What the server answers."""
    try:
        answer = send(Bucket="bucket", Key="key", **parameters)
    except ClientError as error:
        answer = error.response
    return int(answer["ResponseMetadata"]["HTTPStatusCode"])


def test_a_race_has_one_winner(strict: StrictS3) -> None:
    """Of those that create, of those that replace, and of those that join parts."""
    client = strict.server.client()

    def replace(etag: str, number: int) -> int:
        return status_of(client.put_object, Body=b"-%d" % number, IfMatch=etag)

    for _ in range(20):
        client.delete_object(Bucket="bucket", Key="key")
        found = at_once(lambda number: status_of(client.put_object, Body=b"%d" % number, IfNoneMatch="*"))
        assert sorted(found) == [200, *[412] * (THREADS - 1)]
        etag = client.head_object(Bucket="bucket", Key="key")["ETag"]
        found = at_once(partial(replace, etag))
        assert sorted(found) == [200, *[412] * (THREADS - 1)]

    def join(etag: str, number: int) -> int:
        upload = client.create_multipart_upload(Bucket="bucket", Key="key")["UploadId"]
        part = client.upload_part(Bucket="bucket", Key="key", UploadId=upload, PartNumber=1, Body=b"%d" % number)
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        return status_of(client.complete_multipart_upload, UploadId=upload, MultipartUpload=parts, IfMatch=etag)

    etag = client.head_object(Bucket="bucket", Key="key")["ETag"]
    assert sorted(at_once(partial(join, etag))) == [200, *[412] * (THREADS - 1)]
    assert len(strict.contents.unfinished("bucket")) == THREADS - 1


def test_pages_of_a_listing_that_changes(strict: StrictS3) -> None:
    """What was there all the time is listed once, whatever comes and goes between two pages."""
    store = S3Store("bucket", **strict.server.options)
    for number in range(20):
        store.put(f"d/{number:02d}/x", b"", mode=CreateOnly())
    seen = []
    for meta in store.list(""):
        seen.append(meta.key)
        store.delete(meta.key)
        store.put(f"a/{meta.key}", b"", mode=CreateOnly())
    assert seen == [f"d/{number:02d}/x" for number in range(20)]
    assert list(store.list_folders("a/d/")) == [f"{number:02d}" for number in range(20)]


def test_every_acknowledged_write_counts_in_bad_weather(strict: StrictS3, tmp_path: Path) -> None:
    """Many add to one list, each under the condition that nobody else did; answers and requests are lost."""
    weather = BadWeather(strict.server, seed=1)
    with fault_proxy(strict.server, weather):
        options: dict[str, Any] = dict(weather.server.options)
        stores = [open_store("s3://bucket/lake", **options) for _ in range(THREADS)]
        stores[0].put("list", b"[]", mode=CreateOnly())

        def add(number: int) -> list[str]:
            store, added = stores[number], []
            for count in range(10):
                while True:
                    body, meta = store.get("list")
                    try:
                        entry = f"{number}-{count}"
                        store.put("list", json.dumps([*json.loads(body), entry]).encode(), mode=IfMatch(meta.etag))
                    except PreconditionFailedError:
                        continue
                    added.append(entry)
                    break
            return added

        acknowledged = [entry for added in at_once(add) for entry in added]
    entries = json.loads(strict.contents.all("bucket")["lake/list"])
    assert len(acknowledged) == 10 * THREADS
    assert set(acknowledged) == set(entries)
    assert weather.done["lose_answer 500"] > 0


@pytest.mark.parametrize("action", ["answer_only", "apply_and_answer"])
def test_success_that_carries_an_error_is_none(strict: StrictS3, tmp_path: Path, action: Action) -> None:
    """S3 answers 200 before it joins parts; what it says then, with or without having joined them, is settled."""
    file = tmp_path / "large"
    file.write_bytes(bytes(6 << 20))
    with fault_proxy(strict.server) as proxy:
        proxy.plan(Fault(action, "POST", contains="large?uploadId=", status=200))
        store = S3Store(
            "bucket", single_put_limit=5 << 20, part_size=5 << 20, clock=ManualClock(), **proxy.server.options
        )
        meta = store.put("large", file, mode=CreateOnly())
        with pytest.raises(AlreadyExistsError):
            store.put("large", file, mode=CreateOnly())
    assert meta.etag.endswith("-2")
    assert strict.contents.all("bucket")["large"] == bytes(6 << 20)


def test_what_is_replaced_while_a_broken_answer_is_resumed_is_read_again(strict: StrictS3) -> None:
    """Whoever reads without a pin takes any version, but a whole one; whoever has a pin is told."""
    with fault_proxy(strict.server) as proxy:
        store = S3Store("bucket", clock=ManualClock(), **proxy.server.options)
        old = store.put("key", b"1" * 100, mode=CreateOnly())

        def replace_then_resume() -> None:
            proxy.plan(Fault("cut", "GET", at=40), Fault("answer_only", "GET", status=412, code="PreconditionFailed"))

        replace_then_resume()
        with pytest.raises(StoreUnavailableError):
            store.get("key")
        replace_then_resume()
        assert RetryingStore(store, clock=ManualClock()).get("key")[0] == b"1" * 100
        replace_then_resume()
        with pytest.raises(PreconditionFailedError):
            store.get("key", etag=old.etag)
