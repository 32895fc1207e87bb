from __future__ import annotations

from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from datalake_service.config import compute, manifest, on_error, read, write
from datalake_service.config.choice import Choice, folded, nearest
from datalake_service.config.section import ResourceLocation

CHOICES = [
    value
    for module in (read, write, compute, manifest, on_error)
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, Choice) and value is not Choice
]


@pytest.mark.parametrize("choice", dict.fromkeys([*CHOICES, ResourceLocation]), ids=lambda choice: choice.__name__)
def test_no_two_members_share_a_spelling(choice: type[Choice]) -> None:
    """Else one of them could never be meant."""
    spellings = [folded(spelling) for member in choice for spelling in {*map(folded, member.spellings)}]
    assert len(spellings) == len(set(spellings))


@given(st.sampled_from(CHOICES).flatmap(lambda choice: st.sampled_from(list(choice))), st.data())
def test_every_way_to_write_a_spelling_is_read(member: Choice, data: st.DataObject) -> None:
    """Case, spaces, hyphens and underscores do not count."""
    spelling = data.draw(st.sampled_from(member.spellings))
    written = "".join(
        data.draw(st.sampled_from(["", " ", "_", "-"])) + data.draw(st.sampled_from([char.upper(), char.lower()]))
        for char in spelling
    )
    adapter = TypeAdapter(type(member))
    assert adapter.validate_python(written) is member
    assert adapter.dump_python(member, mode="json") == member.value
    assert adapter.validate_json(adapter.dump_json(member)) is member


@pytest.mark.parametrize("value", ["", "x", 3, None, True, ["LOCAL"]])
def test_anything_else_is_refused(value: object) -> None:
    """With what is allowed."""
    with pytest.raises(ValidationError, match="allowed: LOCAL, RAY, LAMBDA, LAMBDA_AND_SAGEMAKER, SPARK"):
        TypeAdapter(compute.Engine).validate_python(value)


def test_a_member_is_text() -> None:
    """It can be printed, compared and written as JSON like its canonical spelling."""
    assert isinstance(read.Source.S3, StrEnum)
    assert f"{read.Source.KINESIS}" == read.Source.KINESIS == "KINESIS"


@pytest.mark.parametrize(
    ("text", "guess"),
    [("Lamda", "LAMBDA"), ("connectorDestinaton", "connectorDestination"), ("zzz", None), ("", None)],
)
def test_the_nearest_is_found_or_nothing(text: str, guess: str | None) -> None:
    """A guess that is far off only confuses."""
    assert nearest(text, ["LOCAL", "LAMBDA", "connectorDestination"]) == guess
