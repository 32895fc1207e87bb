"""What a merge must answer, by brute force: the oracle of the merge tests shares no code with the product.

It takes the bytes of every file that was ever merged, in the order of their times, and looks at each row alone. Also:
ways to read merged objects that trust nothing but pyarrow and the documented field metadata.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import re
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from datalake_service.pipeline.ingest import ingest_iterator
from datalake_service.pipeline.merging.result import MergeLimits
from datalake_service.storage.base import CreateOnly, ObjectMeta, ObjectStore

Row = dict[str, Any]


class TinyLimits(MergeLimits):
    """A machine on which nothing fits into memory."""

    key_bytes = 0
    partition_bytes = 100
    window_bytes = 50
    group_bytes = 300


@dataclass(frozen=True, slots=True)
class File:
    """One file that was merged."""

    name: str
    body: bytes
    deduplicate_on: tuple[str, ...] | None


@dataclass(slots=True)
class Expected:
    """What must have become of all rows."""

    kept: dict[str, Row] = field(default_factory=dict)
    """By id, without nulls."""
    duplicates: dict[str, Row] = field(default_factory=dict)
    repeated: int = 0
    all_null: int = 0
    bad: list[bytes] = field(default_factory=list)
    conflicts: list[bytes] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """As the commit record names them."""
        return {
            "rows": len(self.kept),
            "duplicates": len(self.duplicates),
            "repeated": self.repeated,
            "rejected": len(self.bad) + len(self.conflicts),
            "conflicts": len(self.conflicts),
            "allNullKeys": self.all_null,
        }


def equal(one: Any, other: Any) -> bool:
    """Equality of JSON values: 1 is 1.0 and no true, NaN is NaN, the order of keys says nothing."""
    if isinstance(one, bool) or isinstance(other, bool) or one is None or other is None:
        return one is other
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other):
        return True
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return isinstance(one, str) == isinstance(other, str) and bool(one == other)


def expect(files: list[File]) -> Expected:
    """Merge all files at once, slowly."""
    expected = Expected()
    first: dict[str, Row] = {}
    for file in files:
        for number, line in enumerate(file.body.removeprefix(b"\xef\xbb\xbf").split(b"\n")):
            if not line.strip(b" \t\r\n"):
                continue
            read = _row(file.name, number, line)
            if read is None:
                expected.bad.append(line)
                continue
            row_id, row = read
            if row_id not in first:
                first[row_id] = row
            elif equal(first[row_id], row):
                expected.repeated += 1
            else:
                expected.conflicts.append(line)
    lists = [set(file.deduplicate_on) for file in files if file.deduplicate_on]
    columns = set.intersection(*lists) if lists else set()
    keys: list[Row] = []
    for row_id, row in first.items():
        key = {name: row.get(name) if name != "id" else row_id for name in columns}
        if columns and all(value is None for value in key.values()):
            expected.all_null += 1
        elif columns and any(equal(key, other) for other in keys):
            expected.duplicates[row_id] = row
            continue
        else:
            keys.append(key)
        expected.kept[row_id] = row
    return expected


def _row(name: str, number: int, line: bytes) -> tuple[str, Row] | None:
    try:
        row = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or "_batch" in row or "_created_at" in row:
        return None
    own = row.pop("id", None)
    row = {key: value for key, value in row.items() if value is not None}
    row_id = _derived_id(name, number, line) if own is None else _own_id(own)
    return None if row_id is None else (row_id, row)


def _derived_id(name: str, number: int, line: bytes) -> str:
    chunk = re.fullmatch(r"([0-9a-f]{6})_chunk_([0-9]{5})\.jsonl", name)
    if chunk:
        return f"{chunk[1]}-{chunk[2]}-{number}"
    return blake2b(f"{name}\0{number}\0".encode() + line, digest_size=16).hexdigest()


def _own_id(own: Any) -> str | None:
    if isinstance(own, int) and not isinstance(own, bool):
        return str(own)
    return own if isinstance(own, str) and not re.search("[\ud800-\udfff]", own) else None


def files_of(store: ObjectStore, prefix: str, known: list[File]) -> list[File]:
    """Files below ``prefix`` that are not in ``known``, in the order of their times, with their runs' columns."""
    listed = [meta for meta in store.list(prefix) if meta.key.count("/") == prefix.count("/")]
    columns = {
        meta.key.removesuffix(".manifest.json"): json.loads(store.get(meta.key)[0])["deduplicateOn"]
        for meta in listed
        if meta.key.endswith(".manifest.json")
    }
    names = {file.name for file in known}
    found = []
    for meta in sorted(listed, key=lambda meta: meta.last_modified):
        name = meta.key.removeprefix(prefix)
        if name.endswith(".jsonl") and name not in names:
            named = columns.get(meta.key.partition("_chunk_")[0])
            found.append(File(name, store.get(meta.key)[0], tuple(named) if named else None))
    return found


