from __future__ import annotations

import io
import itertools
import random
import signal
import subprocess
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pyarrow.parquet as pq

from datalake_service.pipeline.upkeep.cleanup import clean_up
from datalake_service.storage.base import ObjectStore
from tests.cli.commands import datalake
from tests.conformance.checks import FULL, Access, Note, seed
from tests.conformance.worker import DATASET, Assignment, read_journal
from tests.support.repository import ROOT
from tests.support.servers import S3Server

SECONDS = 30.0 if FULL else 3.0
ROLES = ("write", "write", "merge", "merge", "lock", "lock") if FULL else ("write", "merge", "lock", "lock")
LONGEST_LIFE = 4.0
"""Seconds that a process lives at most, once it works."""


class Crowd:
    """Processes of all roles on one lake, killed and replaced one after the other."""

    def __init__(self, lake: ObjectStore, access: Access, folder: Path) -> None:
        self._uri = lake.uri
        self._access = access
        self._folder = folder
        self._working: dict[int, tuple[subprocess.Popen[bytes], Path]] = {}
        self._kills: Counter[str] = Counter()
        self._number = 0

    def run(self, seconds: float, chance: random.Random, stack: ExitStack) -> Counter[str]:
        """Start them and kill them at random moments; returns how many of each role were killed while working."""
        for place in range(len(ROLES)):
            self._start(place, stack)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(chance.uniform(0.05, 2 * LONGEST_LIFE / len(ROLES)))
            place = chance.randrange(len(ROLES))
            self._kill(place)
            self._start(place, stack)
        for place in range(len(ROLES)):
            self._wait_until_working(place)
            self._kill(place)
        return self._kills

    def journals(self, role: str) -> list[list[list[str]]]:
        """What the processes of a role noted, each by itself."""
        return [read_journal(path) for path in sorted(self._folder.glob(f"{role}*.journal"))]

    def _start(self, place: int, stack: ExitStack) -> None:
        name = f"{ROLES[place]}{self._number}"
        self._number += 1
        assignment = Assignment(
            role=ROLES[place],
            name=name,
            journal=str(self._folder / f"{name}.journal"),
            uri=self._uri,
            mutex_url=self._access.mutex_url,
            **self._access.server.options,
        )
        with Path(assignment.journal).with_suffix(".err").open("wb") as errors:
            process = subprocess.Popen(assignment.command(), cwd=ROOT, stderr=errors)
        stack.callback(_end, process)
        self._working[place] = process, Path(assignment.journal)

    def _kill(self, place: int) -> None:
        process, journal = self._working[place]
        assert process.poll() is None, journal.with_suffix(".err").read_text(encoding="utf-8")
        process.send_signal(signal.SIGKILL)
        process.wait()
        self._kills[ROLES[place]] += 1

    def _wait_until_working(self, place: int) -> None:
        """Let each place work once in the end, however slow the machine is. Nothing may be left to be merged."""
        process, journal = self._working[place]
        lines = {"write": 3, "lock": 3, "merge": 1}[ROLES[place]]
        while not journal.exists() or len(read_journal(journal)) < lines:
            assert process.poll() is None, journal.with_suffix(".err").read_text(encoding="utf-8")
            time.sleep(0.05)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def merged_ids(server: S3Server, uri: str) -> list[str]:
    """The ids of all merged rows, read with a plain client and a plain library."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    pages = server.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/{DATASET}/b")
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
    found: list[str] = []
    for key in keys:
        if key.endswith("/merged.parquet"):
            body = server.client().get_object(Bucket=bucket, Key=key)["Body"].read()
            found.extend(pq.read_table(io.BytesIO(body), columns=["id"]).column("id").to_pylist())
    return found


def test_processes_that_are_killed_lose_nothing(lake: ObjectStore, access: Access, tmp_path: Path, note: Note) -> None:
    """Wherever they die, what was acknowledged is there once, and no two held the lock at a time."""
    chosen = seed()
    crowd = Crowd(lake, access, tmp_path)
    with ExitStack() as stack:
        kills = crowd.run(SECONDS, random.Random(chosen), stack)
    given, acknowledged = (words(crowd, "write", kind) for kind in ("given", "acknowledged"))
    merges = sum(line[0] == "merged" for journal in crowd.journals("merge") for line in journal)

    failures = [result.error for result in clean_up(lake) if result.error is not None]
    found = Counter(merged_ids(access.server, lake.uri))
    terms = sorted(term for journal in crowd.journals("lock") for term in held(journal))
    note(
        f"{kills.total()} kills; {found.total()} rows of {len(acknowledged)} acknowledged and {len(given)} given; "
        f"{merges} merges; {len(terms)} leases; seed {chosen}"
    )
    assert failures == []
    assert [id for id, number in found.items() if number > 1] == []
    assert acknowledged - set(found) == set()
    assert set(found) - given == set()
    assert len(terms) >= 2
    for (_, end), (begin, _) in itertools.pairwise(terms):
        assert end <= begin, "two held the lease at the same time"
    checked = datalake("fsck", DATASET, "--uri", lake.uri, cwd=tmp_path, **access.variables())
    assert (checked.status, checked.json["damage"]) == (0, 0), checked.out + checked.err


def words(crowd: Crowd, role: str, kind: str) -> set[str]:
    """Everything that was noted under one word."""
    return {word for journal in crowd.journals(role) for line in journal if line[0] == kind for word in line[1:]}


def held(journal: list[list[str]]) -> list[tuple[float, float]]:
    """From when to when a process held the lease, each time."""
    terms: list[tuple[float, float]] = []
    fresh = True
    for kind, *rest in journal:
        if kind == "took":
            fresh = True
        elif kind == "held":
            moment = float(rest[0])
            terms = [*terms, (moment, moment)] if fresh else [*terms[:-1], (terms[-1][0], moment)]
            fresh = False
    return terms
