"""Measure whole processes side by side: the sides of one comparison run in turn, A B A B, in one call.

A benchmark script registers its sides and ends in ``main(__file__, …)``; each run of a side is a process of its own.
Figures are medians over the rounds: wall and CPU seconds and peak resident memory of the process, and the wall and CPU
seconds of the work alone (imports and start excluded), which the side marks with ``timed()``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

Side = Callable[[Path, argparse.Namespace], object]
"""A side gets an empty folder and the command line; what sides return must be equal, where they return something."""


@dataclass
class Result:
    """One run of one side."""

    wall: float
    cpu: float
    peak_mib: float
    inner_wall: float = 0.0
    inner_cpu: float = 0.0
    answer: object = None


@dataclass
class Work:
    """The figures of the work alone, as the side measured them."""

    wall: float = 0.0
    cpu: float = 0.0


_WORK = Work()


@contextlib.contextmanager
def timed() -> Iterator[None]:
    """Mark the work itself inside a side."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    _WORK.wall = time.perf_counter() - wall
    _WORK.cpu = time.process_time() - cpu


@dataclass
class Comparison:
    """Sides to compare; the first is the limit or peer that the others are divided by."""

    title: str
    sides: dict[str, Side]
    options: Callable[[argparse.ArgumentParser], object] = field(default=lambda parser: parser)
    by: str = "cpu"
    """Which figure the ratio is of: ``cpu``, ``wall``, ``inner_cpu`` or ``inner_wall``."""
    rows: Callable[[argparse.Namespace], int] | None = None
    """If given: how many rows there are, to show the CPU of the work for each, and what it is on top of the first."""


def main(script: str, comparison: Comparison) -> None:
    """Run all sides in turn and print a table, or (in a child) run one side."""
    parser = argparse.ArgumentParser(description=comparison.title)
    parser.add_argument("--rounds", type=int, default=5, help="how often each side runs (default: 5)")
    parser.add_argument("--side", choices=comparison.sides, help=argparse.SUPPRESS)
    comparison.options(parser)
    arguments = parser.parse_args()
    if arguments.side:
        _child(comparison.sides[arguments.side], arguments)
        return
    results: dict[str, list[Result]] = {name: [] for name in comparison.sides}
    for _ in range(arguments.rounds):
        for name in comparison.sides:
            results[name].append(_run(script, name, sys.argv[1:]))
    _print(comparison, results)
    if comparison.rows is not None:
        _print_per_row(results, comparison.rows(arguments))


def _child(side: Side, arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-", dir=os.environ.get("BENCH_SCRATCH")) as folder:
        answer = side(Path(folder), arguments)
    print(json.dumps({"inner_wall": _WORK.wall, "inner_cpu": _WORK.cpu, "answer": answer}))


def _run(script: str, side: str, rest: list[str]) -> Result:
    root = str(Path(__file__).resolve().parent.parent)
    environment = {**os.environ, "PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1"}
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, script, *rest, "--side", side], stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    if status:
        sys.exit(f"side {side!r} failed")
    inner = json.loads(output.splitlines()[-1])
    scale = 1024 if sys.platform != "darwin" else 1024 * 1024  # ru_maxrss: KiB on Linux, bytes on macOS
    return Result(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / scale, **inner)


def _print(comparison: Comparison, results: dict[str, list[Result]]) -> None:
    answers = {json.dumps(run.answer) for runs in results.values() for run in runs if run.answer is not None}
    if len(answers) > 1:
        sys.exit(f"the sides did unlike work: {sorted(answers)}")
    first = next(iter(results))
    base = [getattr(run, comparison.by) for run in results[first]]
    print(f"\n### {comparison.title}\n")
    print(f"| side | wall s | CPU s | work wall s | work CPU s | peak MiB | {comparison.by} ratio |")
    print("| --- | --: | --: | --: | --: | --: | --: |")
    for name, runs in results.items():
        ratio = statistics.median(getattr(run, comparison.by) / other for run, other in zip(runs, base, strict=True))
        figures = " | ".join(
            f"{statistics.median(getattr(run, what) for run in runs):.{digits}f}"
            for what, digits in [("wall", 2), ("cpu", 2), ("inner_wall", 2), ("inner_cpu", 2), ("peak_mib", 0)]
        )
        print(f"| {name} | {figures} | {ratio:.2f} |")


def _print_per_row(results: dict[str, list[Result]], rows: int) -> None:
    base = next(iter(results.values()))
    for name, runs in results.items():
        own = statistics.median(run.inner_cpu for run in runs) / rows * 1e6
        top = statistics.median(run.inner_cpu - other.inner_cpu for run, other in zip(runs, base, strict=True))
        print(f"\n{name}: {own:.1f} µs CPU a row, {top / rows * 1e6:+.1f} on top of the first", end="")
    print(f" ({rows:,} rows)")


def own_peak_mib() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
