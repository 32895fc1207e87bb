"""Handlers for files: where records start and end, and what document a record becomes.

``SingleFileParser`` is for files of one kind of record. Where records depend on one another, several kinds in one
file or several files in lock-step, a ``SingleFileStateMachineParser`` for each kind of file and one of the two readers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Protocol

from datalake_interfaces.composites import FileReaderState, ParseCompositeDocumentResult
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


class SystemFileReader(Protocol):
    """One file, as a state-machine reader sees it: the framework searches, and calls the parser."""

    def next_record(self, *, peek: bool = False) -> ParseDocumentResult | None:
        """Return what the parser made of the next record; ``None`` if the file has no more.

        The status is ``ERROR`` for a record that the parser failed at or answered with an ``ErrorDoc``, ``SKIP`` for a
        ``SkipDoc``. Such an error becomes a rejection by itself, with the record's bytes.

        Args:
            peek: Look at it and leave it there: the next call returns the same object.
        """
        ...

    def get_state(self) -> FileReaderState:
        """Return where the file stands."""
        ...

    def get_offset_bytes(self) -> str:
        """Return where the search for the next record begins, in the decompressed file. Text, as all positions are."""
        ...

    def get_file_type(self) -> str:
        """Return your logical name for the kind of file."""
        ...

    def get_file_name(self) -> str:
        """Return the resolved name of the file."""
        ...

    def get_last_record_type(self) -> str | None:
        """Return the kind of the record that was taken last; ``None`` before the first."""
        ...


class SingleFileStateMachineParser(ABC):
    """Finds and reads the records of one kind of file, when there are several kinds of records in it.

    For each record the framework asks for the kind that comes next, for its two patterns, and for its document. The
    search is that of ``SingleFileParser``, with one difference: it goes on **before** the end pattern of a record,
    because that is the start of the next one (see ``end_is_next_start``).

    A record whose length stands in it is cut as two: a header that ends with a pattern, and a body whose end is an
    ``OFFSET`` hint with the length that the header, ``last_processed_doc``, told. Then ``end_is_next_start`` is false.

    Guarantees:
        The class is constructed once for each file of a task, with those of the dataset file's ``parameters`` that its
        constructor names; then ``open``, any number of the other methods, and ``close``, all by one thread.

        Records come in file order. ``last_processed_record_type`` and ``last_processed_doc`` are those of the record
        before it in the same file, ``None`` for the first. The document may be an ``ErrorDoc``: that record failed.

        A task that was killed repeats the last step of its reader, with a new parser, and throws the outcome away. So
        what a record depends on may reach back to the step before its own, and no further; keep nothing in ``self``.
    """

    def open(self, context: HandlerContext) -> None:
        """Acquire what is needed. Called once, before anything else. If it raises, the task fails."""
        return

    def end_is_next_start(self, s3_file_type: str) -> bool:
        """Return whether the end pattern of a record is also the start pattern of the next one. Asked once.

        ``False``: the search goes on behind the end, as in ``SingleFileParser``.
        """
        return True

    @abstractmethod
    def get_next_expected_record_type(self, s3_file_type: str, last_processed_record_type: str | None) -> str | None:
        """Return the kind that follows a record of this kind (``None``: at the start); ``None``: no more are wanted.

        Not asked if the last ``parse_document`` told it in ``next_record_type``. Your own words; they are passed to
        the other methods.
        """

    @abstractmethod
    def get_next_record_start_pattern(
        self, s3_file_type: str, next_expected_record_type: str, last_processed_doc: Document | None
    ) -> RecordParseHint:
        """Return where a record of this kind starts. Asked for each record: make hints that do not change once."""

    @abstractmethod
    def get_next_record_end_pattern(
        self, s3_file_type: str, next_expected_record_type: str, last_processed_doc: Document | None
    ) -> RecordParseHint:
        """Return where it ends. Asked for each record."""

    @abstractmethod
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
    ) -> ParseDocumentResult | Document | ErrorDoc | SkipDoc:
        """Return the document of one record; it goes to the reader, and is not written itself.

        A ``ParseDocumentResult`` may name the kind of the next record in ``next_record_type``; with a header that
        cannot be read, for instance, the next header instead of its body.

        Args:
            s3_file_type: The kind of file.
            s3_filename: The resolved name of the file.
            offset_bytes: Where the record starts in the decompressed file.
            byte_arr: Holds the record.
            start_index: Where the record starts in ``byte_arr`` (inclusive); 0 today.
            end_index: Where it ends in ``byte_arr`` (exclusive); its length today.
            last_processed_record_type: The kind of the record before it.
            last_processed_doc: The document of the record before it.
        """

    def close(self) -> None:
        """Release what ``open`` acquired. Called when the task ends or fails; not if the process is killed."""
        return


class SingleFileStateMachineReader(ABC):
    """Makes one document out of several records of a file.

    Guarantees:
        The class is constructed once for each task, with those of the dataset file's ``parameters`` that its
        constructor names; then ``open``, the names, any number of ``parse_document`` and ``close``, all by one thread.

        ``parse_document`` is called while there is another record, in file order, and has to take at least one: a call
        is a **step**, and its document a row. Steps run **at least once**, rows are published **exactly once**. A task
        that was killed repeats the last step that was stored, with new objects, and throws its outcome away: so
        ``last_processed_doc`` is what it would have been. A document may depend on the step before it, and on nothing
        earlier; keep nothing in ``self``.

        A reader that raises, or answers with an ``ErrorDoc``, makes a rejection that keeps the bytes of all records
        of the step and their places; what it took is taken, and the next step begins there.
    """

    def open(self, context: HandlerContext) -> None:
        """Acquire what is needed. Called once, before anything else. If it raises, the task fails."""
        return

    def get_s3_file_type(self) -> str:
        """Return your logical name for the kind of file, for instance ``LOGFILE``; passed to the other methods."""
        return "FILE"

    def get_resolved_s3_file_name(self, s3_file_type: str, file_name: str) -> str:
        """Return the object key (or path) for a line of the manifest. By default the line is the key."""
        return file_name

    def get_reader_parser_interfaces_for_s3_file_type(self, s3_file_type: str) -> SingleFileStateMachineParser | None:
        """Return the parser. By default (``None``) it is made of the class that the dataset file names."""
        return None

    def get_next_expected_record_type(self, s3_file_type: str, last_processed_record_type: str | None) -> str | None:
        """Return the kind of record that a step begins with; by default (``None``) the parser decides."""
        return None

    @abstractmethod
    def parse_document(
        self,
        s3_file_type: str,
        last_processed_record_type: str | None,
        last_processed_doc: Document | None,
        file_reader: SystemFileReader,
    ) -> ParseCompositeDocumentResult | ParseDocumentResult | Document | ErrorDoc | SkipDoc:
        """Take the next records and return their document.

        Args:
            s3_file_type: What ``get_s3_file_type`` returned.
            last_processed_record_type: The kind of the record that was taken last; ``None`` at the beginning.
            last_processed_doc: The document of the step before; ``None`` at the beginning, or if that step failed.
            file_reader: The file. Its first ``next_record`` of a step is never ``None``.
        """

    def close(self) -> None:
        """Release what ``open`` acquired. Called when the task ends or fails; not if the process is killed."""
        return


class MultipleFileStateMachineReader(ABC):
    """Makes one document out of records of several files, which are walked in lock-step.

    A line of the manifest names all files of a task: ``WARC:crawl.warc.gz|WAT:crawl.wat.gz``.

    Guarantees:
        The class is constructed once for each task, with those of the dataset file's ``parameters`` that its
        constructor names; then ``open``, the names, any number of ``parse_document`` and ``close``, all by one thread.

        ``parse_document`` is called while there is another record, in file order, and has to take at least one: a call
        is a **step**, and its document a row. Steps run **at least once**, rows are published **exactly once**. A task
        that was killed repeats the last step that was stored, with new objects, and throws its outcome away: so
        ``last_processed_doc`` is what it would have been. A document may depend on the step before it, and on nothing
        earlier; keep nothing in ``self``.

        A reader that raises, or answers with an ``ErrorDoc``, makes a rejection that keeps the bytes of all records
        of the step and their places; what it took is taken, and the next step begins there.
    """

    def open(self, context: HandlerContext) -> None:
        """Acquire what is needed. Called once, before anything else. If it raises, the task fails."""
        return

    @abstractmethod
    def get_s3_file_types(self) -> AbstractSet[str]:
        """Return your logical names for the kinds of files; each line of the manifest has one file of each."""

    def get_resolved_s3_file_names(self, file_names: Mapping[str, str]) -> Mapping[str, str]:
        """Return the object keys (or paths) for the names of a line, by file type. By default they are the names."""
        return file_names

    def get_parser_interfaces_for_s3_file_types(
        self, s3_file_types: AbstractSet[str]
    ) -> Mapping[str, SingleFileStateMachineParser]:
        """Return the parsers, by file type. Those left out are made of the classes that the dataset file names."""
        return {}

    def get_next_expected_record_type(
        self, last_processed_record_types: Mapping[str, str | None]
    ) -> Mapping[str, str | None]:
        """Return the kinds of records that a step begins with, by file type; for those left out the parser decides."""
        return {}

    @abstractmethod
    def parse_document(
        self,
        last_processed_record_types: Mapping[str, str | None],
        last_processed_doc: Document | None,
        file_readers: Mapping[str, SystemFileReader],
    ) -> ParseCompositeDocumentResult | ParseDocumentResult | Document | ErrorDoc | SkipDoc:
        """Take the next records and return their document.

        Args:
            last_processed_record_types: The kinds of the records that were taken last, by file type; ``None`` where
                none was.
            last_processed_doc: The document of the step before; ``None`` at the beginning, or if that step failed.
            file_readers: The files by type. At least one has another record; a file that is shorter than the others
                answers ``None``.
        """

    def close(self) -> None:
        """Release what ``open`` acquired. Called when the task ends or fails; not if the process is killed."""
        return
