"""Files of a sample for a state machine, in memory: the rules of its interfaces, said plainly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from datalake_interfaces._checks import settled, told
from datalake_interfaces.composites import FileReaderState
from datalake_interfaces.context import HandlerContext
from datalake_interfaces.documents import Document, ErrorDoc, SkipDoc
from datalake_interfaces.model import ParseDocumentResult, ParseDocumentResultStatus, RecordHintType, RecordParseHint
from datalake_interfaces.readers.parsers import (
    MultipleFileStateMachineReader,
    SingleFileStateMachineParser,
    SingleFileStateMachineReader,
)

_State = tuple[int, str | None, Document | None, str | None, bool]


class MachineError(Exception):
    """The machine cannot go on; the text says why."""


class SampleFile:
    """A ``SystemFileReader`` over bytes."""

    def __init__(self, file_type: str, name: str, data: bytes, parser: SingleFileStateMachineParser) -> None:
        """Begin at the first byte."""
        self.errors: list[str] = []
        """Records that the parser failed at, since this was cleared."""
        self._file_type = file_type
        self._name = name
        self._data = data
        self._parser = parser
        self._shares = parser.end_is_next_start(file_type)
        self._state: _State = (0, None, None, None, False)

    @property
    def state(self) -> _State:
        """Where it stands, to be gone back to."""
        return self._state

    @state.setter
    def state(self, state: _State) -> None:
        self._state = state

    def has_more(self) -> bool:
        """Whether there is another record."""
        return self._found() is not None

    def expect(self, kind: str | None) -> None:
        """The reader wants this kind next."""
        if kind is not None:
            at, last_type, last_doc, _, ended = self._state
            self._state = (at, last_type, last_doc, kind, ended)

    def next_record(self, *, peek: bool = False) -> ParseDocumentResult | None:
        """See ``SystemFileReader``."""
        found = self._found()
        if found is None:
            if not peek:
                self._state = (*self._state[:4], True)
            return None
        kind, begin, end, after = found
        result, error = self._parsed(begin, self._data[begin:end])
        if not peek:
            if error is not None:
                self.errors.append(f"{self._file_type} record at byte {begin}: {error}")
            self._state = (after, kind, result.document, result.next_record_type, False)
        return result

    def get_state(self) -> FileReaderState:
        """See ``SystemFileReader``."""
        if self._state[4]:
            return FileReaderState.COMPLETED
        return FileReaderState.CREATED if self._state[1] is None else FileReaderState.PROCESSING

    def get_offset_bytes(self) -> str:
        """See ``SystemFileReader``."""
        return str(self._state[0])

    def get_file_type(self) -> str:
        """See ``SystemFileReader``."""
        return self._file_type

    def get_file_name(self) -> str:
        """See ``SystemFileReader``."""
        return self._name

    def get_last_record_type(self) -> str | None:
        """See ``SystemFileReader``."""
        return self._state[1]

    def _found(self) -> tuple[str, int, int, int] | None:
        """The next record: its kind, its first byte, the one behind its last, and where the search goes on."""
        at, last_type, last_doc, next_type, _ = self._state
        try:
            return self._search(at, last_type, last_doc, next_type)
        except MachineError:
            if not isinstance(last_doc, ErrorDoc):
                raise
            return self._search(at, None, None, None)  # as the service does: the cycle begins again

    def _search(
        self, at: int, last_type: str | None, last_doc: Document | None, kind: str | None
    ) -> tuple[str, int, int, int] | None:
        parser, data = self._parser, self._data
        try:
            kind = kind or parser.get_next_expected_record_type(self._file_type, last_type)
            if kind is None:
                return None
            start = parser.get_next_record_start_pattern(self._file_type, kind, last_doc)
            end = parser.get_next_record_end_pattern(self._file_type, kind, last_doc)
        except Exception as error:
            raise MachineError(f"a pattern or a kind of record failed: {told(error)}") from error
        for hint in (start, end):
            if not isinstance(hint, RecordParseHint):
                raise MachineError(f"a pattern is {type(hint).__name__}, not RecordParseHint")
        by_pattern = start.record_hint_type is RecordHintType.PATTERN
        begin = data.find(start.pattern_bytes, at) if by_pattern else at + (start.offset or 0)
        if not 0 <= begin < len(data):
            return None
        if end.record_hint_type is RecordHintType.OFFSET:
            if not end.offset:
                raise MachineError("an OFFSET of 0 as the end makes every record empty; it has to be 1 or more")
            stop = min(len(data), begin + end.offset)
            return kind, begin, stop, stop
        lead = len(start.pattern_bytes) if by_pattern else int(self._shares and not start.offset)
        hit = data.find(end.pattern_bytes, begin + lead)
        stop = hit + len(end.pattern_bytes) if hit >= 0 else len(data)
        return kind, begin, stop, hit if self._shares and hit >= 0 else stop

    def _parsed(self, begin: int, record: bytes) -> tuple[ParseDocumentResult, str | None]:
        """What the parser makes of a record, and what is wrong with it."""
        _, last_type, last_doc, _, _ = self._state
        next_type: str | None = None
        try:
            answer: object = self._parser.parse_document(
                self._file_type, self._name, begin, record, 0, len(record), last_type, last_doc
            )
        except Exception as error:
            document: Document | str = ErrorDoc(error_message=told(error))
        else:
            document = settled(answer)
            next_type = answer.next_record_type if isinstance(answer, ParseDocumentResult) else None
        if isinstance(document, str):
            document = ErrorDoc(error_message=document)
        if isinstance(document, ErrorDoc):
            result = ParseDocumentResult(next_type, document, ParseDocumentResultStatus.ERROR)
            return result, document.error_message or "no message given"
        skipped = isinstance(document, SkipDoc)
        status = ParseDocumentResultStatus.SKIP if skipped else ParseDocumentResultStatus.SUCCESS
        return ParseDocumentResult(next_type, document, status), None


Reader = SingleFileStateMachineReader | MultipleFileStateMachineReader


def files_of(
    reader: Reader,
    samples: Mapping[str, tuple[bytes, str]],
    parsers: Mapping[str, SingleFileStateMachineParser],
    context: HandlerContext,
) -> tuple[dict[str, SampleFile], list[SingleFileStateMachineParser]]:
    """Open parsers and files, by type; type ``""`` stands for the only one.

    Raises:
        MachineError: Files or parsers are missing.
    """
    if isinstance(reader, SingleFileStateMachineReader):
        kind = reader.get_s3_file_type()
        own = {kind: reader.get_reader_parser_interfaces_for_s3_file_type(kind)}
        samples = {name or kind: sample for name, sample in samples.items()}
        kinds = {kind}
    else:
        kinds = set(reader.get_s3_file_types())
        own = dict(reader.get_parser_interfaces_for_s3_file_types(frozenset(kinds)))
    if kinds != set(samples):
        raise MachineError(f"the reader wants files of the types {sorted(kinds)}, the samples are {sorted(samples)}")
    files: dict[str, SampleFile] = {}
    opened: list[SingleFileStateMachineParser] = []
    for kind, (data, name) in sorted(samples.items()):
        parser = own.get(kind) or parsers.get(kind) or parsers.get("")
        if parser is None:
            raise MachineError(f"there is no parser for files of the type {kind}")
        if not any(parser is other for other in opened):
            opened.append(parser)
            parser.open(context)
        files[kind] = SampleFile(kind, name, data, parser)
    return files, opened


def steps(reader: Reader, files: Mapping[str, SampleFile]) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield each step: where it begins, and what makes it; it may be made twice, the second time counts.

    Raises:
        MachineError: The machine cannot go on.
    """
    last_doc: Document | None = None
    while True:
        place = "|".join(f"{kind}:{file.get_offset_bytes()}" for kind, file in files.items())
        last_types = {kind: file.get_last_record_type() for kind, file in files.items()}
        if isinstance(reader, SingleFileStateMachineReader):
            (kind, file), *_ = files.items()
            file.expect(reader.get_next_expected_record_type(kind, last_types[kind]))
        else:
            expected = reader.get_next_expected_record_type(last_types)
            for kind, file in files.items():
                file.expect(expected.get(kind))
        if not any([file.has_more() for file in files.values()]):  # noqa: C419 - each of them looks
            return
        before = {kind: file.state for kind, file in files.items()}
        answers: list[object] = []
        yield place, partial(_made, answers, reader, files, before, last_types, last_doc)
        if all(file.get_offset_bytes() == str(before[kind][0]) for kind, file in files.items()):
            raise MachineError(f"the step at {place} took no record; each call has to take one with next_record()")
        answer = answers[0] if answers else None
        document = getattr(answer, "document", answer)
        last_doc = document if isinstance(document, Document) and not isinstance(document, ErrorDoc) else None
        if str(getattr(answer, "reader_state", "")).upper() == FileReaderState.COMPLETED:
            return


def _made(
    answers: list[object],
    reader: Reader,
    files: Mapping[str, SampleFile],
    before: Mapping[str, _State],
    last_types: Mapping[str, str | None],
    last_doc: Document | None,
) -> object:
    for kind, file in files.items():
        file.state = before[kind]
        file.errors.clear()
    answers.clear()
    if isinstance(reader, SingleFileStateMachineReader):
        (kind, file), *_ = files.items()
        answers.append(reader.parse_document(kind, last_types[kind], last_doc, file))
    else:
        answers.append(reader.parse_document(last_types, last_doc, dict(files)))
    return answers[0]
