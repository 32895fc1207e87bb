"""Annotators without code over a small model: vectors, labels, and what is wrong with what they are given."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from datalake_service.config.load import load_dataset
from datalake_service.errors import ConfigError, DatalakeError
from datalake_service.events import ANNOTATION_FAILED, ANNOTATION_HELD
from datalake_service.pipeline.annotation.lease import AnnotatorLease
from datalake_service.pipeline.runs.annotators import check_annotators, run_annotator
from datalake_service.pipeline.runs.report import AnnotatorOutcome
from datalake_service.storage.folder import FolderStore
from datalake_utils.clock import SystemClock
from tests.support.annotations import events
from tests.support.lake import put_rows
from tests.support.views import view

TEXTS: Mapping[str, Any] = {
    "a": "The striker scored twice and the team won the football match",
    "b": "Shares fell as the bank raised interest rates and investors sold stocks",
    "c": "She won the tennis tournament after a long match",
    "d": None,
    "e": "   ",
    "f": {"no": "text"},
    "g": "The central bank expects inflation and the economy to slow",
}
LABELS = {"sport": ["a football match, a team, a tournament"], "money": "banks, stocks, the economy"}

COUNTS_LETTERS = """
from datalake_interfaces import VectorModel


class Letters(VectorModel):
    def __init__(self, letters="ab"):
        self.letters = letters

    def open(self, context):
        self.opened = True

    def embed(self, texts):
        assert self.opened
        if any("raise" in text for text in texts):
            raise ValueError("cannot take this")
        if any("nan" in text for text in texts):
            return [[float("nan")] * len(self.letters) for _ in texts]
        return [[float(text.count(letter)) for letter in self.letters] for text in texts]


class Wrong(VectorModel):
    def embed(self, texts):
        return []


class Odd(VectorModel):
    def __init__(self, how):
        self.how, self.calls = how, 0

    def embed(self, texts):
        self.calls += 1
        assert self.calls < 5, "asked about halves"
        if self.how == "one for all":
            return [[1.0]]
        if self.how == "words":
            return [["secret"] for _ in texts]
        if self.how == "ragged":
            return [[1.0] * (1 + number % 2) for number, _ in enumerate(texts)]
        return [[1.0] * self.calls for _ in texts]
"""


def lake(folder: Path, texts: Mapping[str, Any] = TEXTS) -> FolderStore:
    """One merged batch of texts, and a module with models."""
    (folder / "models.py").write_text(COUNTS_LETTERS)
    store = FolderStore(folder / "lake", durable=False)
    put_rows(store, "posts", "b", [{"id": name, "text": text} for name, text in texts.items()])
    return store


def annotated(
    folder: Path, store: FolderStore, *, told: Callable[..., None] = lambda *_: None, **annotator: Any
) -> AnnotatorOutcome:
    """Run one annotator of a dataset file."""
    document = {
        "datasetName": "posts",
        "readConnector": {"connectorDestination": "GENERATOR", "generatorImplementationClassName": "handler.None_"},
        "writeConnector": {"connectorDestination": "DATALAKE", "uri": "./lake", "batch": "b"},
        "annotators": [{"annotatorName": "model", **annotator}],
    }
    config = load_dataset(document, folder=folder)
    check_annotators(config)
    return run_annotator(store, config, config.annotators[0], told=told, clock=SystemClock())


def columns(store: FolderStore, *names: str) -> dict[str, Any]:
    """What the annotator made, by row."""
    with view(store, base_columns=[], annotator_columns={"model": list(names)}) as rows:
        return {row.id: tuple(row[f"model.{name}"] for name in names) for row in rows}


def test_texts_get_vectors(tmp_path: Path) -> None:
    """Rows without text are skipped, and never asked again; what is no text has failed."""
    store = lake(tmp_path)
    outcome = annotated(tmp_path, store, embedding={"column": "text", "batchSize": 2})
    assert (outcome.report.annotated, outcome.report.skipped, outcome.report.failed) == (4, 2, 1)
    vectors = {name: value for name, (value,) in columns(store, "vector").items()}
    assert {name for name, vector in vectors.items() if vector is not None} == {"a", "b", "c", "g"}
    assert all(
        len(vector) == 256 and math.isclose(sum(x * x for x in vector), 1, rel_tol=1e-6)
        for vector in vectors.values()
        if vector
    )


def test_a_run_that_waits_for_another_one_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Once, with who has the annotator; it has not failed, and goes on when the other one ends."""
    store = lake(tmp_path)
    other = AnnotatorLease(store, "posts", "model")
    other.take()

    def told(name: str, _report: object) -> None:
        if name == "waiting for model, which another run holds":
            other.give_back()

    outcome = annotated(tmp_path, store, told=told, embedding={"column": "text"})
    assert (outcome.error, outcome.report.annotated) == (None, 4)
    (said,) = events(caplog, ANNOTATION_HELD)
    assert f"process {os.getpid()}" in said["error"]
    assert not events(caplog, ANNOTATION_FAILED)


