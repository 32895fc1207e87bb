"""What each process does until it is killed: the product's public functions, and a journal of what they promised.

A process that is told to finish ends when its part is done.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datalake_interfaces import Annotation, DataItem, SkipDoc
from datalake_service import S3DataTool
from datalake_service.catalog.datasets import RunStatus
from datalake_service.config.load import load_dataset
from datalake_service.engines.local import LocalEngine
from datalake_service.errors import (
    AnnotationLockError,
    DatasetNotFoundError,
    DatasetNotMergedError,
    LeaseLostError,
    MergeError,
    OutcomeUnknownError,
    StoreUnavailableError,
)
from datalake_service.pipeline.runs.run import run_dataset
from datalake_service.pipeline.upkeep.fsck import check_dataset
from datalake_service.pipeline.upkeep.fsck_findings import FindingKind
from datalake_service.storage import ObjectStore, open_store
from tests.processes.journal import Journal, read_lives
from tests.support.tasks import LINES, write_module

DATASET, ANNOTATOR = "posts", "lang"
LOCK_MS = 4_000
CONCURRENCY = 4
ANSWERS_IN_CHUNK = 4
WEATHER = (StoreUnavailableError, OutcomeUnknownError, LeaseLostError, MergeError)
"""What may happen to anybody in a storm: it is said, and tried again."""
NOTHING_YET = (DatasetNotFoundError, DatasetNotMergedError)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the storm is."""

    uri: str
    folder: Path
    """For journals, and for the input of tasks."""
    seed: int
    options: dict[str, str] = field(default_factory=dict)
    """How to reach the lake."""

    @property
    def shared(self) -> bool:
        """Whether annotators share their work, or take turns."""
        return self.seed % 2 == 1

    def tool(self) -> S3DataTool:
        """The lake."""
        return S3DataTool(self.uri, **self.options)


@dataclass(frozen=True, slots=True)
class Work:
    """What a process knows."""

    place: Place
    actor: str
    number: int
    finish: bool
    tool: S3DataTool
    journal: Journal
    random: random.Random

    async def pause(self, longest: float) -> None:
        """Wait a little."""
        await asyncio.sleep(self.random.uniform(0, longest))

    def note(self, error: Exception) -> None:
        """Say what went wrong, and might have."""
        self.journal.write("error", kind=type(error).__name__, text=str(error))

    def past(self, event: str) -> list[dict[str, Any]]:
        """What this actor said in earlier lives, and in this one."""
        return [line for life in read_lives(self.place.folder, self.actor) for line in life.all(event)]


# Writers ---------------------------------------------------------------------------------------------


async def write_with_ids(work: Work) -> None:
    """Rows that bring their ids, the same again until they are acknowledged."""
    await _write(work, lambda segment: _Run(work, segment, "b1", own_ids=True))


async def write_without_ids(work: Work) -> None:
    """By turns rows without ids, new ones after each failure; and rows twice, of which one is to stay."""
    await _write(
        work,
        lambda segment: _Run(work, segment, "b1") if segment % 2 else _Run(work, segment, "b10", twice=True),
    )


@dataclass(slots=True)
class _Run:
    """Some rows that are acknowledged together."""

    work: Work
    segment: int
    batch: str
    own_ids: bool = False
    twice: bool = False
    attempts: int = 0

    @property
    def repeats(self) -> bool:
        """Whether the same rows may be stored again."""
        return self.own_ids or self.twice

    def values(self) -> list[str]:
        """What tells the rows apart."""
        work = self.work
        count = random.Random(f"{work.place.seed}/{work.actor}/{self.segment}").randint(1, 60)
        again = "" if self.repeats else f"-{work.number}.{self.attempts}"
        return [f"{work.actor}-{self.segment}-{number}{again}" for number in range(count)]

    async def rows(self, values: Iterable[str]) -> AsyncIterator[dict[str, object]]:
        """They come in fits and starts."""
        for value in values:
            yield {"id": value, "value": value} if self.own_ids else {"value": value}
            if self.twice:
                yield {"value": value}
            if self.work.random.random() < 0.1:
                await self.work.pause(0.02)


