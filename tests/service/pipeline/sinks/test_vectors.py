"""Vectors for documents: a step between the handler and the destination."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from datalake_service.aws.clients import AwsClients
from datalake_service.catalog.tasks import TaskStatus
from datalake_service.errors import ConfigError, HandlerLoadError
from datalake_service.pipeline.jobs.engine import TaskJob
from datalake_service.pipeline.jobs.outputs import EndpointModel, LocalModel, VectorStep
from datalake_service.pipeline.views.plan import ViewRequest
from datalake_service.pipeline.views.views import DatasetView
from datalake_service.storage import FolderStore
from tests.support.faulty_store import Fault, FaultyStore
from tests.support.memory_aws import Action, MemoryAws, MemoryClients, aws_over_http
from tests.support.project import Project
from tests.support.tasks import (
    LINES,
    TickingClock,
    file_job,
    merged_rows,
    run_here,
    stored_rejections,
    stored_rows,
    write_module,
)

VECTORS = """
from datalake_interfaces import SagemakerVectorsInterface
from datalake_interfaces.vectors import VectorModel

class Texts(SagemakerVectorsInterface):
    def extract_document_elements_for_vectorization(self, document):
        text = document["text"]
        if text == "no mapping":
            return [text]
        if text == "no text":
            return {"text": 1}
        if text == "breaks":
            raise ValueError("this one")
        return {} if text == "nothing" else {"text": text, "upper": text.upper()}

    def construct_vector_doc(self, document, vectors_map):
        text = document["text"]
        if text == "left out":
            return SkipDoc(skip_message="not wanted")
        if text == "an error":
            return ErrorDoc(error_message="not good")
        if text == "a dict":
            return {"text": text}
        return Document({"text": text, "vectors": {name: list(vector) for name, vector in vectors_map.items()}})

class Lengths(VectorModel):
    def __init__(self, *, refuse="refused"):
        self.refuse = refuse
        self.calls = 0

    def embed(self, texts):
        if self.refuse in texts:
            raise RuntimeError("not this text")
        return [[float(len(text)), 0.5] for text in texts]

class Broken(VectorModel):
    def open(self, context):
        raise OSError("no model here")

    def embed(self, texts):
        return []
