"""What must be true of a dataset at every moment. Shares no code with the product: keys and contents are parsed here.

Told of every change of the bucket, of every row that a writer or annotator was promised to be durable, and of what a
reader saw. Raises ``AssertionError`` at the first thing that is wrong.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

DATASET, ANNOTATOR = "posts", "lang"
_CHUNK = re.compile(r"([0-9a-f]{6})_chunk_([0-9]{5})\.jsonl")


@dataclass(frozen=True, slots=True)
class Content:
    """The rows of one object."""

    rows: tuple[tuple[str, str, str], ...]
    """(batch, id, value)."""
    record: dict[str, Any] | None = None
    """What a merged object says about itself."""


class Model:
    """Everything that was promised, and what lies in the bucket."""

    def __init__(self) -> None:
        self.offered: dict[str, set[str]] = defaultdict(set)
        """By batch: values that a writer tried to store."""
        self.acknowledged: dict[str, set[str]] = defaultdict(set)
        """By batch: values that a writer was promised."""
        self.annotated: set[tuple[str, str]] = set()
        """(batch, id) of annotations that an annotator was promised."""
        self.versions: dict[str, list[tuple[tuple[str, str], ...]]] = defaultdict(list)
        """By batch: (id, value) of every version of its merged object."""
        self._contents: dict[str, Content] = {}
        self._keys: set[str] = set()

    # Told ----------------------------------------------------------------------------------------------

    def changed(self, key: str, data: bytes | None) -> None:
        """An object was written, or deleted."""
        if data is None:
            self._keys.discard(key)
            self._contents.pop(key, None)
        else:
            self._keys.add(key)
            content = _parse(key, data)
            if content is not None:
                self._check_new(key, content)
                self._contents[key] = content
        self.check_rows()
        self.check_annotations()
        self._check_aside()

    def promised(self, batch: str, values: Iterable[str]) -> None:
        """A writer's rows are durable."""
        self.acknowledged[batch].update(values)
        self.check_rows()

    def promised_annotations(self, rows: Iterable[tuple[str, str]]) -> None:
        """An annotator's rows are durable."""
        self.annotated.update(rows)
        self.check_annotations()

    def seen(self, batch: str, rows: list[tuple[str, str]], *, since: int) -> None:
        """A reader saw these rows of a batch; ``since``: how many versions there were when it began."""
        assert len(rows) == len({row_id for row_id, _ in rows}), f"a reader saw an id of {batch} twice"
        later = self.versions[batch][max(since - 1, 0) :]
        assert sorted(rows) in [sorted(version) for version in later], f"a reader saw no version of {batch}: {rows}"

    # Asked ---------------------------------------------------------------------------------------------

    def check_rows(self) -> None:
        """No acknowledged row is missing."""
        for batch, wanted in self.acknowledged.items():
            found = {value for content in self._of(f"{DATASET}/{batch}/") for _, _, value in content.rows}
            assert wanted <= found, f"acknowledged rows of {batch} are gone: {sorted(wanted - found)}"

    def check_annotations(self) -> None:
        """No acknowledged annotation is missing."""
        found = self.stored_annotations()
        assert self.annotated <= found, f"acknowledged annotations are gone: {sorted(self.annotated - found)}"

    def stored_annotations(self) -> set[tuple[str, str]]:
        """(batch, id) of all annotations that lie in the bucket."""
        return {(batch, row_id) for content in self._annotations() for batch, row_id, _ in content.rows}

    def check_end(self, once: dict[str, set[str]]) -> None:
        """All is merged. ``once``: the values of a batch that were repeated until they were acknowledged."""
        left = [key for key in self._keys if _CHUNK.search(key) or key.endswith(".manifest.json")]
        done: Counter[tuple[str, str]] = Counter()
        for content in self._annotations():
            done.update((batch, row_id) for batch, row_id, _ in content.rows)
        for batch, versions in self.versions.items():
            values = Counter(value for _, value in versions[-1])
            assert self.acknowledged[batch] | once.get(batch, set()) <= set(values), f"rows of {batch} are missing"
            assert set(values.values()) <= {1}, f"rows of {batch} are there twice: {values}"
            missing = {(batch, row_id) for row_id, _ in versions[-1]} - set(done)
            assert not missing, f"never annotated: {sorted(missing)}"
        assert set(done.values()) <= {1}, f"annotated twice: {done}"
        assert not [key for key in left if _CHUNK.search(key)], f"chunks that nobody merged: {left}"

    # Within --------------------------------------------------------------------------------------------

    def _of(self, folder: str) -> list[Content]:
        """What lies directly in a folder."""
        return [content for key, content in self._contents.items() if key.rpartition("/")[0] + "/" == folder]

    def _annotations(self) -> list[Content]:
        return [content for key, content in self._contents.items() if "/annotations/" in key]

    def _check_new(self, key: str, content: Content) -> None:
        batch = key.split("/")[1]
        if batch == "annotations":
            for base, row_id, _ in content.rows:
                known = {known for version in self.versions[base] for known, _ in version}
                assert row_id in known, f"{key}: an annotation of {row_id}, which is no row of {base}"
        else:
            strange = {value for _, _, value in content.rows} - self.offered[batch]
            assert not strange, f"{key}: nobody wrote {sorted(strange)} into {batch}"
        if not key.endswith("merged.parquet"):
            return
        ids = [row_id for _, row_id, _ in content.rows]
        assert len(ids) == len(set(ids)), f"{key}: an id is there twice"
        if batch != "annotations":
            earlier = self.versions[batch][-1] if self.versions[batch] else ()
            gone = {row_id for row_id, _ in earlier} - set(ids)
            assert not gone, f"{key}: a new version lacks {sorted(gone)}"
            self.versions[batch].append(tuple((row_id, value) for _, row_id, value in content.rows))

    def _check_aside(self) -> None:
        """The duplicates that a merged object refers to are there."""
        for key, content in self._contents.items():
            attempt = (content.record or {}).get("duplicates")
            if attempt is not None:
                aside = f"{key.removesuffix('merged.parquet')}duplicates/{attempt}.jsonl"
                assert aside in self._keys, f"{aside}: gone, but {key} refers to it"


def _parse(key: str, data: bytes) -> Content | None:
    folders, name = key.split("/")[:-1], key.rpartition("/")[2]
    annotation = len(folders) > 2
    if name == "merged.parquet":
        file = pq.ParquetFile(pa.BufferReader(data))
        table, record = file.read(), json.loads(file.metadata.metadata[b"datalake"])
        values = table.column("_status" if annotation else "value").to_pylist()
        rows = zip(table.column("_batch").to_pylist(), table.column("id").to_pylist(), values, strict=True)
        return Content(tuple(rows), record)
    chunk = _CHUNK.fullmatch(name)
    if chunk is None:
        return None
    found = []
    for number, line in enumerate(data.splitlines()):
        row = json.loads(line)
        if annotation:
            found.append((row["_batch"], row["id"], row["_status"]))
        else:
            found.append((folders[1], row.get("id") or f"{chunk[1]}-{chunk[2]}-{number}", row["value"]))
    return Content(tuple(found))
