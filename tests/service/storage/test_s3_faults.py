"""What ``S3Store`` makes of a server that loses answers, refuses, and hangs up: a proxy does it to real requests."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from datalake_service.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    OutcomeUnknownError,
    PreconditionFailedError,
    StoreError,
    StoreUnavailableError,
)
from datalake_service.storage import CreateOnly, IfMatch, Overwrite, PutMode, RetryingStore
from datalake_service.storage.s3 import S3Store
from datalake_utils.clock import ManualClock
from tests.support.fault_proxy import Action, Fault, FaultProxy, fault_proxy
from tests.support.servers import S3Server

FIVE_MIB = 5 * 1024**2


@pytest.fixture(scope="module")
def proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    """One proxy for all tests here; each plans its own faults."""
    with fault_proxy(s3_server) as running:
        yield running


@pytest.fixture
def bucket(proxy: FaultProxy, s3_server: S3Server) -> str:
    """A bucket of its own, and no faults."""
    proxy.plan()
    return s3_server.make_bucket()


@pytest.fixture
def store(proxy: FaultProxy, bucket: str) -> S3Store:
    """A store that talks through the proxy, and whose waits take no time."""
    return through(proxy, bucket)


def through(proxy: FaultProxy, bucket: str) -> S3Store:
    """Make a store that talks through the proxy."""
    return S3Store(bucket, single_put_limit=FIVE_MIB, part_size=FIVE_MIB, clock=ManualClock(), **proxy.server.options)


def content(server: S3Server, bucket: str, key: str) -> bytes | None:
    """Read an object by a plain client, around the proxy."""
    keys = [entry["Key"] for entry in server.client().list_objects_v2(Bucket=bucket).get("Contents", ())]
    if key not in keys:
        return None
    body: bytes = server.client().get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


def lost(action: Action, status: int = 500, code: str = "InternalError", times: int = 1) -> Fault:
    """Make a fault of a put."""
    return Fault(action, "PUT", times=times, status=status, code=code)


APPLIED = [
    pytest.param(lost("lose_answer"), id="connection-dropped"),
    pytest.param(lost("apply_and_answer", 500), id="500"),
    pytest.param(lost("apply_and_answer", 502, "BadGateway"), id="502"),
    pytest.param(lost("apply_and_answer", 503, "SlowDown"), id="503"),
    pytest.param(lost("apply_and_answer", 409, "ConditionalRequestConflict"), id="409"),
    pytest.param(lost("apply_and_answer", 412, "PreconditionFailed"), id="412"),
    pytest.param(lost("apply_and_answer", 400, "RequestTimeout"), id="timeout"),
]
NOT_APPLIED = [
    pytest.param(lost("lose_request"), id="request-dropped"),
    pytest.param(lost("answer_only", 500), id="only-500"),
    pytest.param(lost("answer_only", 504, "GatewayTimeout"), id="only-504"),
    pytest.param(lost("answer_only", 409, "ConditionalRequestConflict"), id="only-409"),
    pytest.param(lost("answer_only", 400, "RequestTimeout"), id="only-timeout"),
]


# Applied, but the answer says something else ---------------------------------------------------------


@pytest.mark.parametrize("fault", APPLIED)
def test_a_creation_whose_answer_was_lost_is_ours(
    store: S3Store, proxy: FaultProxy, s3_server: S3Server, bucket: str, fault: Fault
) -> None:
    """A write that took effect is reported as a success whatever came back, and is sent once."""
    proxy.plan(Fault(**vars(fault)))
    meta = store.put("lock", b"mine", mode=CreateOnly())
    assert proxy.seen == ["PUT", "HEAD"]
    assert content(s3_server, bucket, "lock") == b"mine"
    assert meta.etag == store.head("lock").etag


@pytest.mark.parametrize("fault", APPLIED)
def test_a_replacement_whose_answer_was_lost_is_ours(
    store: S3Store, proxy: FaultProxy, s3_server: S3Server, bucket: str, fault: Fault
) -> None:
    """The same for replace-if-ETag."""
    old = store.put("lock", b"old", mode=CreateOnly())
    proxy.plan(Fault(**vars(fault)))
    new = store.put("lock", b"new", mode=IfMatch(old.etag))
    assert proxy.seen == ["PUT", "HEAD"]
    assert content(s3_server, bucket, "lock") == b"new"
    store.put("lock", b"newer", mode=IfMatch(new.etag))


@pytest.mark.parametrize("fault", NOT_APPLIED)
@pytest.mark.parametrize("how", ["create", "replace"])
def test_what_was_not_applied_is_sent_again(
    store: S3Store, proxy: FaultProxy, s3_server: S3Server, bucket: str, fault: Fault, how: str
) -> None:
    """A write that may not have taken effect, and did not, is sent again under the same attempt."""
    mode: PutMode = IfMatch(store.put("lock", b"old", mode=CreateOnly()).etag) if how == "replace" else CreateOnly()
    proxy.plan(Fault(**vars(fault)))
    store.put("lock", b"mine", mode=mode)
    assert proxy.seen == ["PUT", "HEAD", "PUT"]
    assert content(s3_server, bucket, "lock") == b"mine"


def test_a_write_applied_by_the_second_sending_is_ours(store: S3Store, proxy: FaultProxy) -> None:
    """The first request is lost, the second takes effect and its answer is lost: one object, one success."""
    proxy.plan(lost("lose_request"), lost("lose_answer"))
    meta = store.put("lock", b"mine", mode=CreateOnly())
    assert proxy.seen == ["PUT", "HEAD", "PUT", "HEAD"]
    assert store.get("lock") == (b"mine", store.head("lock"))
    assert store.head("lock").etag == meta.etag


@pytest.mark.parametrize("fault", APPLIED[:2] + NOT_APPLIED[:2])
def test_the_same_bytes_of_another_writer_are_not_ours(
    store: S3Store, proxy: FaultProxy, s3_server: S3Server, bucket: str, fault: Fault
) -> None:
    """Whoever wrote it is told by the id of the attempt, not by the content."""
    through(proxy, bucket).put("lock", b"same", mode=CreateOnly())
    proxy.plan(Fault(**vars(fault)))
    with pytest.raises(AlreadyExistsError):
        store.put("lock", b"same", mode=CreateOnly())
    assert proxy.seen == ["PUT", "HEAD"]


def test_a_loser_that_gets_500_is_told_that_it_lost(store: S3Store, proxy: FaultProxy) -> None:
    """Some servers answer the losers of a race with 500: the version that stands there settles it."""
    old = store.put("lock", b"old", mode=CreateOnly())
    store.put("lock", b"theirs", mode=IfMatch(old.etag))
    proxy.plan(lost("answer_only", 500))
    with pytest.raises(PreconditionFailedError):
        store.put("lock", b"ours", mode=IfMatch(old.etag))
    assert proxy.seen == ["PUT", "HEAD"]


# Unknown ---------------------------------------------------------------------------------------------


def test_not_knowing_is_an_outcome_of_its_own(store: S3Store, proxy: FaultProxy) -> None:
    """A write that was sent, not answered and not seen since is unknown, never a failure or a success."""
    proxy.plan(lost("lose_request", times=100))
    with pytest.raises(OutcomeUnknownError, match="may or may not"):
        store.put("lock", b"mine", mode=CreateOnly())


def test_a_write_that_cannot_be_looked_at_is_unknown(
    store: S3Store, proxy: FaultProxy, s3_server: S3Server, bucket: str
) -> None:
    """When even the read-back fails, the outcome is unknown although the write took effect."""
    proxy.plan(lost("lose_answer", times=100), Fault("answer_only", "HEAD", times=100, status=500))
    with pytest.raises(OutcomeUnknownError):
        store.put("lock", b"mine", mode=CreateOnly())
    assert content(s3_server, bucket, "lock") == b"mine"


def test_a_read_back_is_repeated(store: S3Store, proxy: FaultProxy) -> None:
    """One failure of the read-back does not make the outcome unknown."""
    proxy.plan(lost("lose_answer"), Fault("answer_only", "HEAD", times=2, status=503))
    store.put("lock", b"mine", mode=CreateOnly())
    assert proxy.seen == ["PUT", "HEAD", "HEAD", "HEAD"]


def test_a_permission_that_ends_in_the_middle_leaves_it_unknown(store: S3Store, proxy: FaultProxy) -> None:
    """A lost answer followed by a refusal of the credentials is not taken for a refusal of the first request."""
    proxy.plan(lost("lose_request"), lost("answer_only", 403, "ExpiredToken"))
    with pytest.raises(OutcomeUnknownError, match="expired"):
        store.put("lock", b"mine", mode=CreateOnly())


def test_retries_settle_what_was_unknown(proxy: FaultProxy, store: S3Store, s3_server: S3Server, bucket: str) -> None:
    """A longer outage is sat out: the content that stands there in the end tells whose it is."""
    proxy.plan(lost("lose_answer"), Fault("answer_only", "HEAD", times=12, status=500))
    RetryingStore(store, first_attempts=8, clock=ManualClock()).put("lock", b"mine", mode=CreateOnly())
    assert content(s3_server, bucket, "lock") == b"mine"


# Not applied, and known to be so ---------------------------------------------------------------------


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (503, "ServiceUnavailable"), (429, "TooManyRequests")])
def test_throttling_is_unavailable(store: S3Store, proxy: FaultProxy, status: int, code: str) -> None:
    """A server that is too busy has applied nothing; the caller may simply try again."""
    proxy.plan(lost("answer_only", status, code))
    with pytest.raises(StoreUnavailableError, match=code):
        store.put("lock", b"mine", mode=CreateOnly())
    store.put("lock", b"mine", mode=CreateOnly())


@pytest.mark.parametrize("verb", ["get", "head", "open", "list", "list_folders", "delete", "delete_many", "put"])
@pytest.mark.parametrize("fault", ["answer_only", "lose_request", "lose_answer"])
def test_retries_hide_one_fault_of_every_verb(proxy: FaultProxy, store: S3Store, verb: str, fault: Action) -> None:
    """With retries, a single fault of any kind is not to be seen in any verb."""
    patient = RetryingStore(store, clock=ManualClock())
    patient.put("d/a", b"body", mode=CreateOnly())
    method = {"head": "HEAD", "delete": "DELETE", "delete_many": "POST", "put": "PUT"}.get(verb, "GET")
    proxy.plan(Fault(fault, method, status=503, code="SlowDown"))
    match verb:
        case "get":
            assert patient.get("d/a")[0] == b"body"
        case "head":
            assert patient.head("d/a").size == 4
        case "open":
            assert patient.open("d/a", start=2).read() == b"dy"
        case "list":
            assert [meta.key for meta in patient.list("")] == ["d/a"]
        case "list_folders":
            assert list(patient.list_folders("")) == ["d"]
        case "delete":
            patient.delete("d/a")
        case "delete_many":
            patient.delete_many(["d/a"])
        case "put":
            patient.put("d/a", b"new", mode=Overwrite())
    assert proxy.seen.count(method) == 2
    assert [meta.key for meta in patient.list("")] == ([] if "delete" in verb else ["d/a"])


@pytest.mark.parametrize(
    ("code", "status", "says"),
    [
        ("AccessDenied", 403, "s3:PutObject"),
        ("InvalidAccessKeyId", 403, "access key"),
        ("SignatureDoesNotMatch", 403, "secret key"),
        ("ExpiredToken", 400, "expired"),
        ("RequestTimeTooSkewed", 403, "clock"),
    ],
)
def test_refused_credentials_say_what_to_check(
    store: S3Store, proxy: FaultProxy, code: str, status: int, says: str
) -> None:
    """Each way to be refused names what to change, and never the secret."""
    proxy.plan(lost("answer_only", status, code))
    with pytest.raises(AccessDeniedError, match=says) as caught:
        store.put("lock", b"mine", mode=CreateOnly())
    assert proxy.seen == ["PUT"]
    assert "\n" not in str(caught.value)
    assert proxy.server.secret_key not in str(caught.value)


@pytest.mark.parametrize("verb", ["get", "head", "list", "put", "delete"])
def test_a_missing_bucket_is_named(proxy: FaultProxy, verb: str) -> None:
    """A bucket that does not exist is an error that says so, in every verb, and not a missing object."""
    proxy.plan()
    store = through(proxy, "no-such-bucket")
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: store.get("a"),
        "head": lambda: store.head("a"),
        "list": lambda: list(store.list("")),
        "put": lambda: store.put("a", b"", mode=CreateOnly()),
        "delete": lambda: store.delete("a"),
    }
    with pytest.raises(StoreError, match="'no-such-bucket' does not exist; create it") as caught:
        calls[verb]()
    assert caught.value.kind == "store"


def test_an_unreachable_server_is_named() -> None:
    """A wrong endpoint is named, without the password that somebody wrote into it."""
    store = S3Store("lake", endpoint_url="http://user:password@127.0.0.1:9", access_key="key", secret_key="secret")
    with pytest.raises(StoreUnavailableError, match=r"cannot reach http://127\.0\.0\.1:9") as caught:
        store.put("a", b"", mode=CreateOnly())
    assert "password" not in f"{caught.value}{store!r}"


def test_no_secret_is_shown(s3_server: S3Server) -> None:
    """Neither the store nor what it is made of shows a key."""
    store = s3_server.store_in("lake")
    for shown in (repr(store), repr(store._bucket), store.uri, repr(RetryingStore(store))):
        assert s3_server.secret_key not in shown
        assert s3_server.access_key not in shown


# Streams ---------------------------------------------------------------------------------------------


def test_a_stream_goes_on_where_it_broke(store: S3Store, proxy: FaultProxy) -> None:
    """A stream that is cut again and again is read to the end, byte by byte as it was written."""
    body = bytes(itertools.islice(itertools.cycle(range(251)), 1_000_003))
    store.put("big", body, mode=CreateOnly())
    proxy.plan(*(Fault("cut", "GET", at=at) for at in (0, 1, 100_000, 0, 0, 300_001, 1)))
    with store.open("big") as stream:
        assert stream.read(10) + stream.read() == body
    assert proxy.seen == ["GET"] * 8


def test_a_range_goes_on_where_it_broke(store: S3Store, proxy: FaultProxy) -> None:
    """The same for a part of an object, and for a whole read."""
    body = bytes(range(256)) * 1_000
    store.put("big", body, mode=CreateOnly())
    proxy.plan(Fault("cut", "GET", at=50_000, times=2))
    with store.open("big", start=1_000, end=200_000) as stream:
        assert stream.read() == body[1_000:200_000]
    proxy.plan(Fault("cut", "GET", at=50_000, times=2))
    assert store.get("big")[0] == body


def test_a_broken_stream_of_a_replaced_object_fails(store: S3Store, proxy: FaultProxy) -> None:
    """What cannot be resumed on the same version is an error in the middle, never a mixture or an early end."""
    store.put("big", b"a" * 1_000_000, mode=CreateOnly())
    proxy.plan(Fault("cut", "GET", at=600_000))
    with store.open("big") as stream:
        assert set(stream.read(1_000)) == {ord("a")}
        store.put("big", b"b" * 1_000_000, mode=Overwrite())
        with pytest.raises(PreconditionFailedError, match="while it was being read"):
            stream.read()


def test_a_broken_stream_of_a_deleted_object_fails(store: S3Store, proxy: FaultProxy) -> None:
    """The same for an object that is gone."""
    store.put("big", b"a" * 1_000_000, mode=CreateOnly())
    proxy.plan(Fault("cut", "GET", at=600_000))
    with store.open("big") as stream:
        assert set(stream.read(1_000)) == {ord("a")}
        store.delete("big")
        with pytest.raises(PreconditionFailedError, match="while it was being read"):
            stream.read()


def test_a_stream_gives_up_in_the_end(store: S3Store, proxy: FaultProxy) -> None:
    """A server that never comes back is an error that says so."""
    store.put("big", b"a" * 1_000_000, mode=CreateOnly())
    proxy.plan(Fault("cut", "GET", at=600_000), Fault("lose_request", "GET", times=1_000))
    with store.open("big") as stream, pytest.raises(StoreUnavailableError):
        stream.read()


# In parts --------------------------------------------------------------------------------------------


@pytest.fixture
def large(store: S3Store, proxy: FaultProxy, tmp_path: Path) -> Path:
    """A file of three parts. What the store tries before its first large write was tried before."""
    assert all(store._join_check.passed(condition) for condition in ("IfNoneMatch", "IfMatch"))
    proxy.plan()
    file = tmp_path / "large"
    file.write_bytes(bytes(range(256)) * (12 * 1024**2 // 256) + b"end")
    return file


def uploads(server: S3Server, bucket: str) -> list[object]:
    """List the uploads that were begun and not finished."""
    found: list[object] = server.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return found


def test_large_files_go_in_parts(
    store: S3Store, proxy: FaultProxy, s3_server: S3Server, bucket: str, large: Path
) -> None:
    """A file above the limit is written in parts, once, under its condition."""
    meta = store.put("large", large, mode=CreateOnly())
    assert proxy.seen.count("PUT") == 3
    assert content(s3_server, bucket, "large") == large.read_bytes()
    assert meta.size == large.stat().st_size
    assert meta.etag == store.head("large").etag


@pytest.mark.parametrize("how", ["create", "replace"])
def test_a_refused_upload_leaves_nothing(
    store: S3Store, s3_server: S3Server, bucket: str, large: Path, how: str
) -> None:
    """The loser of a race with a large file is told so, and its parts are given up."""
    old = store.put("large", b"old", mode=CreateOnly())
    store.put("large", b"theirs", mode=IfMatch(old.etag))
    mode: PutMode = IfMatch(old.etag) if how == "replace" else CreateOnly()
    with pytest.raises((PreconditionFailedError, AlreadyExistsError)):
        store.put("large", large, mode=mode)
    assert content(s3_server, bucket, "large") == b"theirs"
    assert uploads(s3_server, bucket) == []


@pytest.mark.parametrize("action", ["lose_answer", "apply_and_answer", "lose_request", "answer_only"])
@pytest.mark.parametrize("how", ["create", "replace"])
def test_a_lost_answer_to_the_joining_of_parts(
    store: S3Store, proxy: FaultProxy, s3_server: S3Server, bucket: str, large: Path, action: Action, how: str
) -> None:
    """Whatever happens to the request that joins the parts, it takes effect once and is reported so."""
    mode: PutMode = IfMatch(store.put("large", b"old", mode=CreateOnly()).etag) if how == "replace" else CreateOnly()
    proxy.plan(Fault(action, "POST", contains="uploadId=", status=500))
    store.put("large", large, mode=mode)
    assert content(s3_server, bucket, "large") == large.read_bytes()
    assert uploads(s3_server, bucket) == []
    assert proxy.seen.count("PUT") == 3


def test_a_lost_part_is_sent_again(
    store: S3Store, proxy: FaultProxy, s3_server: S3Server, bucket: str, large: Path
) -> None:
    """A fault costs one part and not the upload."""
    proxy.plan(
        Fault("lose_request", "PUT", contains="partNumber=2"), Fault("lose_answer", "PUT", contains="partNumber=3")
    )
    store.put("large", large, mode=CreateOnly())
    assert content(s3_server, bucket, "large") == large.read_bytes()
    assert proxy.seen.count("PUT") == 5


def test_an_upload_that_fails_is_given_up(
    store: S3Store, proxy: FaultProxy, s3_server: S3Server, bucket: str, large: Path
) -> None:
    """Parts that were sent before a permission ended do not stay and cost."""
    proxy.plan(Fault("answer_only", "PUT", contains="partNumber=2", status=403, code="AccessDenied"))
    with pytest.raises(AccessDeniedError):
        store.put("large", large, mode=CreateOnly())
    assert uploads(s3_server, bucket) == []
    assert content(s3_server, bucket, "large") is None


def test_nothing_is_given_up_after_an_ambiguous_answer(
    store: S3Store, proxy: FaultProxy, s3_server: S3Server, bucket: str, large: Path
) -> None:
    """Parts that may be joined yet are left alone, until they are old."""
    proxy.plan(Fault("lose_request", "POST", contains="uploadId=", times=100))
    with pytest.raises(OutcomeUnknownError):
        store.put("large", large, mode=CreateOnly())
    assert len(uploads(s3_server, bucket)) == 1
