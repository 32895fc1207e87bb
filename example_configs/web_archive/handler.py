"""Pages of a web archive: what was fetched (WARC), what was found in it (WAT), its text (WET), walked in lock-step."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from datalake_interfaces import (
    Annotation,
    Annotator,
    DataItem,
    Document,
    ErrorDoc,
    MultipleFileStateMachineReader,
    ParseCompositeDocumentResult,
    ParseDocumentResult,
    ParseDocumentResultStatus,
    RecordHintType,
    RecordParseHint,
    SingleFileStateMachineParser,
    SkipDoc,
    SystemFileReader,
)

_HEADER_START = RecordParseHint(RecordHintType.PATTERN, b"WARC/")
_HEADER_END = RecordParseHint(RecordHintType.PATTERN, b"\r\n\r\n")
_AT_ONCE = RecordParseHint(RecordHintType.OFFSET, offset=0)
_TRAILER = 4
"""Bytes behind the body of a record: two line ends."""
_WORD = re.compile(r"[^\W\d_]+")


class WarcParser(SingleFileStateMachineParser):
    """Records of the WARC format, which all three files have: a header that says how long its body is, then the body.

    A body is cut by its length, so whatever stands in it is not looked at.
    """

    def end_is_next_start(self, s3_file_type: str) -> bool:
        """Headers and bodies have ends of their own."""
        return False

    def get_next_expected_record_type(self, s3_file_type: str, last_processed_record_type: str | None) -> str:
        """Header and body in turn."""
        return "BODY" if last_processed_record_type == "HEADER" else "HEADER"

    def get_next_record_start_pattern(
        self, s3_file_type: str, next_expected_record_type: str, last_processed_doc: Document | None
    ) -> RecordParseHint:
        """A header begins with the version of the format, a body at once."""
        return _HEADER_START if next_expected_record_type == "HEADER" else _AT_ONCE

    def get_next_record_end_pattern(
        self, s3_file_type: str, next_expected_record_type: str, last_processed_doc: Document | None
    ) -> RecordParseHint:
        """A header ends with an empty line, a body where its header says."""
        if next_expected_record_type == "HEADER":
            return _HEADER_END
        return RecordParseHint(RecordHintType.OFFSET, offset=_length(last_processed_doc) + _TRAILER)

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
    ) -> ParseDocumentResult | Document:
        """Read a header into a map, or take a body as it is."""
        record = byte_arr[start_index:end_index]
        if last_processed_record_type == "HEADER" and type(last_processed_doc) is Document:
            length = _length(last_processed_doc)
            if len(record) < length:
                return ErrorDoc(error_message=f"{len(record)} bytes of a record of {length}: the file is cut off")
            return Document({"body": record[:length]})
        return _header(record)


def _length(header: Document | None) -> int:
    return header.document_key_values_map["content-length"] if header is not None else 0


def _header(record: bytes) -> ParseDocumentResult | Document:
    lines = record.decode("utf-8", "replace").split("\r\n")
    fields: dict[str, Any] = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        fields[name.strip().lower()] = value.strip()
    record_id = fields.get("warc-record-id")
    try:
        fields["content-length"] = int(fields["content-length"])
    except (KeyError, ValueError):
        # Nobody knows where this record ends: look for the next header.
        error = ErrorDoc(fields, document_id=record_id, error_message="a header without a Content-Length")
        return ParseDocumentResult("HEADER", error, ParseDocumentResultStatus.ERROR)
    return Document(fields, document_id=record_id)


class PageReader(MultipleFileStateMachineReader):
    """One row for each page that was fetched.

    The records of the WARC set the pace. Those of the other two files say which record they refer to, and come in the
    same order; not every page has a text.
    """

    def get_s3_file_types(self) -> frozenset[str]:
        """The three files of a crawl."""
        return frozenset({"WARC", "WAT", "WET"})

    def parse_document(
        self,
        last_processed_record_types: Mapping[str, str | None],
        last_processed_doc: Document | None,
        file_readers: Mapping[str, SystemFileReader],
    ) -> ParseCompositeDocumentResult | Document | ErrorDoc | SkipDoc:
        """Take a record of the WARC, and what the other files have about it."""
        header, body = _take(file_readers["WARC"])
        if header is None:
            return _left_over(file_readers)
        if isinstance(header, ErrorDoc) or body is None:
            problem = header if isinstance(header, ErrorDoc) else ErrorDoc(error_message="a header without a body")
            for file_type in ("WAT", "WET"):
                _about(file_readers[file_type], header.document_id)
            return problem
        extracts = {file_type: _about(file_readers[file_type], header.document_id) for file_type in ("WAT", "WET")}
        fields = header.document_key_values_map
        if fields.get("warc-type") != "response":
            return SkipDoc(skip_message=f"a {fields.get('warc-type')}")
        page = Document(
            {"uri": fields.get("warc-target-uri"), "date": fields.get("warc-date"), **_http(body)},
            document_id=header.document_id,
            record_type="page",
        )
        return _completed(page, extracts)


def _completed(
    page: Document, extracts: Mapping[str, tuple[Document, bytes] | None]
) -> ParseCompositeDocumentResult | Document:
    """The page with what the other files say of it."""
    row: dict[str, Any] = dict(page.document_key_values_map)
    errors = []
    text = extracts["WET"]
    if text is not None:
        row["text"] = text[1].decode("utf-8", "replace").strip()
        row["language"] = text[0].document_key_values_map.get("warc-identified-content-language")
    found = extracts["WAT"]
    if found is not None:
        try:
            row |= _metadata(found[1])
        except (ValueError, KeyError, TypeError) as error:
            errors.append(ErrorDoc(error_message=f"metadata of {row['uri']}: {type(error).__name__}: {error}"))
    page.document_key_values_map = row
    return ParseCompositeDocumentResult(page, errors) if errors else page


def _take(reader: SystemFileReader) -> tuple[Document | None, bytes | None]:
    """The next header and its body; a header that cannot be read is an ``ErrorDoc``, and has none."""
    header = reader.next_record()
    if header is None or header.document is None or header.status == ParseDocumentResultStatus.ERROR:
        return (header.document if header is not None else None), None
    body = reader.next_record()
    if body is None or body.document is None or body.status == ParseDocumentResultStatus.ERROR:
        return header.document, None
    return header.document, body.document.document_key_values_map["body"]


def _about(reader: SystemFileReader, record_id: str | None) -> tuple[Document, bytes] | None:
    """Take what a file has about a record; what refers to no record, such as the file's own first, is passed over."""
    while (ahead := reader.next_record(peek=True)) is not None:
        refers_to = ahead.document.document_key_values_map.get("warc-refers-to") if ahead.document else None
        if refers_to is not None and refers_to != record_id:
            return None
        header, body = _take(reader)
        if refers_to is not None and header is not None and body is not None:
            return header, body
    return None


