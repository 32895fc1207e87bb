"""Lines of weather stations: ``station,time,celsius``."""

from __future__ import annotations

from datalake_interfaces import Document, ErrorDoc, RecordHintType, RecordParseHint, SingleFileParser, SkipDoc

_FIELDS = 3


class ObservationParser(SingleFileParser):
    """One record a line, one document a measurement."""

    def get_record_start_pattern(self, s3_file_type: str) -> RecordParseHint:
        """A line starts where the one before ended."""
        return RecordParseHint(RecordHintType.OFFSET, offset=0)

    def get_record_end_pattern(self, s3_file_type: str) -> RecordParseHint:
        """A line ends with its line feed."""
        return RecordParseHint(RecordHintType.PATTERN, "\n")

    def parse_document(
        self,
        s3_file_type: str,
        s3_filename: str,
        offset_bytes: int,
        byte_arr: bytes,
        start_index: int,
        end_index: int,
    ) -> Document | ErrorDoc | SkipDoc:
        """Make a document of a line; the station is its partition key, so that its measurements keep their order."""
        fields = bytes(byte_arr[start_index:end_index]).decode("utf-8").strip().split(",")
        if len(fields) != _FIELDS:
            return ErrorDoc(error_message=f"a line of {len(fields)} fields; station,time,celsius are three")
        station, time, celsius = fields
        if not celsius:
            return SkipDoc(skip_message="nothing was measured")
        return Document(
            {"station": station, "time": time, "celsius": float(celsius)},
            document_id=f"{station}/{time}",
            record_type="observation",
            partition_key=station,
        )
