"""Reading a gzip WARC with a state machine, against FastWARC on the same file; every payload is looked at.

The archive is made once, in ``.bench/``: response records with 2 to 30 KB of word-like HTML, a gzip member for each, as
crawls are. Ours goes from the store to rows with ids through a parser (header, body) and a reader (both) written in
Python: everything but writing the rows. The sides have to find as many records, and as many bytes of payload.

FastWARC runs where it is installed: ``pip install fastwarc``.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import random
import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Comparison, Side, main, timed
from benchmarks.split import SCRATCH, members, texts
from datalake_interfaces import (
    Document,
    HandlerContext,
    RecordHintType,
    RecordParseHint,
    SingleFileStateMachineParser,
    SingleFileStateMachineReader,
    SystemFileReader,
)

HEADER = RecordParseHint(RecordHintType.PATTERN, b"WARC/"), RecordParseHint(RecordHintType.PATTERN, b"\r\n\r\n")
AT_ONCE = RecordParseHint(RecordHintType.OFFSET, offset=0)
LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: *(\d+)")


class Warc(SingleFileStateMachineParser):
    """Header and body in turn."""

    def end_is_next_start(self, s3_file_type: str) -> bool:
        """Each has an end of its own."""
        return False

    def get_next_expected_record_type(self, s3_file_type: str, last_processed_record_type: str | None) -> str:
        """In turn."""
        return "BODY" if last_processed_record_type == "HEADER" else "HEADER"

    def get_next_record_start_pattern(
        self, s3_file_type: str, next_expected_record_type: str, last_processed_doc: Document | None
    ) -> RecordParseHint:
        """A header begins with the version of the format."""
        return HEADER[0] if next_expected_record_type == "HEADER" else AT_ONCE

    def get_next_record_end_pattern(
        self, s3_file_type: str, next_expected_record_type: str, last_processed_doc: Document | None
    ) -> RecordParseHint:
        """A body ends where its header says."""
        if next_expected_record_type == "HEADER" or last_processed_doc is None:
            return HEADER[1]
        return RecordParseHint(RecordHintType.OFFSET, offset=last_processed_doc.document_key_values_map["length"] + 4)

    def parse_document(
        self,
        s3_file_type: str,
        s3_filename: str,
        offset_bytes: int,
        byte_arr: bytes,
        start_index: int,
        end_index: int,
        last_processed_record_type: str | None,
        last_processed_doc: Document | None,
    ) -> Document:
        """Length and address of a header; the payload of a body."""
        if last_processed_record_type == "HEADER":
            return Document({"payload": byte_arr[byte_arr.find(b"\r\n\r\n") + 4 : end_index - 4]})
        return Document(
            {"length": int(field(byte_arr, b"\r\nContent-Length: ")), "uri": field(byte_arr, b"-Target-URI: ")}
        )


class Records(SingleFileStateMachineReader):
    """A row for each record."""

    def parse_document(
        self,
        s3_file_type: str,
        last_processed_record_type: str | None,
        last_processed_doc: Document | None,
        file_reader: SystemFileReader,
    ) -> Document:
        """Address and size."""
        header, body = file_reader.next_record(), file_reader.next_record()
        assert header is not None
        assert header.document is not None
        assert body is not None
        assert body.document is not None
        uri: bytes = header.document.document_key_values_map["uri"]
        return Document({"uri": uri.decode(), "bytes": len(body.document.document_key_values_map["payload"])})


def field(header: bytes, name: bytes) -> bytes:
    """The value of a field; the peer is asked for one as well, and finds them all."""
    begin = header.find(name) + len(name)
    return header[begin : header.find(b"\r\n", begin)]


def records() -> Iterator[bytes]:
    """Records without an end."""
    rng = random.Random(17)
    bodies = texts(rng, 4_000)
    number = 0
    while True:
        html = f"<html><title>p</title><p>{' '.join(rng.choices(bodies, k=rng.randint(2, 28)))}</html>".encode()
        http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(html) + html
        yield (
            b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:%032x>\r\n"
            b"WARC-Date: 2026-05-01T00:00:00Z\r\nWARC-Target-URI: https://example.org/%d\r\n"
            b"WARC-Identified-Payload-Type: text/html\r\nContent-Type: application/http; msgtype=response\r\n"
            b"Content-Length: %d\r\n\r\n%b\r\n\r\n" % (rng.getrandbits(62), number, len(http), http)
        )
        number += 1


def archive(arguments: argparse.Namespace) -> Path:
    """Where the archive is; makes it if it is not there yet."""
    path = SCRATCH / f"archive-{arguments.megabytes}.warc.gz"
    if path.exists():
        return path
    SCRATCH.mkdir(exist_ok=True)
    size = 0
    with path.with_suffix(".tmp").open("wb") as file:
        for record in records():
            size += file.write(gzip.compress(record, 6, mtime=0))
            if size >= arguments.megabytes * 1_000_000:
                break
    return path.with_suffix(".tmp").rename(path)


def fastwarc(folder: Path, arguments: argparse.Namespace) -> object:
    """The peer, with the answer of the web server parsed, as it is by default."""
    return _fastwarc(archive(arguments), parse_http=True)


def fastwarc_plain(folder: Path, arguments: argparse.Namespace) -> object:
    """The peer, without; the payload is cut by hand, as ours is."""
    return _fastwarc(archive(arguments), parse_http=False)


def _fastwarc(path: Path, *, parse_http: bool) -> object:
    from fastwarc.warc import ArchiveIterator  # type: ignore[import-not-found,unused-ignore]  # a peer

    found = size = 0
    with timed(), path.open("rb") as file:
        for record in ArchiveIterator(file, parse_http=parse_http):
            body = record.reader.read()
            if not parse_http:
                body = body[body.find(b"\r\n\r\n") + 4 :]
            assert record.headers["WARC-Target-URI"]
            found += 1
            size += len(body)
    return [found, size]


def framing(folder: Path, arguments: argparse.Namespace) -> object:
    """Length framing over ISA-L, without handlers, offsets or rows."""
    path = archive(arguments)
    found = size = 0
    with timed():
        tail = b""
        for block in members(path):
            data, at = tail + block, 0
            while (end := data.find(b"\r\n\r\n", at)) >= 0:
                length = LENGTH.search(data, at, end)
                assert length is not None
                stop = end + 8 + int(length[1])
                if stop > len(data):
                    break
                body = data[end + 4 : stop - 4]
                found += 1
                size += len(body[body.find(b"\r\n\r\n") + 4 :])
                at = stop
            tail = data[at:]
    return [found, size]


def ours(folder: Path, arguments: argparse.Namespace) -> object:
    """From the store to rows with ids."""
    from datalake_service.handling.machine_files import MachineFile, Mark
    from datalake_service.handling.machines import Machine
    from datalake_service.readers.records import ObjectRecords
    from datalake_service.storage.folder import FolderStore

    path = archive(arguments)
    store, machine, found, size = FolderStore(path.parent), Machine(Records(), source=path.name), 0, 0
    with timed():
        machine.open(HandlerContext())
        source = ObjectRecords(store, store.head(path.name), source=path.name)
        file = MachineFile("FILE", Warc(), name=path.name, source=path.name, folder=None)
        file.begin(source, Mark(0))
        machine.attach((file,))
        while machine.begin():
            for row in machine.step():
                assert isinstance(row, dict)
                found += 1
                size += row["bytes"]
            file.mark()
    assert source.notes == []
    return [found, size]


def options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--megabytes", type=int, default=200, help="size of the compressed archive")


SIDES: dict[str, Side] = {}
if importlib.util.find_spec("fastwarc"):
    SIDES |= {"FastWARC, payload read": fastwarc, "FastWARC without HTTP parsing": fastwarc_plain}
SIDES |= {"length framing over ISA-L": framing, "datalake, state machine": ours}

if __name__ == "__main__":
    main(__file__, Comparison("Read a gzip WARC, every payload", SIDES, options, by="inner_cpu"))