async def _write(work: Work, run_of: Callable[[int], _Run]) -> None:
    segment = max((line["segment"] for line in work.past("acknowledged")), default=0)
    while True:
        segment += 1
        await _until_acknowledged(work, run_of(segment))
        if work.finish:
            return
        await work.pause(0.2)


async def _until_acknowledged(work: Work, run: _Run) -> None:
    configs = S3DataTool.StreamingConfigs(chunk_size=work.random.choice((1, 5, 20)))
    while True:
        values = run.values()
        work.journal.write("offered", batch=run.batch, values=values)
        try:
            async with work.tool.dataset_generator as generator:
                stored = await generator.from_async_iterator(
                    run.rows(values),
                    name=DATASET,
                    batch=run.batch,
                    streaming_configs=configs,
                    deduplicate_on=["value"] if run.twice else None,
                )
        except WEATHER as error:
            work.note(error)
            run.attempts += 1
            continue
        assert stored.rows == len(values) * (2 if run.twice else 1)
        work.journal.write("acknowledged", durable=True, segment=run.segment, batch=run.batch, values=values)
        return


async def run_tasks(work: Work) -> None:
    """A dataset file whose folder gets more and more files, each of them a task."""
    folder = work.place.folder / "dataset"
    if not (folder / "handler.py").exists():
        slow = LINES.replace('"text"', '"value"').replace("word, _, rest", "time.sleep(0.002); word, _, rest")
        write_module(folder, slow)
    (folder / "input").mkdir(exist_ok=True)
    while True:
        _add_files(work, folder / "input")
        while not _run_dataset_file(work, folder):
            await work.pause(0.2)
        values = [value for line in work.past("offered") for value in line["values"]]
        work.journal.write("acknowledged", durable=True, segment=0, batch="b10", values=values)
        if work.finish:
            return


def _add_files(work: Work, folder: Path) -> None:
    known = {line["file"] for line in work.past("offered")}
    for number in range(work.random.randint(1, 2)):
        name = f"{work.number}-{len(known)}-{number}.log"
        values = [f"task-{name}-{line}" for line in range(work.random.randint(5, 80))]
        work.journal.write("offered", batch="b10", values=values, file=name)
        draft = folder.parent / f"{name}.draft"
        draft.write_text("".join(f"doc {value}\n" for value in values), encoding="utf-8")
        draft.rename(folder / name)
    for line in work.past("offered"):  # those that a kill kept from being written
        path = folder / line["file"]
        if not path.exists():
            path.write_text("".join(f"doc {value}\n" for value in line["values"]), encoding="utf-8")


def _run_dataset_file(work: Work, folder: Path) -> bool:
    document = {
        "datasetName": DATASET,
        "readConnector": {
            "connectorDestination": "FOLDER",
            "path": "input",
            "singleFileParserImplementationClassName": "handler.Lines",
        },
        "writeConnector": {"batch": "b10", "chunkSize": 7},
    }
    try:
        report = run_dataset(
            load_dataset(document, folder=folder),
            store=work.tool.store,
            opener=open_store,
            engine=LocalEngine(concurrency=1),
        )
    except WEATHER as error:
        work.note(error)
        return False
    if report.status is not RunStatus.COMPLETED:
        work.journal.write("error", kind=str(report.status), text="")
    return report.status is RunStatus.COMPLETED


# Clean-ups, annotators, readers ----------------------------------------------------------------------


async def clean_up(work: Work) -> None:
    """Merge everything, again and again."""
    while True:
        try:
            results = await work.tool.clean_up()
        except WEATHER as error:
            work.note(error)
            await work.pause(0.3)
            continue
        errors = [result.error for result in results if result.error is not None]
        merged = sum(result.result is not None and result.result.committed for result in results)
        work.journal.write("cleaned", merged=merged, errors=errors)
        if work.finish and not errors:
            return
        await work.pause(0.3)


