"""``version``, ``reuse``, ``retry`` and ``campaign`` of an annotator: what goes together."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from datalake_service.config.annotator import AnnotatorConfig, Retry, Reuse


def read(**fields: Any) -> AnnotatorConfig:
    """An annotator with these fields."""
    return AnnotatorConfig.model_validate(
        {"annotatorName": "lang", "annotatorImplementationClassName": "handler.Label", **fields}
    )


def test_what_is_asked_again() -> None:
    """In any case, and nothing of it by default."""
    plain = read()
    assert (plain.version, plain.reuse, plain.retry, plain.campaign) == (None, None, None, None)
    one = read(version="v2", reuse="Label", retry="ALL", campaign="job-1", shared=True)
    assert (one.reuse, one.retry, one.campaign) == (Reuse.LABEL, Retry.ALL, "job-1")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"reuse": "label"}, "needs a version"),
        ({"reuse": "labels"}, "allowed: label, code; did you mean label?"),
        ({"retry": "everything"}, "allowed: failed, skipped, all"),
        ({"retry": "all", "shared": True}, "of a shared annotator needs a name here"),
    ],
)
def test_what_does_not_go_together(fields: dict[str, Any], message: str) -> None:
    """Each is one mistake at its field."""
    with pytest.raises(ValidationError) as caught:
        read(**fields)
    (fault,) = caught.value.errors()
    assert message in fault["msg"]
