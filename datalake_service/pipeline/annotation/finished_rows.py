"""Which rows an annotator is done with: merged annotations and chunks that no merge has seen yet.

Decided for each row, never for a batch: a failed row is not in it, so the next run asks again.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

from datalake_service.catalog import layout
from datalake_service.catalog.annotations import ANY_DONE, CODE, FAILED, GENERATION, STATUS, VERSION, DoneRule
from datalake_service.catalog.makers import MadeKey
from datalake_service.catalog.manifests import RunManifest
from datalake_service.chunks.reader import Lines, read_lines
from datalake_service.errors import ObjectNotFoundError
from datalake_service.storage.base import ObjectStore
from datalake_service.tables.formats.answered_lines import Answers, Ids, answered_lines
from datalake_service.tables.objects.finished_ids import AllBut, Answered, FinishedIds, answered_ids

_READERS: Final = 16
"""Chunks read at once; each is a few megabytes at most."""
_AT_ONCE: Final = 256
"""Chunks whose ids may wait to be packed."""
_WHOLE_BYTES: Final = 16 << 20
"""A chunk up to this size, as ours are, is looked at as a whole; another one is parsed piece by piece."""
_NOBODY: Final[MadeKey] = (None, None, None)

LeftOut = FinishedIds | AllBut
"""Rows that are not asked."""


@dataclass(slots=True)
class _Found:
    """What a chunk says about rows, by batch and generation."""

    packed: list[tuple[str, int, Ids, bool]] = field(default_factory=list)
    """Ids, and whether their rows have an annotation that counts; if not, they have failed."""
    parsed: dict[tuple[str, int], tuple[list[str], list[str]]] = field(default_factory=dict)
    """The ids of rows that have an annotation that counts, and of those that failed."""

    def add_to(self, unmerged: dict[str, Answered]) -> None:
        """Add it to what other chunks say."""
        for batch, generation, ids, final in self.packed:
            unmerged.setdefault(batch, Answered()).add_packed(generation, ids, final=final)
        for (batch, generation), (final_ids, failed) in self.parsed.items():
            unmerged.setdefault(batch, Answered()).add(generation, final=final_ids, failed=failed)


class FinishedRows:
    """The finished rows of one annotator.

    The chunks are read when this is made (and by ``look_again``), a merged object when its batch is asked for. In this
    order a merge that runs meanwhile hides nothing: what it takes out of the chunks is in the merged object by then.
    """

    def __init__(
        self,
        store: ObjectStore,
        dataset: str,
        annotator: str,
        *,
        rule: DoneRule = ANY_DONE,
        only_failed: bool = False,
    ) -> None:
        """Read every chunk that is not merged yet; memory grows with their ids only.

        Args:
            store: The lake.
            dataset: Its name.
            annotator: Its name.
            rule: Which annotations count.
            only_failed: Take every row for finished that has not failed.

        Raises:
            StoreError: The store failed.
        """
        self._store = store
        self._dataset = dataset
        self._annotator = annotator
        self._rule = rule
        self._only_failed = only_failed
        self._prefix = layout.annotator_temp_prefix(dataset, annotator)
        self._unmerged: dict[str, Answered] = {}
        self._seen: set[str] = set()
        self._makers: dict[str, MadeKey | None] = {}
        self.look_again()

    def look_again(self) -> None:
        """Read the chunks that came since. What was read before stays true: finished rows stay finished.

        Raises:
            StoreError: The store failed.
        """
        listed = (meta.key for meta in self._store.list(self._prefix))
        chunks = {key for key in listed if layout.parse_chunk(key.removeprefix(self._prefix))}
        keys = sorted(chunks - self._seen)
        self._seen = chunks  # a name is never used again
        with ThreadPoolExecutor(_READERS, thread_name_prefix="finished") as pool:
            runs = sorted({self._run_of(key) for key in keys} - set(self._makers))
            self._makers.update(zip(runs, pool.map(self._maker_of, runs), strict=True))
            for start in range(0, len(keys), _AT_ONCE):  # readers are faster than what packs the ids
                for found in pool.map(self._read_chunk, keys[start : start + _AT_ONCE]):
                    found.add_to(self._unmerged)

    def of(self, batch: str, *, again: bool = False) -> LeftOut:
        """The ids of the finished rows of ``batch``.

        Can be asked once for each batch, which is forgotten then, unless it is said that it will be asked ``again``.

        Raises:
            StoreError: The store failed.
        """
        answered = self._answered(batch, again=again)
        return AllBut(answered.failed()) if self._only_failed else answered.finished()

    def _answered(self, batch: str, *, again: bool) -> Answered:
        merged = answered_ids(self._store, self._dataset, self._annotator, batch, self._rule)
        unmerged = self._unmerged.get(batch) if again else self._unmerged.pop(batch, None)
        return merged if unmerged is None else merged.joined(unmerged)

    def _run_of(self, key: str) -> str:
        name = layout.parse_chunk(key.removeprefix(self._prefix))
        assert name is not None  # only chunks are listed
        return name.run

    def _maker_of(self, run: str) -> MadeKey | None:
        """Who made the rows of a run; ``None``: its manifest is gone, as it is when its chunks are merged."""
        key = layout.run_manifest_key(self._prefix, run)
        try:
            maker = RunManifest.from_json(self._store.get(key)[0], key=key).maker
        except ObjectNotFoundError:
            return None
        return _NOBODY if maker is None else maker.key

    def _read_chunk(self, key: str) -> _Found:
        maker = self._makers[self._run_of(key)]
        try:
            if maker is None:
                self._store.head(key)  # if it is there all the same, nobody knows who made it
            with self._store.open(key) as stream:
                data = _read(stream, _WHOLE_BYTES)
            whole = len(data) < _WHOLE_BYTES
            answers = answered_lines(data) if whole else None
            if answers is not None:
                return _sorted(answers, maker or _NOBODY, self._rule)
            found = _Found()
            with io.BytesIO(data) if whole else self._store.open(key) as stream:
                for lines in read_lines(stream, numbers_matter=False):
                    _sort(lines, maker or _NOBODY, self._rule, found.parsed)
            return found
        except ObjectNotFoundError:  # merged and deleted since the listing
            return _Found()


def _read(stream: BinaryIO, most: int) -> bytes:
    pieces, left = [], most
    while left and (piece := stream.read(left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _sorted(answers: Sequence[Answers], maker: MadeKey, rule: DoneRule) -> _Found:
    """What lines say of which only the beginnings were read: then their run says who made them."""
    version, code, generation = maker
    found = _Found()
    for batch, status, ids in answers if rule.takes_version(version, code) else ():
        done = rule.is_done(status, generation or 0)
        if done or status == FAILED:
            found.packed.append((batch, generation or 0, ids, done))
    return found


def _sort(
    lines: Lines, maker: MadeKey, rule: DoneRule, found: dict[tuple[str, int], tuple[list[str], list[str]]]
) -> None:
    """Lines that are no rows are the merge's: it keeps them aside, and their rows are asked again."""
    version, code, generation = maker
    takes, of_run = rule.takes_version(version, code), generation or 0
    for row in lines.rows:
        status, batch, row_id = row.get(STATUS), row.get("_batch"), row.get("id")
        if not (isinstance(status, str) and isinstance(batch, str) and isinstance(row_id, str)):
            continue
        number = of_run
        if VERSION in row or CODE in row or GENERATION in row:  # a line that says it itself
            number = _generation(row, of_run)
            if not rule.takes_version(row.get(VERSION, version), row.get(CODE, code)):
                continue
        elif not takes:
            continue
        if rule.is_done(status, number):
            found.setdefault((batch, number), ([], []))[0].append(row_id)
        elif status == FAILED:
            found.setdefault((batch, number), ([], []))[1].append(row_id)


def _generation(row: Mapping[str, Any], of_run: int) -> int:
    value = row.get(GENERATION, of_run)
    return value if isinstance(value, int) else 0
