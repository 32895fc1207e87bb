"""Annotators and functions that run in processes: importable there by name."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datalake_interfaces import Annotator, BatchAnnotator, BatchAnswers, DataItem, HandlerContext, TryLaterError


def who(item: DataItem) -> dict[str, Any]:
    """Says which process it is."""
    return {"pid": os.getpid(), "length": len(item.data["text"])}


def number_of(item: DataItem) -> int:
    """The number in a row's id."""
    return int(item.id[1:])


def troubled(item: DataItem) -> dict[str, Any]:
    """Something else for each of some rows."""
    item.spend(cost=1.0)
    match number_of(item) % 10:
        case 1:
            raise KeyError("bad row")
        case 2:
            raise UnportableError("cannot go", 7)
        case 3:
            return {"large": "x" * (65 << 20)} if number_of(item) == 3 else {"n": 1}
        case 4:
            return {"function": lambda: 1} if number_of(item) == 4 else {"n": 1}
        case 5 if item.attempt == 1:
            raise TryLaterError("later", after_seconds=0)
        case 6:
            sys.stdout.write("to standard output\n")
    return {"n": 1, "error": repr(item.error)}


class UnportableError(Exception):
    """Can be pickled, and not be read again."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def dies_once(item: DataItem) -> dict[str, Any]:
    """Its process ends in different ways, for some rows, the first time."""
    if item.attempt == 1:
        match number_of(item):
            case 3:
                os.kill(os.getpid(), signal.SIGKILL)
            case 30:
                os._exit(3)
            case 60:
                ctypes.string_at(0)
    return {"n": 1}


def dies(item: DataItem) -> dict[str, Any]:
    """Its process always dies."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError(item.id)


def hangs(item: DataItem) -> dict[str, Any]:
    """One row never ends, and holds Python's lock in native code as well as it can."""
    if number_of(item) == 5:
        while True:
            time.sleep(60)
    return {"n": 1}


async def is_async(item: DataItem) -> dict[str, Any]:
    """Not for processes."""
    return {"id": item.id}


class Diary(Annotator):
    """Writes down what is called, in a file for each process."""

    def __init__(self, folder: str, *, fail: str = "") -> None:
        self._folder = Path(folder)
        self._fail = fail
        self._opened = False

    def _note(self, word: str) -> None:
        with (self._folder / str(os.getpid())).open("a") as file:
            file.write(f"{word}\n")

    def open(self, context: HandlerContext) -> None:
        self._note(f"open {context.dataset}")
        if self._fail == "open":
            raise RuntimeError("no model here")
        if self._fail == "exit":
            os._exit(9)
        self._opened = True

    def annotate(self, item: DataItem) -> dict[str, Any]:
        assert self._opened
        self._note("annotate")
        return {"n": 1}

    def close(self) -> None:
        self._note("close")


class ProcessBatches(BatchAnnotator):
    """Batches in processes: one row is bad, one kills its process."""

    max_batch_size = 8

    def annotate_batch(self, items: Sequence[DataItem]) -> BatchAnswers:
        names = {item.id for item in items}
        if "r0020" in names:
            raise ValueError("bad batch")
        if "r0040" in names and any(item.attempt == 1 for item in items):
            os.kill(os.getpid(), signal.SIGKILL)
        for item in items:
            item.spend(input_tokens=2)
        return [UnportableError("this one", 1) if item.id == "r0060" else {"size": len(items)} for item in items]