"""


class World:
    """A lake and a file of documents, with a step that makes vectors of their text."""

    def __init__(self, folder: Path, *texts: str) -> None:
        self.lake = FolderStore(folder / "lake", durable=False)
        self.code = write_module(folder / "code", LINES + VECTORS)
        (self.code / "input").mkdir()
        (self.code / "input/in.log").write_text("".join(f"doc {text}\n" for text in texts))

    def job(self, *, model: Any = None, store: Any = None, batch_size: int = 3, **fields: Any) -> TaskJob:
        """The task; by default the model is a class in the worker."""
        step = VectorStep(
            reference="handler.Texts",
            folder=self.code,
            model=model or LocalModel(reference="handler.Lengths", folder=self.code),
            batch_size=batch_size,
            concurrency=2,
        )
        return replace(file_job(self.lake, self.code, name="in.log", **fields), vectors=step, store=store or self.lake)

    def rejected(self) -> dict[str, tuple[str, str]]:
        """Text of the record to kind and message."""
        lines = [line for lines in stored_rejections(self.lake).values() for line in lines]
        return {line["text"].removeprefix("doc ").strip(): (line["kind"], line["message"]) for line in lines}


def vectors_of(text: str) -> Mapping[str, list[float]]:
    """What the model makes of it."""
    return {"text": [float(len(text)), 0.5], "upper": [float(len(text)), 0.5]}


def test_documents_get_the_vectors_of_their_texts_in_order(tmp_path: Path) -> None:
    """Several texts of a document, more documents than a batch holds, and the ids that they had before."""
    texts = [f"text {'x' * number}" for number in range(1, 21)]
    world = World(tmp_path, *texts)
    assert run_here(world.job()).status is TaskStatus.COMPLETED
    rows = stored_rows(world.lake)
    assert [row["text"] for row in rows] == texts
    assert all(row["vectors"] == vectors_of(row["text"]) for row in rows)
    plain = World(tmp_path / "plain", *texts)
    run_here(replace(plain.job(), vectors=None))
    assert [row["id"] for row in rows] == [row["id"] for row in stored_rows(plain.lake)]


def test_documents_without_vectors_become_rejections_of_their_records(tmp_path: Path) -> None:
    """Whatever the handler answers or raises, and whatever text the model refuses; the others are written."""
    world = World(
        tmp_path,
        "good",
        "no mapping",
        "no text",
        "breaks",
        "refused",
        "left out",
        "an error",
        "a dict",
        "nothing",
        "end",
    )
    result = run_here(world.job(batch_size=100))
    assert result.status is TaskStatus.COMPLETED
    assert [row["text"] for row in stored_rows(world.lake)] == ["good", "nothing", "end"]
    assert (result.counts.documents, result.counts.skips, result.counts.rejections) == (3, 1, 6)
    assert result.counts.balanced
    told = world.rejected()
    assert {kind for kind, _ in told.values()} == {"transform"}
    messages = {text: message for text, (_, message) in told.items()}
    extract = "Texts.extract_document_elements_for_vectorization"
    assert messages["no mapping"] == f"{extract} returned list; it has to be a mapping of names to texts"
    assert messages["no text"] == f"{extract}: 'text' is int; it has to be text"
    assert messages["breaks"].startswith(f"{extract} raised ValueError: this one (handler.py:")
    assert messages["refused"].startswith("no vector for 'text': Lengths.embed raised RuntimeError: not this text")
    assert "left out" not in messages
    assert messages["an error"] == "not good"
    assert messages["a dict"] == "construct_vector_doc returned dict; wrap it: Document(row)"


def test_a_model_that_cannot_be_opened_ends_the_run(tmp_path: Path) -> None:
    """Before a record is read."""
    world = World(tmp_path, "one")
    with pytest.raises(HandlerLoadError, match=r"Broken\.open raised OSError: no model here"):
        run_here(world.job(model=LocalModel(reference="handler.Broken", folder=world.code)))


@pytest.mark.parametrize("action", [None, "throttle", "broken", "lose"])
def test_an_endpoint_makes_the_vectors(tmp_path: Path, action: Action | None) -> None:
    """JSON in, JSON out; asked again when it is busy, broken or silent."""
    aws = MemoryAws(faults={} if action is None else {1: action, 3: action})
    world = World(tmp_path, *(f"t{'x' * number}" for number in range(9)))
    model = EndpointModel(clients=MemoryClients(aws), endpoint="embedder")
    assert run_here(world.job(model=model, batch_size=4)).status is TaskStatus.COMPLETED
    assert all(row["vectors"] == vectors_of(row["text"]) for row in stored_rows(world.lake))
    assert len(stored_rows(world.lake)) == 9
    assert max(aws.batches) <= 4


def test_a_text_that_an_endpoint_refuses_is_found(tmp_path: Path) -> None:
    """The model's container answers 400 to the whole batch."""
    aws = MemoryAws(poison="poison")
    world = World(tmp_path, "one", "two", "poison", "three")
    model = EndpointModel(clients=MemoryClients(aws), endpoint="embedder")
    run_here(world.job(model=model, batch_size=100))
    assert [row["text"] for row in stored_rows(world.lake)] == ["one", "two", "three"]
    assert "failed with ModelError: too long" in world.rejected()["poison"][1]


def test_a_text_over_which_a_model_breaks_is_given_up(tmp_path: Path) -> None:
    """The container answers 500 to it, however often."""
    aws = MemoryAws(refuse="breaker")
    world = World(tmp_path, "one", "breaker", "two")
    model = EndpointModel(clients=MemoryClients(aws), endpoint="embedder")
    assert run_here(world.job(model=model, batch_size=100)).status is TaskStatus.COMPLETED
    assert [row["text"] for row in stored_rows(world.lake)] == ["one", "two"]
    assert "ModelError" in world.rejected()["breaker"][1]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"no json", "the endpoint 'embedder' answered with something that is no JSON"),
        (b"[[1.0]]", "the model answered with 1 vectors for 2 texts"),
        (b'{"scores": []}', "the model answered with a dict; it has to be a list of vectors, or an object with it"),
        (b"[[[1.0]], [[1.0]]]", "the model answered with a vector for each token; have it pool them"),
        (b'[["a"], ["b"]]', "the model answered with a vector that holds something else than numbers"),
        (b"[1.0, 2.0]", "the model answered with a float where a vector has to be: a list of numbers"),
    ],
)
def test_answers_that_are_no_vectors_fail_the_task(tmp_path: Path, answer: bytes, message: str) -> None:
    """They are no fault of a document."""
    world = World(tmp_path, "one")
    model = EndpointModel(clients=MemoryClients(MemoryAws(vectors=answer)), endpoint="embedder")
    result = run_here(world.job(model=model))
    assert result.status is TaskStatus.FAILED
    assert message in (result.error or "")
    assert world.rejected() == {}


