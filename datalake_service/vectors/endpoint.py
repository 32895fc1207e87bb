"""A SageMaker endpoint as a model: JSON in, JSON out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

from datalake_interfaces import HandlerContext
from datalake_interfaces.vectors import VectorModel
from datalake_service.aws.service import AwsService
from datalake_service.errors import StoreError
from datalake_service.vectors.answers import ModelFailedError, TextRefusedError, vectors_in

MOST_BYTES: Final = 6 << 20
"""Of a request. The service takes as much of every kind of endpoint."""
_JSON: Final = "application/json"
_ACTION: Final = "sagemaker:InvokeEndpoint"
_MODEL_ERROR: Final = "ModelError"


class EndpointVectors(VectorModel):
    """Asks an endpoint, as the containers for feature extraction expect it: ``{"inputs": [texts]}``."""

    def __init__(self, service: AwsService, endpoint: str) -> None:
        """Ask the endpoint of this name."""
        self._service = service
        self._endpoint = endpoint

    def open(self, context: HandlerContext) -> None:
        """The endpoint is there, or the first call says that it is not."""

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Ask once.

        Raises:
            StoreUnavailableError: It is busy, not ready, or did not answer in time.
            TextRefusedError: The model refused the texts, or they are too large for a request.
            ModelFailedError: The model broke.
            StoreError: No such endpoint, no permission, or an answer that is no JSON.
        """
        body = json.dumps({"inputs": list(texts)}).encode("ascii")
        if len(body) > MOST_BYTES:
            raise TextRefusedError(f"a text of {len(body)} bytes; an endpoint takes {MOST_BYTES}")
        answer = self._read(body)
        try:
            decoded = json.loads(answer)
        except ValueError:
            raise StoreError(f"the endpoint {self._endpoint!r} answered with something that is no JSON") from None
        return vectors_in(decoded, expected=len(texts))

    def close(self) -> None:
        """There is nothing to release."""

    def _read(self, body: bytes) -> bytes:
        from datalake_service.aws.answers import code_of, translate
        from datalake_service.aws.client_errors import CLIENT_ERRORS

        try:
            answer = self._service.call_once(
                "invoke_endpoint",
                action=_ACTION,
                EndpointName=self._endpoint,
                ContentType=_JSON,
                Accept=_JSON,
                Body=body,
            )
        except StoreError as error:
            if code_of(error) == _MODEL_ERROR:
                raise _model_error(error) from error
            raise
        try:
            read: bytes = answer["Body"].read()
        except CLIENT_ERRORS as error:
            raise translate(error, self._service.resource, self._service.site, action=_ACTION) from error
        return read


def _model_error(error: StoreError) -> StoreError:
    """The container's own answer: a fault of the texts, or one of the model."""
    response: dict[str, Any] = getattr(error.__cause__, "response", {})
    status = int(response.get("OriginalStatusCode") or HTTPStatus.INTERNAL_SERVER_ERROR)
    kind = ModelFailedError if status >= HTTPStatus.INTERNAL_SERVER_ERROR else TextRefusedError
    return kind(str(error))
