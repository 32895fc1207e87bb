"""Send one large object in parts: several connections, and a break costs one part.

Some servers heed conditions on a write with one request and ignore them on the request that joins parts: what they do
is tried before the first large write under a condition.
"""

from __future__ import annotations

import contextlib
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datalake_service.aws.client_errors import CLIENT_ERRORS
from datalake_service.errors import StoreError, StoreUnavailableError
from datalake_service.storage.s3_client import S3Bucket
from datalake_service.storage.s3_errors import Verdict, judge, translate
from datalake_utils.backoff import Backoff
from datalake_utils.clock import Clock
from datalake_utils.ids import random_hex

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_ACTION = "s3:PutObject"
_CONNECTIONS = 4
_SENDS = 5
"""How often each part is sent."""
_BACKOFF = Backoff(first=0.5, longest=8.0)
_MAX_PARTS = 10_000
_SCRATCH_DIGITS = 16
_NO_ETAG = "0" * 32
"""No version has it."""


class Upload:
    """One multipart upload: ``begin``, ``send_parts``, then ``complete`` or ``abort``."""

    def __init__(self, bucket: S3Bucket, key: str, *, clock: Clock) -> None:
        """Prepare to write ``key`` of ``bucket``."""
        self._bucket = bucket
        self._key = key
        self._clock = clock
        self._id = ""
        self._parts: list[dict[str, object]] = []
        self._stop = threading.Event()

    @property
    def id(self) -> str:
        """Its name at the store."""
        return self._id

    def begin(self, metadata: dict[str, object]) -> None:
        """Open the upload. ``metadata`` are further parameters of the request."""
        answer = self._bucket.send("create_multipart_upload", action=_ACTION, key=self._key, **metadata)
        self._id = str(answer["UploadId"])

    def send_parts(self, path: Path, size: int, *, part_size: int) -> None:
        """Send ``size`` bytes of a file, larger parts than ``part_size`` if there were too many otherwise."""
        step = max(part_size, -(-size // _MAX_PARTS))
        with ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="upload") as pool:
            try:
                parts = pool.map(
                    lambda start: self._send_part(path, start, min(step, size - start), 1 + start // step),
                    range(0, size, step),
                )
                self._parts = list(parts)
            except BaseException:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                raise

    def _send_part(self, path: Path, start: int, length: int, number: int) -> dict[str, object]:
        for sent in range(1, _SENDS + 1):
            try:
                with path.open("rb") as file:
                    answer = self._bucket.send(
                        "upload_part",
                        action=_ACTION,
                        key=self._key,
                        UploadId=self._id,
                        PartNumber=number,
                        Body=_Part(file, start, length),
                        ContentLength=length,
                    )
            except StoreUnavailableError:
                if sent == _SENDS or self._stop.is_set():
                    raise
                self._clock.sleep(_BACKOFF.seconds(sent))
            else:
                checksums = {name: value for name, value in answer.items() if name.startswith("Checksum")}
                return {"PartNumber": number, "ETag": answer["ETag"], **checksums}
        raise AssertionError

    def send_bytes(self, body: bytes) -> None:
        """Send one small part, the only one."""
        answer = self._bucket.send(
            "upload_part", action=_ACTION, key=self._key, UploadId=self._id, PartNumber=1, Body=body
        )
        self._parts = [{"PartNumber": 1, "ETag": answer["ETag"]}]

    def complete(self, condition: dict[str, object]) -> dict[str, Any]:
        """Join the parts under a condition; errors of the client library are let out, to be judged."""
        return self._bucket.send_raw(
            "complete_multipart_upload",
            key=self._key,
            UploadId=self._id,
            MultipartUpload={"Parts": self._parts},
            **condition,
        )

    def abort(self) -> None:
        """Give the parts up, if there are any. If the store cannot be reached, they stay until they are cleaned up."""
        if not self._id:
            return
        with contextlib.suppress(StoreError):
            self._bucket.send(
                "abort_multipart_upload", action="s3:AbortMultipartUpload", key=self._key, UploadId=self._id
            )


class JoinCheck:
    """Whether a server heeds conditions on the request that joins parts; tried once for each condition."""

    def __init__(self, bucket: S3Bucket, scratch: str, *, clock: Clock) -> None:
        """Prepare to try it on objects whose keys in the bucket begin with ``scratch``."""
        self._bucket = bucket
        self._scratch = scratch
        self._clock = clock
        self._passed: dict[str, bool] = {}

    def passed(self, condition: str) -> bool:
        """Whether the server heeds ``IfNoneMatch`` or ``IfMatch`` there. Costs six small requests the first time.

        Raises:
            StoreError: The server failed, or does not allow it.
        """
        if condition not in self._passed:
            self._passed[condition] = self._try(condition)
        return self._passed[condition]

    def _try(self, condition: str) -> bool:
        key = self._scratch + random_hex(_SCRATCH_DIGITS)
        self._bucket.send("put_object", action=_ACTION, key=key, Body=b"1")
        upload = Upload(self._bucket, key, clock=self._clock)
        try:
            upload.begin({})
            upload.send_bytes(b"2")
            upload.complete({condition: "*" if condition == "IfNoneMatch" else _NO_ETAG})
        except CLIENT_ERRORS as error:
            if judge(error) is Verdict.REFUSED:
                return True
            raise translate(error, self._bucket.place, action=_ACTION, key=key) from error
        else:
            return False
        finally:
            upload.abort()
            self._bucket.send("delete_object", action="s3:DeleteObject", key=key)


class _Part(io.RawIOBase):
    """A window of a file, as a file: the client library measures, hashes and rewinds what it sends."""

    def __init__(self, file: io.BufferedReader, start: int, length: int) -> None:
        super().__init__()
        self._file = file
        self._start = start
        self._length = length
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")[: max(0, self._length - self._position)]
        self._file.seek(self._start + self._position)
        count = self._file.readinto(view)
        self._position += count
        return count
