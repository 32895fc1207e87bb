"""The object store in a bucket of S3 or of a server that speaks its protocol.

Every method sends as few requests as it can and repeats none by itself, except what only it can repeat
safely: conditional writes (``s3_put.py``) and streams (``s3_stream.py``). ``RetryingStore`` does the rest.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from datalake_service.aws.client_errors import CLIENT_ERRORS
from datalake_service.errors import (
    AccessDeniedError,
    NotSupportedError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreError,
    StoreUnavailableError,
)
from datalake_service.storage.base import Leftover, ObjectMeta, PutMode
from datalake_service.storage.files import in_words
from datalake_service.storage.keys import check_key, check_prefix
from datalake_service.storage.probe import SCRATCH_PREFIX
from datalake_service.storage.s3_client import S3Bucket
from datalake_service.storage.s3_errors import status_of, translate, translate_failure
from datalake_service.storage.s3_multipart import JoinCheck
from datalake_service.storage.s3_put import S3Put, bare, meta_of
from datalake_service.storage.s3_staged import S3Staged, abort
from datalake_service.storage.s3_stream import ACTION as READ
from datalake_service.storage.s3_stream import S3Stream
from datalake_service.storage.staged import Staged
from datalake_utils.clock import Clock, SystemClock

SINGLE_PUT_LIMIT = 5 * 1024**3
"""Bytes that one request can write, by the rules of S3.

