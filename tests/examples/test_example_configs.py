from __future__ import annotations

import json
import os
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datalake_interfaces import (
    Annotator,
    Generator,
    MultipleFileStateMachineReader,
    SingleFileParser,
    SingleFileStateMachineParser,
)
from datalake_interfaces.testing import check_annotator, check_generator, check_parser, check_state_machine
from datalake_service.config.load import load_dataset_file
from datalake_service.config.read import FolderReadConnector, GeneratorReadConnector
from datalake_service.handling.load import load_handler
from datalake_service.storage import FolderStore
from tests.cli.commands import datalake
from tests.support.repository import ROOT

AWS = {"dynamodb_streams", "dynamodb_table", "kinesis_vectors_sqs", "s3_to_kinesis", "sqs_to_kinesis"}
"""Examples that need AWS: ``test_aws_examples.py`` runs them."""
ENGINES = {"spark_words"}
"""Examples that need Spark: ``tests/engines`` runs them."""
FILES = [
    path for path in sorted((ROOT / "example_configs").glob("*/dataset.json")) if path.parent.name not in AWS | ENGINES
]
NAMES = [path.parent.name for path in FILES]


def quickstart(report: dict[str, Any]) -> None:
    """Real text of every Python version: what the issue promises shows up, the numbers differ."""
    assert 1_000 < report["documents"] < 3_000
    assert 0 < report["skips"] < 50
    assert 0 < report["errors"] < 50
    assert 0 < report["duplicates"] < 200
    assert report["rows"] == report["documents"] - report["duplicates"]
    (style,) = report["annotators"]
    assert style["annotated"] + style["skipped"] == report["rows"]
    assert min(style["annotated"], style["skipped"]) > 100


def tracebacks(report: dict[str, Any]) -> None:
    """The logs are part of the example, so the numbers are known."""
    assert (report["records"], report["documents"], report["skips"], report["errors"]) == (113, 93, 19, 1)
    assert report["notes"] == ["server-4.log.gz: cut off: the gzip data ends at byte 1118"]
    assert report["annotators"][0]["annotated"] == 35


def characters(report: dict[str, Any]) -> None:
    """Later versions of Unicode name more of them."""
    assert 1_400 < report["rows"] == report["documents"] <= 9983 - 8448 + 1


def web_archive(report: dict[str, Any]) -> None:
    """The archives are part of the example: 24 articles, one page more, and the oddities of both."""
    assert (report["records"], report["documents"], report["skips"], report["errors"]) == (92, 30, 60, 2)
    assert report["notes"] == []
    assert report["annotators"][0]["annotated"] == 28


def slurm(report: dict[str, Any]) -> None:
    """The rows that ``test_slurm.py`` annotates."""
    assert report["rows"] == 12_000
    assert report["annotators"] == []


EXPECTED: dict[str, Callable[[dict[str, Any]], None]] = {
    "quickstart": quickstart,
    "tracebacks": tracebacks,
    "characters": characters,
    "slurm": slurm,
    "web_archive": web_archive,
}


def objects(lake: Path) -> dict[str, str]:
    """Every object but those that a run always writes, with its version."""
    left_out = ("/dataset.json", "/.lock", "/.lock.time")
    return {meta.key: meta.etag for meta in FolderStore(lake).list("") if not meta.key.endswith(left_out)}


