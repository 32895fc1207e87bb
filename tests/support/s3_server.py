"""A small S3 server over HTTP: what a lake asks of S3, as strict as S3, in memory.

A condition is checked and its write made under one lock (``s3_contents.py``), so a race has one winner. A listing goes
on behind the last key of its page, whatever has changed meanwhile. Dates are whole seconds of a clock that may be wrong
by ``skew``. Signatures are not checked. For what the network does there is ``fault_proxy.py``.
"""

from __future__ import annotations

import base64
import hashlib
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from tests.support.loopback import QuietHandler, running
from tests.support.s3_contents import Contents, Refusal
from tests.support.servers import S3Server

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class _Handler(QuietHandler):
    disable_nagle_algorithm = True
    contents: Contents

    def answer(self) -> None:
        self.contents.requests[self.command] += 1
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:  # whoever sent it is gone: half a request is none
            self.close_connection = True
            return
        parts = urlsplit(self.path)
        self.bucket, _, self.key = unquote(parts.path).removeprefix("/").partition("/")
        self.query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        self.given = {name.lower(): value for name, value in self.headers.items()}
        try:
            self._check_digest(body)
            (self._about_object if self.key else self._about_bucket)(body)
        except Refusal as refusal:
            text = f"<Error><Code>{refusal.code}</Code><Message>{refusal.code}</Message></Error>"
            self._send(refusal.status, "" if refusal.status == 304 else text)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

    def _check_digest(self, body: bytes) -> None:
        digest = self.given.get("content-md5")
        if digest is not None and base64.b64decode(digest) != hashlib.md5(body).digest():
            raise Refusal(400, "BadDigest")
        if self.given.get("x-amz-content-sha256", "").startswith("STREAMING"):
            raise Refusal(501, "NotImplemented")

    def _about_bucket(self, body: bytes) -> None:
        match self.command:
            case "PUT":
                self.contents.make_bucket(self.bucket)
                self._send(200)
            case "HEAD":
                self.contents.check_bucket(self.bucket)
                self._send(200)
            case "POST" if "delete" in self.query:
                self.contents.delete(self.bucket, [entry.get("Key", "") for entry in _entries(body, "Object")])
                self._send(200, "<DeleteResult/>")
            case "GET" if "uploads" in self.query:
                self._list_uploads()
            case "GET" if self.query.get("list-type") == "2":
                self._list()
            case _:
                raise Refusal(501, "NotImplemented")

    def _about_object(self, body: bytes) -> None:
        upload = self.query.get("uploadId")
        match self.command:
            case "GET" | "HEAD":
                self._get()
            case "PUT" if upload is not None:
                etag = self.contents.put_part(self.bucket, upload, int(self.query["partNumber"]), body)
                self._send(200, headers={"ETag": f'"{etag}"'})
            case "PUT":
                version = self.contents.put(self.bucket, self.key, body, self.given)
                self._send(200, headers={"ETag": f'"{version.etag}"'})
            case "POST" if "uploads" in self.query:
                name = self.contents.begin_upload(self.bucket, self.key, self.given)
                self._send(200, f"<Result><UploadId>{name}</UploadId></Result>")
            case "POST" if upload is not None:
                parts = [(int(part["PartNumber"]), part["ETag"].strip('"')) for part in _entries(body, "Part")]
                version = self.contents.join_parts(self.bucket, upload, parts, self.given)
                self._send(200, f"<Result><ETag>&quot;{version.etag}&quot;</ETag></Result>")
            case "DELETE" if upload is not None:
                self.contents.drop_upload(self.bucket, upload)
                self._send(204)
            case "DELETE":
                self.contents.delete(self.bucket, [self.key], self.given)
                self._send(204)
            case _:
                raise Refusal(501, "NotImplemented")

    def _get(self) -> None:
        version = self.contents.get(self.bucket, self.key, self.given)
        headers = {"ETag": f'"{version.etag}"', "Last-Modified": _http_date(version.written), "Accept-Ranges": "bytes"}
        size = len(version.body)
        wanted = _RANGE.fullmatch(self.given.get("range", ""))
        if wanted is None:
            self._send(200, version.body, {**headers, **version.headers})
            return
        first, last = wanted.groups()
        start = int(first) if first else max(size - int(last), 0)
        end = min(int(last) + 1, size) if first and last else size
        if start >= end:
            raise Refusal(416, "InvalidRange")
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        self._send(206, version.body[start:end], {**headers, **version.headers})

    def _list(self) -> None:
        token = self.query.get("continuation-token")
        after = self.query.get("start-after", "") if token is None else unquote(token)
        prefix, delimiter = self.query.get("prefix", ""), self.query.get("delimiter", "")
        limit = int(self.query.get("max-keys", 1_000))
        page = self.contents.page(self.bucket, prefix=prefix, delimiter=delimiter, after=after, limit=limit)
        text = "".join(
            f"<Contents><Key>{self._text(key)}</Key><LastModified>{version.written:%Y-%m-%dT%H:%M:%S.000Z}</LastModified>"
            f"<ETag>&quot;{version.etag}&quot;</ETag><Size>{len(version.body)}</Size></Contents>"
            for key, version in page.objects
        )
        text += "".join(
            f"<CommonPrefixes><Prefix>{self._text(name)}</Prefix></CommonPrefixes>" for name in page.folders
        )
        text += f"<IsTruncated>{'false' if page.next_token is None else 'true'}</IsTruncated>"
        if page.next_token is not None:
            text += f"<NextContinuationToken>{quote(page.next_token)}</NextContinuationToken>"
        self._send(200, f"<ListBucketResult>{self._encoding()}{text}</ListBucketResult>")

    def _list_uploads(self) -> None:
        text = "".join(
            f"<Upload><Key>{self._text(key)}</Key><UploadId>{name}</UploadId>"
            f"<Initiated>{begun:%Y-%m-%dT%H:%M:%S.000Z}</Initiated></Upload>"
            for key, name, begun in self.contents.unfinished(self.bucket)
            if key.startswith(self.query.get("prefix", ""))
        )
        text = f"{self._encoding()}<IsTruncated>false</IsTruncated>{text}"
        self._send(200, f"<ListMultipartUploadsResult>{text}</ListMultipartUploadsResult>")

    def _text(self, key: str) -> str:
        return quote(key, safe="/") if self.query.get("encoding-type") == "url" else escape(key)

    def _encoding(self) -> str:
        return "<EncodingType>url</EncodingType>" if self.query.get("encoding-type") == "url" else ""

    def _send(self, status: int, body: str | bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        content = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status not in {204, 304}:
            self.send_header("Content-Length", str(len(content)))
        if isinstance(body, str) and content:
            self.send_header("Content-Type", "application/xml")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return _http_date(self.contents.now())


def _http_date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


def _entries(body: bytes, name: str) -> list[dict[str, str]]:
    """The elements of a name, each as the texts of its children by name."""
    found = [element for element in ET.fromstring(body).iter() if element.tag.rpartition("}")[2] == name]
    return [{child.tag.rpartition("}")[2]: child.text or "" for child in element} for element in found]


class PatientServer(ThreadingHTTPServer):
    """A server whose clients may be killed in the middle of a request."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that is gone."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


@dataclass(frozen=True, slots=True)
class StrictS3:
    """A server that runs."""

    server: S3Server
    contents: Contents


@contextmanager
def strict_s3(*, page_size: int = 1_000, skew: timedelta = timedelta()) -> Iterator[StrictS3]:
    """Run a server; see ``Contents``."""
    contents = Contents(page_size=page_size, skew=skew)
    handler = type("Handler", (_Handler,), {"contents": contents})
    with running(PatientServer(("127.0.0.1", 0), handler), "strict-s3") as address:
        yield StrictS3(S3Server(address), contents)
