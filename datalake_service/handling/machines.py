"""A state-machine reader before its files: one outcome for each step, and a rejection for all that could not be used.

Every call of the reader goes through here. Knows nothing of where records come from or where rows go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from datalake_interfaces import (
    Document,
    ErrorDoc,
    FileReaderState,
    HandlerContext,
    MultipleFileStateMachineReader,
    ParseCompositeDocumentResult,
    ParseDocumentResult,
    ParseDocumentResultStatus,
    SingleFileStateMachineParser,
    SingleFileStateMachineReader,
    SkipDoc,
)
from datalake_service.catalog.rejections import Rejection, RejectionKind
from datalake_service.catalog.tasks import TaskCounts
from datalake_service.errors import HandlerLoadError
from datalake_service.handling.answers import AnswerError, settle
from datalake_service.handling.apply import Outcome, Skip, optional_text
from datalake_service.handling.asking import ask
from datalake_service.handling.error_documents import places, refused
from datalake_service.handling.machine_files import MachineFile, Step
from datalake_service.handling.rows import derived_id, flat_row
from datalake_service.handling.telling import one_line, told

Reader = SingleFileStateMachineReader | MultipleFileStateMachineReader
_SUCCESS = ParseDocumentResultStatus.SUCCESS


class Machine:
    """A reader at work. ``counts()`` always balances: one record for each outcome that ``step`` returned."""

    def __init__(self, reader: Reader, *, source: str, folder: Path | None = None) -> None:
        """Take a constructed reader.

        Args:
            reader: The reader.
            source: The stable name of what is read: the line of the manifest.
            folder: Where the user's code is, so that errors name its lines.
        """
        self._reader = reader
        self._source = source
        self._folder = folder.resolve() if folder is not None else None
        self._files: tuple[MachineFile, ...] = ()
        self._by_type: Mapping[str, MachineFile] = {}
        self._step = Step()
        self._last_doc: Document | None = None
        self._single = reader if isinstance(reader, SingleFileStateMachineReader) else None
        self._expects = _overrides(reader, "get_next_expected_record_type")
        self._documents = self._skips = self._rejections = 0

    def open(self, context: HandlerContext) -> None:
        """Call the reader's ``open``.

        Raises:
            HandlerLoadError: It failed.
        """
        self._ask(self._reader.open, context)

    def file_types(self) -> tuple[str, ...]:
        """The kinds of files that the reader wants, sorted.

        Raises:
            HandlerLoadError: The reader failed, or its answer cannot be used.
        """
        reader = self._reader
        if isinstance(reader, SingleFileStateMachineReader):
            types: object = {self._ask(reader.get_s3_file_type)}
            name = "get_s3_file_type"
        else:
            types, name = self._ask(reader.get_s3_file_types), "get_s3_file_types"
        if not isinstance(types, set | frozenset | list | tuple) or not types:
            raise HandlerLoadError(f"{self._name(name)} returned {type(types).__name__}; return a set of file types")
        if not all(isinstance(item, str) and item for item in types):
            raise HandlerLoadError(f"{self._name(name)} names a file type that is no text")
        return tuple(sorted(types))

    def resolve(self, names: Mapping[str, str]) -> dict[str, str]:
        """Return the object keys for the names of a line, by file type.

        Raises:
            HandlerLoadError: The reader failed, or its answer cannot be used.
        """
        reader = self._reader
        if isinstance(reader, SingleFileStateMachineReader):
            name = "get_resolved_s3_file_name"
            keys: object = {
                kind: self._ask(reader.get_resolved_s3_file_name, kind, item) for kind, item in names.items()
            }
        else:
            name = "get_resolved_s3_file_names"
            keys = self._ask(reader.get_resolved_s3_file_names, dict(names))
        if not isinstance(keys, Mapping):
            raise HandlerLoadError(
                f"{self._name(name)} returned {type(keys).__name__}, not a mapping of file types to keys"
            )
        for kind in names:
            if not isinstance(keys.get(kind), str) or not keys[kind]:
                raise HandlerLoadError(f"{self._name(name)} returned no object key for {kind}")
        return {kind: keys[kind] for kind in names}

    def own_parsers(self, file_types: tuple[str, ...]) -> dict[str, SingleFileStateMachineParser]:
        """The parsers that the reader brings itself, by file type.

        Raises:
            HandlerLoadError: The reader failed, or its answer cannot be used.
        """
        reader = self._reader
        if isinstance(reader, SingleFileStateMachineReader):
            name = "get_reader_parser_interfaces_for_s3_file_type"
            given: object = {
                kind: self._ask(reader.get_reader_parser_interfaces_for_s3_file_type, kind) for kind in file_types
            }
        else:
            name = "get_parser_interfaces_for_s3_file_types"
            given = self._ask(reader.get_parser_interfaces_for_s3_file_types, frozenset(file_types))
        parsers = (
            {kind: parser for kind, parser in given.items() if parser is not None} if isinstance(given, Mapping) else {}
        )
        if not isinstance(given, Mapping) or not all(
            isinstance(item, SingleFileStateMachineParser) for item in parsers.values()
        ):
            raise HandlerLoadError(f"{self._name(name)} returned something else than a SingleFileStateMachineParser")
        return parsers

    def attach(self, files: tuple[MachineFile, ...]) -> None:
        """Read these files, which have begun; in the order of their types."""
        self._files = files
        self._by_type = {file.file_type: file for file in files}

    def close(self) -> str | None:
        """Call the reader's ``close``; returns what it raised, as a line: the rows are safe, so it fails nothing."""
        try:
            self._reader.close()
        except (Exception, SystemExit) as error:
            return f"{self._name('close')} raised {told(error, self._folder)}"
        return None

    def begin(self) -> bool:
        """Whether there is another step: a file has another record.

        Raises:
            HandlerLoadError: A parser or the reader does not say what to look for.
            StoreError: The input cannot be read.
        """
        step = self._step = Step()
        for file in self._files:
            file.step = step
        if self._expects:
            expected = self._expected()
            for file in self._files:
                file.expect(expected.get(file.file_type))
        for file in self._files:  # noqa: SIM110 - once for each step: a generator would cost as much as what it asks
            if file.look_ahead():
                return True
        return False

    def unreadable(self) -> list[Rejection]:
        """After the last step: what could not be read where it ended."""
        found, self._step.unreadable = self._step.unreadable, []
        self._rejections += len(found)
        return found

    def step(self) -> list[Outcome]:
        """Make the step that ``begin`` found: what was rejected besides, and last what became of it.

        Raises:
            HandlerLoadError: The reader took no record: it would be called for ever.
            StoreError: The input cannot be read.
        """
        step = self._step
        document, errors = self._answered(step)
        outcome: Outcome
        try:
            outcome = flat_row(document) if type(document) is Document else self._settled(document, step)
        except Exception as error:  # methods of the user's mappings and texts run here
            outcome = self._rejection(RejectionKind.TRANSFORM, self._reason(error))
        if type(outcome) is dict:
            self._documents += 1
            if outcome.get("id") is None:
                file, offset, _ = step.taken[0]
                outcome["id"] = derived_id(file.ids, offset)
        elif type(outcome) is Skip:
            self._skips += 1
        else:
            self._rejections += 1
            self._last_doc = None
            return [*self._besides(step, document, errors), outcome]
        self._last_doc = document if isinstance(document, Document) else None
        if step.unreadable or step.failed or errors:
            return [*self._besides(step, document, errors), outcome]
        return [outcome]

    def forget_counts(self) -> None:
        """What was done so far was a repetition; only its last document counts."""
        self._documents = self._skips = self._rejections = 0

    @property
    def taken(self) -> object:
        """The records of the last step; for ``reject_row``, much later perhaps."""
        return self._step.taken

    def reject_row(self, row: Mapping[str, Any], message: str, taken: object) -> Rejection:
        """Return the rejection of a row that ``step`` yielded and that cannot be stored; moves it in the counts."""
        self._documents -= 1
        self._rejections += 1
        assert isinstance(taken, list)  # what ``taken`` was
        return replace(self._rejection(RejectionKind.WRITE, message, taken), document=row)

    def leave_out(self) -> None:
        """Count an earlier row as a skip."""
        self._documents -= 1
        self._skips += 1

    def tally(self) -> tuple[int, int, int]:
        """Documents, skips and rejections so far."""
        return self._documents, self._skips, self._rejections

    def counts(self) -> TaskCounts:
        """What became of the steps, and of what was rejected besides."""
        tally = self.tally()
        return TaskCounts(sum(tally), *tally)

    # Inside ------------------------------------------------------------------------------------------------------

    def _expected(self) -> Mapping[str, str | None]:
        reader = self._reader
        name = self._name("get_next_expected_record_type")
        if isinstance(reader, SingleFileStateMachineReader):
            (file,) = self._files
            kinds: object = {
                file.file_type: self._ask(
                    reader.get_next_expected_record_type, file.file_type, file.get_last_record_type()
                )
            }
        else:
            kinds = self._ask(reader.get_next_expected_record_type, self._last_types())
        if not isinstance(kinds, Mapping) or not all(kind is None or isinstance(kind, str) for kind in kinds.values()):
            raise HandlerLoadError(f"{name} returned something else than kinds of records, as text")
        return kinds

    def _last_types(self) -> dict[str, str | None]:
        return {file.file_type: file.get_last_record_type() for file in self._files}

    def _answered(self, step: Step) -> tuple[object, list[ErrorDoc]]:
        """Call the reader; returns its document (or what is wrong with its answer), and further error documents."""
        problem: str | None = None
        answer: object = None
        try:
            if self._single is not None:
                file = self._files[0]
                answer = self._single.parse_document(file.file_type, file.get_last_record_type(), self._last_doc, file)
            else:
                answer = self._answer_of_several()
        except (Exception, SystemExit) as error:
            problem = f"{self._name('parse_document')} raised {told(error, self._folder)}"
        if step.failure is not None:  # whatever the reader made of it
            raise step.failure
        if not step.taken:
            places = "|".join(f"{file.file_type}:{file.get_offset_bytes()}" for file in self._files)
            how = problem or f"{self._name('parse_document')} took no record at {places}"
            raise HandlerLoadError(f"{how}; each call has to take a record with next_record(), or it is made for ever")
        if problem is not None:
            return self._rejection(RejectionKind.PARSE, problem), []
        if type(answer) is ParseCompositeDocumentResult:
            return self._composite(answer)
        return (answer, []) if type(answer) is Document else (_unwrapped(answer), [])

    def _answer_of_several(self) -> object:
        assert isinstance(self._reader, MultipleFileStateMachineReader)  # the only other one
        return self._reader.parse_document(self._last_types(), self._last_doc, self._by_type)

    def _composite(self, answer: ParseCompositeDocumentResult) -> tuple[object, list[ErrorDoc]]:
        errors = list(answer.error_documents)
        if str(getattr(answer.reader_state, "value", answer.reader_state)).upper() == FileReaderState.COMPLETED:
            for file in self._files:
                file.end()
        if not all(isinstance(document, ErrorDoc) for document in errors):
            message = "parse_document returned an error document that is no ErrorDoc"
            return self._rejection(RejectionKind.TRANSFORM, message), []
        return _unwrapped(ParseDocumentResult(None, answer.document, answer.status)), errors

    def _settled(self, answer: object, step: Step) -> Outcome:
        if isinstance(answer, Rejection):
            return answer
        document = settle(answer, method="parse_document")
        if isinstance(document, SkipDoc):
            return Skip(optional_text(document.skip_message))
        if not isinstance(document, ErrorDoc):
            return flat_row(document)
        known = next((rejection for failed, rejection in step.failed if failed is document), None)
        return known or self._refused(document)

    def _besides(self, step: Step, document: object, errors: list[ErrorDoc]) -> list[Rejection]:
        """What was rejected in a step besides its outcome."""
        of_parsers = [failed for failed, _ in step.failed]
        found = [
            *step.unreadable,
            *(rejection for failed, rejection in step.failed if failed is not document),
            *(self._refused(error) for error in errors if not any(error is failed for failed in of_parsers)),
        ]
        self._rejections += len(found)
        return found

    def _refused(self, document: ErrorDoc) -> Rejection:
        message = optional_text(document.error_message) or "the reader answered with an error document"
        base = self._rejection(RejectionKind.PARSE, message)
        return refused(document, base, file_types=tuple(self._by_type))

    def _rejection(
        self, kind: RejectionKind, message: str, taken: list[tuple[MachineFile, int, bytes]] | None = None
    ) -> Rejection:
        """A rejection of all records of a step."""
        taken = self._step.taken if taken is None else taken
        starts: dict[str, int] = {}
        ends: dict[str, int] = {}
        for file, offset, data in taken:
            starts.setdefault(file.file_type, offset)
            ends[file.file_type] = offset + len(data)
        return Rejection(
            source=self._source,
            start_offset=places(starts, alone=len(self._files) == 1),
            end_offset=places(ends, alone=len(self._files) == 1),
            kind=kind,
            message=one_line(message),
            data=b"".join(data for _, _, data in taken),
        )

    def _reason(self, error: Exception) -> str:
        return str(error) if isinstance(error, AnswerError) else told(error, self._folder)

    def _ask(self, method: Callable[..., object], *arguments: object) -> object:
        name = getattr(method, "__name__", "a method")
        return ask(method, *arguments, name=self._name(name), folder=self._folder)

    def _name(self, method: str) -> str:
        return f"{type(self._reader).__name__}.{method}"


def _unwrapped(answer: object) -> object:
    """The document of a result that says nothing else: it may be the one that a parser answered with."""
    if isinstance(answer, ParseDocumentResult):
        document = answer.document
        if isinstance(document, ErrorDoc | SkipDoc) or (answer.status is _SUCCESS and isinstance(document, Document)):
            return document
    return answer


def _overrides(reader: Reader, method: str) -> bool:
    """Whether a reader has a method of its own: the default says nothing, and need not be asked for each step."""
    base = (
        SingleFileStateMachineReader
        if isinstance(reader, SingleFileStateMachineReader)
        else MultipleFileStateMachineReader
    )
    return getattr(type(reader), method) is not getattr(base, method)
