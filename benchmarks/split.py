"""Splitting a gzip log into records and calling a handler for each, against the bare loop that does the same.

The limit decompresses with ISA-L, looks for the two patterns with ``bytes.find`` and makes the same calls of the same
parser; it keeps no offsets for checkpoints, looks at no answer and makes no rows. Ours goes from the store to rows with
ids: everything but writing them.

The log is made once, in ``.bench/``: records of about 1 KB, a tenth of the lines noise, a twentieth of the records over
several lines. ``--member-kib`` makes many gzip members of it, as crawls have.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from queue import Queue
from threading import Thread

from benchmarks.measure import Comparison, main, timed
from datalake_interfaces import Document, HandlerContext, RecordHintType, RecordParseHint, SingleFileParser

START, END = b'{"ts"', b"}\n"
SCRATCH = Path(os.environ.get("BENCH_SCRATCH") or Path(__file__).resolve().parent.parent / ".bench")
SYLLABLES = [first + vowel for first in "bdfgklmnprstvz" for vowel in "aeiou"]


NOISE, SEVERAL_LINES = 0.1, 0.15


class Parser(SingleFileParser):
    """The trivial handler."""

    def get_record_start_pattern(self, s3_file_type: str) -> RecordParseHint:
        """A record starts with its time."""
        return RecordParseHint(RecordHintType.PATTERN, START)

    def get_record_end_pattern(self, s3_file_type: str) -> RecordParseHint:
        """It ends with a brace at the end of a line."""
        return RecordParseHint(RecordHintType.PATTERN, END)

    def parse_document(
        self,
        s3_file_type: str,
        s3_filename: str,
        offset_bytes: int,
        byte_arr: bytes,
        start_index: int,
        end_index: int,
    ) -> Document:
        """How long it is."""
        return Document({"length": end_index - start_index}, record_type="LOG")


def texts(rng: random.Random, count: int) -> list[str]:
    """Word-like text of about 1 KB: few words are frequent, many are rare."""
    words = list(dict.fromkeys("".join(rng.choices(SYLLABLES, k=1 + i // 1500 % 4)) for i in range(60_000)))
    weights = list(itertools.accumulate(1 / (rank + 2.7) ** 1.05 for rank in range(len(words))))
    return [" ".join(rng.choices(words, cum_weights=weights, k=rng.randint(100, 300))) for _ in range(count)]


def log_lines() -> Iterator[bytes]:
    """The log, without an end."""
    rng = random.Random(11)
    bodies = texts(rng, 20_000)
    for number in itertools.count():
        body, kind = rng.choice(bodies), rng.random()
        if kind < NOISE:
            yield f"## {body[:200]}\n".encode()
        message = f',\n "msg":"{body}"' if kind < SEVERAL_LINES else f',"msg":"{body}"'
        time = f"2026-05-01T00:{number // 60 % 60:02d}:{number % 60:02d}.{number % 1_000_000:06d}Z"
        yield f'{{"ts":"{time}","level":"info","seq":{number}{message}}}\n'.encode()


def log_file(arguments: argparse.Namespace) -> Path:
    """Where the log is; makes it if it is not there yet."""
    path = SCRATCH / f"split-{arguments.megabytes}-{arguments.member_kib}.log.gz"
    if path.exists():
        return path
    SCRATCH.mkdir(exist_ok=True)
    temporary = path.with_suffix(".tmp")
    lines = log_lines()
    with temporary.open("wb") as file:
        while file.tell() < arguments.megabytes * 1_000_000:
            with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=6, mtime=0, filename="") as member:
                written = 0
                while file.tell() < arguments.megabytes * 1_000_000:
                    data = b"".join(itertools.islice(lines, 5 if arguments.member_kib else 1000))
                    written += member.write(data)
                    if arguments.member_kib and written >= arguments.member_kib << 10:
                        break
    temporary.replace(path)
    return path


def split(blocks: Iterable[bytes]) -> int:
    """The bare loop; returns the number of records."""
    parse, count, base, tail = Parser().parse_document, 0, 0, b""
    for block in blocks:
        data = tail + block if tail else block
        at = 0
        while True:
            start = data.find(START, at)
            if start < 0:
                tail = data[max(at, len(data) - len(START) + 1) :]
                break
            end = data.find(END, start + len(START))
            if end < 0:
                tail = data[start:]
                break
            at = end + len(END)
            record = data[start:at]
            parse("LOG", "log.gz", base + start, record, 0, len(record))
            count += 1
        base += len(data) - len(tail)
    return count


def members(path: Path) -> Iterator[bytes]:
    """The file, decompressed by ISA-L's decompressor object."""
    from isal import igzip_lib

    with path.open("rb", buffering=0) as file:
        decompressor = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        while piece := file.read(256 << 10):
            while piece:
                yield decompressor.decompress(piece)
                piece = b""
                if decompressor.eof:
                    piece = decompressor.unused_data
                    decompressor = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)


def file_blocks(path: Path) -> Iterator[bytes]:
    """The file, decompressed by ISA-L's file object."""
    from isal import igzip

    with igzip.open(path, "rb") as file:
        while block := file.read(256 << 10):
            yield block


def in_thread(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same blocks, made by another thread (the file object lets others work meanwhile)."""
    queue: Queue[bytes | None] = Queue(4)

    def fill() -> None:
        for block in blocks:
            queue.put(block)
        queue.put(None)

    Thread(target=fill, daemon=True).start()
    while (block := queue.get()) is not None:
        yield block


def limit(folder: Path, arguments: argparse.Namespace) -> object:
    """One thread."""
    path = log_file(arguments)
    with timed():
        return split(members(path))


def limit_file(folder: Path, arguments: argparse.Namespace) -> object:
    """One thread, the file object."""
    path = log_file(arguments)
    with timed():
        return split(file_blocks(path))


def limit_thread(folder: Path, arguments: argparse.Namespace) -> object:
    """Two threads."""
    path = log_file(arguments)
    with timed():
        return split(in_thread(file_blocks(path)))


def decompress_only(folder: Path, arguments: argparse.Namespace) -> None:
    """What decompression alone costs."""
    path = log_file(arguments)
    with timed():
        for _ in file_blocks(path):
            pass


def ours(folder: Path, arguments: argparse.Namespace) -> object:
    """From the store to rows with ids."""
    from datalake_service.handling.apply import FileHandler
    from datalake_service.readers.objects import ObjectReader
    from datalake_service.storage.folder import FolderStore

    path = log_file(arguments)
    store, handler = FolderStore(path.parent), FileHandler(Parser())
    with timed():
        handler.open(HandlerContext())
        reader = ObjectReader(store, store.head(path.name), handler.hints(), source=path.name)
        for batch in reader.batches():
            for _ in handler.apply(batch.records, source=path.name, file_name=path.name):
                pass
    assert json.dumps(reader.notes) == "[]"
    return handler.counts().documents


def options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--megabytes", type=int, default=200, help="size of the compressed log")
    parser.add_argument("--member-kib", type=int, default=0, help="text in a gzip member (default: one member)")


if __name__ == "__main__":
    main(
        __file__,
        Comparison(
            "Split a gzip log into records, one handler call each",
            {
                "limit: ISA-L, bytes.find, the same calls": limit,
                "the same, ISA-L's file object": limit_file,
                "the same, decompressing in a thread": limit_thread,
                "datalake": ours,
                "decompression only": decompress_only,
            },
            options,
            by="inner_cpu",
        ),
    )
