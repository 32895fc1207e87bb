"""Try a handler on a sample and check its contract. Needs no test framework, no service and nothing installed.

    report = check_parser(LogParser(), Path("sample.log.gz"))
    print(report)
    assert report.ok

A **problem** breaks the contract: the service would reject the answer or store something else than was meant. An
**error** keeps it: the handler raised or answered ``ErrorDoc``, and the service would keep the record as a rejection.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from datalake_interfaces._checks import RowChecks, flat, settled, told
from datalake_interfaces._loops import limited, run, settle
from datalake_interfaces._machines import MachineError, SampleFile, files_of, steps
from datalake_interfaces._records import RecordReader, arguments, method_of
from datalake_interfaces._samples import Sample, read_sample, records
from datalake_interfaces._vectors import Lengths, VectorError, answer_of
from datalake_interfaces.annotators import Annotation, Annotator, DataItem
from datalake_interfaces.composites import ParseCompositeDocumentResult
from datalake_interfaces.context import HandlerContext
from datalake_interfaces.documents import Document, ErrorDoc, SkipDoc
from datalake_interfaces.generators import Generator
from datalake_interfaces.model import ParseDocumentResult, RecordParseHint
from datalake_interfaces.readers.parsers import (
    MultipleFileStateMachineReader,
    SingleFileParser,
    SingleFileStateMachineParser,
    SingleFileStateMachineReader,
)
from datalake_interfaces.readers.sagemaker import SagemakerVectorsInterface
from datalake_interfaces.vectors import VectorModel


@dataclass(slots=True)
class Report:
    """What a handler did with a sample. ``print`` it."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    """What would be stored: the rows of documents (without ids that the service would derive), or the columns of
    annotations."""
    skips: list[str] = field(default_factory=list)
    """What was left out, and why: ``record at byte 40: too short``."""
    errors: list[str] = field(default_factory=list)
    """What failed, and where; it would become rejections."""
    problems: list[str] = field(default_factory=list)
    """What breaks the contract, in words."""

    @property
    def ok(self) -> bool:
        """Whether the contract holds; errors and skips are allowed."""
        return not self.problems

    def __str__(self) -> str:
        """Counts, then problems and errors, a line for each."""
        counts = f"{len(self.rows)} rows, {len(self.skips)} skips, {len(self.errors)} errors, "
        lines = [f"{counts}{len(self.problems)} problems"]
        lines += [f"problem: {problem}" for problem in self.problems]
        lines += [f"error: {error}" for error in self.errors]
        return "\n".join(lines)


def check_parser(
    parser: SingleFileParser,
    sample: bytes | str | os.PathLike[str],
    *,
    file_name: str | None = None,
    context: HandlerContext | None = None,
) -> Report:
    """Run a parser over a sample as the service would, and check what it promises.

    Each record is parsed three times: again, because a task that resumes has to make the same rows; and as a part of a
    larger buffer, because ``start_index`` and ``end_index`` are to be used.

    Args:
        parser: A constructed parser.
        sample: The bytes of a file, decompressed; or the path of one, which may end in ``.gz`` or ``.bz2``.
        file_name: What the parser is told that the file is called; by default, the name of the sample.
        context: What ``open`` gets.
    """
    report = Report()
    data, name = read_sample(sample)
    try:
        parser.open(context or HandlerContext())
        try:
            _parse(parser, data, file_name or name, report)
        finally:
            parser.close()
    except Exception as error:
        report.problems.append(f"open, close or a pattern failed: {told(error)}")
    return report


def check_state_machine(
    reader: SingleFileStateMachineReader | MultipleFileStateMachineReader,
    samples: Sample | Mapping[str, Sample],
    *,
    parsers: SingleFileStateMachineParser | Mapping[str, SingleFileStateMachineParser] | None = None,
    context: HandlerContext | None = None,
) -> Report:
    """Run a state machine over samples as the service would, and check what it promises.

    Each step is made twice, because a task that resumes has to make the same rows.

    Args:
        reader: A constructed reader.
        samples: The bytes of a file, decompressed, or the path of one; of several files, by file type.
        parsers: Constructed parsers, for several kinds of files by file type; those that the reader brings come first.
        context: What ``open`` gets.
    """
    report = Report()
    context = context or HandlerContext()
    given = samples if isinstance(samples, Mapping) else {"": samples}
    named = parsers if isinstance(parsers, Mapping) else {} if parsers is None else {"": parsers}
    opened: list[SingleFileStateMachineParser] = []
    try:
        reader.open(context)
        try:
            files, opened = files_of(
                reader, {kind: read_sample(sample) for kind, sample in given.items()}, named, context
            )
            _make_steps(reader, files, report)
        finally:
            for closing in (*opened, reader):
                closing.close()
    except MachineError as error:
        report.problems.append(str(error))
    except Exception as error:
        report.problems.append(f"open, close or a name failed: {told(error)}")
    return report


def check_reader(reader: RecordReader, samples: Iterable[object], *, context: HandlerContext | None = None) -> Report:
    """Run the reader of a queue, a stream or a table over records as the service would, and check what it promises.

    Each record is parsed twice, because it may be delivered twice, and the rows have to be equal.

    Args:
        reader: A constructed reader.
        samples: The records. For each the body of a message, the data of a Kinesis record, the new image of a change,
            the item of a table; or a mapping of arguments by their names. The others are made up.
        context: What ``open`` gets.
    """
    report, checks = Report(), RowChecks()
    method: Callable[..., object] = getattr(reader, method_of(reader))
    try:
        reader.open(context or HandlerContext())
        try:
            for number, sample in enumerate(samples):
                _parse_record(method, arguments(reader, sample, number), f"record {number}", checks, report)
        finally:
            reader.close()
    except Exception as error:
        report.problems.append(f"open or close failed: {told(error)}")
    report.problems += checks.problems
    return report


def check_vectors(
    handler: SagemakerVectorsInterface,
    documents: Iterable[Mapping[str, Any]],
    *,
    model: VectorModel | None = None,
    context: HandlerContext | None = None,
) -> Report:
    """Take documents through a step that makes vectors, as the service would, and check what it promises.

    Each document is made twice, because both methods are called at least once, and the rows have to be equal.

    Args:
        handler: A constructed handler.
        documents: Flat records, as they would be written.
        model: A constructed model; by default one that counts characters and words.
        context: What ``open`` of both gets.
    """
    report, checks, context = Report(), RowChecks(), context or HandlerContext()
    model = model or Lengths()
    make = partial(answer_of, handler, model)
    try:
        handler.open(context)
        model.open(context)
        try:
            for number, document in enumerate(documents):
                _parse_record(make, [document], f"document {number}", checks, report)
        finally:
            handler.close()
            model.close()
    except Exception as error:
        report.problems.append(f"open or close failed: {told(error)}")
    report.problems += checks.problems
    return report


def check_generator(generator: Generator, *, limit: int = 1000, context: HandlerContext | None = None) -> Report:
    """Take the first rows of a generator and check that they can be stored.

    Args:
        generator: A constructed generator.
        limit: How many rows to take.
        context: What ``open`` gets.
    """
    report = Report()
    run(_generate(generator, limit, context or HandlerContext(), report))
    return report


def check_annotator(
    annotator: Annotator, rows: Iterable[Mapping[str, Any] | DataItem], *, context: HandlerContext | None = None
) -> Report:
    """Annotate some rows, one after the other, and check the answers.

    Args:
        annotator: A constructed annotator.
        rows: The columns it asks for, as mappings or as items.
        context: What ``open`` gets.
    """
    report = Report()
    items = [
        row if isinstance(row, DataItem) else DataItem(dict(row), str(row.get("id", number)), "sample")
        for number, row in enumerate(rows)
    ]
    run(_annotate(annotator, items, context or HandlerContext(), report))
    return report


def _parse(parser: SingleFileParser, data: bytes, name: str, report: Report) -> None:
    checks = RowChecks()
    file_type: Any = parser.get_s3_file_type()  # Any: what the handler returns is not trusted
    key: Any = parser.get_resolved_s3_file_name(file_type, name)
    for method, text in (("get_s3_file_type", file_type), ("get_resolved_s3_file_name", key)):
        if not isinstance(text, str):
            report.problems.append(f"{method} returned {type(text).__name__}, not str")
    hints: Any = parser.get_record_start_pattern(file_type), parser.get_record_end_pattern(file_type)
    for hint in hints:
        if not isinstance(hint, RecordParseHint):
            report.problems.append(f"a pattern is {type(hint).__name__}, not RecordParseHint")
            return
    found = 0
    for offset, record in records(data, *hints):
        found += 1
        place = f"record at byte {offset}"
        try:
            answer: object = parser.parse_document(file_type, key, offset, record, 0, len(record))
        except Exception as error:
            report.errors.append(f"{place}: {told(error)}")
            continue
        if _add(report, checks, answer, place, dicts=False):
            _compare(parser, (file_type, key, offset, record), answer, place, report)
    if data and not found:
        report.problems.append(f"no record in {len(data)} bytes: the start pattern {hints[0].pattern!r} does not occur")
    report.problems += checks.problems


def _compare(
    parser: SingleFileParser, call: tuple[str, str, int, bytes], answer: object, place: str, report: Report
) -> None:
    """Parse a record again, and as a part of a larger buffer."""
    file_type, key, offset, record = call
    edge = b"\xff" * 7
    try:
        again = parser.parse_document(file_type, key, offset, record, 0, len(record))
        if not _same(again, answer):
            report.problems.append(f"{place}: parsed again, it is another document: a task that resumes has other rows")
            return
        within = parser.parse_document(file_type, key, offset, edge + record + edge, len(edge), len(edge) + len(record))
        same = _same(within, answer)
    except Exception as error:
        report.problems.append(f"{place}: parsed again, it raised {told(error)}; use start_index and end_index")
        return
    if not same:
        report.problems.append(f"{place}: start_index and end_index are not used: the record may be part of byte_arr")


def _make_steps(
    reader: SingleFileStateMachineReader | MultipleFileStateMachineReader, files: dict[str, SampleFile], report: Report
) -> None:
    checks, found = RowChecks(), 0
    for where, make in steps(reader, files):
        found += 1
        place = f"step at {where}"
        try:
            first, again = make(), make()
        except MachineError:
            raise
        except Exception as error:
            report.errors.append(f"{place}: {told(error)}")
            continue
        for file in files.values():
            report.errors += file.errors
        if not _same(first, again):
            report.problems.append(f"{place}: made again, it is another document: a task that resumes has other rows")
        if isinstance(again, ParseCompositeDocumentResult):
            report.errors += [f"{place}: {document.error_message}" for document in again.error_documents]
            again = ParseDocumentResult(None, again.document, again.status)
        _add(report, checks, again, place, dicts=False)
    if not found:
        report.problems.append("no record in the samples: a start pattern does not occur")
    report.problems += checks.problems


def _parse_record(
    method: Callable[..., object], record: list[Any], place: str, checks: RowChecks, report: Report
) -> None:
    try:
        answer = method(*record)
        again = method(*record)
    except VectorError as error:
        report.problems.append(f"{place}: {error}")
        return
    except Exception as error:
        report.errors.append(f"{place}: {told(error)}")
        return
    if _add(report, checks, answer, place, dicts=False) and not _same(again, answer):
        report.problems.append(f"{place}: parsed again, it is another document: delivered twice, it makes two rows")


def _is_mapping(payload: object) -> bool:
    return isinstance(payload, Mapping)


def _same(one: object, other: object) -> bool:
    return one == other or repr(one) == repr(other)  # not-a-number is not equal to itself


def _add(report: Report, checks: RowChecks, answer: object, place: str, *, dicts: bool) -> bool:
    """Put one answer where it belongs; ``False`` if it is none that a handler may give."""
    if dicts and isinstance(answer, dict):
        document: Document | str = Document(answer)
    else:
        document = settled(answer)
    if isinstance(document, str):
        report.problems.append(f"{place}: {document}")
    elif isinstance(document, SkipDoc):
        report.skips.append(f"{place}: {document.skip_message or 'no reason given'}")
    elif isinstance(document, ErrorDoc):
        report.errors.append(f"{place}: {document.error_message or 'no message given'}")
    elif not _is_mapping(document.document_key_values_map):
        report.problems.append(f"{place}: document_key_values_map is no mapping")
    else:
        row = flat(document)
        checks.look_at(row, place)
        report.rows.append(row)
    return not isinstance(document, str)


async def _annotate(annotator: Annotator, items: list[DataItem], context: HandlerContext, report: Report) -> None:
    checks = RowChecks(own_columns=True)
    try:
        await settle(annotator.open(context))
        try:
            for item in items:
                await _annotate_one(annotator, item, checks, report)
        finally:
            await settle(annotator.close())
    except Exception as error:
        report.problems.append(f"open or close failed: {told(error)}")
    report.problems += checks.problems


async def _annotate_one(annotator: Annotator, item: DataItem, checks: RowChecks, report: Report) -> None:
    place = f"row {item.id}"
    try:
        answer = await settle(annotator.annotate(item))
    except Exception as error:
        report.errors.append(f"{place}: {told(error)}")
        return
    columns = answer.data if isinstance(answer, Annotation) else answer
    if isinstance(answer, SkipDoc):
        report.skips.append(f"{place}: {answer.skip_message or 'no reason given'}")
    elif isinstance(answer, ErrorDoc):
        report.errors.append(f"{place}: {answer.error_message or 'no message given'}")
    elif isinstance(columns, Mapping):
        checks.look_at(columns, place)
        report.rows.append(dict(columns))
    else:
        found = f"an Annotation of {type(columns).__name__}" if columns is not answer else type(answer).__name__
        report.problems.append(f"{place}: annotate returned {found}; return an Annotation, a SkipDoc or an ErrorDoc")


async def _generate(generator: Generator, limit: int, context: HandlerContext, report: Report) -> None:
    checks, taken = RowChecks(), 0
    try:
        generator.open(context)
        try:
            async for row in limited(generator.generate(), limit):
                _add(report, checks, row, f"row {taken}", dicts=True)
                taken += 1
        finally:
            generator.close()
    except Exception as error:
        report.problems.append(f"generate failed after {taken} rows: {told(error)}")
    report.problems += checks.problems