def test_texts_get_the_label_that_is_nearest(tmp_path: Path) -> None:
    """With a score; descriptions are one text or several."""
    store = lake(tmp_path)
    outcome = annotated(tmp_path, store, classifier={"column": "text", "labels": LABELS, "into": "topic"})
    assert (outcome.error, outcome.report.annotated) == (None, 4)
    found = columns(store, "topic", "score")
    assert {name: topic for name, (topic, _) in found.items() if topic} == {
        "a": "sport", "b": "money", "c": "sport", "g": "money",
    }  # fmt: skip
    assert all(0 < score <= 1 for topic, score in found.values() if topic)


def test_a_label_that_fits_badly_is_none(tmp_path: Path) -> None:
    """The score says how badly."""
    store = lake(tmp_path)
    annotated(tmp_path, store, classifier={"column": "text", "labels": LABELS, "leastScore": 0.99})
    found = columns(store, "label", "score")
    assert {label for label, _ in found.values()} == {None}
    assert sum(score is not None for _, score in found.values()) == 4


LIKELY = {one: 1 / (1 + math.exp(-one)) for one in (1, 2)}
TWO = {"a": ("y", LIKELY[2]), "b": ("x", LIKELY[1])}


@pytest.mark.parametrize(
    ("labels", "weights", "bias", "expected"),
    [
        (["x", "y"], [[1, -1]], [0], TWO),
        (["x", "y"], [[0, 0], [1, -1]], [0, 0], TWO),
        (["x", "y", "z"], [[1, 0], [0, 9], [0, 0]], [0, 0, 0.5], {"a": ("x", None), "b": ("y", None)}),
    ],
)
def test_texts_get_the_label_of_a_trained_model(
    tmp_path: Path, labels: Any, weights: Any, bias: Any, expected: dict[str, tuple[str, float | None]]
) -> None:
    """Logistic regression from a file, over the vectors of any model; one row of weights is enough for two labels."""
    store = lake(tmp_path, {"a": "aa", "b": "b"})
    (tmp_path / "weights.json").write_text(json.dumps({"labels": labels, "weights": weights, "bias": bias}))
    model = {"column": "text", "weights": "weights.json", "modelImplementationClassName": "models.Letters"}
    assert annotated(tmp_path, store, classifier=model).error is None
    for name, (label, score) in columns(store, "label", "score").items():
        assert label == expected[name][0]
        assert score == pytest.approx(expected[name][1] or score, abs=1e-5)


def test_a_text_that_the_model_cannot_take_fails_alone(tmp_path: Path) -> None:
    """As for any batch annotator."""
    store = lake(tmp_path, {"a": "aab", "b": "raise", "c": "b", "d": "nan"})
    model = {"column": "text", "modelImplementationClassName": "models.Letters", "modelParameters": {"letters": "abc"}}
    outcome = annotated(tmp_path, store, embedding=model | {"batchSize": 1, "into": "letters"})
    assert (outcome.report.annotated, outcome.report.failed) == (2, 2)
    assert columns(store, "letters")["a"] == ([2, 1, 0],)


@pytest.mark.parametrize(
    ("how", "failed", "message"),
    [
        ("one for all", 20, "a vector of numbers for each of 10 texts, all of one length"),
        ("words", 20, "a vector of numbers for each of 10 texts, all of one length"),
        ("ragged", 20, "a vector of numbers for each of 10 texts, all of one length"),
        ("longer", 10, "vectors of one length: 1 numbers before, 2 now"),
    ],
)
def test_a_model_that_returns_no_vectors_is_not_asked_about_halves(
    tmp_path: Path, how: str, failed: int, message: str
) -> None:
    """Text by text it would seem to work, at many times the calls, and vectors of several lengths would be stored."""
    store = lake(tmp_path, {f"r{number}": "a" for number in range(20)})
    model = {"modelImplementationClassName": "models.Odd", "modelParameters": {"how": how}}
    outcome = annotated(tmp_path, store, embedding={"column": "text", "batchSize": 10} | model, maxConcurrency=1)
    assert (outcome.report.annotated, outcome.report.failed) == (20 - failed, failed)
    errors = {error for (error,) in columns(store, "_error").values() if error is not None}
    assert errors == {f"Odd.embed must return {message}"}


