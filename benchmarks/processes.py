"""Two processes of the LOCAL engine against one, on the record-splitting job; and against two bare processes.

The job is that of ``split.py``, over several copies of its log: read, decompress, split, call a handler for each
record, write rows into a folder lake. Seconds are those of the step that runs tasks, the start of the processes
included; making the plan and merging happen in one process and are not in them.

How much two processes can reach depends on the machine: two cores that share caches and memory, and whoever else is
there. So the bare loop of ``split.py`` runs in one process and in two in the same round, and the reach of the engine is
told as a share of that of the loop too.

    ./build.sh bench processes --files 8 --megabytes 25 --rounds 5
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.split import END, SCRATCH, START, Parser, log_file
from datalake_service.config.load import load_dataset
from datalake_service.engines.local import LocalEngine
from datalake_service.pipeline.runs.progress import RunProgress, RunStep
from datalake_service.pipeline.runs.run import run_dataset
from datalake_service.storage.open import open_store

REACH = 1.8
"""So many times as fast two processes are to be."""
HANDLER = f"""
from datalake_interfaces import Document, RecordHintType, RecordParseHint, SingleFileParser

START, END = {START!r}, {END!r}

{inspect.getsource(Parser)}
"""


BARE = """
import pathlib, sys
from benchmarks.split import members, split
for name in sys.argv[1:]:
    split(members(pathlib.Path(name)))
"""
"""What one bare process does."""


def bare(files: Sequence[Path], processes: int) -> float:
    """Seconds of the bare loop over all files, in so many processes, with their start."""
    began = time.perf_counter()
    commands = [[sys.executable, "-c", BARE, *map(str, files[number::processes])] for number in range(processes)]
    running = [subprocess.Popen(command) for command in commands]
    if sum(process.wait() for process in running):
        raise SystemExit("the bare loop failed")
    return time.perf_counter() - began


class Steps:
    """Notes how long the step took that runs tasks."""

    def __init__(self) -> None:
        """Wait for it."""
        self._began: float | None = None
        self.seconds = 0.0

    def __call__(self, progress: RunProgress) -> None:
        """Hear what the run is doing."""
        now = time.perf_counter()
        if progress.step is RunStep.TASKS:
            self._began = self._began or now
        elif self._began is not None and not self.seconds:
            self.seconds = now - self._began


def engine(folder: Path, processes: int) -> float:
    """Seconds of the tasks of a run on the LOCAL engine."""
    document = {
        "datasetName": "logs",
        "readConnector": {
            "connectorDestination": "FOLDER",
            "path": "input",
            "singleFileParserImplementationClassName": "handler.Parser",
        },
        "writeConnector": {"chunkSize": 10_000},
    }
    (folder / "dataset.json").write_text(json.dumps(document), encoding="utf-8")
    lake, steps = Path(tempfile.mkdtemp(dir=folder)), Steps()
    config = load_dataset(document, folder=folder)
    local = LocalEngine(concurrency=processes)
    report = run_dataset(config, store=open_store(lake), opener=open_store, engine=local, observer=steps)
    if report.failures or not steps.seconds:
        raise SystemExit(f"the run failed: {report.failures}")
    shutil.rmtree(lake)
    return steps.seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--megabytes", type=int, default=25, help="size of each log, compressed")
    parser.add_argument("--member-kib", type=int, default=0, help="text in a gzip member (default: one member)")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    log = log_file(asked)
    folder = Path(tempfile.mkdtemp(prefix="processes-", dir=SCRATCH))
    (folder / "input").mkdir()
    (folder / "handler.py").write_text(HANDLER, encoding="utf-8")
    files = [folder / "input" / f"{number}.log.gz" for number in range(asked.files)]
    for file in files:
        os.link(log, file)
    rounds = []
    try:
        for _ in range(asked.rounds):
            rounds.append((bare(files, 1), bare(files, 2), engine(folder, 1), engine(folder, 2)))
            bare_one, bare_two, one, two = rounds[-1]
            load = os.getloadavg()[0]
            print(
                f"bare loop {bare_one:6.2f} s, two {bare_two:6.2f} s: {bare_one / bare_two:.2f} x;  "
                f"LOCAL {one:6.2f} s, two {two:6.2f} s: {one / two:.2f} x;  load {load:.0f}",
                flush=True,
            )
    finally:
        shutil.rmtree(folder)
    ideal = statistics.median(one / two for one, two, _, _ in rounds)
    reached = statistics.median(one / two for _, _, one, two in rounds)
    print(f"two processes: {reached:.2f} x of one (wanted: {REACH} x); two bare processes: {ideal:.2f} x")
    print(f"that is {100 * reached / ideal:.0f} % of what two bare processes reach here")


if __name__ == "__main__":
    main()
