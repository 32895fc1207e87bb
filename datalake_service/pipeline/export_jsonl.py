"""Rows of a view as JSONL: to a file, plain or gzip, that appears when it is complete, or to a stream.

Knows nothing of views: it is given rows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any, Final

from datalake_service.errors import UsageError
from datalake_service.jsontext import dumps
from datalake_utils.ids import random_hex

Blocks = Iterable[Iterable[Mapping[str, Any]]]
"""Rows, some at a time."""
Progress = Callable[[int], None]
"""Told how many rows each block had."""

_GZIP_LEVEL: Final = 1


def write_jsonl(path: Path, blocks: Blocks, *, progress: Progress | None = None) -> int:
    """Write every row to ``path`` (gzip if its name ends in ``.gz``); returns their number.

    The file replaces an older one when it is complete, and not at all if anything fails.

    Raises:
        UsageError: The file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{random_hex(8)}.tmp")
    try:
        try:
            with _opened(temporary, packed=path.suffix == ".gz") as stream:
                rows = write_lines(stream, blocks, progress=progress)
            os.replace(temporary, path)  # noqa: PTH105 - the same on Path
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    return rows


def write_lines(stream: IO[bytes], blocks: Blocks, *, progress: Progress | None = None) -> int:
    """Write every row to an open stream, one JSON object a line; returns their number."""
    rows = 0
    for block in blocks:
        lines = [dumps(dict(row)) for row in block]
        if lines:
            stream.write(b"\n".join(lines) + b"\n")
            rows += len(lines)
            if progress is not None:
                progress(len(lines))
    return rows


def _opened(path: Path, *, packed: bool) -> IO[bytes]:
    if not packed:
        return path.open("wb")
    from isal import igzip

    stream: IO[bytes] = igzip.open(path, "wb", compresslevel=_GZIP_LEVEL)  # type: ignore[no-untyped-call]
    return stream
