"""Records of a stream (Kinesis): the gzip data of one JSON object each, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from isal import igzip

from datalake_service.aws.service import AwsService
from datalake_service.errors import AccessDeniedError, RowError, StoreError
from datalake_service.writers.content import STREAM_CODES, raise_content
from datalake_service.writers.delivery import ACCEPTED, Again, Answer, Limits, Parcel
from datalake_service.writers.keys import shortened_bytes
from datalake_service.writers.outgoing import Outgoing
from datalake_service.writers.records import RecordText

MOST_RECORDS: Final = 500
MOST_BYTES: Final = 10 << 20
"""Of all records of a request together, partition keys included."""
DEFAULT_RECORD_KIB: Final = 1_024
"""What a stream takes as one record, unless it was raised (up to 10 MiB)."""
LONGEST_KEY: Final = 256
"""Bytes of a partition key. The service counts characters; bytes are right whatever it counts."""
_GZIP_LEVEL: Final = 1


class StreamWriter:
    """Sends records to one stream; see ``Writer``."""

    def __init__(self, service: AwsService, stream_arn: str, text: RecordText, *, keep_order: bool) -> None:
        """Send to the stream, with ``keep_order`` one record of a partition key after the other."""
        self._service = service
        self._arn = stream_arn
        self._text = text
        self._keep_order = keep_order
        self._most_bytes = DEFAULT_RECORD_KIB << 10
        self.limits = Limits(MOST_RECORDS, MOST_BYTES)

    def open(self) -> None:
        """Ask for the largest record that the stream takes."""
        try:
            answer = self._service.call(
                "describe_stream_summary", action="kinesis:DescribeStreamSummary", StreamARN=self._arn
            )
        except AccessDeniedError:  # writing does not need it; the stream itself refuses what is too large
            return
        summary = answer["StreamDescriptionSummary"]
        self._most_bytes = int(summary.get("MaxRecordSizeInKiB") or DEFAULT_RECORD_KIB) << 10

    def pack(self, outgoing: Outgoing) -> Parcel:
        """Pack a record as an entry of ``PutRecords``."""
        # No file name and no time in the header: the same record is the same data.
        data = igzip.compress(self._text.encode(outgoing.record), _GZIP_LEVEL, mtime=0)
        wanted = outgoing.text("partitionKey") or outgoing.text("documentId") or outgoing.id
        key = shortened_bytes(wanted, limit=LONGEST_KEY)
        size = len(data) + len(key.encode("utf-8", "surrogatepass"))
        if size > self._most_bytes:
            raise RowError(
                f"a record of {size} bytes (gzip, with its partition key); the stream takes {self._most_bytes}"
            )
        content = {"Data": data, "PartitionKey": key}
        return Parcel(content, size, lane=key if self._keep_order else None, tag=outgoing.tag)

    def send(self, parcels: Sequence[Parcel]) -> Sequence[Answer]:
        """Send one batch."""
        records = [parcel.content for parcel in parcels]
        try:
            answer = self._service.call_once(
                "put_records", action="kinesis:PutRecords", StreamARN=self._arn, Records=records
            )
        except StoreError as error:
            raise_content(error, STREAM_CODES)
            raise
        return [self._answer(entry) for entry in answer["Records"]]

    def _answer(self, entry: dict[str, Any]) -> Answer:
        code = entry.get("ErrorCode")
        if not code:
            return ACCEPTED
        # The service has two codes for a single record (throttled, internal), and both mean the same.
        message = " ".join(str(entry.get("ErrorMessage") or "").split())
        return Again(f"the stream did not take a record ({code}): {message}".removesuffix(": "))
