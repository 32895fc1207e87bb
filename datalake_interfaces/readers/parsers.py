"""Handlers for files: where records start and end, and what document a record becomes."""

from __future__ import annotations

from abc import ABC, abstractmethod

from datalake_interfaces.context import HandlerContext
from datalake_interfaces.documents import Document, ErrorDoc, SkipDoc
from datalake_interfaces.model import ParseDocumentResult, RecordParseHint


class SingleFileParser(ABC):
    """Turns the records of one file into documents. Each file stands alone; there is one kind of record.

    The file is searched from its beginning for the start pattern, from there for the end pattern; the record is what
    lies between, **both patterns included**. The search goes on after the end. Details:

    * With equal start and end patterns, the end is searched for after the start.
    * A start pattern inside a record does not start another one.
    * The end of the file closes the last record if it has no end pattern.
    * Bytes outside records are skipped and counted.
    * Records are bytes, whatever their encoding. Positions are those in the decompressed file.

    Guarantees:
        The class is constructed once for each task as ``Class(**parameters)``, with the ``parameters`` of the dataset
        file; then ``open``, the patterns, any number of ``parse_document`` and ``close``, all by one thread: a
        handler may keep state in ``self``.

        ``parse_document`` runs **at least once** for each record, in file order; its rows are published **exactly
        once**. A task that was killed resumes behind the last record that was stored, with a new handler: keep
        nothing in ``self`` that the next record depends on.

        A handler that raises, or answers ``ErrorDoc``, makes a rejection that keeps the record's bytes, its source and
        its offsets; the dataset file's ``onError`` decides whether the task goes on.
    """

    def open(self, context: HandlerContext) -> None:
        """Acquire what is needed. Called once, before anything else. If it raises, the task fails."""
        return

    def get_s3_file_type(self) -> str:
        """Return your logical name for the kind of file, for instance ``LOGFILE``; passed to the other methods."""
        return "FILE"

    def get_resolved_s3_file_name(self, s3_file_type: str, file_name: str) -> str:
        """Return the object key (or path) for a line of the manifest. By default the line is the key.

        Called while tasks are planned and again when the task runs: the same name has to give the same key.
        """
        return file_name

    @abstractmethod
    def get_record_start_pattern(self, s3_file_type: str) -> RecordParseHint:
        """Return where a record starts. Asked once for each file."""

    @abstractmethod
    def get_record_end_pattern(self, s3_file_type: str) -> RecordParseHint:
        """Return where a record ends. Asked once for each file."""

    @abstractmethod
    def parse_document(
        self,
        s3_file_type: str,
        s3_filename: str,
        offset_bytes: int,
        byte_arr: bytes,
        start_index: int,
        end_index: int,
    ) -> ParseDocumentResult | Document | ErrorDoc | SkipDoc:
        """Return the document of one record.

        Args:
            s3_file_type: What ``get_s3_file_type`` returned.
            s3_filename: The resolved name of the file.
            offset_bytes: Where the record starts in the decompressed file.
            byte_arr: Holds the record.
            start_index: Where the record starts in ``byte_arr`` (inclusive); 0 today.
            end_index: Where it ends in ``byte_arr`` (exclusive); its length today. Use both indexes: a larger buffer
                may be passed one day.
        """

    def close(self) -> None:
        """Release what ``open`` acquired. Called when the task ends or fails; not if the process is killed."""
        return