def test_a_model_runs_in_processes(tmp_path: Path) -> None:
    """Made there from the dataset file, classes beside it included."""
    store = lake(tmp_path, {str(number): "ab" * number for number in range(1, 40)})
    model = {"column": "text", "modelImplementationClassName": "models.Letters", "batchSize": 8}
    outcome = annotated(tmp_path, store, embedding=model, executor="processes", maxConcurrency=2)
    assert (outcome.error, outcome.report.annotated) == (None, 39)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (None, r"weights: cannot read weights\.json: No such file"),
        ("[", r"weights\.json is no linear model"),
        ('{"labels": ["x"], "weights": [[1]], "bias": [0]}', "has 1 labels"),
        ('{"labels": ["x", "y"], "weights": [[1], [2], [3]], "bias": [0, 0]}', r"weights of the shape \[3, 1\]"),
        ('{"labels": ["x", "y"], "weights": [[1], [NaN]], "bias": [0, 0]}', "holds numbers that are none"),
    ],
)
def test_weights_that_are_wrong_are_known_before_anything_is_read(
    tmp_path: Path, weights: str | None, message: str
) -> None:
    """One line that names the file."""
    store = lake(tmp_path, {"a": "a"})
    if weights is not None:
        (tmp_path / "weights.json").write_text(weights)
    with pytest.raises(ConfigError, match=message):
        annotated(tmp_path, store, classifier={"column": "text", "weights": "weights.json"})


@pytest.mark.parametrize(
    ("classifier", "message"),
    [
        ({"weights": "weights.json"}, "weights are for vectors of 2 numbers, and the model makes 256"),
        (
            {"labels": {"x": "a", "y": "zz"}, "modelImplementationClassName": "models.Letters"},
            "the model understands no word of a description of the label 'y'",
        ),
        ({"labels": {"x": "a", "y": "b"}, "modelImplementationClassName": "models.Wrong"}, "must return a vector"),
    ],
)
def test_a_model_that_does_not_fit_ends_the_run(tmp_path: Path, classifier: dict[str, Any], message: str) -> None:
    """When it is opened: no row is asked."""
    store = lake(tmp_path, {"a": "a", "b": "b"})
    (tmp_path / "weights.json").write_text('{"labels": ["x", "y"], "weights": [[1, 2]], "bias": [0]}')
    outcome = annotated(tmp_path, store, classifier={"column": "text", **classifier})
    assert outcome.error is not None
    assert message in outcome.error
    assert outcome.report.annotated == outcome.report.failed == 0


def test_a_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Rather than skipping every row."""
    outcome = annotated(tmp_path, lake(tmp_path), embedding={"column": "txet"})
    assert outcome.error is not None
    assert "the embedding names 'txet', which dataset posts has not" in outcome.error


def test_a_package_that_is_missing_says_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is read."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'datalake\[vectors\]'"):
        annotated(tmp_path, lake(tmp_path), embedding={"column": "text"})


@pytest.mark.parametrize(
    ("annotator", "message"),
    [
        ({"classifier": {"column": "text"}}, "needed without labels"),
        ({"classifier": {"column": "text", "labels": {"one": "a"}}}, "2 labels at least"),
        ({"classifier": {"column": "text", "labels": LABELS, "weights": "w.json"}}, "labels says another way"),
        ({"classifier": {"column": "text", "labels": LABELS, "into": "score"}}, "the score is in the column score"),
        ({"embedding": {"column": "text"}, "classifier": {"column": "text", "labels": LABELS}}, "two ways to annotate"),
        ({"embedding": {"column": "text"}, "baseColumns": ["id"]}, "neither in baseColumns nor in annotatorColumns"),
        ({"embedding": {"column": "text"}, "executor": "fibres"}, "threads"),
        (
            {"embedding": {"column": "text", "into": "_x"}},
            "into: found \"_x\"; no column may be 'id' or start with '_'",
        ),
        ({"classifier": {"column": "text", "labels": LABELS | {"x": ""}}}, r'labels\.x\[0\]: found ""; allowed: text'),
    ],
)
def test_files_that_cannot_be_meant_are_refused(tmp_path: Path, annotator: dict[str, Any], message: str) -> None:
    """With the place and what is allowed."""
    with pytest.raises(DatalakeError, match=message):
        annotated(tmp_path, lake(tmp_path), **annotator)
