"""A model that makes vectors of texts, in the process that asks. A SageMaker endpoint is another one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from datalake_interfaces.context import HandlerContext


class VectorModel(ABC):
    """Texts in, vectors out.

    Guarantees:
        The class is constructed once for each task as ``Class(**modelParameters)``; then ``open``, any number of
        ``embed``, and ``close``. ``embed`` is called by several threads at once, as many as ``maxConcurrency``.

        Texts come in batches of at most ``batchSize``. If ``embed`` raises, its batch is divided until the texts that
        it cannot take stand alone; their documents become rejections.
    """

    def open(self, context: HandlerContext) -> None:
        """Load the model. Called once, before anything else. If it raises, the task fails."""
        return

    @abstractmethod
    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return one vector for each text, in their order."""

    def close(self) -> None:
        """Release what ``open`` acquired. Called when the task ends or fails; not if the process is killed."""
        return