@pytest.mark.parametrize("wrapped", ["vectors", "embeddings", "predictions"])
def test_containers_may_wrap_their_vectors(tmp_path: Path, wrapped: str) -> None:
    """In an object under one of the usual keys."""
    world = World(tmp_path, "one")
    answer = json.dumps({wrapped: [[1, 2], [3, 4.5]]}).encode()
    model = EndpointModel(clients=MemoryClients(MemoryAws(vectors=answer)), endpoint="embedder")
    run_here(world.job(model=model))
    assert stored_rows(world.lake)[0]["vectors"] == {"text": [1, 2], "upper": [3, 4.5]}


def test_an_endpoint_over_http(tmp_path: Path) -> None:
    """The same over the real client library: one that hangs is asked again, and what its container says is told."""
    faults: dict[int, Action] = {1: "hang", 2: "crash_after", 3: "throttle", 4: "broken"}
    aws = MemoryAws(faults=faults, poison="poison", refuse="breaker")
    world = World(tmp_path, "one", "poison", "two", "breaker", "three")
    with aws_over_http(aws) as url:
        clients = AwsClients(
            region="eu-west-1", endpoint_url=url, access_key="test", secret_key="test", read_timeout=0.3
        )
        result = run_here(world.job(model=EndpointModel(clients=clients, endpoint="embedder"), batch_size=100))
    assert result.status is TaskStatus.COMPLETED
    assert [row["text"] for row in stored_rows(world.lake)] == ["one", "two", "three"]
    assert {text: message for text, (_, message) in world.rejected().items()} == {
        "poison": f"no vector for 'text': sagemaker:InvokeEndpoint on the endpoint 'embedder' at {url} failed with "
        "ModelError: too long",
        "breaker": f"no vector for 'text': sagemaker:InvokeEndpoint on the endpoint 'embedder' at {url} failed with "
        "ModelError: out of memory",
    }


def test_a_model_that_is_busy_for_too_long_fails_the_task(tmp_path: Path) -> None:
    """After five minutes of waiting, once: batches behind it are not waited for as long again. The next run goes on."""
    texts = [f"t{number}" for number in range(20)]
    world, aws = World(tmp_path, *texts), MemoryAws(faults=dict.fromkeys(range(1, 10_000), "throttle"))
    model = EndpointModel(clients=MemoryClients(aws), endpoint="embedder")
    clock = TickingClock(0.01)
    result = run_here(world.job(model=model), clock=clock)
    assert result.status is TaskStatus.FAILED
    assert "is not possible now (ThrottlingException); try again later (given up after 300 s)" in (result.error or "")
    assert stored_rows(world.lake) == []
    aws.faults.clear()
    assert run_here(world.job(model=model)).status is TaskStatus.COMPLETED
    assert [row["text"] for row in stored_rows(world.lake)] == texts


def test_a_crash_at_any_operation_changes_nothing(tmp_path: Path) -> None:
    """Rows and rejections are those of a run without a crash."""
    texts = ["a", "breaks", *(f"t{number}" for number in range(8)), "left out"]
    clean = World(tmp_path / "clean", *texts)
    store = FaultyStore(clean.lake)
    run_here(clean.job(store=store), clock=TickingClock(3.0))
    expected, rejected = merged_rows(clean.lake), clean.rejected()
    for number in range(1, len(store.operations) + 1):
        world = World(tmp_path / str(number), *texts)
        crashed = False
        try:
            run_here(world.job(store=FaultyStore(world.lake, {number: Fault.CRASH_AFTER})), clock=TickingClock(3.0))
        except BaseException as error:  # noqa: BLE001 - a crash is none of Exception
            crashed = type(error).__name__ == "Crash"
        assert crashed
        assert run_here(world.job()).status is TaskStatus.COMPLETED
        assert (merged_rows(world.lake), world.rejected()) == (expected, rejected)


