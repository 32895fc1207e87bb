"""The rows of one merge of annotations, chosen and written: those that count, and older versions beside them.

See ``docs/design/018-annotation-versions.md``. Where there is only one version nothing is looked at twice.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import compress
from pathlib import Path
from typing import Final

import numpy as np

from datalake_service.catalog.annotations import (
    ATTEMPTS,
    CODE,
    COST,
    DONE,
    FAILED,
    GENERATION,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    SECONDS,
    SKIPPED,
    STATUS,
    VERSION,
)
from datalake_service.catalog.made import Made, Spending
from datalake_service.catalog.makers import MadeKey, Maker, VersionKey
from datalake_service.chunks.inventory import Source
from datalake_service.tables.formats.schema import TableSchema
from datalake_service.tables.objects.blocks import Block
from datalake_service.tables.objects.parquet import MergedWriter
from datalake_service.tables.verdicts.bits import Mask
from datalake_service.tables.verdicts.winners import VersionWinners, Winners

Blocks = Callable[[], Iterator[tuple[int, Block]]]
"""Every row, by position; may be asked for again."""

_UNKNOWN: Final[MadeKey] = (None, None, None)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a merge may use."""

    partition_bytes: int
    group_bytes: int


@dataclass(slots=True)
class Written:
    """What came of it."""

    rows: int = 0
    older: int = 0
    forgotten: int = 0
    """Older ones that were kept before, and are not any more."""
    statuses: Counter[str] = field(default_factory=Counter)
    """Of the rows that count."""
    keys: dict[MadeKey, Counter[str]] = field(default_factory=dict)
    """The same by maker; ``older`` among them."""
    spent: Spending = field(default_factory=Spending)
    """By the rows that are new."""


def made_keys(previous: Sequence[Made] | None, sources: Iterable[Source], census: Iterable[str]) -> set[MadeKey]:
    """The makers whose rows there may be; more than one if lines say it themselves.

    Args:
        previous: Of the merged object; ``None``: there is none.
        sources: Files with new rows.
        census: Columns of the new rows.
    """
    keys = {source.maker.key if source.maker is not None else _UNKNOWN for source in sources}
    if previous is not None:
        keys |= {made.key for made in previous} or {_UNKNOWN}
    if not {VERSION, CODE, GENERATION}.isdisjoint(census):
        keys |= {_UNKNOWN, ("", "", 0)}
    return keys


def write_versions(
    blocks: Blocks,
    total: int,
    new_from: int,
    *,
    schema: TableSchema,
    path: Path,
    keys: set[MadeKey],
    limits: Limits,
    forget: Collection[VersionKey] = (),
) -> tuple[MergedWriter, MergedWriter | None, Written]:
    """Choose among ``total`` rows, and write those that count to ``path``, older versions beside it.

    Rows from position ``new_from`` on are new. What these versions made and newer ones have replaced is left out:
    ``forget``. Returns the writers, to be finished (the second has rows, if there is one), and what was written.
    """
    several = len(keys) > 1
    winners: Winners | VersionWinners
    make = VersionWinners if several else Winners
    winners = make(path.parent, total, partition_bytes=limits.partition_bytes)
    for start, block in blocks():
        _note(winners, start, block)
    winners.decide()
    writer = MergedWriter(path, schema, group_bytes=limits.group_bytes)
    older = MergedWriter(path.with_suffix(".older"), schema, group_bytes=limits.group_bytes) if several else None
    written = Written()
    try:
        for start, block in blocks():
            keep = winners.among(start, len(block.ids))
            _count(written, block, keep, keys, new=start >= new_from)
            writer.add(block.table(schema, None if keep.all() else keep))
            if older is not None and isinstance(winners, VersionWinners):
                kept = winners.kept(start, block.values(STATUS))
                if forget:
                    kept = _remembered(written, block, kept, forget)
                if kept.any():
                    _count_older(written, block, kept)
                    older.add(block.table(schema, kept))
    except BaseException:
        writer.abort()
        if older is not None:
            older.abort()
        raise
    written.rows = writer.rows
    if older is not None:
        written.older = older.rows
        if not older.rows:
            older.abort()
            older = None
    return writer, older, written


