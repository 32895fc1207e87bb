"""``vectors``: a step between the handler and the destination that makes vectors of texts."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, ValidationInfo, field_validator

from datalake_service.config.faults import absent, wrong
from datalake_service.config.section import ClassName, JsonObject, PositiveInt, Section, Text, spelled

DEFAULT_BATCH_SIZE = 32
"""Texts in a call of the model."""
DEFAULT_CONCURRENCY = 4
"""Calls at a time."""
DEFAULT_SECONDS = 70.0
"""What a call may take: the service lets a model work for 60."""


class VectorsConfig(Section):
    """Vectors by a SageMaker endpoint, or by a model of yours."""

    needs_model: ClassVar[bool] = True
    """Whether one of both has to be named here."""

    sagemaker_vectors_interface_implementation_class_name: ClassName = Field(
        validation_alias=spelled(
            "sagemakerVectorsInterfaceImplementationClassName", "sagemakerVectorsImplementationClassName"
        )
    )
    """The `SagemakerVectorsInterface`."""
    parameters: JsonObject = Field(default_factory=dict)
    """Passed to its constructor as keywords. No secrets: the dataset file is stored in the lake."""
    sagemaker_endpoint_name: Text | None = None
    """The endpoint. It has to exist."""
    model_implementation_class_name: ClassName | None = Field(None, validate_default=True)
    """A `VectorModel` of yours that runs in the worker, in the place of an endpoint."""
    model_parameters: JsonObject = Field(default_factory=dict)
    """Passed to its constructor as keywords."""
    batch_size: PositiveInt = DEFAULT_BATCH_SIZE
    """Texts in a call, at most."""
    max_concurrency: PositiveInt = DEFAULT_CONCURRENCY
    """Calls at a time, at most, in each task."""
    timeout_in_seconds: Annotated[float, Field(gt=0)] = DEFAULT_SECONDS
    """How long the endpoint may take for a call."""

    @field_validator("model_implementation_class_name")
    @classmethod
    def _one_of_both(cls, value: str | None, info: ValidationInfo) -> str | None:
        endpoint = info.data.get("sagemaker_endpoint_name")
        if value is None and endpoint is None and cls.needs_model:
            raise absent("needed without sagemakerEndpointName: the VectorModel, as module.Class")
        if value is not None and endpoint is not None:
            raise wrong("sagemakerEndpointName names another model; keep one of them")
        return value


class DatasetVectorsConfig(VectorsConfig):
    """Those of a dataset, whose endpoint may be named by a `computeEngine` of the type LAMBDA_AND_SAGEMAKER."""

    needs_model: ClassVar[bool] = False

    def with_endpoint(self, name: str | None) -> Self:
        """These, with an endpoint if they name none, and no model of yours."""
        if name is None or self.sagemaker_endpoint_name is not None or self.model_implementation_class_name is not None:
            return self
        return self.model_copy(update={"sagemaker_endpoint_name": name})
