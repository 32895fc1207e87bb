"""Fixed-size records on local disk, partitioned by a digest, so that each partition can be sorted in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datalake_service.errors import MergeError
from datalake_service.tables.verdicts.digests import Digests, partition_numbers

Records = npt.NDArray[np.void]

MAX_PARTITIONS = 1024
_BUFFER_BYTES = 8 << 20


class Spool:
    """Records of one type; those with equal digests come out together, in the order they went in.

    The first two fields of the type are the halves of the digest. Small spools never touch the disk.
    """

    def __init__(
        self,
        path: Path,
        dtype: np.dtype[np.void],
        *,
        rows: int,
        partition_bytes: int,
        buffer_bytes: int = _BUFFER_BYTES,
    ) -> None:
        """Spool about ``rows`` records in files beginning with ``path``, about ``partition_bytes`` in each.

        ``buffer_bytes`` of them are kept in memory before anything is written.
        """
        wanted = max(1, rows * dtype.itemsize // max(1, partition_bytes))
        self._partitions = min(MAX_PARTITIONS, 1 << (wanted - 1).bit_length())
        self._path = path
        self._dtype = dtype
        self._buffer_bytes = buffer_bytes
        self._buffers: list[list[Records]] = [[] for _ in range(self._partitions)]
        self._buffered = 0
        self._on_disk: set[int] = set()
        self._count = 0

    def __len__(self) -> int:
        """Return how many records were added."""
        return self._count

    def add(self, digests: Digests, **fields: npt.NDArray[np.generic]) -> None:
        """Add a record for each digest; ``fields`` are the other fields of the type by name.

        Raises:
            MergeError: The local disk cannot be written.
        """
        records = np.empty(len(digests), self._dtype)
        names = self._dtype.names or ()
        records[names[0]], records[names[1]] = digests[:, 0], digests[:, 1]
        for name, values in fields.items():
            records[name] = values
        self._count += len(records)
        self._buffered += records.nbytes
        if self._partitions == 1:
            self._buffers[0].append(records)
        else:
            numbers = partition_numbers(digests, self._partitions)
            order = np.argsort(numbers, kind="stable")
            bounds = np.searchsorted(numbers[order], np.arange(self._partitions + 1))
            for number in np.unique(numbers).tolist():
                self._buffers[number].append(records[order[bounds[number] : bounds[number + 1]]])
        if self._buffered >= self._buffer_bytes:
            self._flush()

    def partitions(self) -> Iterator[Records]:
        """Every partition that has records; its file is removed once it was read.

        Raises:
            MergeError: The local disk cannot be read.
        """
        for number, buffers in enumerate(self._buffers):
            pieces = list(buffers)
            buffers.clear()
            if number in self._on_disk:
                try:
                    pieces.insert(0, np.fromfile(self._file(number), self._dtype))
                    self._file(number).unlink()
                except OSError as error:
                    raise _failed(error, self._file(number)) from error
            if pieces:
                yield np.concatenate(pieces)

    def _flush(self) -> None:
        for number, buffers in enumerate(self._buffers):
            if not buffers:
                continue
            try:
                with self._file(number).open("ab") as file:
                    for records in buffers:
                        file.write(records.tobytes())
            except OSError as error:
                raise _failed(error, self._file(number)) from error
            buffers.clear()
            self._on_disk.add(number)
        self._buffered = 0

    def _file(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}-{number:04d}")


def _failed(error: OSError, path: Path) -> MergeError:
    return MergeError(f"cannot use the temporary file {path}: {(error.strerror or str(error)).lower()}")


def sorted_groups(records: Records, *, order: str) -> tuple[Records, npt.NDArray[np.bool_]]:
    """Sort records by digest, then by the field ``order``; also say which records begin a new digest."""
    names = records.dtype.names or ()
    sequence = np.lexsort((records[order], records[names[1]], records[names[0]]))
    ordered = records[sequence]
    begins = np.ones(len(ordered), np.bool_)
    if len(ordered) > 1:
        begins[1:] = (ordered[names[0]][1:] != ordered[names[0]][:-1]) | (
            ordered[names[1]][1:] != ordered[names[1]][:-1]
        )
    return ordered, begins
