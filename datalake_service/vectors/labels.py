"""Labels for vectors: by the nearest description, or by a trained linear model from a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from datalake_service.errors import ConfigError

_TWO: Final = 2

Matrix = npt.NDArray[np.float64]


class LabelModel(Protocol):
    """Says which label fits each vector, and how well."""

    def label(self, vectors: Matrix) -> list[tuple[str, float]]:
        """A label and a score for each row."""
        ...


@dataclass(frozen=True, slots=True)
class NearestLabel:
    """The label whose description is nearest, by the cosine of the vectors."""

    labels: Sequence[str]
    """One for each row of ``descriptions``."""
    descriptions: Matrix

    @classmethod
    def of(cls, descriptions: Mapping[str, Sequence[Sequence[float]]]) -> NearestLabel:
        """Take the vectors of each label's descriptions; any of them may be the nearest.

        Raises:
            ConfigError: A description has no vector: it says nothing to the model.
        """
        labels = [label for label, vectors in descriptions.items() for _ in vectors]
        matrix = np.array([vector for vectors in descriptions.values() for vector in vectors], np.float64)
        lengths = np.linalg.norm(matrix, axis=1)
        if not lengths.all():
            raise ConfigError(
                f"the model understands no word of a description of the label {labels[lengths.argmin()]!r}"
            )
        return cls(labels, matrix / lengths[:, None])

    def label(self, vectors: Matrix) -> list[tuple[str, float]]:
        """The nearest label, and the cosine; that of a vector of zeros is 0."""
        lengths = np.linalg.norm(vectors, axis=1)
        cosines = (vectors / np.where(lengths, lengths, 1.0)[:, None]) @ self.descriptions.T
        best = cosines.argmax(axis=1)
        return [(self.labels[place], float(row[place])) for place, row in zip(best, cosines, strict=True)]


@dataclass(frozen=True, slots=True)
class LinearModel:
    """A weight for each number of a vector and each label: logistic regression, however it was trained."""

    labels: Sequence[str]
    weights: Matrix
    """A row for each label; or one row, for the second of two."""
    bias: npt.NDArray[np.float64]

    @classmethod
    def read(cls, path: Path) -> LinearModel:
        """Read the JSON of a trained model.

        Raises:
            ConfigError: There is no such file, or it is none.
        """
        try:
            document = json.loads(path.read_text("utf-8"))
            labels = [str(label) for label in document["labels"]]
            weights = np.array(document["weights"], np.float64)
            bias = np.array(document["bias"], np.float64)
        except OSError as error:
            raise ConfigError(f"weights: cannot read {path.name}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f'weights: {path.name} is no linear model; it must be {{"labels": […], "weights": [[…]], "bias": […]}}'
            ) from error
        rows = 1 if len(labels) == _TWO and len(weights) == 1 else len(labels)
        if len(set(labels)) < _TWO or weights.ndim != _TWO or weights.shape[0] != rows or bias.shape != (rows,):
            raise ConfigError(
                f"weights: {path.name} has {len(labels)} labels, weights of the shape {list(weights.shape)} and "
                f"{bias.size} biases; allowed: a row of weights and a bias for each label, or one for two"
            )
        if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
            raise ConfigError(f"weights: {path.name} holds numbers that are none (NaN or infinite)")
        return cls(labels, weights, bias)

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return int(self.weights.shape[1])

    def label(self, vectors: Matrix) -> list[tuple[str, float]]:
        """The most probable label, and its probability."""
        scores = vectors @ self.weights.T + self.bias
        if scores.shape[1] == 1:
            scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
        likely = np.exp(scores - scores.max(axis=1, keepdims=True))
        likely /= likely.sum(axis=1, keepdims=True)
        best = likely.argmax(axis=1)
        return [(self.labels[place], float(row[place])) for place, row in zip(best, likely, strict=True)]
