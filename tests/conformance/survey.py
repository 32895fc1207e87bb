"""What a server does, asked with a plain client and without a line of the code under test.

Each question is one function. ``honoured`` is what S3 documents; anything else is ``differs``, with what was seen.
Whether that matters is for ``datalake`` to find out by itself, and for the checks beside this module to show.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import boto3
import pytest
from botocore import auth
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from tests.support.servers import S3Server

HONOURED, DIFFERS, REFUSED = "honoured", "differs", "refused"
PART = 5 * 1024 * 1024
WRITERS, ROUNDS = 12, 20
KEYS = ["a", "a-b", "a.b/c", "a/b.c", "a0", "b/x y+z%20", "ü", "文", "\uffee", "😀"]
_PATIENCE = 120.0
"""Seconds that a writer waits for the others before it gives up."""
_WRONG = "0" * 32


@dataclass(frozen=True)
class Observation:
    """One row of the table."""

    name: str
    verdict: str
    seen: str


Question = Callable[["Bucket"], tuple[bool, str]]


@dataclass(frozen=True)
class Bucket:
    """A plain client and an empty bucket."""

    client: Any
    name: str
    server: S3Server

    def __getattr__(self, operation: str) -> Any:
        """A method of the client, with the bucket filled in; status and code instead of an exception."""
        method = getattr(self.client, operation)

        def call(**parameters: Any) -> Answer:
            try:
                return Answer(method(Bucket=self.name, **parameters))
            except ClientError as error:
                return Answer(error.response)
            # No answer at all; or a 500 with a checksum, which the library stumbles over (AttributeError).
            except (BotoCoreError, HTTPError, OSError, AttributeError) as error:
                return Answer({"ResponseMetadata": {"HTTPStatusCode": 599}, "Error": {"Code": type(error).__name__}})

        return call

    def put(self, key: str, body: bytes, **condition: str) -> Answer:
        """Write an object."""
        answer: Answer = self.put_object(Key=key, Body=body, **condition)
        return answer

    def read(self, key: str) -> bytes | None:
        """Read an object; nothing if it is not there."""
        answer = self.get_object(Key=key)
        try:
            return answer.data["Body"].read() if answer.ok else None
        except (BotoCoreError, HTTPError, OSError):
            return b"(the answer broke off)"


@dataclass(frozen=True)
class Answer:
    """What the server said."""

    data: dict[str, Any]

    @property
    def status(self) -> int:
        return int(self.data["ResponseMetadata"]["HTTPStatusCode"])

    @property
    def ok(self) -> bool:
        return self.status < 300

    @property
    def code(self) -> str:
        return str(self.data.get("Error", {}).get("Code", ""))

    @property
    def etag(self) -> str:
        return str(self.data["ETag"]).strip('"')

    def __str__(self) -> str:
        return f"{self.status} {self.code}".rstrip() if not self.ok else str(self.status)


def survey(server: S3Server) -> list[Observation]:
    """Ask everything; each question has a bucket of its own."""
    found = []
    for name, question in QUESTIONS.items():
        bucket = Bucket(server.client(), server.make_bucket(), server)
        honoured, seen = question(bucket)
        found.append(Observation(name, HONOURED if honoured else DIFFERS, seen))
    return found


# Conditional writes ----------------------------------------------------------------------------------


def _create_if_absent(bucket: Bucket) -> tuple[bool, str]:
    first = bucket.put("a", b"1", IfNoneMatch="*")
    second = bucket.put("a", b"2", IfNoneMatch="*")
    kept = bucket.read("a") == b"1"
    return first.ok and second.status == 412 and kept, _outcome(second, kept=kept)


def _replace_if_etag(bucket: Bucket) -> tuple[bool, str]:
    old = bucket.put("a", b"1").etag
    current = bucket.put("a", b"2").etag
    stale = bucket.put("a", b"3", IfMatch=old)
    kept = bucket.read("a") == b"2"
    fresh = bucket.put("a", b"4", IfMatch=current)
    seen = _outcome(stale, kept=kept) + ("" if fresh.ok else f"; the current ETag is refused, too: {fresh}")
    return stale.status == 412 and kept and fresh.ok, seen


def _replace_quoted(bucket: Bucket) -> tuple[bool, str]:
    current = bucket.put("a", b"1").etag
    answer = bucket.put("a", b"2", IfMatch=f'"{current}"')
    return answer.ok, f"the current ETag in quotes: {answer}"


def _replace_nothing(bucket: Bucket) -> tuple[bool, str]:
    answer = bucket.put("a", b"1", IfMatch=_WRONG)
    kept = bucket.read("a") is None
    return answer.status in {404, 412} and kept, _outcome(answer, kept=kept)


def _delete_if_etag(bucket: Bucket) -> tuple[bool, str]:
    bucket.put("a", b"1")
    answer = bucket.delete_object(Key="a", IfMatch=_WRONG)
    kept = bucket.read("a") == b"1"
    return answer.status == 412 and kept, _outcome(answer, kept=kept)


def _complete(bucket: Bucket, **condition: str) -> tuple[bool, str]:
    bucket.put("a", b"1")
    upload = bucket.create_multipart_upload(Key="a").data["UploadId"]
    part = bucket.upload_part(Key="a", UploadId=upload, PartNumber=1, Body=b"2").etag
    parts = {"Parts": [{"PartNumber": 1, "ETag": part}]}
    answer = bucket.complete_multipart_upload(Key="a", UploadId=upload, MultipartUpload=parts, **condition)
    kept = bucket.read("a") == b"1"
    return answer.status == 412 and kept, _outcome(answer, kept=kept)


def _complete_if_absent(bucket: Bucket) -> tuple[bool, str]:
    return _complete(bucket, IfNoneMatch="*")


def _complete_if_etag(bucket: Bucket) -> tuple[bool, str]:
    return _complete(bucket, IfMatch=_WRONG)


def _outcome(answer: Answer, *, kept: bool) -> str:
    return str(answer) if kept else f"{answer}, ignored: it was written all the same"


# Races -----------------------------------------------------------------------------------------------


def _race(bucket: Bucket, act: Callable[[int, int], Answer]) -> tuple[bool, str]:
    """Many writers at once, round after round; counts winners and what the losers were told."""
    winners: Counter[int] = Counter()
    losers: Counter[str] = Counter()
    start = threading.Barrier(WRITERS)

    def writer(number: int) -> list[Answer]:
        answers = []
        for round_ in range(ROUNDS):
            start.wait(_PATIENCE)
            answers.append(act(round_, number))
        return answers

    with ThreadPoolExecutor(WRITERS) as pool:
        for answers in zip(*pool.map(writer, range(WRITERS)), strict=True):
            winners[sum(answer.ok for answer in answers)] += 1
            losers.update(str(answer) for answer in answers if not answer.ok)
    told = ", ".join(f"{number} x {what}" for what, number in losers.most_common())
    counts = ", ".join(f"{number} x {rounds} rounds" for number, rounds in sorted(winners.items()))
    return set(winners) == {1}, f"{WRITERS} writers; winners: {counts}; losers were told: {told or 'nothing'}"


def _create_race(bucket: Bucket) -> tuple[bool, str]:
    return _race(bucket, lambda round_, number: bucket.put(f"r{round_}", str(number).encode(), IfNoneMatch="*"))


def _replace_race(bucket: Bucket) -> tuple[bool, str]:
    etags = [bucket.put(f"r{round_}", b"start").etag for round_ in range(ROUNDS)]
    return _race(bucket, lambda round_, number: bucket.put(f"r{round_}", str(number).encode(), IfMatch=etags[round_]))


# Reading ---------------------------------------------------------------------------------------------


def _ranged_read(bucket: Bucket) -> tuple[bool, str]:
    old = bucket.put("a", b"0123456789").etag
    current = bucket.put("a", b"abcdefghij").etag
    good = bucket.get_object(Key="a", Range="bytes=2-4", IfMatch=current)
    stale = bucket.get_object(Key="a", Range="bytes=2-4", IfMatch=old)
    right = good.status == 206 and good.data["Body"].read() == b"cde"
    return right and stale.status == 412, f"current ETag: {good}, old ETag: {stale}"


def _look_if_etag(bucket: Bucket) -> tuple[bool, str]:
    bucket.put("a", b"1")
    answer = bucket.head_object(Key="a", IfMatch=_WRONG)
    return answer.status == 412, f"another ETag: {answer}"


def _metadata(bucket: Bucket) -> tuple[bool, str]:
    bucket.put_object(Key="a", Body=b"1", Metadata={"datalake-attempt": "0a1b"})
    found = bucket.head_object(Key="a").data.get("Metadata", {})
    return found == {"datalake-attempt": "0a1b"}, f"read back: {found or 'none'}"


def _read_after_write(bucket: Bucket) -> tuple[bool, str]:
    missed = 0
    for number in range(50):
        bucket.put("a", str(number).encode())
        missed += bucket.read("a") != str(number).encode()
    return missed == 0, f"{missed} of 50 reads saw an older version"


def _whole_versions(bucket: Bucket) -> tuple[bool, str]:
    size = 2_000_000
    bucket.put("a", b"0" * size)
    done = threading.Event()

    def read() -> Counter[str]:
        seen: Counter[str] = Counter()
        while not done.is_set():
            body = bucket.read("a") or b""
            seen["whole" if len(body) == size and len(set(body)) == 1 else "torn"] += 1
        return seen

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        try:
            for number in range(30):
                bucket.put("a", str(number % 10).encode() * size)
        finally:
            done.set()
        seen = sum((reader.result() for reader in readers), Counter[str]())
    return not seen[
        "torn"
    ], f"30 replacements of 2 MB; {seen['whole']} reads were whole, {seen['torn']} a mixture or cut"


# Listing ---------------------------------------------------------------------------------------------


def _list_after_write(bucket: Bucket) -> tuple[bool, str]:
    missed = 0
    for number in range(30):
        bucket.put(f"k{number}", b"")
        missed += f"k{number}" not in _listed(bucket)
        if number % 2:
            bucket.delete_object(Key=f"k{number}")
            missed += f"k{number}" in _listed(bucket)
    return missed == 0, f"{missed} of 45 listings were out of date"


def _list_order(bucket: Bucket) -> tuple[bool, str]:
    for key in KEYS:
        answer = bucket.put(key, b"")
        if not answer.ok:
            return False, f"the key {key!r} was refused: {answer}"
    pages = bucket.client.get_paginator("list_objects_v2").paginate(
        Bucket=bucket.name, PaginationConfig={"PageSize": 3}
    )
    found = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
    right = found == sorted(KEYS, key=lambda key: key.encode())
    return right, "by the bytes of the keys, pages of 3" if right else f"other keys or another order: {found}"


def _listed(bucket: Bucket) -> set[str]:
    return {entry["Key"] for entry in bucket.list_objects_v2().data.get("Contents", ())}


def _list_uploads(bucket: Bucket) -> tuple[bool, str]:
    started = bucket.create_multipart_upload(Key="p/a")
    listed = bucket.list_multipart_uploads(Prefix="p/")
    if not listed.ok:
        return False, str(listed)
    found = [(upload["Key"], upload.get("Initiated")) for upload in listed.data.get("Uploads", ())]
    aborted = bucket.abort_multipart_upload(Key="p/a", UploadId=started.data["UploadId"])
    gone = not bucket.list_multipart_uploads(Prefix="p/").data.get("Uploads")
    begun = found[0][1] if len(found) == 1 else None
    dated = begun is not None and abs(datetime.now(UTC) - begun) < timedelta(minutes=1)
    said = f"{len(found)} of 1 listed, {'dated now' if dated else f'dated {begun}'}; abort: {aborted}"
    return dated and aborted.ok and gone, said + ("" if gone else ", but it is still listed")


def _delete_many(bucket: Bucket) -> tuple[bool, str]:
    for key in KEYS:
        bucket.put(key, b"")
    doomed = {"Objects": [{"Key": key} for key in [*KEYS[1:], "never-was"]], "Quiet": True}
    answer = bucket.delete_objects(Delete=doomed)
    left = _listed(bucket)
    return answer.ok and not answer.data.get("Errors") and left == {KEYS[0]}, f"{answer}, {len(left)} of 1 left"


# Clocks and the rest ---------------------------------------------------------------------------------


def _dates(bucket: Bucket) -> tuple[bool, str]:
    written = bucket.put("a", b"1")
    date = parsedate_to_datetime(written.data["ResponseMetadata"]["HTTPHeaders"]["date"])
    head = bucket.head_object(Key="a").data["LastModified"]
    listed = bucket.list_objects_v2().data["Contents"][0]["LastModified"]
    apart = max(abs(head - date), abs(listed - head)).total_seconds()
    fraction = "whole seconds" if listed.microsecond == 0 else "fractions of a second"
    return apart < 2, f"listed in {fraction}; at most {apart:.1f} s between Date, HEAD and listing"


def _etags(bucket: Bucket) -> tuple[bool, str]:
    first, second, third = (bucket.put("a", body).etag for body in (b"1", b"2", b"1"))
    again = "the same ETag again" if first == third else "another ETag"
    return first != second, f"the same content gets {again}"


def _default_checksums(bucket: Bucket) -> tuple[bool, str]:
    session = boto3.session.Session(bucket.server.access_key, bucket.server.secret_key, region_name="us-east-1")
    config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
    client = session.client("s3", endpoint_url=bucket.server.endpoint_url, config=config)
    plain = Bucket(client, bucket.name, bucket.server)
    answer = plain.put_object(Key="a", Body=_Stream(b"12345"), ContentLength=5)
    right = answer.ok and plain.read("a") == b"12345"
    return right, str(answer) if right or not answer.ok else f"{answer}, but another content was stored"


class _Stream:
    """A body without its checksum known in advance."""

    def __init__(self, body: bytes) -> None:
        self._body, self._at = body, 0

    def read(self, size: int = -1) -> bytes:
        end = len(self._body) if size < 0 else self._at + size
        piece, self._at = self._body[self._at : end], min(end, len(self._body))
        return piece

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = (0, self._at, len(self._body))[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at


def _wrong_secret(bucket: Bucket) -> tuple[bool, str]:
    server = S3Server(bucket.server.endpoint_url, bucket.server.access_key, "not-the-secret-key")
    answer = Bucket(server.client(), bucket.name, server).list_objects_v2()
    return answer.status == 403, str(answer)


def _wrong_clock(bucket: Bucket) -> tuple[bool, str]:
    with pytest.MonkeyPatch.context() as patch:
        wrong = datetime.now(UTC) - timedelta(minutes=20)
        patch.setattr(auth, "get_current_datetime", lambda *_, **__: wrong.replace(tzinfo=None))
        answer = bucket.list_objects_v2()
    return answer.status == 403 and answer.code == "RequestTimeTooSkewed", f"20 minutes off: {answer}"


QUESTIONS: dict[str, Question] = {
    "create-if-absent (PUT, If-None-Match: *)": _create_if_absent,
    "replace-if-ETag (PUT, If-Match)": _replace_if_etag,
    "... with the ETag in quotes": _replace_quoted,
    "... of what is not there": _replace_nothing,
    "multipart completion, If-None-Match: *": _complete_if_absent,
    "multipart completion, If-Match": _complete_if_etag,
    "DELETE, If-Match": _delete_if_etag,
    "a race to create has one winner": _create_race,
    "a race to replace has one winner": _replace_race,
    "ranged GET, If-Match": _ranged_read,
    "HEAD, If-Match": _look_if_etag,
    "metadata of an object is kept": _metadata,
    "read after write": _read_after_write,
    "readers see whole versions": _whole_versions,
    "list after write and delete": _list_after_write,
    "listing in order, in pages": _list_order,
    "ListMultipartUploads, AbortMultipartUpload": _list_uploads,
    "DeleteObjects": _delete_many,
    "Last-Modified": _dates,
    "ETag": _etags,
    "trailing checksums (default of the AWS libraries)": _default_checksums,
    "a wrong secret key is refused": _wrong_secret,
    "a clock 20 minutes off is refused": _wrong_clock,
}
"""What is asked, in the order of the table."""
