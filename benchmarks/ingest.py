"""Ingest of dict rows into chunks on a folder, against the bare loop that writes and renames the same files.

Our side also takes the census of all values, claims a run, keeps a manifest, and waits for the disk (fsync) before a
chunk counts; the limit does none of it. Peers run where they are installed: ``pip install datatrove[io] datasets``.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import itertools
import os
from pathlib import Path

from benchmarks.measure import Comparison, Side, main, timed
from benchmarks.rows import rows


def limit(folder: Path, arguments: argparse.Namespace) -> None:
    """``orjson`` and a rename per chunk."""
    import orjson

    source = iter(rows(arguments.rows))
    with timed():
        for number in itertools.count():
            chunk = itertools.islice(source, arguments.chunk)
            lines = [orjson.dumps(row, None, orjson.OPT_APPEND_NEWLINE) for row in chunk]
            if not lines:
                break
            final = folder / f"chunk-{number:06d}.jsonl"
            temporary = f"{final}.tmp"
            file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.write(file, b"".join(lines))
            os.close(file)
            os.replace(temporary, final)  # noqa: PTH105 - the bare loop, as fast as it goes


def ours(folder: Path, arguments: argparse.Namespace) -> None:
    """``from_async_iterator`` below its facade."""
    from datalake_service.pipeline.ingest import ingest_iterator
    from datalake_service.storage.folder import FolderStore

    source = rows(arguments.rows)
    with timed():
        asyncio.run(
            ingest_iterator(
                FolderStore(folder), source, dataset="d", batch="b", chunk_size=arguments.chunk, deduplicate_on=["text"]
            )
        )


def datatrove(folder: Path, arguments: argparse.Namespace) -> None:
    """Its JsonlWriter, without compression."""
    from datatrove.data import Document  # type: ignore[import-not-found]  # a peer, where it is installed
    from datatrove.pipeline.writers import JsonlWriter  # type: ignore[import-not-found]  # the same

    source = rows(arguments.rows)
    with timed(), JsonlWriter(str(folder), compression=None, max_file_size=-1) as writer:
        for row in source:
            writer.write(Document(text=row.pop("text"), id=row.pop("id"), metadata=row))


def hf_datasets(folder: Path, arguments: argparse.Namespace) -> None:
    """``Dataset.from_generator`` and ``to_json``."""
    from datasets import Dataset  # a peer, where it is installed

    with timed():
        dataset = Dataset.from_generator(lambda: rows(arguments.rows), cache_dir=str(folder / "cache"))
        dataset.to_json(folder / "all.jsonl")


def options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--chunk", type=int, default=100, help="rows in a chunk")


SIDES: dict[str, Side] = {"limit: orjson, write, rename": limit, "datalake": ours}
if importlib.util.find_spec("datatrove"):
    SIDES["datatrove JsonlWriter"] = datatrove
if importlib.util.find_spec("datasets"):
    SIDES["datasets from_generator + to_json"] = hf_datasets

if __name__ == "__main__":
    main(__file__, Comparison("Ingest: dict rows to chunks on a folder", SIDES, options, by="inner_cpu"))