def _left_over(readers: Mapping[str, SystemFileReader]) -> ErrorDoc | SkipDoc:
    """The WARC has ended. What the other files still have refers to nothing in it."""
    for file_type in ("WAT", "WET"):
        header, _ = _take(readers[file_type])
        if header is not None:
            refers_to = header.document_key_values_map.get("warc-refers-to")
            if refers_to is None:
                return SkipDoc(skip_message="not about a record")
            return ErrorDoc(error_message=f"the {file_type} has something about {refers_to}, which the WARC has not")
    return SkipDoc(skip_message="nothing left")


def _http(body: bytes) -> dict[str, Any]:
    """What the answer of the web server says."""
    head, _, payload = body.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    status = lines[0].split()[1:2]
    return {
        "status": int(status[0]) if status and status[0].isdigit() else None,
        "mime": fields.get("content-type", "").partition(";")[0].strip() or None,
        "bytes": len(payload),
    }


def _metadata(extract: bytes) -> dict[str, Any]:
    """Title and number of links, as the WAT has them."""
    envelope = json.loads(extract)["Envelope"]["Payload-Metadata"]
    html = envelope.get("HTTP-Response-Metadata", {}).get("HTML-Metadata", {})
    return {"title": html.get("Head", {}).get("Title"), "links": len(html.get("Links", ()))}


class Reading(Annotator):
    """How long a text takes to read, and whether it is prose: menus and lists have short lines."""

    def annotate(self, item: DataItem) -> Annotation:
        """Count words and look at the lengths of lines."""
        lines = [line for line in item.data["text"].splitlines() if line.strip()]
        words = [len(_WORD.findall(line)) for line in lines]
        long_lines = sum(count for count in words if count >= 8)  # noqa: PLR2004 - words that make a sentence
        return Annotation(
            {
                "words": sum(words),
                "minutes": round(sum(words) / 230, 1),
                "is_prose": long_lines * 2 > sum(words),
            }
        )
