from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from datalake_service.config.load import load_dataset, load_dataset_file
from datalake_service.errors import ConfigError

GENERATOR = {"connectorDestination": "GENERATOR", "generatorImplementationClassName": "handler.Rows"}
FILES = {"connectorDestination": "S3", "bucketName": "crawl"}
ANNOTATOR = {"annotatorName": "lang", "annotatorImplementationClassName": "handler.Lang"}


def problems(document: dict[str, Any]) -> tuple[str, ...]:
    """The lines that a dataset file is answered with; none if it is right."""
    try:
        load_dataset(document, folder=Path())
    except ConfigError as error:
        return error.problems
    return ()


def with_section(**sections: object) -> dict[str, Any]:
    """A dataset file that is right but for what is given."""
    return {"datasetName": "d", "readConnector": GENERATOR, **sections}


def test_a_file_with_ten_mistakes_is_answered_with_all_ten(tmp_path: Path) -> None:
    """In one go, each with its path, what was found and what is allowed."""
    path = tmp_path / "dataset.json"
    document = {
        "datasetName": "a/b",
        "readConnector": {"connectorDestination": "S4", "bucketNmae": "crawl"},
        "writeConnector": {"batch": "{day}", "chunkSize": "5"},
        "computeEngine": {"computeEngineType": "lamda"},
        "onError": {"policy": "fail", "maxErrors": 3},
        "annotators": [{"annotatorName": "lang", "fraction": 0}, {**ANNOTATOR, "maxConcurrency": 1.5}],
        "customerAccountForAccess": "12",
    }
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_dataset_file(path)
    assert caught.value.exit_code == 2
    assert str(caught.value).splitlines() == [
        f"{path}: 12 problems",
        (
            "  datasetName: found \"a/b\"; allowed: 1 to 128 of A-Z a-z 0-9 '-' '_' '.', starting with a letter or "
            "digit, and not the word 'annotations'"
        ),
        '  customerAccountForAccess: found "12"; allowed: the 12 digits of an AWS account, as text',
        (
            '  readConnector.connectorDestination: found "S4"; allowed: S3, FOLDER, GENERATOR, SQS, KINESIS, '
            "DYNAMODBSTREAMS, DYNAMODB"
        ),
        "  readConnector.bucketNmae: unknown setting; did you mean bucketName?",
        (
            '  writeConnector.batch: found "{day}"; allowed: a batch name; in it {date} stands for the day in UTC '
            "(20261120) and {date:%Y%m%d-%H} for a time, with %Y %m %d %H %M %S %j"
        ),
        '  writeConnector.chunkSize: found "5"; allowed: a whole number',
        (
            '  computeEngine.computeEngineType: found "lamda"; allowed: LOCAL, RAY, LAMBDA, LAMBDA_AND_SAGEMAKER, '
            "SPARK; did you mean LAMBDA?"
        ),
        (
            '  onError.maxErrors: found 3; a limit has no effect with "policy": "fail", where the first error stops '
            "the task"
        ),
        "  annotators[0].annotatorImplementationClassName: missing; the `Annotator`",
        "  annotators[0].fraction: found 0; allowed: more than 0.0",
        "  annotators[1].maxConcurrency: found 1.5; allowed: a whole number",
        '  annotators[1].annotatorName: found "lang"; annotators[0] has that name; allowed: its own',
    ]


