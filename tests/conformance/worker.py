"""A process that writes, merges or locks on a store until it is killed: ``python -m tests.conformance.worker``.

It notes in a journal of its own what it was promised, one line each, in the words of the check that kills it. A line
that was written is there after SIGKILL, because the kernel has it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from datalake_service.catalog.leases import Lease
from datalake_service.errors import StoreError
from datalake_service.pipeline.ingest import ingest_iterator
from datalake_service.pipeline.upkeep.cleanup import clean_up
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.open import open_store
from datalake_utils.clock import SystemClock

DATASET = "posts"
LOCK = f"{DATASET}/annotations/a/.temp/.lock"
TTL = timedelta(seconds=3)
ROWS = 20


@dataclass(frozen=True)
class Assignment:
    """What a worker is to do, and where."""

    role: str
    """One of ``ROLES``."""
    name: str
    """Names the process; no other has it."""
    journal: str
    uri: str
    endpoint_url: str
    access_key: str
    secret_key: str
    mutex_url: str | None = None

    def command(self) -> list[str]:
        """The command line of the process."""
        return [sys.executable, "-m", "tests.conformance.worker", json.dumps(asdict(self))]

    def open(self) -> ObjectStore:
        """The lake."""
        return open_store(
            self.uri,
            endpoint_url=self.endpoint_url,
            access_key=self.access_key,
            secret_key=self.secret_key,
            mutex_url=self.mutex_url,
        )


Say = Callable[..., None]


def write(store: ObjectStore, name: str, say: Say) -> None:
    """Store rows, a run at a time; what a run returned from is acknowledged."""
    number = 0
    while True:
        ids = [f"{name}-{number}-{row}" for row in range(ROWS)]
        rows = ({"id": id, "text": f"row {id}"} for id in ids)
        say("given", *ids)
        asyncio.run(ingest_iterator(store, rows, dataset=DATASET, batch=f"b{number % 2}", chunk_size=7))
        say("acknowledged", *ids)
        number += 1


def merge(store: ObjectStore, name: str, say: Say) -> None:
    """Merge whatever waits, again and again; a batch that somebody else merges at the same time may fail."""
    while True:
        for result in clean_up(store):
            say("merged" if result.error is None else "not-merged", str(result.batch))


def lock(store: ObjectStore, name: str, say: Say) -> None:
    """Take the lease, hold it for a while, give it back or let it be; note each moment at which it is held."""
    clock = SystemClock()
    lease = Lease(store, LOCK, ttl=TTL, owner=name, clock=clock)
    while True:
        if lease.acquire():
            say("took", name)
        until = clock.monotonic() + 0.4
        while clock.monotonic() < until:
            moment = clock.monotonic()
            if lease.held:
                say("held", repr(moment))
            time.sleep(0.02)
        lease.release()
        time.sleep(0.05)


ROLES = {"write": write, "merge": merge, "lock": lock}


def main(assignment: Assignment) -> None:
    """Work until killed. An error of the store is noted, and the work goes on: it is somebody else's to judge."""
    journal = os.open(assignment.journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def say(*words: str) -> None:
        os.write(journal, f"{' '.join(words)}\n".encode())

    say("started", assignment.name)
    store = assignment.open()
    for attempt in range(1_000_000):
        try:
            ROLES[assignment.role](store, f"{assignment.name}.{attempt}", say)
        except StoreError as error:
            say("error", str(error))


def read_journal(path: Path) -> list[list[str]]:
    """The lines of a journal as words; the last one may have been cut off by the kill, and does not count then."""
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    return [line.split(" ") for line in whole.splitlines()]


if __name__ == "__main__":
    main(Assignment(**json.loads(sys.argv[1])))
