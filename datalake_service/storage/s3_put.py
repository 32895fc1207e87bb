"""Write one object to S3 so that the caller learns what happened, whatever happens to the answer.

A conditional write can be applied and its answer lost; sent again, it fails against itself. So every one
carries the id of its attempt in the object's metadata, and after any answer but a plain success the object is
looked at: if it carries our id, the write was ours. See ``docs/design/002-object-store.md``.
"""

from __future__ import annotations

import email.utils
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any, BinaryIO

from datalake_service.aws.client_errors import CLIENT_ERRORS
from datalake_service.errors import (
    AlreadyExistsError,
    ObjectNotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    StoreError,
    StoreUnavailableError,
)
from datalake_service.storage.base import CreateOnly, IfMatch, ObjectMeta, Overwrite, PutMode
from datalake_service.storage.s3_client import S3Bucket
from datalake_service.storage.s3_errors import Verdict, judge, translate
from datalake_service.storage.s3_multipart import JoinCheck, Upload
from datalake_utils.backoff import Backoff
from datalake_utils.clock import Clock
from datalake_utils.ids import random_hex

ACTION = "s3:PutObject"
ATTEMPT = "datalake-attempt"
"""Name of the metadata entry that holds the id of the attempt that wrote an object."""
_SENDS = 4
"""How often a conditional write is sent under one attempt id."""
_LOOKS = 3
"""How often the object is looked at after each."""
_BACKOFF = Backoff(first=0.2, longest=2.0)
"""Between these: a few seconds in all, ``RetryingStore`` has more patience."""


@dataclass(frozen=True, slots=True)
class _Standing:
    """What stands under a key now."""

    meta: ObjectMeta
    attempt: str
    """The id of the attempt that wrote it; empty if it was written unconditionally, or by other programs."""


