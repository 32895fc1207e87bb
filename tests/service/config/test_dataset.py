from __future__ import annotations

import pickle
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from datalake_service.config.annotator import DEFAULT_CONCURRENCY
from datalake_service.config.compute import LocalEngine
from datalake_service.config.dataset import DatasetConfig
from datalake_service.config.filters import AllFilter, BooleanFilter, RawDuckFilter
from datalake_service.config.load import load_dataset
from datalake_service.config.manifest import EVERY_FILE, GlobManifest, LinkManifest, TextManifest
from datalake_service.config.names import check_name
from datalake_service.config.on_error import Policy
from datalake_service.config.problems import redacted
from datalake_service.config.read import FileReaderType, FolderReadConnector, Language
from datalake_service.config.section import LakeName
from datalake_service.config.version import SHORT_VERSION, VERSION
from datalake_service.config.write import DatalakeErrorConnector, DatalakeWriteConnector
from datalake_service.errors import NameNotAllowedError
from tests.support.repository import ROOT

FOLDER = Path("/configs/one")
NAME: TypeAdapter[str] = TypeAdapter(LakeName)


def load(read: dict[str, Any] | None = None, /, **sections: object) -> DatasetConfig:
    """A dataset that reads a folder."""
    connector = {"connectorDestination": "FOLDER", "path": "in", **(read or {})}
    return load_dataset({"datasetName": "d", "readConnector": connector, **sections}, folder=FOLDER)


def test_little_has_to_be_said() -> None:
    """A name and a source; the rest has defaults that work on one machine."""
    config = load()
    assert isinstance(config.read_connector, FolderReadConnector)
    assert config.read_connector.path == FOLDER / "in"
    assert config.read_connector.reader_type is FileReaderType.SINGLE_FILE
    assert config.read_connector.artifact_implementation_language is Language.PYTHON
    assert config.read_connector.parameters == {}
    assert config.manifest_file == GlobManifest(globs=(EVERY_FILE,))
    assert config.write_connector == DatalakeWriteConnector()
    assert config.write_connector.uri is None
    assert config.error_connector == DatalakeErrorConnector()
    assert config.compute_engine == LocalEngine()
    assert config.compute_engine.concurrency is None
    assert config.on_error.policy is Policy.CONTINUE
    assert (config.on_error.max_errors, config.on_error.max_error_share) == (None, None)
    assert config.annotators == ()


def test_an_annotator_has_defaults_too() -> None:
    """All columns, all rows, no limit."""
    (annotator,) = load(annotators=[{"annotatorName": "a", "annotatorImplementationClassName": "h.A"}]).annotators
    assert annotator.base_columns is None
    assert annotator.annotator_columns == {}
    assert annotator.filter is None
    assert (annotator.fraction, annotator.max_concurrency) == (1.0, DEFAULT_CONCURRENCY)
    assert annotator.timeout_in_seconds is None


def test_everything_can_be_said() -> None:
    """Each addition to the original's format, in the form that the rest of the code works with."""
    config = load(
        {"parameters": {"fewest": 3}},
        **{
            "$schema": "../dataset-file.schema.json",
            "manifestFile": {"globs": ["a/*.gz", "**/b"]},
            "writeConnector": {"uri": "lake", "batch": "b", "chunkSize": 7, "deduplicateOn": ["text", "source"]},
            "onError": {"policy": "Continue", "maxErrors": 0, "maxErrorShare": 1},
            "computeEngine": {"computeEngineType": "local", "concurrency": 2, "logLevel": "warning"},
            "annotators": [
                {
                    "annotatorName": "lang",
                    "annotatorImplementationClassName": "h.Lang",
                    "parameters": {"model": "m"},
                    "baseColumns": ["text"],
                    "annotatorColumns": {"old": ["label"]},
                    "filter": {
                        "type": "all",
                        "filters": [
                            {"type": "boolean", "field": "old.ok", "value": True},
                            {"type": "raw_duck", "sql": "length(text) > 3"},
                        ],
                    },
                    "fraction": 0.5,
                    "maxConcurrency": 4,
                    "timeoutInSeconds": 2,
                    "version": "v1",
                }
            ],
        },
    )
    assert config.read_connector.parameters == {"fewest": 3}
    assert config.manifest_file == GlobManifest(globs=("a/*.gz", "**/b"))
    write = config.write_connector
    assert isinstance(write, DatalakeWriteConnector)
    assert (write.uri, write.chunk_size) == (str(FOLDER / "lake"), 7)
    assert write.deduplicate_on == ("text", "source")
    assert (config.on_error.max_errors, config.on_error.max_error_share) == (0, 1.0)
    (annotator,) = config.annotators
    assert annotator.filter == AllFilter(
        filters=[BooleanFilter(field="old.ok", value=True), RawDuckFilter(sql="length(text) > 3")]
    )
    assert (annotator.fraction, annotator.timeout_in_seconds, annotator.version) == (0.5, 2.0, "v1")
    assert annotator.annotator_columns == {"old": ("label",)}