def test_every_example_is_expected_to_do_something() -> None:
    """A new example needs a sentence about what it does; and a page."""
    assert set(NAMES) == set(EXPECTED)
    assert [path for path in FILES if not path.with_name("README.md").is_file()] == []


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_an_example_runs(path: Path, tmp_path: Path) -> None:
    """With the one command that its page shows; once more it adds nothing; then it is exported in two formats.

    And the commands that its report shows work: they are there to be copied.
    """
    create = ("datasets", "create", "--configFile", os.path.relpath(path, tmp_path), "--prettyPrint")
    first = datalake(*create, cwd=tmp_path)
    assert (first.status, first.err) == (0, "")
    report = first.json
    EXPECTED[path.parent.name](report)
    assert report["status"] == "COMPLETED"
    assert report["tasks"]["completed"] == report["tasks"]["planned"] > 0

    before = objects(tmp_path / "lake")
    again = datalake(*create, cwd=tmp_path)
    assert (again.status, again.err) == (0, "")
    assert (again.json["records"], again.json["rows"]) == (0, report["rows"])
    assert [outcome["annotated"] for outcome in again.json["annotators"]] == [0] * len(report["annotators"])
    assert objects(tmp_path / "lake") == before

    for name in ("rows.jsonl", "rows.parquet"):
        export = ("export", "--datasetName", report["datasetName"], "--output", name)
        exported = datalake(*export, cwd=tmp_path)
        assert (exported.status, exported.json["rows"]) == (0, report["rows"])
    lines = (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    assert len({json.loads(line)["id"] for line in lines}) == report["rows"]
    assert (tmp_path / "rows.parquet").read_bytes().startswith(b"PAR1")

    assert len(report["commands"]) >= 2
    for command in report["commands"]:
        program, *arguments = command.split()
        assert program == "datalake"
        done = datalake(*arguments, cwd=tmp_path)
        assert (done.status, done.err) == (0, "")


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_the_handlers_of_an_example_keep_their_contract(path: Path) -> None:
    """The kit that handler authors are given finds nothing wrong with ours."""
    config = load_dataset_file(path)
    connector = config.read_connector
    if isinstance(connector, GeneratorReadConnector):
        generator = load_handler(
            connector.generator_implementation_class_name,
            folder=config.folder,
            interface=Generator,
            parameters=connector.parameters,
        )
        report = check_generator(generator)
    elif isinstance(connector, FolderReadConnector) and connector.multiple_file_state_machine_reader_class_name:
        reader = load_handler(
            connector.multiple_file_state_machine_reader_class_name,
            folder=config.folder,
            interface=MultipleFileStateMachineReader,
            parameters=connector.parameters,
        )
        named = connector.single_file_state_machine_parser_implementation_class_name_map or {}
        parsers = {
            kind: load_handler(
                reference,
                folder=config.folder,
                interface=SingleFileStateMachineParser,
                parameters=connector.parameters,
            )
            for kind, reference in named.items()
        }
        files = {"WARC": "warc.gz", "WAT": "warc.wat.gz", "WET": "warc.wet.gz"}
        samples = {kind: connector.path / f"crawl-00001.{name}" for kind, name in files.items()}
        report = check_state_machine(reader, samples, parsers=parsers)
    else:
        assert isinstance(connector, FolderReadConnector)
        parser = load_handler(
            str(connector.single_file_parser_implementation_class_name),
            folder=config.folder,
            interface=SingleFileParser,
            parameters=connector.parameters,
        )
        logs = {"quickstart": "asyncio/base_events.py", "tracebacks": "server-1.log.gz"}
        report = check_parser(parser, connector.path / logs[path.parent.name])
    assert report.rows
    assert report.ok, report
    for annotator in config.annotators:
        loaded = load_handler(
            str(annotator.annotator_implementation_class_name),
            folder=config.folder,
            interface=Annotator,
            parameters=annotator.parameters,
        )
        assert check_annotator(loaded, report.rows).ok


def test_the_quickstart_names_no_place_of_one_machine() -> None:
    """It reads the standard library of whoever runs it."""
    text = (ROOT / "example_configs/quickstart/dataset.json").read_text(encoding="utf-8")
    assert json.loads(text)["readConnector"]["path"] == "{pythonStdlib}"
    connector = load_dataset_file(ROOT / "example_configs/quickstart/dataset.json").read_connector
    assert isinstance(connector, FolderReadConnector)
    assert connector.path == Path(sysconfig.get_path("stdlib"))
    assert sys.version.split()[0] not in text
