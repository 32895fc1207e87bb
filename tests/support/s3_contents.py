"""What the S3 server of the tests holds, and its rules: every method is one step under one lock."""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

_KEPT = ("content-type", "x-amz-meta-")


class Refusal(Exception):  # noqa: N818 - an answer, not a mistake
    """An answer that says no."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(status, code)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Version:
    """One version of one object."""

    body: bytes
    etag: str
    written: datetime
    headers: Mapping[str, str]


@dataclass(slots=True)
class Upload:
    """Parts on their way."""

    key: str
    begun: datetime
    headers: Mapping[str, str]
    parts: dict[int, tuple[bytes, str]] = field(default_factory=dict)


@dataclass(slots=True)
class Bucket:
    """What a bucket holds."""

    objects: dict[str, Version] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a listing."""

    objects: list[tuple[str, Version]]
    folders: list[str]
    next_token: str | None


class Contents:
    """Everything on the server. Thread-safe; every method is one step."""

    def __init__(self, *, page_size: int = 1_000, skew: timedelta = timedelta()) -> None:
        """Hold nothing. ``page_size``: entries of a page, at most; ``skew``: how wrong the clock is."""
        self._lock = threading.Lock()
        self._buckets: dict[str, Bucket] = {}
        self._numbers = itertools.count(1)
        self._page_size = page_size
        self.skew = skew
        """How wrong the clock is; change it to let time pass."""
        self.requests: Counter[str] = Counter()
        """By method."""

    def now(self) -> datetime:
        """What the clock says."""
        return (datetime.fromtimestamp(time.time(), UTC) + self.skew).replace(microsecond=0)

    def all(self, bucket: str) -> dict[str, bytes]:
        """A side door: every object of a bucket."""
        with self._lock:
            return {key: version.body for key, version in self._bucket(bucket).objects.items()}

    def unfinished(self, bucket: str) -> list[tuple[str, str, datetime]]:
        """Key, id and begin of every upload in parts."""
        with self._lock:
            found = self._bucket(bucket).uploads.items()
            return sorted((upload.key, name, upload.begun) for name, upload in found)

    def make_bucket(self, bucket: str) -> None:
        """Make a bucket, unless it is there."""
        with self._lock:
            self._buckets.setdefault(bucket, Bucket())

    def check_bucket(self, bucket: str) -> None:
        """Refuse if there is no such bucket."""
        with self._lock:
            self._bucket(bucket)

    def get(self, bucket: str, key: str, headers: Mapping[str, str]) -> Version:
        """The current version, if it meets the conditions."""
        with self._lock:
            version = self._bucket(bucket).objects.get(key)
        if version is None:
            raise Refusal(404, "NoSuchKey")
        wanted, unwanted = headers.get("if-match"), headers.get("if-none-match")
        if wanted is not None and not _names(wanted, version):
            raise Refusal(412, "PreconditionFailed")
        if unwanted is not None and _names(unwanted, version):
            raise Refusal(304, "NotModified")
        return version

    def put(self, bucket: str, key: str, body: bytes, headers: Mapping[str, str]) -> Version:
        """Write a version, if the conditions hold."""
        version = Version(body, hashlib.md5(body).hexdigest(), self.now(), _kept(headers))
        with self._lock:
            self._write(self._bucket(bucket), key, version, headers)
        return version

    def delete(self, bucket: str, keys: list[str], headers: Mapping[str, str] | None = None) -> None:
        """Remove objects, if the condition holds; those that are not there as well."""
        wanted = (headers or {}).get("if-match")
        with self._lock:
            objects = self._bucket(bucket).objects
            for key in keys:
                if wanted is not None and key in objects and not _names(wanted, objects[key]):
                    raise Refusal(412, "PreconditionFailed")
                objects.pop(key, None)

    def page(self, bucket: str, *, prefix: str, delimiter: str, after: str, limit: int) -> Page:
        """A page of what begins with ``prefix`` and comes behind ``after``, in the order of UTF-8 bytes."""
        limit = min(limit, self._page_size)
        page = Page([], [], None)
        last = after
        with self._lock:
            objects = self._bucket(bucket).objects
            names = {key: _folder(key, prefix, delimiter) for key in objects if key.startswith(prefix)}
            for key in sorted(names, key=str.encode):
                name = names[key] or key
                if name.encode() <= last.encode():
                    continue
                if len(page.objects) + len(page.folders) >= limit:
                    return Page(page.objects, page.folders, last)
                last = name
                if names[key]:
                    page.folders.append(name)
                else:
                    page.objects.append((key, objects[key]))
        return page

    def begin_upload(self, bucket: str, key: str, headers: Mapping[str, str]) -> str:
        """Begin an upload in parts; returns its id."""
        with self._lock:
            name = f"upload-{next(self._numbers)}"
            self._bucket(bucket).uploads[name] = Upload(key, self.now(), _kept(headers))
        return name

    def put_part(self, bucket: str, upload: str, number: int, body: bytes) -> str:
        """Keep a part; returns its ETag."""
        etag = hashlib.md5(body).hexdigest()
        with self._lock:
            self._upload(bucket, upload).parts[number] = (body, etag)
        return etag

    def join_parts(self, bucket: str, upload: str, parts: list[tuple[int, str]], headers: Mapping[str, str]) -> Version:
        """Make an object of parts, if the conditions hold; the upload is gone then."""
        with self._lock:
            found = self._upload(bucket, upload)
            if not parts or any(found.parts.get(number, (b"", ""))[1] != etag for number, etag in parts):
                raise Refusal(400, "InvalidPart")
            digest = hashlib.md5(b"".join(bytes.fromhex(etag) for _, etag in parts)).hexdigest()
            body = b"".join(found.parts[number][0] for number, _ in parts)
            version = Version(body, f"{digest}-{len(parts)}", self.now(), found.headers)
            self._write(self._bucket(bucket), found.key, version, headers)
            del self._bucket(bucket).uploads[upload]
        return version

    def drop_upload(self, bucket: str, upload: str) -> None:
        """Forget an upload and its parts."""
        with self._lock:
            self._upload(bucket, upload)
            del self._bucket(bucket).uploads[upload]

    def _bucket(self, bucket: str) -> Bucket:
        try:
            return self._buckets[bucket]
        except KeyError:
            raise Refusal(404, "NoSuchBucket") from None

    def _upload(self, bucket: str, upload: str) -> Upload:
        try:
            return self._bucket(bucket).uploads[upload]
        except KeyError:
            raise Refusal(404, "NoSuchUpload") from None

    def _write(self, bucket: Bucket, key: str, version: Version, headers: Mapping[str, str]) -> None:
        """Check and write; the lock is held."""
        standing = bucket.objects.get(key)
        if "if-none-match" in headers and standing is not None:
            raise Refusal(412, "PreconditionFailed")
        if "if-match" in headers and standing is None:
            raise Refusal(404, "NoSuchKey")
        if "if-match" in headers and standing is not None and not _names(headers["if-match"], standing):
            raise Refusal(412, "PreconditionFailed")
        bucket.objects[key] = version


def _names(condition: str, version: Version) -> bool:
    return condition == "*" or version.etag in {etag.strip().strip('"') for etag in condition.split(",")}


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith(_KEPT)}


def _folder(key: str, prefix: str, delimiter: str) -> str:
    """What a listing with a delimiter shows in place of ``key``; empty: the key itself."""
    head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
    return f"{prefix}{head}{found}" if found else ""
