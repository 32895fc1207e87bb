"""Which chunks of which runs were merged, in little space: ranges of numbers. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from datalake_service.catalog.layout import ChunkName

Ranges = tuple[tuple[int, int], ...]
"""First and last number of each range, in order, with gaps between them."""


def with_chunks(
    known: Mapping[str, Ranges], chunks: Iterable[ChunkName], *, runs: Collection[str]
) -> dict[str, Ranges]:
    """The merged chunks of ``runs``: those that were known, and ``chunks``. Other runs are forgotten."""
    numbers: dict[str, list[tuple[int, int]]] = {run: list(known.get(run, ())) for run in runs}
    for chunk in chunks:
        if chunk.run in numbers:
            numbers[chunk.run].append((chunk.number, chunk.number))
    return {run: _joined(found) for run, found in sorted(numbers.items()) if found}


def holds(known: Mapping[str, Ranges], chunk: ChunkName) -> bool:
    """Whether a chunk is among those that were merged."""
    return any(first <= chunk.number <= last for first, last in known.get(chunk.run, ()))


def _joined(ranges: Iterable[tuple[int, int]]) -> Ranges:
    joined: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return tuple(joined)
