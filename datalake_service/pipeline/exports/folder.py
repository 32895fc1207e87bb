"""Rows of a view as a folder that other people's tools take as it is: shards, and a page that describes them.

``hf``: Parquet files and a dataset card, for ``datasets.load_dataset`` and for an upload. ``webdataset``: tar files
with one JSON file for each row, for ``webdataset`` and whatever reads its shards. The folder is there when it is
complete.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from datalake_service.catalog.makers import software_version
from datalake_service.catalog.manifests import FORMAT_VERSION, format_time
from datalake_service.errors import UsageError
from datalake_service.pipeline.views.views import DatasetView
from datalake_utils.clock import Clock, SystemClock
from datalake_utils.ids import random_hex

SHARD_BYTES: Final = 500_000_000
"""How large a shard becomes, about."""
LINEAGE: Final = "lineage.json"
_CARD: Final = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/*.parquet
---

# {dataset}

{rows:,} rows, exported by datalake {version}. `{lineage}` says what they come from.

```python
from datasets import load_dataset

dataset = load_dataset("PATH OF THIS FOLDER", split="train")
```
"""

Progress = Callable[[int], None]


class FolderKind(StrEnum):
    """For which tools."""

    HF = "hf"
    WEBDATASET = "webdataset"


@dataclass(frozen=True, slots=True)
class FolderResult:
    """What was written."""

    rows: int
    shards: int
    size: int
    """Bytes of all files."""


def export_folder(
    view: DatasetView,
    path: str | Path,
    kind: FolderKind,
    *,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> FolderResult:
    """Write every row of a view into shards in a new folder, which appears when it is complete.

    The same versions of the same objects make the same shards.

    Args:
        view: What to export. If columns were not chosen, ``_batch`` and ``_created_at`` are among them.
        path: The folder; it must not exist, or be empty.
        kind: For which tools.
        shard_bytes: When a shard is full: bytes of rows before compression (``hf``), or of the file.
        progress: Called often.
        clock: Time source.

    Raises:
        UsageError: The folder cannot be written, or something is in it.
        FilterError: The user's SQL fails on some row.
        StoreError: Reading fails.
    """
    target = Path(path)
    check_folder(target)
    with _new_folder(target) as folder:
        write = _write_parquet if kind is FolderKind.HF else _write_tars
        shards, rows = write(view, folder, shard_bytes, progress)
        said = {"exportedAt": format_time((clock or SystemClock()).now()), "rows": rows, "shards": shards}
        origin = {"format": FORMAT_VERSION, "datalake": software_version(), **view.lineage()}
        (folder / LINEAGE).write_text(json.dumps({**said, **origin}, indent=1), encoding="utf-8")
        if kind is FolderKind.HF:
            card = _CARD.format(dataset=view.dataset, rows=rows, version=software_version(), lineage=LINEAGE)
            (folder / "README.md").write_text(card, encoding="utf-8")
        size = sum(found.stat().st_size for found in folder.rglob("*") if found.is_file())
    return FolderResult(rows, shards, size)


def check_folder(path: Path) -> None:
    """Refuse a folder that something is in.

    Raises:
        UsageError: It is no folder, not empty, or cannot be looked at.
    """
    try:
        free = not path.exists() or (path.is_dir() and not any(path.iterdir()))
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    if not free:
        raise UsageError(f"{path}: is there already; name a folder that does not exist, or an empty one")


def _write_parquet(view: DatasetView, folder: Path, shard_bytes: int, progress: Progress | None) -> tuple[int, int]:
    data = folder / "data"
    data.mkdir()
    rows = shards = 0
    for written in view.to_parquet_shards(lambda number: data / f"train-{number:05d}.parquet", shard_bytes=shard_bytes):
        rows += written
        shards += 1
        if progress is not None:
            progress(written)
    return shards, rows


def _write_tars(view: DatasetView, folder: Path, shard_bytes: int, progress: Progress | None) -> tuple[int, int]:
    shards = _Tars(folder, view.dataset, shard_bytes)
    with closing(view.lines()) as blocks, closing(shards):
        for rows, lines in blocks:
            for line in lines.split(b"\n"):
                if line:
                    shards.add(line)
            if progress is not None:
                progress(rows)
    return shards.count, shards.rows


class _Tars:
    """Tar files, one after the other; a row is a file in one of them, named by its number among all rows."""

    def __init__(self, folder: Path, name: str, shard_bytes: int) -> None:
        self._folder, self._name, self._most = folder, name, shard_bytes
        self._tar: tarfile.TarFile | None = None
        self.count = self.rows = 0

    def add(self, row: bytes) -> None:
        if self._tar is None or self._tar.offset >= self._most:
            self.close()
            path = self._folder / f"{self._name}-{self.count:06d}.tar"
            self._tar = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 - closed by close()
            self.count += 1
        member = tarfile.TarInfo(f"{self.rows:012d}.json")
        member.size, member.mode = len(row), 0o644
        self._tar.addfile(member, io.BytesIO(row))
        self.rows += 1

    def close(self) -> None:
        if self._tar is not None:
            self._tar.close()
            self._tar = None


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``path``, which takes its place in the end."""
    temporary = path.with_name(f".{path.name}.{random_hex(8)}.tmp")
    try:
        try:
            temporary.mkdir(parents=True)
            yield temporary
            for written in (found for found in temporary.rglob("*") if found.is_file()):
                _make_durable(written)
            if path.is_dir():
                path.rmdir()
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error


def _make_durable(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
