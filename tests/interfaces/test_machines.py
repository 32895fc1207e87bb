from __future__ import annotations

from collections.abc import Mapping

import pytest

from datalake_interfaces import (
    Document,
    ErrorDoc,
    MultipleFileStateMachineReader,
    ParseCompositeDocumentResult,
    RecordHintType,
    RecordParseHint,
    SingleFileStateMachineParser,
    SingleFileStateMachineReader,
    SystemFileReader,
)
from datalake_interfaces.testing import check_state_machine


class Turns(SingleFileStateMachineParser):
    """``Q: …`` and ``A: …`` in turn; the end of one is the start of the other."""

    def get_next_expected_record_type(self, s3_file_type: str, last_processed_record_type: str | None) -> str:
        return "A" if last_processed_record_type == "Q" else "Q"

    def get_next_record_start_pattern(
        self, s3_file_type: str, next_expected_record_type: str, last_processed_doc: Document | None
    ) -> RecordParseHint:
        return RecordParseHint(RecordHintType.PATTERN, f"{next_expected_record_type}: ")

    def get_next_record_end_pattern(
        self, s3_file_type: str, next_expected_record_type: str, last_processed_doc: Document | None
    ) -> RecordParseHint:
        return RecordParseHint(RecordHintType.PATTERN, "\nA: " if next_expected_record_type == "Q" else "\nQ: ")

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
    ) -> Document | ErrorDoc:
        text = byte_arr[start_index:end_index].decode()
        if "?!" in text:
            return ErrorDoc(error_message="shouting")
        return Document({"text": text[3:].removesuffix("\nA: ").removesuffix("\nQ: ")})


class Talk(SingleFileStateMachineReader):
    """A row for a question and its answer."""

    def parse_document(
        self,
        s3_file_type: str,
        last_processed_record_type: str | None,
        last_processed_doc: Document | None,
        file_reader: SystemFileReader,
    ) -> Document:
        question, answer = file_reader.next_record(), file_reader.next_record()
        assert question is not None
        assert question.document is not None
        told = (
            None if answer is None or answer.document is None else answer.document.document_key_values_map.get("text")
        )
        return Document({"question": question.document.document_key_values_map.get("text"), "answer": told})


class Interviews(MultipleFileStateMachineReader):
    """The same question in two files."""

    def get_s3_file_types(self) -> frozenset[str]:
        return frozenset({"X", "Y"})

    def parse_document(
        self,
        last_processed_record_types: Mapping[str, str | None],
        last_processed_doc: Document | None,
        file_readers: Mapping[str, SystemFileReader],
    ) -> ParseCompositeDocumentResult:
        for reader in file_readers.values():
            reader.next_record()
        return ParseCompositeDocumentResult(Document({"types": sorted(file_readers)}), reader_state="completed")  # type: ignore[arg-type]  # wrong on purpose


TALK = b"noise Q: one\nA: yes\nQ: two\nA: no\nQ: last"


def test_a_machine_is_run_as_the_service_would() -> None:
    """The rows are there, and a record that its parser refused is an error."""
    report = check_state_machine(Talk(), TALK, parsers=Turns())
    assert report.ok, report
    assert report.rows == [
        {"question": "one", "answer": "yes"},
        {"question": "two", "answer": "no"},
        {"question": "last", "answer": None},
    ]
    refused = check_state_machine(Talk(), b"Q: a\nA: what?!\nQ: b\nA: c", parsers=Turns())
    assert refused.errors == ["FILE record at byte 5: shouting"]
    assert refused.rows[1] == {"question": "b", "answer": "c"}


def test_several_files_are_given_by_type() -> None:
    """One that has seen enough ends; a sample that is missing is told."""
    report = check_state_machine(Interviews(), {"X": TALK, "Y": TALK}, parsers={"X": Turns(), "Y": Turns()})
    assert report.rows == [{"types": ["X", "Y"]}]
    missing = check_state_machine(Interviews(), {"X": TALK}, parsers=Turns())
    assert missing.problems == ["the reader wants files of the types ['X', 'Y'], the samples are ['X']"]
    assert check_state_machine(Talk(), TALK).problems == ["there is no parser for files of the type FILE"]


class Forgetful(Talk):
    """Counts, and takes nothing."""

    def __init__(self, *, takes: bool) -> None:
        self.takes = takes
        self.calls = 0

    def parse_document(
        self,
        s3_file_type: str,
        last_processed_record_type: str | None,
        last_processed_doc: Document | None,
        file_reader: SystemFileReader,
    ) -> Document:
        self.calls += 1
        if self.takes:
            file_reader.next_record()
        return Document({"calls": self.calls})


def test_what_breaks_the_contract_is_a_problem() -> None:
    """Rows that depend on how often it was called, and steps without end."""
    counting = check_state_machine(Forgetful(takes=True), TALK, parsers=Turns())
    assert counting.problems[0].startswith("step at FILE:0: made again, it is another document")
    idle = check_state_machine(Forgetful(takes=False), TALK, parsers=Turns())
    assert idle.problems[-1] == "the step at FILE:0 took no record; each call has to take one with next_record()"


class Broken(Turns):
    """Has no end pattern."""

    def get_next_record_end_pattern(
        self, s3_file_type: str, next_expected_record_type: str, last_processed_doc: Document | None
    ) -> RecordParseHint:
        raise KeyError(next_expected_record_type)


@pytest.mark.parametrize("sample", [TALK, b"", b"nothing"])
def test_a_parser_that_fails_is_a_problem(sample: bytes) -> None:
    """Of whatever it is given."""
    (problem,) = check_state_machine(Talk(), sample, parsers=Broken()).problems
    assert problem.startswith("a pattern or a kind of record failed: KeyError: 'Q'")


def test_a_sample_without_a_record_is_a_problem() -> None:
    """The pattern is wrong, or the sample."""
    (problem,) = check_state_machine(Talk(), b"nothing", parsers=Turns()).problems
    assert problem == "no record in the samples: a start pattern does not occur"
