"""Documents through a ``SagemakerVectorsInterface`` and a model: texts out, vectors in. Every call is guarded."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from datalake_interfaces import Document, ErrorDoc, HandlerContext, SkipDoc
from datalake_interfaces.readers.sagemaker import SagemakerVectorsInterface
from datalake_interfaces.vectors import VectorModel
from datalake_service.errors import HandlerLoadError
from datalake_service.handling.answers import AnswerError, settle
from datalake_service.handling.load import load_class, load_handler
from datalake_service.handling.telling import one_line, told
from datalake_service.pipeline.jobs.engine import HANDLER_LOGGER
from datalake_service.pipeline.jobs.outputs import EndpointModel, LocalModel, VectorStep
from datalake_service.vectors.answers import TextRefusedError
from datalake_service.vectors.calls import NoVector, vectors_of
from datalake_utils.clock import Clock


@dataclass(frozen=True, slots=True)
class Unusable:
    """No document came out of a record."""

    message: str


class Vectorizer:
    """One handler and one model. Opened once, then used by several threads."""

    def __init__(self, handler: SagemakerVectorsInterface, model: VectorModel, step: VectorStep, clock: Clock) -> None:
        """Take both constructed."""
        self._handler = handler
        self._model = model
        self._step = step
        self._clock = clock
        self._folder = step.folder.resolve()
        self._given_up = Event()
        self._model_name = model.name if isinstance(model, _Guarded) else type(model).__name__

    def open(self, *, dataset: str, task: str = "") -> None:
        """Open handler and model.

        Raises:
            HandlerLoadError: One of them raised.
        """
        parameters = self._step.parameters
        context = HandlerContext(
            dataset=dataset, task=task, parameters=parameters, logger=logging.getLogger(HANDLER_LOGGER)
        )
        for opened, name in ((self._handler, type(self._handler).__name__), (self._model, self._model_name)):
            try:
                opened.open(context)
            except (Exception, SystemExit) as error:
                raise HandlerLoadError(f"{name}.open raised {told(error, self._folder)}") from error

    def vectorize(self, records: Sequence[Mapping[str, Any]]) -> list[Document | ErrorDoc | SkipDoc | Unusable]:
        """Return what becomes of each record, in their order.

        Raises:
            StoreError: The model cannot be asked.
        """
        wanted = [self._texts(record) for record in records]
        texts = [text for names in wanted if not isinstance(names, Unusable) for text in names.values()]
        found = iter(
            vectors_of(
                self._model,
                texts,
                batch_size=self._step.batch_size,
                clock=self._clock,
                given_up=self._given_up.is_set,
            )
        )
        answers: list[Document | ErrorDoc | SkipDoc | Unusable] = []
        for record, names in zip(records, wanted, strict=True):
            if isinstance(names, Unusable):
                answers.append(names)
                continue
            vectors = {name: next(found) for name in names}
            refused = next(
                (f"{name!r}: {one.message}" for name, one in vectors.items() if isinstance(one, NoVector)), ""
            )
            answers.append(
                Unusable(one_line(f"no vector for {refused}")) if refused else self._document(record, vectors)
            )
        return answers

    def give_up(self) -> None:
        """Let calls that wait for a busy model fail at once: nobody needs them any more."""
        self._given_up.set()

    def close(self) -> None:
        """Close both; what they raise now harms no document."""
        for closed, name in ((self._handler, type(self._handler).__name__), (self._model, self._model_name)):
            try:
                closed.close()
            except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code
                logging.getLogger(HANDLER_LOGGER).warning("%s.close raised %s", name, told(error, self._folder))

    def _texts(self, record: Mapping[str, Any]) -> dict[str, str] | Unusable:
        method = "extract_document_elements_for_vectorization"
        try:
            answer: object = self._handler.extract_document_elements_for_vectorization(record)
            if not isinstance(answer, Mapping):
                return Unusable(
                    f"{self._name(method)} returned {_kind(answer)}; it has to be a mapping of names to texts"
                )
            wrong = next((name for name, text in answer.items() if not isinstance(text, str)), None)
            if wrong is not None:
                return Unusable(f"{self._name(method)}: {wrong!r} is {_kind(answer[wrong])}; it has to be text")
            return dict(answer)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code
            return Unusable(one_line(f"{self._name(method)} raised {told(error, self._folder)}"))

    def _document(
        self, record: Mapping[str, Any], vectors: Mapping[str, Any]
    ) -> Document | ErrorDoc | SkipDoc | Unusable:
        method = "construct_vector_doc"
        try:
            return settle(self._handler.construct_vector_doc(record, vectors), method=method)
        except AnswerError as error:
            return Unusable(one_line(str(error)))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code
            return Unusable(one_line(f"{self._name(method)} raised {told(error, self._folder)}"))

    def _name(self, method: str) -> str:
        return f"{type(self._handler).__name__}.{method}"


def make_vectorizer(step: VectorStep, *, clock: Clock) -> Vectorizer:
    """Load handler and model; nothing is opened yet.

    Raises:
        HandlerLoadError: A class cannot be loaded.
    """
    handler = load_handler(
        step.reference,
        folder=step.folder,
        interface=SagemakerVectorsInterface,
        parameters=step.parameters,
    )
    return Vectorizer(handler, _model(step.model, clock), step, clock)


def check_vectors(step: VectorStep) -> None:
    """Look for the classes of a step.

    Raises:
        HandlerLoadError: One of them cannot be loaded.
    """
    load_class(step.reference, folder=step.folder, interface=SagemakerVectorsInterface)
    if isinstance(step.model, LocalModel):
        load_class(step.model.reference, folder=step.folder, interface=VectorModel)


def _model(model: EndpointModel | LocalModel, clock: Clock) -> VectorModel:
    if isinstance(model, EndpointModel):
        from datalake_service.aws.service import AwsService
        from datalake_service.vectors.endpoint import EndpointVectors

        service = AwsService(
            model.clients,
            "sagemaker-runtime",
            name=f"the endpoint {model.endpoint!r}",
            setting="vectors.sagemakerEndpointName",
            clock=clock,
        )
        return EndpointVectors(service, model.endpoint)
    loaded = load_handler(
        model.reference,
        folder=model.folder,
        interface=VectorModel,
        parameters=model.parameters,
    )
    return _Guarded(loaded, model.folder.resolve())


class _Guarded(VectorModel):
    """A model of the user's: what it raises is about the texts that it was given."""

    def __init__(self, model: VectorModel, folder: Path) -> None:
        self._model = model
        self._folder = folder
        self.name = type(model).__name__

    def open(self, context: HandlerContext) -> None:
        self._model.open(context)

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        try:
            return self._model.embed(texts)
        except (Exception, SystemExit) as error:
            raise TextRefusedError(f"{self.name}.embed raised {told(error, self._folder)}") from error

    def close(self) -> None:
        self._model.close()


def _kind(value: object) -> str:
    return "nothing (None)" if value is None else type(value).__name__