@pytest.mark.parametrize(
    ("document", "line"),
    [
        ({}, "datasetName: missing; the name of the dataset: the folder of the lake that it lives in"),
        ({"datasetName": "d"}, "readConnector: missing; where records come from"),
        (with_section(readConnector=[]), "readConnector: found a list; allowed: an object"),
        (with_section(readConnector=None), "readConnector: found null; allowed: an object"),
        (with_section(readConnector={}), "readConnector.connectorDestination: missing; allowed: S3, FOLDER, "),
        (with_section(readConnector={"connectorDestination": 3}), "connectorDestination: found 3; allowed: S3"),
        (with_section(readConnector=FILES), "manifestFile: missing; needed for S3: which files to read, "),
        (with_section(readConnectors={}), "readConnectors: unknown setting; did you mean readConnector?"),
        (with_section(manifestFile={}), "manifestFile: found an object; a GENERATOR has no manifest; remove it"),
        (with_section(region=""), 'region: found ""; allowed: the name of a region'),
        (with_section(computeEngine={"concurrency": True}), "computeEngine.concurrency: found true; allowed: a whole"),
        (with_section(computeEngine={"concurrency": 0}), "computeEngine.concurrency: found 0; allowed: at least 1"),
        (with_section(computeEngine={"logLevel": "warm"}), 'logLevel: found "warm"; allowed: DEBUG, INFO, WARN, ERROR'),
        (with_section(writeConnector={"deduplicateOn": "text"}), 'deduplicateOn: found "text"; allowed: a list'),
        (
            with_section(writeConnector={"deduplicateOn": [1]}),
            "writeConnector.deduplicateOn[0]: found 1; allowed: text",
        ),
        (
            with_section(writeConnector={"uri": "gs://b/p"}),
            'uri: found "gs://b/p"; allowed: s3://bucket/prefix, or the',
        ),
        (with_section(writeConnector={"uri": "s3://b//p"}), "writeConnector.uri: found"),
        (with_section(onError={"maxErrorShare": 2}), "onError.maxErrorShare: found 2; allowed: at most 1.0"),
        (with_section(annotators={}), "annotators: found an object; allowed: a list"),
        (with_section(annotators=[3]), "annotators[0]: found 3; allowed: an object"),
        (
            with_section(annotators=[{**ANNOTATOR, "annotatorColumns": {"lang": []}}]),
            "an annotator does not see its own",
        ),
        (
            with_section(
                annotators=[{**ANNOTATOR, "annotatorColumns": {"x": ["a"]}}, {**ANNOTATOR, "annotatorName": "x"}]
            ),
            'annotators[0].annotatorColumns.x: found "x"; annotators[1] runs later; move it up',
        ),
        (
            with_section(annotators=[{**ANNOTATOR, "filter": {"type": "bool"}}]),
            'annotators[0].filter.type: found "bool"; allowed: all, any, boolean, raw_duck',
        ),
        (
            with_section(annotators=[{**ANNOTATOR, "filter": {"type": "all", "filters": [{"type": "boolean"}]}}]),
            "annotators[0].filter.filters[0].field: missing",
        ),
        (
            with_section(annotators=[{**ANNOTATOR, "filter": {"type": "raw_duck", "sql": "a", "x": 1}}]),
            "annotators[0].filter.x: unknown setting",
        ),
        (
            with_section(readConnector=FILES, manifestFile={"manifestType": "KinesisStreamReaderManifest"}),
            'manifestFile.manifestType: found "KinesisStreamReaderManifest"; allowed: S3ReaderTextManifestFile, ',
        ),
        (
            with_section(readConnector=FILES, manifestFile={"fileContents": " \n"}),
            "manifestFile.fileContents: found",
        ),
        (
            with_section(readConnector=FILES, manifestFile={"fileContents": "a", "readerType": "SPARKREADER"}),
            'manifestFile.readerType: found "SPARKREADER"; readConnector.readerType says SINGLEFILEREADER; ',
        ),
        (
            with_section(readConnector=FILES, manifestFile={}),
            "manifestFile.manifestType: missing; allowed: S3ReaderTextManifestFile, S3ReaderS3LinkManifestFile, GLOB",
        ),
        (
            with_section(
                readConnector={**FILES, "readerType": "Spark Reader", "singleFileParserImplementationClassName": "a.B"},
                manifestFile={"globs": ["*"]},
            ),
            'singleFileParserImplementationClassName: found "a.B"; this setting belongs to readerType SINGLEFILEREADER',
        ),
        (
            with_section(readConnector={**GENERATOR, "generatorImplementationClassName": "Rows"}),
            'generatorImplementationClassName: found "Rows"; allowed: module.Class, found next to the dataset file',
        ),
        (
            with_section(readConnector={"connectorDestination": "Kinesis", "streamArn": "arn:aws:sqs:us-east-1:1:q"}),
            'readConnector.streamArn: found "arn:aws:sqs:us-east-1:1:q"; allowed: arn:aws:kinesis:REGION:',
        ),
        (
            with_section(errorConnector={"connectorDestination": "S3", "resourceLocation": "Customer"}),
            'errorConnector.bucketName: missing; needed with "resourceLocation": "Customer"',
        ),
    ],
)
def test_each_mistake_has_its_path_and_says_what_is_allowed(document: dict[str, Any], line: str) -> None:
    """One line names the place as JSON, what stands there, and what may."""
    assert [found for found in problems(document) if line in found], problems(document)


