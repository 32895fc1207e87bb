"""Eight processes on one store, killed at random moments and started again; then peace, and a look at what is there."""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest

from datalake_service.pipeline.upkeep.cleanup import clean_up
from datalake_service.pipeline.upkeep.fsck import check_dataset
from tests.processes.actors import ACTORS, DATASET, Place, damage, main
from tests.processes.journal import path_of, read_lives
from tests.processes.model import Figures, verify
from tests.support.fault_proxy import Fault, FaultProxy, fault_proxy
from tests.support.s3_server import strict_s3
from tests.support.servers import S3Server

_DAYS = timedelta(days=3)
"""After so long nobody is at work any more who has not said so."""
_PATIENCE_SECONDS = 120.0
"""For one process to do its part in peace."""
_PRELOAD = ["boto3", "duckdb", "pyarrow.parquet", "tests.processes.actors"]
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}


@contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("AWS_", "S3_", "DATALAKE_"))]:
            patch.delenv(name)
        for name, value in more.items():
            patch.setenv(name, value)
        yield


@dataclass
class _Slot:
    """One actor: its process now, and how many it has had."""

    actor: str
    process: BaseProcess | None = None
    number: int = -1
    doomed_at: float | None = None


class Storm:
    """Starts processes and kills them."""

    def __init__(self, place: Place, *, life_seconds: float) -> None:
        """Prepare; nothing runs yet. ``life_seconds``: how long a process lives from its first word on, on average."""
        self._place = place
        self._life = life_seconds
        self._random = random.Random(place.seed)
        # Imports take a second of a core, far longer than most lives. A server that has only imported, on one thread,
        # is copied instead; nothing of the product has run in it.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOAD)
        with _environment(_ONE_THREAD):
            forkserver.ensure_running()
        self._slots = {actor: _Slot(actor) for actor in ACTORS}
        self.kills: Counter[str] = Counter()

    def rage(self, seconds: float, kills: int) -> None:
        """Keep everybody at work, and kill them, for so long, or until so many died; in the end nobody is left."""
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end and self.kills.total() < kills:
                for slot in self._slots.values():
                    self._attend(slot)
                time.sleep(0.01)
        finally:
            for slot in self._slots.values():
                if slot.process is not None:
                    self._kill(slot)

    def finish(self, actor: str) -> None:
        """Let an actor do its part in peace."""
        slot = self._slots[actor]
        process = self._start(slot, finish=True)
        process.join(_PATIENCE_SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise AssertionError(f"{actor} does not come to its end in peace: {self._last_words(slot)}")
        assert process.exitcode == 0, self._last_words(slot)

    def _attend(self, slot: _Slot) -> None:
        if slot.process is None:
            self._start(slot, finish=False)
            slot.doomed_at = None
        elif slot.process.exitcode is not None:
            raise AssertionError(f"{slot.actor} ended by itself: {self._last_words(slot)}")
        elif slot.doomed_at is None:
            if path_of(self._place.folder, slot.actor, slot.number).exists():
                slot.doomed_at = time.monotonic() + self._random.expovariate(1 / self._life)
        elif time.monotonic() > slot.doomed_at:
            self._kill_something(slot)

    def _start(self, slot: _Slot, *, finish: bool) -> BaseProcess:
        slot.number += 1
        slot.process = self._context.Process(target=main, args=(self._place, slot.actor, slot.number, finish))
        slot.process.start()
        return slot.process

    def _kill_something(self, slot: _Slot) -> None:
        """Kill the process, or a worker that it has started."""
        assert slot.process is not None
        workers = _children(slot.process)
        if workers and self._random.random() < 0.5:
            self._random.choice(workers).kill()
            self.kills["workers"] += 1
            slot.doomed_at = None
        else:
            self._kill(slot)

    def _kill(self, slot: _Slot) -> None:
        assert slot.process is not None
        slot.process.kill()
        slot.process.join()
        slot.process = None
        self.kills[slot.actor] += 1

    def _last_words(self, slot: _Slot) -> str:
        life = next(life for life in read_lives(self._place.folder, slot.actor) if life.number == slot.number)
        errors = (self._place.folder / f"{slot.actor}.{slot.number:05d}.err").read_text(encoding="utf-8")
        return "\n".join(str(line.get("text") or line) for line in life.said[-3:]) + "\n" + errors


def _children(process: BaseProcess) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children()
    except psutil.NoSuchProcess:
        return []


# Stores ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lake:
    """A store for a storm."""

    uri: str
    life_seconds: float
    """Of a process: long enough to do something there."""
    objects: Callable[[], dict[str, bytes]]
    """A side door: everything that is in it."""
    grow_old: Callable[[], None]
    """Lets days pass, by the store's clock."""
    calm: Callable[[], None] = lambda: None
    """Ends the bad weather."""
    figures: Callable[[], dict[str, int]] = dict
    options: dict[str, str] = field(default_factory=dict)


@contextmanager
def folder_lake(folder: Path, seed: int) -> Iterator[Lake]:
    """A folder."""
    root = folder / "lake"

    def objects() -> dict[str, bytes]:
        files = [path for path in root.rglob("*") if path.is_file() and not path.is_relative_to(root / ".tmp")]
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}

    def grow_old() -> None:
        days_ago = time.time() - _DAYS.total_seconds()
        for path in root.rglob("*"):
            if path.is_file():
                os.utime(path, (days_ago, days_ago))

    yield Lake(str(root), 1.5, objects, grow_old)


