"""The steps of a state-machine reader, as outcomes; see ``feed.py`` for what a feed is.

Where it goes on, and why the step before is repeated: ``docs/design/015-state-machines.md``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from datalake_interfaces import (
    HandlerContext,
    MultipleFileStateMachineReader,
    SingleFileStateMachineParser,
    SingleFileStateMachineReader,
)
from datalake_service.catalog.rejections import Rejection
from datalake_service.catalog.tasks import TaskCounts
from datalake_service.errors import HandlerLoadError, PreconditionFailedError, StoreError
from datalake_service.handling.apply import Outcome
from datalake_service.handling.load import load_together
from datalake_service.handling.machine_files import MachineFile, Mark
from datalake_service.handling.machines import Machine, Reader
from datalake_service.handling.telling import told
from datalake_service.pipeline.feeds.feed import InputChangedError, InputFailedError
from datalake_service.pipeline.jobs.engine import HANDLER_LOGGER, MachineInput, TaskJob
from datalake_service.pipeline.sinks.sink import Origin, Refusal
from datalake_service.readers.blocks import Position
from datalake_service.readers.records import ObjectRecords
from datalake_service.storage.base import ObjectMeta

Marks = tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Classes:
    """The user's objects."""

    reader: Reader
    parsers: Mapping[str, SingleFileStateMachineParser]
    """Made of the classes that the dataset file names, by file type; ``""`` for that of a single file."""


def load_machine(job: TaskJob, source: MachineInput) -> Classes:
    """Load the classes of a task; nothing is opened yet.

    Raises:
        HandlerLoadError: One cannot be loaded.
    """
    single = "" in source.files
    wanted: list[tuple[str, type[Any]]] = [
        (job.handler.reference, SingleFileStateMachineReader if single else MultipleFileStateMachineReader),
        *((reference, SingleFileStateMachineParser) for reference in source.parsers.values()),
    ]
    reader, *parsers = load_together(wanted, folder=job.handler.folder, parameters=job.handler.parameters)
    return Classes(reader, dict(zip(source.parsers, parsers, strict=True)))


@dataclass(slots=True)
class _Opened:
    """One file of the task."""

    file: MachineFile
    parser: SingleFileStateMachineParser
    meta: ObjectMeta
    records: ObjectRecords | None = None
    shares_ends: bool = True


class _Rest(NamedTuple):
    """A place where the task can go on: between two steps. A tuple, because one is made for each step."""

    before: Marks
    """Before the last step, which is repeated."""
    after: Marks
    tally: tuple[int, int, int]
    """Documents, skips and rejections."""

    def counts(self) -> TaskCounts:
        """What became of the steps up to here."""
        return TaskCounts(sum(self.tally), *self.tally)


