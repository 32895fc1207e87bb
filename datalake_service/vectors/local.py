"""A small model in the worker itself, for trying things out, and for those who need no better one: WordLlama.

256 numbers a text, averaged over its tokens, for English mostly. The weights (16 MB) are inside the package that
``pip install 'datalake[vectors]'`` installs: nothing is downloaded when it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datalake_interfaces import HandlerContext
from datalake_interfaces.vectors import VectorModel


class LocalVectors(VectorModel):
    """WordLlama's vectors, of length 1 (so that their dot product is their cosine).

    Name it as ``modelImplementationClassName``: ``datalake_service.vectors.local.LocalVectors``.
    """

    def __init__(self) -> None:
        """Load nothing yet."""
        self._model: Any = None

    def open(self, context: HandlerContext) -> None:
        """Load the model: about half a second and 50 MB.

        Raises:
            ModuleNotFoundError: It is not installed.
        """
        del context
        try:
            import wordllama
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("the model is not installed: pip install 'datalake[vectors]'") from error
        # Version 0.4 looks for its own tokenizer in a folder that it does not have, unless it is taken for a cache.
        inside = Path(wordllama.__file__).parent
        self._model = wordllama.WordLlama.load(dim=256, cache_dir=inside, disable_download=True)

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return one vector for each text, in their order; that of a text without a token is all zeros."""
        vectors: Sequence[Sequence[float]] = self._model.embed(list(texts), norm=False).tolist()
        return [_normal(vector) for vector in vectors]


def _normal(vector: Sequence[float]) -> Sequence[float]:
    length = sum(number * number for number in vector) ** 0.5
    return vector if not length else [number / length for number in vector]
