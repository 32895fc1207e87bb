"""The examples that need AWS, against emulators: what their pages say, with the commands that they show.

Their names are fixed, so each is run by one test only.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from moto.moto_server.threaded_moto_server import ThreadedMotoServer

from datalake_interfaces import SingleFileParser
from datalake_interfaces.testing import check_parser
from datalake_service.config.load import load_dataset_file
from datalake_service.config.read import S3ReadConnector
from datalake_service.handling.load import load_handler
from tests.cli.commands import datalake, environment, quick_command
from tests.support.aws import Aws
from tests.support.repository import ROOT

EXAMPLES = ROOT / "example_configs"
_SECONDS = 60.0


def settings(aws: Aws) -> dict[str, str]:
    """What somebody with an emulator sets."""
    found = {**aws.environment, "AWS_DEFAULT_REGION": "eu-west-1"}
    return found | {"S3_ENDPOINT_URL": aws.endpoint_url, "S3_ACCESS_KEY": "test", "S3_SECRET_KEY": "test"}


def seed(name: str, aws: Aws) -> None:
    """Run the example's own script."""
    script = EXAMPLES / name / "seed.py"
    subprocess.run([sys.executable, str(script)], env=environment(**settings(aws)), check=True, timeout=_SECONDS)


def create(name: str, aws: Aws, cwd: Path, *, lake: Path) -> dict[str, Any]:
    """Run the dataset file to its end."""
    config = str(EXAMPLES / name / "dataset.json")
    done = datalake("datasets", "create", "--configFile", config, "--uri", str(lake), cwd=cwd, **settings(aws))
    assert (done.status, done.err) == (0, "")
    report: dict[str, Any] = done.json
    return report


def errors(dataset: str, aws: Aws, lake: Path) -> list[dict[str, Any]]:
    """What ``errors list`` says; the last one is looked at."""
    where = ("--datasetName", dataset, "--uri", str(lake))
    listed: list[dict[str, Any]] = datalake("errors", "list", *where, cwd=lake, **settings(aws)).json["errors"]
    name = listed[-1]["error"]
    viewed = datalake("errors", "view", "--error", name, *where, cwd=lake, **settings(aws)).json
    return [*listed[:-1], viewed]