class MachineSteps:
    """One version of each file, read from the checkpoint on."""

    resumes = True
    pressing = False

    def __init__(self, classes: Classes, job: TaskJob, source: MachineInput) -> None:
        """Take constructed classes."""
        self._job = job
        self._source = source
        self._parsers = dict(classes.parsers)
        self._folder = job.handler.folder.resolve()
        self._machine = Machine(classes.reader, source=job.source, folder=job.handler.folder)
        self._machine_open = False
        self._opened_parsers: list[SingleFileStateMachineParser] = []
        self._files: tuple[_Opened, ...] = ()
        self._checkpoint: object = None
        self._read_before = 0
        self._rest: _Rest | None = None
        self._rest_before: _Rest | None = None
        self._took_back = False
        self._handler_notes: list[str] = []
        self._in_step = self._behind = False
        self.version: Mapping[str, Any] | None = None

    def open(self, *, checkpoint: object, version: Mapping[str, Any] | None) -> None:
        """Open reader, parsers and files; see ``Feed.open``."""
        self._checkpoint, self.version = checkpoint, version
        context = HandlerContext(
            dataset=self._job.dataset,
            task=self._job.task,
            parameters=self._job.handler.parameters,
            logger=logging.getLogger(HANDLER_LOGGER),
        )
        self._machine_open = True
        self._machine.open(context)
        names = self._names()
        parsers = self._all_parsers(tuple(names), context)
        try:
            metas = {kind: self._source.store.head(name) for kind, name in names.items()}
            found = {"files": {kind: _version(meta) for kind, meta in metas.items()}}
            if version is not None and dict(version) != found:
                raise InputChangedError
            self._files = tuple(self._opened(kind, parsers[kind], meta) for kind, meta in metas.items())
            self._begin(checkpoint)
        except PreconditionFailedError as error:
            raise InputChangedError from error
        except StoreError as error:
            raise InputFailedError(str(error)) from error
        self.version = found

    def outcomes(self) -> Iterator[Outcome]:
        """Yield what becomes of each step, and what is rejected besides; see ``Feed.outcomes``."""
        machine = self._machine
        try:
            before = self._marks()
            while machine.begin():
                found = machine.step()
                after = self._marks()
                for outcome in found[:-1]:
                    self._in_step = True
                    yield outcome
                self._rest, self._rest_before = _Rest(before, after, machine.tally()), self._rest
                self._forget(before)
                before, self._in_step = after, False
                yield found[-1]
            for rejection in machine.unreadable():
                self._behind = True
                yield rejection
        except PreconditionFailedError as error:
            raise InputChangedError from error
        except StoreError as error:
            raise InputFailedError(str(error)) from error

    @property
    def at_rest(self) -> bool:
        """Whether the task can be continued from here: not between what a step yields, nor behind the last one."""
        return not (self._in_step or self._behind)

    @property
    def position(self) -> object:
        """Where the next attempt goes on."""
        rest = self._rest_before if self._took_back else self._rest
        if rest is None:
            return self._checkpoint
        return {
            "files": self._as_json(rest.after),
            "before": self._as_json(rest.before),
            "read": str(self._read()),
        }

    @property
    def took_back(self) -> bool:
        """Whether the last rejection was taken back."""
        return self._took_back

    @property
    def notes(self) -> tuple[str, ...]:
        """What was found strange, and what ``close`` methods raised."""
        found = [note for opened in self._files if opened.records is not None for note in opened.records.notes]
        missed = [opened.file.source for opened in self._files if opened.file.missed]
        found += [f"{source}: it ended where the reader asked for another record" for source in missed]
        return (*found, *self._handler_notes)

    def origin(self) -> Origin:
        """The records of the step whose row was yielded last."""
        return Origin(self._machine.taken)

    def reject_row(self, row: Mapping[str, Any], message: str) -> Rejection:
        """Turn the row that was yielded last into a rejection."""
        return self.reject(Refusal(self.origin(), row, message))

    def reject(self, refusal: Refusal) -> Rejection:
        """Turn an earlier row into a rejection."""
        return self._machine.reject_row(refusal.row, refusal.message, refusal.origin.record)

    def leave_out(self) -> None:
        """Count an earlier row as a skip."""
        self._machine.leave_out()

    def kept(self) -> None:
        """Files forget nothing."""

    def let_go(self) -> None:
        """Close the files."""
        for opened in self._files:
            if opened.records is not None:
                opened.records.close()

    def take_back(self) -> None:
        """Go back before the step that had the rejection."""
        if self._in_step or self._behind:
            self._rest_before = self._rest
        self._took_back = True

    def counts(self) -> TaskCounts:
        """What became of the steps since ``open``."""
        size = TaskCounts(0, 0, 0, 0, max(0, self._read() - self._read_before))
        # A limit that is passed in the middle of a step ends the task before the step: what it had is met again.
        if self._took_back or (self._in_step and not self._machine_open):
            rest = self._rest_before if self._took_back else self._rest
            return rest.counts() + size if rest is not None else TaskCounts()
        return self._machine.counts() + size

    def close(self) -> None:
        """Close reader and parsers; what they raise now becomes a note."""
        for opened in self._files:
            opened.file.close()
        parsers, self._opened_parsers = self._opened_parsers, []
        for parser in parsers:
            self._close_parser(parser)
        if self._machine_open:
            self._machine_open = False
            failure = self._machine.close()
            self._handler_notes += [] if failure is None else [failure]

    # Opening -----------------------------------------------------------------------------------------------------

    def _names(self) -> dict[str, str]:
        """The object keys of the files, by file type."""
        types = self._machine.file_types()
        names = dict(self._source.files)
        if "" in names:
            names = {types[0]: names[""]}
        if set(names) != set(types):
            wants, has = ", ".join(types), ", ".join(sorted(names))
            raise HandlerLoadError(
                f"{self._job.source}: the reader wants files of the types {wants}, the line has {has}"
            )
        return dict(sorted(self._machine.resolve(names).items()))

    def _all_parsers(self, types: tuple[str, ...], context: HandlerContext) -> dict[str, SingleFileStateMachineParser]:
        """The opened parsers, by file type."""
        own = self._machine.own_parsers(types)
        named = {kind or types[0]: parser for kind, parser in self._parsers.items()}
        found: dict[str, SingleFileStateMachineParser] = {}
        for kind in types:
            parser = own.get(kind) or named.get(kind)
            if parser is None:
                how = "name its class in the dataset file, or have the reader return one"
                raise HandlerLoadError(f"no parser for files of the type {kind}: {how}")
            found[kind] = parser
            if any(parser is opened for opened in self._opened_parsers):
                continue
            self._opened_parsers.append(parser)
            try:
                parser.open(context)
            except (Exception, SystemExit) as error:
                raise HandlerLoadError(f"{type(parser).__name__}.open raised {told(error, self._folder)}") from error
        return found

    def _opened(self, kind: str, parser: SingleFileStateMachineParser, meta: ObjectMeta) -> _Opened:
        source = self._job.source if len(self._source.files) == 1 else f"{self._source.prefix}{meta.key}"
        file = MachineFile(kind, parser, name=meta.key, source=source, folder=self._folder)
        try:
            shares = bool(parser.end_is_next_start(kind))
        except (Exception, SystemExit) as error:
            name = f"{type(parser).__name__}.end_is_next_start"
            raise HandlerLoadError(f"{name} raised {told(error, self._folder)}") from error
        return _Opened(file, parser, meta, shares_ends=shares)

    def _begin(self, checkpoint: object) -> None:
        """Stand where the checkpoint says; the step before it is repeated first, for the sake of its documents."""
        self._machine.attach(tuple(opened.file for opened in self._files))
        if not isinstance(checkpoint, Mapping):
            self._stand(None)
            return
        before = checkpoint.get("before")
        if before is not None:
            self._stand(before)
            self._repeat()
        self._stand(checkpoint["files"])
        self._machine.forget_counts()
        self._read_before = int(checkpoint.get("read", 0))

    def _stand(self, places: Mapping[str, Any] | None) -> None:
        for opened in self._files:
            place = {} if places is None else places[opened.file.file_type]
            if opened.records is not None:
                opened.records.close()
            opened.records = None
            ended = bool(place.get("ended"))
            position = Position.from_json(place) if "compression" in place else None
            if not ended:
                opened.records = ObjectRecords(
                    self._source.store,
                    opened.meta,
                    source=opened.file.source,
                    position=position,
                    end_is_next_start=opened.shares_ends,
                )
            mark = Mark(
                int(place.get("offset", 0)),
                place.get("lastRecordType"),
                place.get("nextRecordType"),
                failed=bool(place.get("lastFailed")),
                ended=ended,
                broken=bool(place.get("damaged")),
            )
            opened.file.begin(opened.records, mark)

    def _repeat(self) -> None:
        """Make a step that counts already. What it fails at it failed at before."""
        try:
            if self._machine.begin():
                self._machine.step()
        except HandlerLoadError:
            pass

    # Standing ----------------------------------------------------------------------------------------------------

    def _marks(self) -> Marks:
        return tuple([opened.file.mark() for opened in self._files])

    def _forget(self, marks: Marks) -> None:
        oldest = marks if self._rest_before is None else self._rest_before.before
        for opened, mark in zip(self._files, oldest, strict=True):
            if opened.records is not None:
                opened.records.forget_before(mark.offset)

    def _as_json(self, marks: Marks) -> dict[str, Any]:
        return {
            opened.file.file_type: _mark_json(opened, mark) for opened, mark in zip(self._files, marks, strict=True)
        }

    def _read(self) -> int:
        return sum(
            opened.meta.size if opened.records is None or opened.file.ended else opened.records.read
            for opened in self._files
        )

    def _close_parser(self, parser: SingleFileStateMachineParser) -> None:
        try:
            parser.close()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code
            self._handler_notes.append(f"{type(parser).__name__}.close raised {told(error, self._folder)}")


def _version(meta: ObjectMeta) -> dict[str, Any]:
    return {"key": meta.key, "etag": meta.etag, "size": meta.size}


def _mark_json(opened: _Opened, mark: Mark) -> dict[str, Any]:
    place: dict[str, Any] = {"offset": str(mark.offset), "ended": True}
    if opened.records is not None and not mark.ended:
        position = opened.records.position(mark.offset)
        place = {} if position is None else dict(position.to_json())
    if mark.last_type is not None:
        place["lastRecordType"] = mark.last_type
    if mark.next_type is not None:
        place["nextRecordType"] = mark.next_type
    if mark.failed:
        place["lastFailed"] = True
    if mark.broken:
        place["damaged"] = True
    return place
