"""A stream over one version of one object, which survives broken connections."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

from datalake_service.aws.client_errors import CLIENT_ERRORS
from datalake_service.errors import ObjectNotFoundError, PreconditionFailedError, StoreUnavailableError
from datalake_service.storage.s3_errors import translate
from datalake_utils.backoff import Backoff

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from botocore.response import StreamingBody

    from datalake_service.storage.s3_client import S3Bucket
    from datalake_utils.clock import Clock

ACTION = "s3:GetObject"
_BUFFER = 256 * 1024
_MAX_FAILURES = 6
"""Resumptions in a row without a byte of progress; with the waits, ten seconds or so."""
_BACKOFF = Backoff(first=0.2, longest=10.0)


class S3Stream(io.RawIOBase):
    """Bytes ``position`` to ``end`` of the version ``etag``, once, from front to back."""

    def __init__(
        self,
        bucket: S3Bucket,
        key: str,
        *,
        body: StreamingBody,
        etag: str,
        position: int,
        end: int,
        clock: Clock,
    ) -> None:
        """Go on from ``body``, the open answer to a request for this range."""
        super().__init__()
        self._bucket = bucket
        self._key = key
        self._body = body
        self.etag = etag
        self._position = position
        self._end = end
        self._clock = clock
        self._failures = 0

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill some of ``buffer``; 0 only at the end of the range."""
        view = memoryview(buffer).cast("B")[: self._end - self._position]
        if not view:
            return 0
        while True:
            try:
                count = int(self._body.readinto(view))
                if not count:  # the server hung up in good order, but too early
                    raise ConnectionResetError("the answer ended early")
            except CLIENT_ERRORS as error:
                self._resume(error)
            else:
                self._position += count
                self._failures = 0
                return count

    def readall(self) -> bytes:
        """Read the rest in one piece (the inherited way takes 8 KiB steps)."""
        rest = bytearray(self._end - self._position)
        filled = 0
        while filled < len(rest):
            filled += self.readinto(memoryview(rest)[filled:])
        return bytes(rest)

    def _resume(self, error: Exception) -> None:
        """Ask for the rest of the same version, until it comes or it is clear that it will not."""
        while True:
            self._close_body()
            self._failures += 1
            if self._failures > _MAX_FAILURES:
                raise translate(error, self._bucket.place, action=ACTION, key=self._key) from error
            self._clock.sleep(_BACKOFF.seconds(self._failures))
            try:
                answer = self._bucket.send(
                    "get_object",
                    action=ACTION,
                    key=self._key,
                    IfMatch=self.etag,
                    Range=f"bytes={self._position}-{self._end - 1}",
                )
            except StoreUnavailableError as again:
                error = again.__cause__ if isinstance(again.__cause__, Exception) else again
            except (ObjectNotFoundError, PreconditionFailedError) as gone:
                raise PreconditionFailedError(
                    f"s3://{self._bucket.name}/{self._key} was replaced or deleted while it was being read"
                ) from gone
            else:
                self.check_version(answer, self.etag)
                self._body = answer["Body"]
                return

    def check_version(self, answer: dict[str, Any], etag: str) -> None:
        """Make sure that the answer is about this version: some servers ignore the condition of a read."""
        if answer["ETag"].strip('"') != etag:
            self.close()
            raise PreconditionFailedError(f"s3://{self._bucket.name}/{self._key} was replaced since it was looked at")

    def _close_body(self) -> None:
        with contextlib.suppress(*CLIENT_ERRORS):
            self._body.close()

    def close(self) -> None:
        """Give the connection back."""
        if not self.closed:
            self._close_body()
        super().close()

    def buffered(self) -> io.BufferedReader:
        """Wrap it so that lines and small reads are cheap."""
        return io.BufferedReader(self, _BUFFER)