async def annotate(work: Work) -> None:
    """Ask every row that was not asked, together with others or whenever the annotator is free."""
    while True:
        try:
            done = await _annotation_session(work)
        except (AnnotationLockError, *NOTHING_YET):
            await asyncio.sleep(0.1)
            continue
        except WEATHER as error:
            work.note(error)
            continue
        if work.finish and done:
            return
        await work.pause(0.3)


async def _annotation_session(work: Work) -> bool:
    async def ask(item: DataItem) -> Annotation | SkipDoc:
        work.journal.write("asked", row=[item.batch, item.id])
        await work.pause(0.004)
        if not work.finish and work.random.random() < 0.03:
            work.journal.write("failed", row=[item.batch, item.id])
            raise ValueError("no answer today")
        return SkipDoc() if item.data["value"].endswith("7") else Annotation({"length": len(item.data["value"])})

    context = work.tool.filter_for_annotation(
        DATASET, ANNOTATOR, base_columns=["value"], lock_ttl_ms=LOCK_MS, shared=work.place.shared
    )
    async with context as view:
        work.journal.write("session")
        report = await view.annotate(
            ask, CONCURRENCY, streaming_configs=S3DataTool.StreamingConfigs(chunk_size=ANSWERS_IN_CHUNK)
        )
    work.journal.write("session ended", durable=True)
    return report.remaining == 0


async def read(work: Work) -> None:
    """Look at everything: no row twice, none gone that was there before; and check the objects."""
    before: dict[tuple[str, str], Any] = {}
    while True:
        try:
            rows = await _reading(work)
            found = damage(work.tool.store)
        except NOTHING_YET:
            await asyncio.sleep(0.1)
            continue
        except WEATHER as error:
            work.note(error)
            continue
        assert not found, found
        gone = {key for key, value in before.items() if key not in rows or value not in (None, rows[key])}
        assert not gone, f"rows or annotations that were there are gone, or others: {sorted(gone)[:10]}"
        before = rows
        work.journal.write("read", rows=len(rows))
        if work.finish:
            return
        await work.pause(0.3)


def damage(store: ObjectStore) -> list[str]:
    """What a check finds, but for one thing that it cannot know.

    A chunk of a dead run is gone once it is merged. If all its rows repeated others (a writer that goes on where it was
    killed writes them again), nothing merged tells of it, and the check says so: a person decides.
    """
    found = [finding for finding in check_dataset(store, DATASET) if finding.is_damage]
    repeated = [
        one for one in found if one.kind is FindingKind.MISSING and "no merged row comes from it" in one.message
    ]
    return [str(one.to_dict()) for one in found if one not in repeated]


async def _reading(work: Work) -> dict[tuple[str, str], Any]:
    """The annotations by batch and id."""
    rows: dict[tuple[str, str], Any] = {}
    async with work.tool.filter_for_export(DATASET) as view:
        has_annotations = f"{ANNOTATOR}.length" in view.columns
        async for row in view:
            key = (row["_batch"], row["id"])
            assert key not in rows, f"{key} was read twice"
            rows[key] = row[f"{ANNOTATOR}.length"] if has_annotations else None
    return rows


ACTORS: dict[str, Callable[[Work], Coroutine[Any, Any, None]]] = {
    "ids": write_with_ids,
    "values": write_without_ids,
    "tasks": run_tasks,
    "clean1": clean_up,
    "clean2": clean_up,
    "annotator1": annotate,
    "annotator2": annotate,
    "reader": read,
}


def main(place: Place, actor: str, number: int, finish: bool) -> None:
    """The process."""
    errors = os.open(place.folder / f"{actor}.{number:05d}.err", os.O_WRONLY | os.O_CREAT)
    os.dup2(errors, 2)
    tool = place.tool()
    with suppress(*WEATHER):
        next(tool.store.list_folders(""), None)  # a client takes longer to make than many lives last
    journal = Journal(place.folder, actor, number)
    source = random.Random(f"{place.seed}/{actor}/{number}")
    try:
        asyncio.run(ACTORS[actor](Work(place, actor, number, finish, tool, journal, source)))
    except BaseException:  # noqa: BLE001 - the top of a process: whatever it was is said
        journal.write("broken", text=traceback.format_exc())
        sys.exit(1)