def read_merged(store: ObjectStore, key: str) -> list[Row]:
    """The rows of a merged object under their true names, nulls left out, in order."""
    table = pq.read_table(pa.BufferReader(store.get(key)[0]))
    columns = {}
    for number, item in enumerate(table.schema):
        texts: list[Any] = table.column(number).to_pylist()
        if item.metadata[b"datalake.type"] in (b"json", b"number"):
            texts = [None if text is None else json.loads(text) for text in texts]
        columns[json.loads(item.metadata[b"datalake.name"])] = texts
    return [
        {name: value for name, value in zip(columns, values, strict=True) if value is not None}
        for values in zip(*columns.values(), strict=True)
    ]


def read_record(store: ObjectStore, key: str) -> Any:
    """The commit record of a merged object."""
    metadata = pq.read_metadata(pa.BufferReader(store.get(key)[0])).metadata
    return json.loads(metadata[b"datalake"])


def read_rejected(store: ObjectStore, prefix: str) -> list[bytes]:
    """The bytes of all lines that were rejected."""
    lines = [line for meta in store.list(f"{prefix}rejected/") for line in store.get(meta.key)[0].splitlines()]
    return [
        base64.b64decode(item["base64"]) if "base64" in item else item["text"].encode("utf-8")
        for item in map(json.loads, lines)
    ]


def read_duplicates(store: ObjectStore, prefix: str) -> list[Row]:
    """The rows that the merged object has put aside."""
    attempt = read_record(store, f"{prefix}merged.parquet")["duplicates"]
    if attempt is None:
        return []
    return [json.loads(line) for line in store.get(f"{prefix}duplicates/{attempt}.jsonl")[0].splitlines()]


def check(store: ObjectStore, prefix: str, files: list[File]) -> None:
    """Whether everything below ``prefix`` is as it must be after ``files`` were merged."""
    expected = expect(files)
    batch = prefix.rstrip("/").rpartition("/")[2]
    for rows, wanted in (
        (read_merged(store, f"{prefix}merged.parquet"), expected.kept),
        (read_duplicates(store, prefix), expected.duplicates),
    ):
        found = {}
        for row in rows:
            assert row.pop("_batch") == batch
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", row.pop("_created_at"))
            row_id = row.pop("id")
            assert row_id not in found
            found[row_id] = {name: value for name, value in row.items() if value is not None}
        assert _text(found) == _text(wanted)
    record = read_record(store, f"{prefix}merged.parquet")
    assert record["counts"] == expected.counts()
    assert sorted(read_rejected(store, prefix)) == sorted(expected.bad + expected.conflicts)


def _text(rows: dict[str, Row]) -> str:
    return json.dumps(rows, sort_keys=True)


PREFIX = "d/b/"


KEY = "d/b/merged.parquet"


def ingest(store: ObjectStore, *rows: Any, columns: list[str] | None = None, chunk_size: int = 2) -> str:
    """One run; returns its name."""
    result = asyncio.run(
        ingest_iterator(store, rows, dataset="d", batch="b", chunk_size=chunk_size, deduplicate_on=columns)
    )
    return result.run


def foreign(store: ObjectStore, name: str, *lines: object) -> ObjectMeta:
    """A file that somebody put into the batch: bytes as they are, everything else as JSON."""
    body = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    return store.put(f"{PREFIX}{name}.jsonl", body, mode=CreateOnly())


def names(store: ObjectStore) -> set[str]:
    """What lies in the batch."""
    return {meta.key.removeprefix(PREFIX) for meta in store.list(PREFIX)}


def column(store: ObjectStore, name: str) -> list[Any]:
    """One column of the merged rows, in order."""
    return [row.get(name) for row in read_merged(store, KEY)]