def _note(winners: Winners | VersionWinners, start: int, block: Block) -> None:
    statuses = block.values(STATUS)
    if isinstance(winners, Winners):
        winners.add(start, block.ids, statuses)
        return
    versions = list(zip(block.values(VERSION), block.values(CODE), strict=True))
    winners.add(start, block.ids, statuses, block.values(GENERATION), versions)


def _count(written: Written, block: Block, keep: Mask, keys: set[MadeKey], *, new: bool) -> None:
    chosen = keep.tolist()
    statuses = list(compress(block.values(STATUS), chosen))
    written.statuses.update(statuses)
    if len(keys) == 1:
        written.keys.setdefault(next(iter(keys)), Counter()).update(statuses)
    else:
        for key, status in zip(compress(_keys(block), chosen), statuses, strict=True):
            written.keys.setdefault(key, Counter())[status] += 1
    if new:
        written.spent += _spent(block)


def _remembered(written: Written, block: Block, kept: Mask, forget: Collection[VersionKey]) -> Mask:
    """Without final rows of versions to forget. A failure stays: it says that its row has to be asked again."""
    versions = zip(block.values(VERSION), block.values(CODE), block.values(STATUS), strict=True)
    forgotten = kept & np.array([(label, code) in forget and status != FAILED for label, code, status in versions])
    written.forgotten += int(np.count_nonzero(forgotten))
    remembered: Mask = kept & ~forgotten
    return remembered


def _count_older(written: Written, block: Block, kept: Mask) -> None:
    for key, count in Counter(compress(_keys(block), kept.tolist())).items():
        written.keys.setdefault(key, Counter())["older"] += count


def _keys(block: Block) -> list[MadeKey]:
    return list(zip(block.values(VERSION), block.values(CODE), block.values(GENERATION), strict=True))


def _spent(block: Block) -> Spending:
    attempts = block.values(ATTEMPTS)
    return Spending(
        sum(1 if count is None else count for count in attempts),
        _sum(block.values(SECONDS)),
        _sum(block.values(COST)),
        sum(filter(None, block.values(INPUT_TOKENS))),
        sum(filter(None, block.values(OUTPUT_TOKENS))),
    )


def _sum(values: Iterable[float | None]) -> float:
    return math.fsum(value for value in values if value is not None and math.isfinite(value))


def made_by(
    previous: Sequence[Made], sources: Iterable[Source], counts: Mapping[MadeKey, Counter[str]], *, batch: str
) -> tuple[Made, ...]:
    """What each maker has made of a batch, those with rows only, oldest generation first."""
    known: dict[MadeKey, Made] = {made.key: made for made in previous}
    for source in sources:
        fresh = _made(source, batch)
        before = known.get(fresh.key)
        known[fresh.key] = fresh if before is None else before.joined(fresh)
    made = [
        replace(
            known.get(key) or Made(maker=Maker(version=key[0], code=key[1]), generation=key[2]),
            done=count[DONE],
            skipped=count[SKIPPED],
            failed=count[FAILED],
            older=count["older"],
        )
        for key, count in counts.items()
        if count.total()
    ]
    return tuple(sorted(made, key=lambda one: (one.generation or 0, one.maker.version or "", one.maker.code or "")))


def _made(source: Source, batch: str) -> Made:
    at: datetime = source.created_at
    runs = (source.origin.chunk.run,) if source.origin.chunk is not None else ()
    if source.maker is None:
        return Made(maker=Maker(), generation=None, runs=runs, first_at=at, last_at=at)
    run = source.maker
    base = run.bases.get(batch)
    return Made(maker=run.maker, generation=run.generation, base=base, runs=runs, first_at=at, last_at=at)