class BadWeather(FaultProxy):
    """Loses five of a hundred answers, and some requests; answers a few itself, or cuts them."""

    def __init__(self, target: S3Server, seed: int) -> None:
        """Rage by ``seed``: the dice are the same, the order of requests is not."""
        super().__init__(target)
        self._dice = random.Random(seed)
        self.calm = False
        self.done: Counter[str] = Counter()

    def fault_for(self, method: str, path: str) -> Fault | None:
        """What becomes of a request."""
        with self._lock:
            if self.calm:
                self.done["requests in peace"] += 1
                return None
            number = self._dice.random()
            self.done["requests"] += 1
            for share, methods, fault in _WEATHER:
                number -= share
                if number < 0:
                    if method not in methods:
                        return None
                    self.done[f"{fault.action} {fault.status}"] += 1
                    return replace(fault, method=method)
            return None


_ALL = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE"})
_WEATHER = (
    (0.05, _ALL, Fault("lose_answer", "")),
    (0.02, _ALL, Fault("lose_request", "")),
    (0.005, _ALL, Fault("answer_only", "", status=503, code="SlowDown")),
    (0.005, _ALL, Fault("apply_and_answer", "", status=500)),
    (0.01, frozenset({"PUT", "POST"}), Fault("answer_only", "", status=409, code="ConditionalRequestConflict")),
    (0.01, frozenset({"GET"}), Fault("cut", "", at=40)),
)
"""Shares of the requests, of which methods, and what becomes of them."""


@contextmanager
def s3_lake(folder: Path, seed: int) -> Iterator[Lake]:
    """A strict server whose clock is wrong and whose listings have short pages, behind a network that loses things."""
    with ExitStack() as stack:
        strict = stack.enter_context(strict_s3(page_size=50, skew=timedelta(minutes=-7)))
        strict.contents.make_bucket("bucket")
        weather = BadWeather(strict.server, seed)
        stack.enter_context(fault_proxy(strict.server, weather))

        def objects() -> dict[str, bytes]:
            assert not strict.contents.unfinished("bucket")
            found = strict.contents.all("bucket")
            return {key.removeprefix("lake/"): body for key, body in found.items()}

        def grow_old() -> None:
            strict.contents.skew += _DAYS

        def calm() -> None:
            weather.calm = True

        options = {name: str(value) for name, value in weather.server.options.items()}
        yield Lake("s3://bucket/lake", 2.5, objects, grow_old, calm, lambda: dict(weather.done), options)


LAKES = {"folder": folder_lake, "s3": s3_lake}


def weather_storm(kind: str, folder: Path, *, seconds: float, seed: int, kills: int = sys.maxsize) -> Figures:
    """A storm of so many seconds, or kills, on a lake of a kind, and the verification.

    Raises:
        AssertionError: Something was not as it must be.
    """
    with LAKES[kind](folder, seed) as lake:
        journals = folder / "journals"
        journals.mkdir()
        place = Place(lake.uri, journals, seed, lake.options)
        storm = Storm(place, life_seconds=lake.life_seconds)
        storm.rage(seconds, kills)
        lake.calm()
        for actor in ("ids", "values", "tasks", "clean1", "annotator1", "clean1", "reader"):
            storm.finish(actor)
        store = place.tool().store
        assert not damage(store), damage(store)
        left = len(lake.objects())
        lake.grow_old()
        assert not [result.error for result in clean_up(store, thorough=True) if result.error is not None]
        assert not [str(found.to_dict()) for found in check_dataset(store, DATASET)]
        objects = lake.objects()
        return verify(
            read_lives(journals),
            objects,
            kills=dict(storm.kills),
            left=left - len(objects),
            weather=lake.figures(),
        )