@pytest.mark.parametrize(
    ("document", "line"),
    [
        (
            with_section(
                computeEngine={"computeEngineType": "LAMBDA", "concurrency": 2, "lambdaConcurrency": 2},
            ),
            "computeEngine.lambdaConcurrency: the same setting as concurrency; keep one of them",
        ),
        (
            with_section(
                computeEngine={
                    "computeEngineType": "LAMBDA_AND_SAGEMAKER",
                    "lambda": {"concurrency": 2, "lambdaConcurrency": 2},
                },
            ),
            "computeEngine.lambda.concurrency: the same setting as lambdaConcurrency; keep one of them",
        ),
        (
            with_section(
                readConnector=FILES, manifestFile={"manifestFileUri": "a.txt", "manifestFileS3Uri": "s3://bucket/a.txt"}
            ),
            "manifestFile.manifestFileUri: the same setting as manifestFileS3Uri; keep one of them",
        ),
        (
            with_section(
                readConnector={
                    **FILES,
                    "readerType": "Multiple File State Machine Reader",
                    "multipleFileStateMachineReaderClassName": "a.B",
                    "multipleFileStateMachineReaderImplementationClassName": "a.B",
                },
                manifestFile={"globs": ["*"]},
            ),
            (
                "readConnector.multipleFileStateMachineReaderImplementationClassName: the same setting as "
                "multipleFileStateMachineReaderClassName; keep one of them"
            ),
        ),
    ],
)
def test_a_setting_given_under_two_spellings_is_a_mistake(document: dict[str, Any], line: str) -> None:
    """Even with the same value: the next change would be made to one of them."""
    assert problems(document) == (line,)


@pytest.mark.parametrize("key", ["concurrency", "lambdaConcurrency"])
def test_each_spelling_is_accepted_alone(key: str) -> None:
    """The prefix of one engine is not a trap in another."""
    assert problems(with_section(computeEngine={"computeEngineType": "lambda", key: 3})) == ()


def test_a_mistake_in_another_spelling_is_told_under_that_spelling() -> None:
    """A reader looks for what stands in the file."""
    engine = {"computeEngineType": "lambda", "lambdaConcurrency": 0}
    assert problems(with_section(computeEngine=engine)) == (
        "computeEngine.lambdaConcurrency: found 0; allowed: at least 1",
    )


@pytest.mark.parametrize(
    "document",
    [
        with_section(readConnector={**GENERATOR, "parameters": "hunter2"}),
        with_section(readConnector={**GENERATOR, "secretKey": "hunter2"}),
        with_section(secretKey="hunter2"),
        with_section(
            computeEngine={
                "computeEngineType": "LAMBDA_AND_SAGEMAKER",
                "lambda": {"concurrency": 1},
                "model": {"modelEnvironmentVariables": {"TOKEN": ["hunter2"], "WORD": {"a": "hunter2"}}},
            }
        ),
        with_section(writeConnector={"connectorDestination": "S3", "sparkWriteOptions": {"password": ["hunter2"]}}),
        with_section(writeConnector={"uri": "https://user:hunter2@host/x"}),
        with_section(writeConnector={"accessKey": "hunter2"}),
    ],
)
def test_what_may_be_a_secret_is_never_shown(document: dict[str, Any]) -> None:
    """Unknown settings, free maps and passwords in addresses are told without their values."""
    found = problems(document)
    assert found
    assert "hunter2" not in "\n".join(found)


def test_a_long_value_is_cut() -> None:
    """One mistake is one line that can be read."""
    (line,) = problems(with_section(region="x y" * 1000))
    assert len(line) < 200
    assert "\n" not in line


def test_line_ends_in_a_value_do_not_break_the_line() -> None:
    """Values are shown as JSON."""
    (line,) = problems(with_section(region="a\nb"))
    assert line.startswith(r'region: found "a\nb"; allowed: ')


def test_keys_that_are_no_words_are_quoted_in_paths() -> None:
    """A path can be found in the file whatever the key is."""
    document = with_section(annotators=[{**ANNOTATOR, "annotatorColumns": {"a b": ["x"]}}])
    assert [line for line in problems(document) if line.startswith('annotators[0].annotatorColumns["a b"]')]