@pytest.mark.parametrize(
    ("path", "resolved"),
    [
        ("in", FOLDER / "in"),
        ("../in", FOLDER / "../in"),
        ("/abs", Path("/abs")),
        ("file:///abs", Path("/abs")),
        ("~/x", Path("~/x").expanduser()),
        ("{pythonStdlib}", Path(sysconfig.get_path("stdlib"))),
        ("{pythonStdlib}/json", Path(sysconfig.get_path("stdlib")) / "json"),
    ],
)
def test_paths_are_relative_to_the_file(path: str, resolved: Path) -> None:
    """Wherever the command runs."""
    connector = load({"path": path}).read_connector
    assert isinstance(connector, FolderReadConnector)
    assert connector.path == resolved


def test_lines_may_be_a_list() -> None:
    """JSON has no text with line ends that a person would want to write."""
    manifest = load(manifestFile={"fileContents": ["a.gz", "b.gz"]}).manifest_file
    assert isinstance(manifest, TextManifest)
    assert manifest.file_contents == "a.gz\nb.gz"


@pytest.mark.parametrize("key", ["manifestFileS3Uri", "manifestFileUri"])
def test_a_link_may_lead_to_a_file_beside_the_dataset_file(key: str) -> None:
    """Under the original's name or one that does not promise a bucket."""
    manifest = load(manifestFile={key: "items.txt"}).manifest_file
    assert isinstance(manifest, LinkManifest)
    assert manifest.manifest_file_s3_uri == str(FOLDER / "items.txt")


def test_null_means_not_given() -> None:
    """For every setting that has a default of none."""
    assert load(region=None, onError={"maxErrors": None}).on_error.max_errors is None


def test_a_config_is_a_value() -> None:
    """Frozen, equal by content, and it survives the way to another process with its origin."""
    config = load(annotators=[{"annotatorName": "a", "annotatorImplementationClassName": "h.A"}])
    with pytest.raises(ValidationError):
        config.dataset_name = "x"  # type: ignore[misc]  # wrong on purpose
    copy = pickle.loads(pickle.dumps(config))
    assert copy == config
    assert (copy.folder, copy.document) == (FOLDER, config.document)


@given(st.text(max_size=140) | st.from_regex(r"\A[A-Za-z0-9._-]{1,130}\Z"))
def test_names_are_checked_by_one_rule(name: str) -> None:
    """The dataset file and the Python surface allow the same names."""
    try:
        check_name(name, what="dataset")
    except NameNotAllowedError:
        with pytest.raises(ValidationError):
            NAME.validate_python(name)
    else:
        assert NAME.validate_python(name) == name


def test_the_version_is_the_packaged_one() -> None:
    """It stands in two places, because a checkout is not installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == VERSION
    assert VERSION.startswith(f"{SHORT_VERSION}.")


def test_what_looks_like_a_secret_is_hidden_when_a_config_is_shown() -> None:
    """By its key, at any depth; numbers and words that are none stay."""
    shown = redacted(
        {
            "parameters": {
                "apiKey": "a",
                "api_key": "b",
                "token": 3,
                "password": "c",
                "monkey": "d",
                "tokens": ["e"],
                "maxOutputTokens": 9,
            },
            "uri": "https://key:secret@host/x",
            "deep": [{"clientSecret": "f", "on": True}],
        }
    )
    assert shown == {
        "parameters": {
            "apiKey": "(hidden)",
            "api_key": "(hidden)",
            "token": "(hidden)",
            "password": "(hidden)",
            "monkey": "d",
            "tokens": ["(hidden)"],
            "maxOutputTokens": 9,
        },
        "uri": "https://…@host/x",
        "deep": [{"clientSecret": "(hidden)", "on": True}],
    }
