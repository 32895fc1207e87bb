"""What a process said before it was killed: one file for each process, one JSON line for each thing it said.

A line is written with one call, so a kill loses at most the last one; what was acknowledged is on the disk before the
process goes on.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Journal:
    """Written by one process."""

    def __init__(self, folder: Path, actor: str, number: int) -> None:
        """Begin the journal of the ``number``-th process of an actor."""
        self._file = os.open(path_of(folder, actor, number), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        self.write("started", pid=os.getpid())

    def write(self, event: str, *, durable: bool = False, **fields: object) -> None:
        """Say something; the time is that of the machine, the same for all processes."""
        os.write(self._file, json.dumps({"event": event, "at": time.monotonic_ns(), **fields}).encode() + b"\n")
        if durable:
            os.fsync(self._file)


@dataclass(frozen=True, slots=True)
class Life:
    """What one process said."""

    actor: str
    number: int
    said: list[dict[str, Any]]

    def all(self, event: str) -> list[dict[str, Any]]:
        """Everything of one kind."""
        return [line for line in self.said if line["event"] == event]


def path_of(folder: Path, actor: str, number: int) -> Path:
    """Where the journal of a process is."""
    return folder / f"{actor}.{number:05d}.jsonl"


def read_lives(folder: Path, actor: str = "*") -> list[Life]:
    """The journals of an actor's processes so far, or of all, each in order."""
    found = []
    for path in sorted(folder.glob(f"{actor}.*.jsonl")):
        name, number, _ = path.name.split(".")
        lines = path.read_bytes().split(b"\n")[:-1]  # what follows the last newline was never said
        found.append(Life(name, int(number), [json.loads(line) for line in lines]))
    return found