def records(aws: Aws, stream: str) -> list[dict[str, Any]]:
    """Every record of a stream, as plain clients see it."""
    client = aws.client("kinesis")
    shards = client.list_shards(StreamName=stream)["Shards"]
    found = []
    for shard in shards:
        iterator = client.get_shard_iterator(
            StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        found += client.get_records(ShardIterator=iterator)["Records"]
    return found


def test_s3_to_kinesis(aws: Aws, tmp_path: Path) -> None:
    """Files of a bucket become records; their order is kept by station; two lines are archived in the bucket."""
    seed("s3_to_kinesis", aws)
    report = create("s3_to_kinesis", aws, tmp_path, lake=tmp_path / "lake")
    assert (report["records"], report["documents"], report["skips"], report["errors"]) == (74, 69, 3, 2)
    found = records(aws, "observations")
    documents = [json.loads(gzip.decompress(record["Data"])) for record in found]
    assert len(documents) == 69
    assert set(documents[0]) == {"documentId", "recordType", "partitionKey", "station", "time", "celsius"}
    assert all(record["PartitionKey"] == document["station"] for record, document in zip(found, documents, strict=True))
    times: dict[tuple[str, str], list[str]] = defaultdict(list)
    for document in documents:
        times[document["station"], document["time"][:10]].append(document["time"])
    assert len(times) == 6
    assert all(one == sorted(one) for one in times.values())
    found_errors = errors("observations", aws, tmp_path / "lake")
    assert [error["kind"] for error in found_errors] == ["parse", "parse"]
    assert found_errors[-1]["text"].strip() in {"hill;2026-11-19T11:00Z;4.0", "airport,2026-11-20T03:00Z,warm"}
    archive = aws.client("s3").list_objects_v2(Bucket="observations", Prefix="errors/observations/november/rejected/")
    assert archive["KeyCount"] == 2
    assert create("s3_to_kinesis", aws, tmp_path, lake=tmp_path / "lake")["records"] == 0


def test_the_parser_of_s3_to_kinesis_keeps_its_contract() -> None:
    """The kit that handler authors are given finds nothing wrong."""
    config = load_dataset_file(EXAMPLES / "s3_to_kinesis" / "dataset.json")
    assert isinstance(config.read_connector, S3ReadConnector)
    parser = load_handler(
        str(config.read_connector.single_file_parser_implementation_class_name),
        folder=config.folder,
        interface=SingleFileParser,
        parameters={},
    )
    report = check_parser(parser, config.folder / "input" / "2026-11-19.csv")
    assert report.rows
    assert report.ok, report


def test_sqs_to_kinesis(aws: Aws, tmp_path: Path) -> None:
    """Messages become records and are gone; two are no orders and are kept as rejections."""
    seed("sqs_to_kinesis", aws)
    report = create("sqs_to_kinesis", aws, tmp_path, lake=tmp_path / "lake")
    assert (report["records"], report["skips"], report["errors"]) == (26, 5, 2)
    documents = [json.loads(gzip.decompress(record["Data"])) for record in records(aws, "orders")]
    assert len({document["documentId"] for document in documents}) == len(documents) == report["documents"] == 19
    assert all(set(document["documentMetadata"]) == {"messageId"} for document in documents)
    assert aws.depth("orders") == (0, 0)
    kept = errors("orders", aws, tmp_path / "lake")
    assert len(kept) == 2
    assert kept[-1]["text"].startswith(("order o-100 by telephone", '{"order": "o-101"'))


def test_kinesis_with_vectors_to_sqs(aws: Aws, tmp_path: Path) -> None:
    """Records become documents, a SageMaker endpoint makes the vectors, a queue gets them; then it is stopped."""
    seed("kinesis_vectors_sqs", aws)
    lake = tmp_path / "lake"
    with sagemaker(["[[0.25, -1.5]]"] * 20) as address:
        document = json.loads((EXAMPLES / "kinesis_vectors_sqs" / "dataset.json").read_text(encoding="utf-8"))
        document["vectors"]["batchSize"] = 1  # the emulator answers whole calls, so each has one text
        (tmp_path / "handler.py").write_bytes((EXAMPLES / "kinesis_vectors_sqs" / "handler.py").read_bytes())
        (tmp_path / "dataset.json").write_text(json.dumps(document), encoding="utf-8")
        variables = settings(aws) | {"AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": address}
        run = subprocess.Popen(
            quick_command("datasets", "create", "--configFile", "dataset.json", "--uri", str(lake)),
            cwd=tmp_path,
            env=environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            messages = received(aws, "article-vectors", expected=7, run=run)
            stopped = datalake("datasets", "stop", "--datasetName", "articleVectors", "--uri", str(lake), cwd=tmp_path)
            assert stopped.status == 0, stopped.err
            out, _ = run.communicate(timeout=_SECONDS)
        finally:
            run.kill()
            run.wait()
    assert json.loads(out)["status"] == "STOPPED"
    documents = {message["documentId"]: message for message in messages}
    assert len(documents) == 7
    first = documents["a-1"]
    assert set(first) == {"documentId", "recordType", "partitionKey", "title", "language", "vectors"}
    assert (first["recordType"], first["vectors"]) == ("article", {"title": [0.25, -1.5], "text": [0.25, -1.5]})
    assert set(documents["a-7"]["vectors"]) == {"title"}


def test_dynamodb_table(aws: Aws, tmp_path: Path) -> None:
    """Items become rows: some are skipped, one is rejected, one is left out by the filter; and no more later."""
    seed("dynamodb_table", aws)
    lake = tmp_path / "lake"
    report = create("dynamodb_table", aws, tmp_path, lake=lake)
    assert (report["records"], report["documents"], report["skips"], report["errors"]) == (11, 7, 3, 1)
    rows = exported("books", lake, tmp_path)
    assert {row["title"]: (row["price"], row["century"], row["subjects"]) for row in rows}["Moby-Dick"] == (
        "8.37",
        19,
        ["novel", "sea"],
    )
    assert create("dynamodb_table", aws, tmp_path, lake=lake)["records"] == 0


def test_dynamodb_streams(aws: Aws, tmp_path: Path) -> None:
    """Changes become rows until the run is stopped; after a merge they are there."""
    script = EXAMPLES / "dynamodb_streams" / "seed.py"
    config, lake = tmp_path / "seeded.json", tmp_path / "lake"
    variables = environment(**settings(aws))
    subprocess.run([sys.executable, str(script), str(config)], env=variables, check=True, timeout=_SECONDS)
    (tmp_path / "handler.py").write_bytes(script.with_name("handler.py").read_bytes())
    where = ("--uri", str(lake))
    run = subprocess.Popen(
        quick_command("datasets", "create", "--configFile", str(config), *where),
        cwd=tmp_path,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until = time.monotonic() + 2 * _SECONDS
        tasks = ("tasks", "list", "--datasetName", "ticketStages", *where)
        while sum(task["counts"]["records"] for task in listed(tasks, tmp_path)) < 10:
            assert run.poll() is None, run.communicate()
            assert time.monotonic() < until
            time.sleep(0.2)
        datalake("datasets", "stop", "--datasetName", "ticketStages", *where, cwd=tmp_path)
        out, _ = run.communicate(timeout=_SECONDS)
    finally:
        run.kill()
        run.wait()
    assert json.loads(out)["status"] == "STOPPED"
    assert datalake("clean-up", "--dataset", "ticketStages", *where, cwd=tmp_path).status == 0
    steps = [(row["ticket"], row["from"], row["to"]) for row in exported("ticketStages", lake, tmp_path)]
    assert len(steps) == 9
    assert {step for step in steps if step[0] == "T-3"} == {("T-3", None, "open"), ("T-3", "open", None)}


def listed(arguments: tuple[str, ...], cwd: Path) -> list[dict[str, Any]]:
    """The tasks there are; none as long as there is no dataset."""
    answer = datalake(*arguments, cwd=cwd)
    return list(answer.json["tasks"]) if answer.status == 0 else []


def exported(dataset: str, lake: Path, folder: Path) -> list[dict[str, Any]]:
    """The rows of a dataset."""
    target = folder / f"{dataset}.jsonl"
    done = datalake("export", "--datasetName", dataset, "--output", str(target), "--uri", str(lake), cwd=folder)
    assert done.status == 0, done.err
    return [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]


@contextmanager
def sagemaker(answers: list[str]) -> Iterator[str]:
    """An emulator of the endpoint, which gives these answers to calls that differ."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        results = [{"Body": body, "ContentType": "application/json"} for body in answers]
        told = {"account_id": "123456789012", "region": "eu-west-1", "results": results}
        body = json.dumps(told).encode()
        headers = {"Content-Type": "application/json"}
        request = Request(f"{address}/moto-api/static/sagemaker/endpoint-results", body, headers)
        with urlopen(request, timeout=_SECONDS) as answer:
            assert answer.status == 201
        yield address
    finally:
        server.stop()


def received(aws: Aws, queue: str, *, expected: int, run: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """The bodies of messages, waited for."""
    client, url = aws.client("sqs"), aws.queue_url(queue)
    found: dict[str, dict[str, Any]] = {}
    until = time.monotonic() + _SECONDS
    while len({body["documentId"] for body in found.values()}) < expected:
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < until, found
        answer = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
        found |= {message["MessageId"]: json.loads(message["Body"]) for message in answer.get("Messages", ())}
    return list(found.values())