class S3Put:
    """One body, one key, one condition, one attempt id."""

    def __init__(self, bucket: S3Bucket, key: str, full_key: str, *, mode: PutMode, clock: Clock) -> None:
        """Prepare to write ``key`` (``full_key`` in the bucket)."""
        self._bucket = bucket
        self._key = key
        self._full_key = full_key
        self._mode = mode
        self._clock = clock
        self._attempt = random_hex(32)
        self._where = f"s3://{bucket.name}/{full_key}"
        self._metadata: dict[str, object] = {}
        self._condition: dict[str, object] = {}
        match mode:
            case CreateOnly():
                self._condition = {"IfNoneMatch": "*"}
            case IfMatch(etag):
                self._condition = {"IfMatch": etag}
            case Overwrite():
                return
        self._metadata = {"Metadata": {ATTEMPT: self._attempt}}

    def single(self, body: bytes | BinaryIO, size: int) -> ObjectMeta:
        """Write with one request (5 GiB at most)."""

        def send() -> dict[str, Any]:
            if not isinstance(body, bytes):
                body.seek(0)
            return self._bucket.send_raw(
                "put_object", key=self._full_key, Body=body, ContentLength=size, **self._metadata, **self._condition
            )

        return self._settled(send, size)

    def multipart(self, path: Path, size: int, *, part_size: int, check: JoinCheck) -> ObjectMeta:
        """Write in parts; the condition is checked when they are joined, by a server that passed ``check``."""
        if self._condition and not check.passed(*self._condition):
            raise StoreError(
                f"{self._where}: {size:,} bytes need several requests, and {self._bucket.place.endpoint} ignores the "
                "condition on the one that joins them, so somebody else's version could be overwritten unnoticed; "
                "make batches smaller, or use another store"
            )
        upload = Upload(self._bucket, self._full_key, clock=self._clock)
        upload.begin(self._metadata)
        try:
            upload.send_parts(path, size, part_size=part_size)
            self._check_condition()
        except BaseException:
            upload.abort()
            raise
        try:
            return self._settled(lambda: upload.complete(self._condition), size)
        except OutcomeUnknownError:
            raise  # the parts may be joined yet: they are left to clean_leftovers
        except StoreError:
            upload.abort()
            raise

    def _check_condition(self) -> None:
        """Look before the parts are joined: nobody knows what a server does with parts whose condition failed."""
        if self._condition and not self._holds(self._look()):
            raise self._refusal()

    def _settled(self, send: Callable[[], dict[str, Any]], size: int) -> ObjectMeta:
        """Send until it is known what happened, or clear that this cannot be known."""
        doubtful = False
        for sent in itertools.count(1):
            try:
                answer = send()
            except CLIENT_ERRORS as error:
                verdict = judge(error)
                failure = translate(error, self._bucket.place, action=ACTION, key=self._full_key)
                failure.__cause__ = error
            else:
                return self._written(answer, size)
            if self._condition and verdict not in {Verdict.FATAL, Verdict.NOT_SENT}:
                doubtful = doubtful or verdict is Verdict.UNKNOWN
                mine = self._read_back(refused=verdict is Verdict.REFUSED, doubtful=doubtful)
                if mine is not None:
                    return mine
            if doubtful and (verdict is Verdict.FATAL or sent == _SENDS):
                raise OutcomeUnknownError(f"{self._where} may or may not have been written: {failure}") from failure
            if not doubtful and (verdict is not Verdict.CONFLICT or sent == _SENDS):
                raise failure  # not applied: whoever called may simply try again
            self._clock.sleep(_BACKOFF.seconds(sent))
        raise AssertionError

    def _read_back(self, *, refused: bool, doubtful: bool) -> ObjectMeta | None:
        """Return what we wrote if it stands there, nothing if it is worth sending again.

        Raises:
            AlreadyExistsError: Something else stands there, so the condition does not hold.
            PreconditionFailedError: The same.
        """
        try:
            standing = self._look()
        except StoreError as error:
            if refused and not doubtful:
                raise self._refusal() from error
            return None
        if standing is not None and standing.attempt == self._attempt:
            return standing.meta
        if refused or not self._holds(standing):
            raise self._refusal()
        return None

    def _holds(self, standing: _Standing | None) -> bool:
        if isinstance(self._mode, IfMatch):
            return standing is not None and standing.meta.etag == self._mode.etag
        return standing is None

    def _refusal(self) -> StoreError:
        if isinstance(self._mode, IfMatch):
            return PreconditionFailedError(f"{self._where} was replaced since it was read; read it again")
        return AlreadyExistsError(f"{self._where} exists already")

    def _look(self) -> _Standing | None:
        for looked in range(1, _LOOKS + 1):
            try:
                answer = self._bucket.send("head_object", action="s3:GetObject", key=self._full_key)
            except ObjectNotFoundError:
                return None
            except StoreUnavailableError:
                if looked == _LOOKS:
                    raise
                self._clock.sleep(_BACKOFF.seconds(looked))
            else:
                return _Standing(meta_of(self._key, answer), answer.get("Metadata", {}).get(ATTEMPT, ""))
        raise AssertionError

    def _written(self, answer: dict[str, Any], size: int) -> ObjectMeta:
        """Describe the new version by the answer to its write; its date is that of the answer."""
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        if not answer.get("ETag") or not date:
            standing = self._look()
            if standing is None:
                raise OutcomeUnknownError(f"{self._where} was written, but something removed it at once")
            return standing.meta
        when = email.utils.parsedate_to_datetime(date).astimezone(UTC)
        return ObjectMeta(self._key, size, bare(answer["ETag"]), when)


def bare(etag: str) -> str:
    """Take the quotes off an ETag (some servers refuse it with them, all take it without)."""
    return etag.strip('"')


def meta_of(key: str, answer: dict[str, Any]) -> ObjectMeta:
    """Read the answer to a ``HEAD`` or ``GET``."""
    size, etag, when = answer["ContentLength"], bare(answer["ETag"]), answer["LastModified"].astimezone(UTC)
    return ObjectMeta(key, size, etag, when)
