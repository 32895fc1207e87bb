"""``onError``: what happens when a record cannot become a document, and how often it may."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from datalake_service.config.choice import Choice
from datalake_service.config.faults import wrong
from datalake_service.config.section import Section


class Policy(Choice):
    """What one bad record does."""

    CONTINUE = "continue"
    """It becomes a rejection; the task goes on."""
    FAIL = "fail"
    """It becomes a rejection; the task fails."""


class OnError(Section):
    """What happens when a record cannot become a document. Default: go on, without a limit."""

    policy: Policy = Policy.CONTINUE
    """`continue`: the record becomes a rejection and the task goes on. `fail`: the task fails."""
    max_errors: Annotated[int, Field(ge=0)] | None = None
    """More rejections than this stop the run."""
    max_error_share: Annotated[float, Field(ge=0, le=1)] | None = None
    """A larger share of rejections among the records read stops the run."""

    @field_validator("max_errors", "max_error_share")
    @classmethod
    def _only_when_going_on(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("policy") is Policy.FAIL:
            raise wrong('a limit has no effect with "policy": "fail", where the first error stops the task')
        return value