def test_a_dataset_file_names_the_step(tmp_path: Path) -> None:
    """Between reader and writer, with a model of one's own."""
    project = Project(tmp_path)
    write_module(project.folder, VECTORS, name="vectors")
    project.write("a.log", "doc one\ndoc three\n")
    project.document["vectors"] = {
        "sagemakerVectorsInterfaceImplementationClassName": "vectors.Texts",
        "modelImplementationClassName": "vectors.Lengths",
        "modelParameters": {"refuse": "three"},
        "batchSize": 5,
    }
    report = project.run()
    assert project.texts() == ["one"]
    assert report.tasks.counts.rejections == 1


def with_vectors(tmp_path: Path, **fields: Any) -> Project:
    """A project whose rows get vectors after the merge."""
    project = Project(tmp_path)
    write_module(project.folder, VECTORS, name="vectors")
    project.write("a.log", "".join(f"doc text{number}\n" for number in range(50)) + "doc refused\ndoc left out\n")
    vectors = {
        "sagemakerVectorsInterfaceImplementationClassName": "vectors.Texts",
        "modelImplementationClassName": "vectors.Lengths",
    }
    project.document["annotators"] = [{"annotatorName": "vectors", "vectors": vectors | fields}]
    return project


def test_rows_that_exist_are_annotated_with_vectors(tmp_path: Path) -> None:
    """What was left out is not asked again, what failed is; nothing is asked twice."""
    project = with_vectors(tmp_path, batchSize=7, maxConcurrency=2)
    report = project.run()
    assert [(one.report.annotated, one.report.skipped, one.report.failed) for one in report.annotators] == [(50, 1, 1)]
    request = ViewRequest(dataset="d", base_columns=["text"], annotator_columns={"vectors": ["vectors"]})
    rows = {row["text"]: row["vectors.vectors"] for row in DatasetView(project.store, request)}
    assert {text: vectors for text, vectors in rows.items() if vectors is not None} == {
        f"text{number}": vectors_of(f"text{number}") for number in range(50)
    }
    again = project.run().annotators[0].report
    assert (again.annotated, again.already_done, again.failed) == (0, 51, 1)


@pytest.mark.parametrize(
    ("vectors", "problem"),
    [
        ({"modelImplementationClassName": "vectors.Texts"}, "vectors.Texts is a SagemakerVectorsInterface"),
        ({"sagemakerVectorsInterfaceImplementationClassName": "vectors.Lengths"}, "vectors.Lengths is a VectorModel"),
        ({"sagemakerVectorsInterfaceImplementationClassName": "vectors.Nothing"}, "has no Nothing"),
    ],
)
def test_a_class_that_does_not_fit_is_known_before_anything_is_read(
    tmp_path: Path, vectors: dict[str, Any], problem: str
) -> None:
    """As a step and as an annotator."""
    project = with_vectors(tmp_path, **vectors)
    with pytest.raises(HandlerLoadError, match=problem):
        project.run()
    project.document["vectors"] = project.document.pop("annotators")[0]["vectors"]
    with pytest.raises(HandlerLoadError, match=problem):
        project.run()
    assert project.engine.ran == []


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"sagemakerEndpointName": "e"}, "sagemakerEndpointName names another model; keep one of them"),
        ({"modelImplementationClassName": None}, "needed without sagemakerEndpointName: the VectorModel"),
        ({"batchSize": 0}, "vectors.batchSize"),
    ],
)
def test_mistakes_in_the_section_are_named(tmp_path: Path, fields: dict[str, Any], problem: str) -> None:
    """With the path, and what is allowed."""
    project = with_vectors(tmp_path, **fields)
    with pytest.raises(ConfigError) as caught:
        project.run()
    assert len(caught.value.problems) == 1
    assert problem in caught.value.problems[0]


def test_an_annotator_has_a_class_or_vectors(tmp_path: Path) -> None:
    """One of both."""
    project = with_vectors(tmp_path)
    project.document["annotators"] = [{"annotatorName": "a"}]
    with pytest.raises(ConfigError, match=r"annotators\[0\]\.annotatorImplementationClassName: missing"):
        project.run()
