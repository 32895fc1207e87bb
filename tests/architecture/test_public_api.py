from __future__ import annotations

import importlib
import inspect

import pytest

from tests.support.repository import PACKAGES

PROMISED = {
    "datalake_interfaces": {
        "Annotation", "Annotator", "DataItem", "Document", "ErrorDoc", "Generator", "ParseDocumentResult",
        "ParseDocumentResultStatus", "RecordHintType", "RecordParseHint", "SingleFileParser", "SkipDoc",
    },
    "datalake_service": {
        "AllFilter", "Annotation", "AnnotationLockError", "AnyFilter", "BooleanFilter", "DataItem",
        "DatasetNotMergedError", "FilterNode", "RawDuckFilter", "S3DataTool", "S3Lock", "StreamingConfigs", "WSSMutex",
    },
    "datalake_utils": {"Clock", "format_duration", "format_size", "parse_duration", "parse_size"},
}  # fmt: skip


def public(package: str) -> list[str]:
    """What a package says that it offers."""
    return list(importlib.import_module(package).__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_public_names_are_listed_in_order(package: str) -> None:
    """Sorted and without repetition, so that a diff shows what came and went."""
    names = public(package)
    assert names == sorted(set(names))


@pytest.mark.parametrize("package", PACKAGES)
def test_the_promised_names_are_public(package: str) -> None:
    """What the documentation imports from a package is there."""
    assert set(public(package)) >= PROMISED[package]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_exists_and_is_described(package: str) -> None:
    """Classes and functions carry a docstring of their own."""
    module = importlib.import_module(package)
    for name in public(package):
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__, f"{package}.{name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_dir_offers_the_public_names(package: str) -> None:
    """Names that are loaded on demand show in an interactive session too."""
    module = importlib.import_module(package)
    assert set(public(package)) <= set(dir(module))
