"""Staged bodies in S3: multipart uploads of any size, one part if they are small."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Self

from datalake_service.aws.client_errors import CLIENT_ERRORS
from datalake_service.errors import OutcomeUnknownError
from datalake_service.storage.files import in_words
from datalake_service.storage.s3_client import S3Bucket
from datalake_service.storage.s3_errors import Verdict, code_of, judge, status_of, translate
from datalake_service.storage.s3_multipart import Upload
from datalake_service.storage.s3_put import ACTION
from datalake_utils.clock import Clock

_ABORT: Final = "s3:AbortMultipartUpload"
_NOT_FOUND: Final = 404


class S3Staged:
    """One multipart upload that is complete but for the request that joins its parts."""

    def __init__(self, bucket: S3Bucket, full_key: str, upload: Upload) -> None:
        """Take over an upload; ``send`` makes one."""
        self._bucket = bucket
        self._full_key = full_key
        self._upload = upload

    @classmethod
    def send(cls, bucket: S3Bucket, full_key: str, body: bytes | Path, *, part_size: int, clock: Clock) -> Self:
        """Begin an upload and send all of ``body``."""
        upload = Upload(bucket, full_key, clock=clock)
        upload.begin({})
        try:
            if isinstance(body, bytes):
                upload.send_bytes(body)
            else:
                _send_file(upload, body, part_size=part_size)
        except BaseException:
            upload.abort()
            raise
        return cls(bucket, full_key, upload)

    @property
    def name(self) -> str:
        """The id of the upload."""
        return self._upload.id

    def publish(self) -> None:
        """Join the parts, asked once; see ``Staged.publish``."""
        try:
            self._upload.complete({})
        except CLIENT_ERRORS as error:
            failure = translate(error, self._bucket.place, action=ACTION, key=self._full_key)
            if judge(error) is Verdict.UNKNOWN:
                where = f"s3://{self._bucket.name}/{self._full_key}"
                raise OutcomeUnknownError(f"{where} may or may not have been written: {failure}") from error
            raise failure from error

    def discard(self) -> bool:
        """Abort the upload; see ``Staged.discard``."""
        return abort(self._bucket, self._full_key, self._upload.id)


def _send_file(upload: Upload, path: Path, *, part_size: int) -> None:
    try:
        size = path.stat().st_size
        if size:
            upload.send_parts(path, size, part_size=part_size)
        else:
            upload.send_bytes(b"")
    except OSError as error:
        raise in_words(error, "read", path) from error


def abort(bucket: S3Bucket, full_key: str, upload: str) -> bool:
    """Abort a multipart upload; false: there is none of this id (any more).

    Raises:
        StoreError: The store could not be asked.
    """
    try:
        bucket.send_raw("abort_multipart_upload", key=full_key, UploadId=upload)
    except CLIENT_ERRORS as error:
        if code_of(error) == "NoSuchUpload" or status_of(error) == _NOT_FOUND:
            return False
        raise translate(error, bucket.place, action=_ABORT, key=full_key) from error
    return True
