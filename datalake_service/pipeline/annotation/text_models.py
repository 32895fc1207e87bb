"""Annotators without code that make vectors of texts, and labels of vectors: in batches, by a model in this process."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Final

import numpy as np

from datalake_interfaces import BatchAnnotator, BatchAnswers, DataItem, ErrorDoc, HandlerContext, SkipDoc
from datalake_interfaces.vectors import VectorModel
from datalake_service.config.local_models import ClassifierConfig, EmbeddingConfig
from datalake_service.errors import ConfigError
from datalake_service.handling.load import load_class, load_handler
from datalake_service.vectors.labels import LabelModel, LinearModel, Matrix, NearestLabel
from datalake_service.vectors.local import LocalVectors

SCORE: Final = "score"
NO_TEXT: Final = "there is no text"
_PACKAGE: Final = "wordllama"


class _WrongVectorsError(ValueError):
    """A model returned what is not a vector for each text."""


class _TextAnnotator(BatchAnnotator):
    """Hands the vectors of texts to whoever makes columns of them."""

    def __init__(self, model: VectorModel, *, column: str, batch_size: int) -> None:
        self._model = model
        self._column = column
        self._width: int | None = None
        self.max_batch_size = batch_size

    def open(self, context: HandlerContext) -> None:
        """Load the model."""
        self._model.open(context)

    def close(self) -> None:
        """Let go of it."""
        self._model.close()

    def annotate_batch(self, items: Sequence[DataItem]) -> BatchAnswers:
        """Ask the model about the texts that there are; rows without text are skipped."""
        answers: dict[int, Any] = {}
        texts: dict[int, str] = {}
        for number, item in enumerate(items):
            value = item.data.get(self._column)
            if isinstance(value, str) and value.strip():
                texts[number] = value
            elif value is None or isinstance(value, str):
                answers[number] = SkipDoc(skip_message=NO_TEXT)
            else:
                answers[number] = ErrorDoc(error_message=f"{self._column!r} is {type(value).__name__}; it must be text")
        if texts:
            answers |= zip(texts, self._answers(list(texts.values())), strict=True)
        return [answers[number] for number in range(len(items))]

    def _answers(self, texts: Sequence[str]) -> list[Any]:
        """An answer for each text. What the model may not return is no text's fault: halves are not asked about."""
        try:
            return self._columns(self._vectors(texts))
        except _WrongVectorsError as error:
            return [ErrorDoc(error_message=str(error))] * len(texts)

    def _vectors(self, texts: Sequence[str]) -> Matrix:
        answer = self._model.embed(texts)
        try:
            vectors = np.array(answer, np.float64)
        except (TypeError, ValueError):
            vectors = np.empty(0)
        if vectors.ndim != 2 or len(vectors) != len(texts):  # noqa: PLR2004 - a row for each text
            fault = f"a vector of numbers for each of {len(texts)} texts, all of one length"
        elif self._width not in {None, vectors.shape[1]}:
            fault = f"vectors of one length: {self._width} numbers before, {vectors.shape[1]} now"
        else:
            self._width = vectors.shape[1]
            return vectors
        raise _WrongVectorsError(f"{type(self._model).__name__}.embed must return {fault}")

    def _columns(self, vectors: Matrix) -> list[Any]:
        raise NotImplementedError


class EmbeddingAnnotator(_TextAnnotator):
    """A column of vectors."""

    def __init__(self, model: VectorModel, config: EmbeddingConfig) -> None:
        """Take a model that is not open."""
        super().__init__(model, column=config.column, batch_size=config.batch_size)
        self._into = config.into

    def _columns(self, vectors: Matrix) -> list[Any]:
        return [
            {self._into: vector}
            if all(map(isfinite, vector))
            else ErrorDoc(error_message="the vector holds numbers that are none")
            for vector in vectors.tolist()
        ]


class ClassifierAnnotator(_TextAnnotator):
    """A column of labels, and one of scores."""

    def __init__(self, model: VectorModel, config: ClassifierConfig, trained: LinearModel | None) -> None:
        """Take a model that is not open; without a ``trained`` one, the nearest description is the label."""
        super().__init__(model, column=config.column, batch_size=config.batch_size)
        self._into, self._least = config.into, config.least_score
        self._descriptions = config.labels or {}
        self._trained = trained
        self._labels: LabelModel | None = None

    def open(self, context: HandlerContext) -> None:
        """Load the model, and make the vectors of the descriptions.

        Raises:
            ConfigError: It understands no word of a description, or is not the one that the weights are for.
        """
        super().open(context)
        if self._trained is None:
            self._labels = NearestLabel.of(
                {label: self._vectors(said).tolist() for label, said in self._descriptions.items()}
            )
            return
        width = self._vectors(["a"]).shape[1]
        if width != self._trained.width:
            raise ConfigError(f"weights are for vectors of {self._trained.width} numbers, and the model makes {width}")
        self._labels = self._trained

    def _columns(self, vectors: Matrix) -> list[Any]:
        assert self._labels is not None  # it is open
        least = self._least
        return [
            {self._into: label if least is None or score >= least else None, SCORE: round(score, 6)}
            if isfinite(score)
            else ErrorDoc(error_message="the score is no number")
            for label, score in self._labels.label(vectors)
        ]


def check_text_model(config: EmbeddingConfig | ClassifierConfig, *, folder: Path) -> None:
    """Look for what the annotator needs; nothing is loaded that takes long.

    Raises:
        ConfigError: A package or a file is missing.
        HandlerLoadError: A class of the user's is.
    """
    if config.model_implementation_class_name is not None:
        load_class(config.model_implementation_class_name, folder=folder, interface=VectorModel)
    elif importlib.util.find_spec(_PACKAGE) is None:
        raise ConfigError("the model of embedding and classifier is not installed: pip install 'datalake[vectors]'")
    if isinstance(config, ClassifierConfig):
        _trained(config, folder)


def make_text_annotator(config: EmbeddingConfig | ClassifierConfig, *, folder: Path) -> BatchAnnotator:
    """Construct the annotator that the file declares; it is not open.

    Raises:
        ConfigError: The file of its weights.
        HandlerLoadError: A class of the user's.
    """
    model: VectorModel = LocalVectors()
    if config.model_implementation_class_name is not None:
        model = load_handler(
            config.model_implementation_class_name,
            folder=folder,
            interface=VectorModel,
            parameters=config.model_parameters,
        )
    if isinstance(config, EmbeddingConfig):
        return EmbeddingAnnotator(model, config)
    return ClassifierAnnotator(model, config, _trained(config, folder))


def _trained(config: ClassifierConfig, folder: Path) -> LinearModel | None:
    return None if config.weights is None else LinearModel.read(folder / config.weights)
