from __future__ import annotations

from pathlib import Path

import pytest

from datalake_service.config.location import join_s3, resolve_object, resolve_uri, without_credentials
from datalake_service.errors import ConfigError

HERE = Path("/data")


@pytest.mark.parametrize(
    ("text", "resolved"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("S3://bucket/a/b/", "s3://bucket/a/b"),
        ("lake", "/data/lake"),
        ("./lake/x", "/data/lake/x"),
        ("/abs/lake", "/abs/lake"),
        ("file:///abs/lake", "/abs/lake"),
        ("~/lake", str(Path("~/lake").expanduser())),
    ],
)
def test_a_lake_has_one_form(text: str, resolved: str) -> None:
    """Slashes at the end and ways to write a path make no second lake."""
    assert resolve_uri(text, folder=HERE) == resolved


def test_without_a_folder_a_relative_path_stays_relative() -> None:
    """It is then relative to where the command runs."""
    assert resolve_uri("./lake") == "lake"


@pytest.mark.parametrize(
    "text",
    [
        "gs://b/p",
        "http://x",
        "s3://",
        "s3:///p",
        "s3://b",
        "s3://bu cket/x",
        "s3://bucket/a//b",
        "s3://bucket/../x",
        "s3://key:secret@bucket/x",
    ],
)
def test_what_cannot_be_a_lake_is_refused(text: str) -> None:
    """Other schemes, no bucket, prefixes that no key can have, credentials inside."""
    with pytest.raises(ConfigError):
        resolve_uri(text)


@pytest.mark.parametrize(
    ("text", "resolved"),
    [("s3://bucket/a/b.txt", "s3://bucket/a/b.txt"), ("m.txt", "/data/m.txt"), ("file:///m", "/m")],
)
def test_an_object_is_named_like_a_lake(text: str, resolved: str) -> None:
    """A link manifest may be in a bucket or beside the dataset file."""
    assert resolve_object(text, folder=HERE) == resolved


@pytest.mark.parametrize("text", ["s3://bucket", "s3://bucket/", "ftp://x/y"])
def test_an_object_needs_a_key(text: str) -> None:
    """A bucket is no file."""
    with pytest.raises(ConfigError, match="allowed: s3://bucket/key"):
        resolve_object(text)


def test_a_prefix_is_joined_without_its_slashes() -> None:
    """As other tools write it."""
    assert join_s3("bucket", "/a/b/") == "s3://bucket/a/b"
    assert join_s3("bucket", "") == "s3://bucket"


def test_credentials_are_taken_out_of_what_is_shown() -> None:
    """A user name may be a key as well."""
    assert without_credentials("x https://key:secret@host/p y") == "x https://…@host/p y"
