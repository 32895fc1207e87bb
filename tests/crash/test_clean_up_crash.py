"""Clean-up of a whole lake that dies, up to five times in a row, while more and more arrives: all is merged, once."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.pipeline.upkeep.cleanup import clean_up
from datalake_service.storage.base import CreateOnly, ObjectStore
from datalake_service.storage.folder import FolderStore
from tests.crash.deaths import Death, deaths, dies, examples
from tests.support.merging import File, check, files_of, read_merged

PLACES = ("d/b1/", "d/b10/", "dd/b1/")
"""Names that begin the same."""
TEMP = "d/annotations/lang/.temp/"
FINISHED = ("done", "skipped")

rows = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["1", "2", "3"]),
        "text": st.sampled_from(["a", "b", None]),
        "n": st.sampled_from([1, 2**70, 0.5]),
    },
)
answers = st.tuples(
    st.sampled_from(["b1", "b10"]), st.sampled_from(["1", "2", "3", "4"]), st.sampled_from([*FINISHED, "failed"])
)


@dataclass(frozen=True)
class Round:
    """What arrives, and how often clean-up dies then."""

    files: Sequence[tuple[str, list[dict[str, Any]], bool]]
    """Place, rows, and whether one line is no row."""
    answers: list[tuple[str, str, str]]
    """Batch, id, status."""
    deaths: Sequence[Death]


rounds = st.builds(
    Round,
    files=st.lists(st.tuples(st.sampled_from(PLACES), st.lists(rows, max_size=6), st.booleans()), max_size=3),
    answers=st.lists(answers, max_size=6),
    deaths=deaths(60),
)


@dataclass
class Model:
    """Everything that arrived, in order."""

    files: dict[str, list[File]] = field(default_factory=lambda: {place: [] for place in PLACES})
    answers: dict[tuple[str, str], str] = field(default_factory=dict)
    """Status by batch and id: the first that is final, else the last."""
    chunks: int = 0

    def arrive(self, store: ObjectStore, new: Round) -> None:
        """Put what arrives into the lake, as writers would."""
        for place, items, bad in new.files:
            self.chunks += 1
            lines = [json.dumps(item).encode() + b"\n" for item in items] + [b"no row\n"] * bad
            store.put(f"{place}file{self.chunks}.jsonl", b"".join(lines), mode=CreateOnly())
            self.files[place] += files_of(store, place, self.files[place])
        if new.answers:
            self.chunks += 1
            lines = []
            for batch, name, status in new.answers:
                row = {"id": name, "_batch": batch, "_status": status, "_annotated_at": "t", "value": self.chunks}
                lines.append(json.dumps(row).encode() + b"\n")
                if self.answers.get((batch, name)) not in FINISHED:
                    self.answers[batch, name] = status
            store.put(f"{TEMP}{self.chunks:06x}_chunk_00000.jsonl", b"".join(lines), mode=CreateOnly())

    def check(self, store: ObjectStore) -> None:
        """Compare every merged object, and see that nothing waits."""
        for place, files in self.files.items():
            if files:
                check(store, place, files)
            left = {meta.key.removeprefix(place) for meta in store.list(place)}
            assert {name for name in left if "/" not in name} <= {"merged.parquet", "manifest.yaml"}
        found = {}
        for batch in ("b1", "b10"):
            if any(place == batch for place, _ in self.answers):
                for row in read_merged(store, f"d/annotations/lang/{batch}/merged.parquet"):
                    assert (row["_batch"], row["id"]) not in found
                    found[row["_batch"], row["id"]] = row["_status"]
        assert found == self.answers
        assert list(store.list(TEMP)) == []


def merge_everything(store: ObjectStore) -> None:
    """Clean up; nothing may fail but by dying."""
    assert not [result.error for result in clean_up(store) if result.error is not None]


@settings(max_examples=examples(8))
@given(st.lists(rounds, min_size=1, max_size=4))
def test_whatever_dies_everything_is_merged_once(planned: list[Round]) -> None:
    """Rows, duplicates, rejections and annotations are those of a merge of all files at once."""
    with tempfile.TemporaryDirectory() as folder:
        store, model = FolderStore(Path(folder), durable=False), Model()
        for new in planned:
            model.arrive(store, new)
            for death in new.deaths:
                dies(store, merge_everything, death)
        merge_everything(store)
        merge_everything(store)
        model.check(store)