Up to here we do use one request, because its condition is honoured by more servers than that of a multipart
upload (Ceph 16 ignores the latter), and a lost update costs more than a broken upload.
"""
_PART = 64 * 1024**2
_DELETE_BATCH = 1_000
_RANGE_NOT_SATISFIABLE = 416
_LIST = "s3:ListBucket"
_LIST_UPLOADS = "s3:ListBucketMultipartUploads"


class S3Store:
    """Objects under ``s3://bucket/prefix/``. Thread-safe and picklable; connects at first use."""

    def __init__(  # noqa: PLR0913 - keywords that open_store passes on one by one
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint_url: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
        session_token: str | None = None,
        region: str | None = None,
        single_put_limit: int = SINGLE_PUT_LIMIT,
        part_size: int = _PART,
        clock: Clock | None = None,
    ) -> None:
        """Use a bucket that exists.

        Args:
            bucket: Its name.
            prefix: Where the lake starts in it; slashes around it do not count.
            endpoint_url: Server of an S3-compatible store, addressed path-style; none means AWS.
            access_key: Credentials; none means the default chain of AWS.
            secret_key: Belongs to ``access_key``.
            session_token: Belongs to temporary credentials.
            region: Of the bucket; none means what the AWS configuration says.
            single_put_limit: Files of more bytes are sent in parts.
            part_size: Bytes of a part, at least 5 MiB.
            clock: Waits between repetitions.
        """
        self._prefix = prefix.strip("/")
        self._root = f"{self._prefix}/" if self._prefix else ""
        self._single_put_limit = single_put_limit
        self._part_size = part_size
        self._clock: Clock = clock or SystemClock()
        self._bucket = S3Bucket(
            bucket,
            endpoint_url=endpoint_url,
            access_key=access_key,
            secret_key=secret_key,
            session_token=session_token,
            region=region,
        )
        self._join_check = JoinCheck(self._bucket, f"{self._root}{SCRATCH_PREFIX}", clock=self._clock)
        self._bucket_seen = False

    def __repr__(self) -> str:
        """Show where it is, never a key."""
        return f"S3Store({self.uri!r}, endpoint={self._bucket.place.endpoint!r})"

    @property
    def uri(self) -> str:
        """Bucket and prefix, as ``s3://bucket/prefix``."""
        return f"s3://{self._bucket.name}/{self._prefix}".rstrip("/")

    # Reading -----------------------------------------------------------------------------------------

    def get(self, key: str, *, etag: str | None = None) -> tuple[bytes, ObjectMeta]:
        """Read a whole object; see ``ObjectStore.get``."""
        answer = self._bucket.send("get_object", action=READ, key=self._full(key), **_pinned(etag))
        try:
            with self._stream(key, answer, etag=etag, start=0) as stream:
                return stream.readall(), meta_of(key, answer)
        except PreconditionFailedError as error:
            if etag is not None:
                raise
            # Replaced while a broken answer was being resumed: any version will do, so it can be asked for again.
            raise StoreUnavailableError(str(error)) from error

    def head(self, key: str) -> ObjectMeta:
        """Look at an object; see ``ObjectStore.head``."""
        try:
            answer = self._bucket.send("head_object", action=READ, key=self._full(key))
        except ObjectNotFoundError:
            self._check_bucket()
            raise
        self._bucket_seen = True
        return meta_of(key, answer)

    def _check_bucket(self) -> None:
        """Tell a missing bucket from a missing key, once: the answer to ``HEAD`` has no body that would."""
        if not self._bucket_seen:
            try:
                self._bucket.send("head_bucket", action=_LIST)
            except ObjectNotFoundError:
                name, server = self._bucket.name, self._bucket.place.endpoint
                raise StoreError(
                    f"s3://{name} at {server}: the bucket {name!r} does not exist; create it or correct the address"
                    " of the lake"
                ) from None
            except AccessDeniedError:
                return  # not ours to see
            self._bucket_seen = True

    def open(self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None) -> BinaryIO:
        """Open a stream over one version; see ``ObjectStore.open``."""
        if end is not None and end <= start:
            return self._nothing_of(key, etag)
        wanted = {} if start == 0 and end is None else {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
        try:
            answer = self._bucket.send_raw("get_object", key=self._full(key), **_pinned(etag), **wanted)
        except CLIENT_ERRORS as error:
            if status_of(error) == _RANGE_NOT_SATISFIABLE:
                return self._nothing_of(key, etag)  # nothing so far back
            raise translate(error, self._bucket.place, action=READ, key=self._full(key)) from error
        return self._stream(key, answer, etag=etag, start=start).buffered()

    def _nothing_of(self, key: str, etag: str | None) -> BinaryIO:
        """No bytes, but of the version that was asked for: some servers ignore the condition of a read."""
        found = meta_of(key, self._bucket.send("head_object", action=READ, key=self._full(key), **_pinned(etag)))
        if etag not in {None, found.etag}:
            raise PreconditionFailedError(
                f"s3://{self._bucket.name}/{self._full(key)} was replaced since it was looked at"
            )
        return io.BytesIO()

    def _stream(self, key: str, answer: dict[str, Any], *, etag: str | None, start: int) -> S3Stream:
        stream = S3Stream(
            self._bucket,
            self._full(key),
            body=answer["Body"],
            etag=bare(answer["ETag"]),
            position=start,
            end=start + int(answer["ContentLength"]),
            clock=self._clock,
        )
        stream.check_version(answer, etag or stream.etag)
        return stream

    # Writing -----------------------------------------------------------------------------------------

    def put(self, key: str, body: bytes | Path, *, mode: PutMode) -> ObjectMeta:
        """Write a whole object; see ``ObjectStore.put``."""
        check_key(key)
        put = S3Put(self._bucket, key, self._full(key), mode=mode, clock=self._clock)
        if isinstance(body, bytes):
            return put.single(body, len(body))
        try:
            file = body.open("rb")
        except OSError as error:
            raise in_words(error, "read", body) from error
        with file:
            size = os.fstat(file.fileno()).st_size
            if size <= self._single_put_limit:
                return put.single(file, size)
        return put.multipart(body, size, part_size=self._part_size, check=self._join_check)

    def delete(self, key: str, *, etag: str | None = None) -> None:
        """Remove an object; see ``ObjectStore.delete``."""
        full = self._full(key)
        with contextlib.suppress(ObjectNotFoundError):
            if etag is not None:
                # Many servers ignore the condition of a deletion without a word, so the object is looked at anyway.
                if meta_of(key, self._bucket.send("head_object", action=READ, key=full)).etag != etag:
                    raise PreconditionFailedError(
                        f"s3://{self._bucket.name}/{full} was replaced since it was looked at"
                    )
                with contextlib.suppress(NotSupportedError):
                    self._bucket.send("delete_object", action="s3:DeleteObject", key=full, **_pinned(etag))
                    return
            self._bucket.send("delete_object", action="s3:DeleteObject", key=full)

    def delete_many(self, keys: Iterable[str]) -> None:
        """Remove objects, 1,000 with a request; see ``ObjectStore.delete_many``."""
        for batch in _batches((self._full(key) for key in keys), _DELETE_BATCH):
            answer = self._bucket.send(
                "delete_objects",
                action="s3:DeleteObject",
                Delete={"Objects": [{"Key": full} for full in batch], "Quiet": True},
            )
            for failure in answer.get("Errors", ()):
                if failure.get("Code") != "NoSuchKey":
                    raise translate_failure(failure, self._bucket.place, action="s3:DeleteObject")

    def find_leftovers(self, prefix: str) -> Iterator[Leftover]:
        """Unfinished multipart uploads; see ``scratch.find_leftovers``."""
        for page in self._pages("list_multipart_uploads", action=_LIST_UPLOADS, prefix=prefix):
            for upload in page.get("Uploads", ()):
                key = upload["Key"][len(self._root) :]
                yield Leftover(key, "an unfinished upload", upload["Initiated"].astimezone(UTC))

    def clean_leftovers(self, *, older_than: timedelta, now: datetime | None = None) -> int:
        """Abort multipart uploads that were begun more than ``older_than`` ago; returns how many."""
        limit = (now or self._clock.now()) - older_than
        aborted = 0
        for page in self._pages("list_multipart_uploads", action=_LIST_UPLOADS, prefix=""):
            for upload in page.get("Uploads", ()):
                if upload["Initiated"].astimezone(UTC) < limit:
                    abort(self._bucket, upload["Key"], upload["UploadId"])
                    aborted += 1
        return aborted

    def stage(self, key: str, body: bytes | Path) -> S3Staged:
        """Write a body that nobody sees yet; see ``StagingStore.stage``."""
        check_key(key)
        return S3Staged.send(self._bucket, self._full(key), body, part_size=self._part_size, clock=self._clock)

    def discard_staged(self, key: str, *, keep: Staged) -> None:
        """Abort every other unfinished upload of this key; see ``StagingStore.discard_staged``."""
        for page in self._pages("list_multipart_uploads", action=_LIST_UPLOADS, prefix=key):
            for upload in page.get("Uploads", ()):
                if upload["Key"] == self._full(key) and upload["UploadId"] != keep.name:
                    abort(self._bucket, upload["Key"], upload["UploadId"])

    # Listing -----------------------------------------------------------------------------------------

    def list(self, prefix: str) -> Iterator[ObjectMeta]:
        """List objects in key order, 1,000 with a request; see ``ObjectStore.list``."""
        check_prefix(prefix)
        return self._list(prefix)

    def _list(self, prefix: str) -> Iterator[ObjectMeta]:
        for page in self._pages("list_objects_v2", action=_LIST, prefix=prefix):
            for entry in page.get("Contents", ()):
                key = entry["Key"][len(self._root) :]
                if key and not key.endswith("/"):  # consoles mark folders with empty objects
                    when = entry["LastModified"].astimezone(UTC)
                    yield ObjectMeta(key, entry["Size"], bare(entry["ETag"]), when)

    def list_folders(self, prefix: str) -> Iterator[str]:
        """List the folders below; see ``ObjectStore.list_folders``."""
        check_prefix(prefix)
        return self._list_folders(prefix)

    def _list_folders(self, prefix: str) -> Iterator[str]:
        skip = len(self._root) + len(prefix)
        names: set[str] = set()
        for page in self._pages("list_objects_v2", action=_LIST, prefix=prefix, Delimiter="/"):
            names.update(entry["Prefix"][skip:].rstrip("/") for entry in page.get("CommonPrefixes", ()))
        yield from sorted(name for name in names if name)

    def _pages(self, operation: str, *, action: str, prefix: str, **parameters: object) -> Iterator[dict[str, Any]]:
        try:
            paginator = self._bucket.client().get_paginator(operation)
            yield from paginator.paginate(Bucket=self._bucket.name, Prefix=self._root + prefix, **parameters)
        except CLIENT_ERRORS as error:
            raise translate(error, self._bucket.place, action=action) from error
        self._bucket_seen = True

    def _full(self, key: str) -> str:
        """Return the key in the bucket. Reads take any key that a listing may have shown, writes are stricter."""
        if not key:
            raise ValueError("'' is not a key")
        return self._root + key


def _pinned(etag: str | None) -> dict[str, object]:
    return {} if etag is None else {"IfMatch": etag}


def _batches(items: Iterator[str], size: int) -> Iterator[tuple[str, ...]]:
    while batch := tuple(itertools.islice(items, size)):
        yield batch
