"""What others take for the same as ``annotate.py``: sides of it where they are installed, in an environment of theirs.

Each reads the same Parquet, awaits the same for every row, as many at once, and writes a result for each row to a file.
None of them keeps what was answered when it is killed, and none knows which rows it has asked before.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measure import Side, timed

Input = Callable[[argparse.Namespace], Path]
"""Where the rows are."""


def _subset(folder: Path, source: Path) -> Path:
    """The two columns that are read, as a file of their own."""
    import pyarrow.parquet as pq

    made = folder / "input.parquet"
    pq.write_table(pq.read_table(source, columns=["id", "text"]), made)
    return made


def hugging_face(folder: Path, arguments: argparse.Namespace, source: Path) -> object:
    """``datasets``: map with an async function."""
    import datasets  # a peer, where it is installed

    latency = arguments.latency_ms / 1_000
    datasets.config.MAX_NUM_RUNNING_ASYNC_MAP_FUNCTIONS_IN_PARALLEL = arguments.concurrency
    datasets.disable_progress_bars()

    async def ask(row: dict[str, Any]) -> dict[str, Any]:
        if latency:
            await asyncio.sleep(latency)
        return {"n": len(row["text"])}

    made = _subset(folder, source)
    with timed():
        found = datasets.Dataset.from_parquet(str(made), cache_dir=str(folder / "cache"))
        found = found.map(ask, remove_columns=["text"])
        found.to_parquet(str(folder / "result.parquet"))
    return len(found)


def daft(folder: Path, arguments: argparse.Namespace, source: Path) -> object:
    """Daft: an async function of a column."""
    import daft as peer  # type: ignore[import-not-found]  # a peer, where it is installed

    latency = arguments.latency_ms / 1_000

    @peer.func(return_dtype=peer.DataType.int64(), max_concurrency=arguments.concurrency)  # type: ignore[untyped-decorator]  # the peer's
    async def ask(text: str) -> int:
        if latency:
            await asyncio.sleep(latency)
        return len(text)

    made = _subset(folder, source)
    with timed():
        frame = peer.read_parquet(str(made))
        frame.select(frame["id"], ask(frame["text"]).alias("n")).write_parquet(str(folder / "result"))
    return _rows(folder / "result")


def ray_data(folder: Path, arguments: argparse.Namespace, source: Path) -> object:
    """Ray Data: ``map`` with one async actor; starting Ray is not part of the work."""
    latency = arguments.latency_ms / 1_000
    os.environ["RAY_DATA_DEFAULT_ASYNC_ROW_UDF_MAX_CONCURRENCY"] = str(arguments.concurrency)
    import ray
    import ray.data

    class Ask:
        async def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
            if latency:
                await asyncio.sleep(latency)
            return {"id": row["id"], "n": len(row["text"])}

    session = Path(tempfile.mkdtemp(prefix="ray-"))
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=1 << 30,
        _temp_dir=str(session),
    )
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        made = _subset(folder, source)
        with timed():
            ray.data.read_parquet(str(made)).map(Ask, concurrency=1).write_parquet(str(folder / "result"))
        return _rows(folder / "result")
    finally:
        ray.shutdown()
        shutil.rmtree(session, ignore_errors=True)


def _rows(folder: Path) -> int:
    import pyarrow.dataset as ds

    return int(ds.dataset(str(folder)).count_rows())


_PEERS = {
    "datasets": ("peer: datasets, map", hugging_face),
    "daft": ("peer: Daft, async function", daft),
    "ray": ("peer: Ray Data, map", ray_data),
}


def peers(source: Input) -> dict[str, Side]:
    """The sides of those that are installed."""

    def side(ask: Callable[[Path, argparse.Namespace, Path], object]) -> Side:
        return lambda folder, arguments: ask(folder, arguments, source(arguments))

    return {name: side(ask) for package, (name, ask) in _PEERS.items() if importlib.util.find_spec(package)}
