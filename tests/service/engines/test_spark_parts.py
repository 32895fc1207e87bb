from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from datalake_service.catalog.generations import begin, complete
from datalake_service.catalog.makers import Maker
from datalake_service.catalog.stops import request_run_stop
from datalake_service.catalog.tallies import Tally, Whole
from datalake_service.catalog.tasks import TaskStatus
from datalake_service.config.load import load_dataset
from datalake_service.engines.code import collect_code
from datalake_service.engines.messages import Ended, Refused
from datalake_service.engines.parcels import code_of, pack
from datalake_service.engines.spark_annotator import campaign_of
from datalake_service.engines.spark_session import SparkFailedError, failure_of, jar_files
from datalake_service.engines.spark_tables import read_credentials
from datalake_service.engines.spark_tasks import Order, Outcome, run_parcels
from datalake_service.engines.spark_whole import together
from datalake_service.errors import ConfigError, StoreError, UsageError
from datalake_service.pipeline.annotation.job import AnnotationReport
from datalake_service.pipeline.jobs.engine import TaskJob
from datalake_service.pipeline.runs.annotators import AnnotatorWork
from datalake_service.storage import FolderStore
from tests.support.aws import Aws, fresh_name
from tests.support.tasks import NOW, generator_job, merged_rows, write_module

ROWS = """
class Rows(Generator):
    def __init__(self, count=3):
        self.count = count

    def generate(self):
        for number in range(self.count):
            yield {"n": number}
"""


@pytest.fixture
def jobs(tmp_path: Path) -> list[TaskJob]:
    """Three tasks."""
    folder = write_module(tmp_path / "code", ROWS)
    store = FolderStore(tmp_path / "lake", durable=False)
    return [generator_job(store, folder, task=f"t{number}") for number in range(3)]


def outcomes(jobs: list[TaskJob], *, turn_seconds: float = 30.0) -> list[Outcome]:
    """Run tasks as a worker of Spark does."""
    packed = run_parcels([pack(job) for job in jobs], order=Order("run-1", turn_seconds, code_of(jobs)))
    return [pickle.loads(outcome) for outcome in packed]


def test_a_worker_runs_its_tasks(jobs: list[TaskJob]) -> None:
    """One after the other."""
    ended = [outcome.ended for outcome in outcomes(jobs)]
    assert [one.result.status for one in ended if isinstance(one, Ended)] == [TaskStatus.COMPLETED] * 3
    assert len(merged_rows(jobs[0].store)) == 9


def test_a_run_that_is_to_stop_begins_nothing(jobs: list[TaskJob]) -> None:
    """The request is an object in the lake."""
    request_run_stop(jobs[0].store, "d", "run-1", now=NOW)
    ended = [outcome.ended for outcome in outcomes(jobs)]
    assert [one.result.status for one in ended if isinstance(one, Ended)] == [TaskStatus.CREATED] * 3


def test_a_refusal_is_the_last_word(jobs: list[TaskJob], tmp_path: Path) -> None:
    """Nothing else can be loaded either."""
    broken = generator_job(jobs[0].store, tmp_path / "code", task="t9", reference="handler.Gone")
    (found,) = outcomes([broken, *jobs])
    assert isinstance(found.ended, Refused)
    assert "handler.Gone" in str(found.ended.error)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[PYTHON_VERSION_MISMATCH] Python in worker has different version: 3.12 than that in driver: 3.11", "3.12"),
        ("...\nModuleNotFoundError: No module named 'datalake_service'\n", "install it on every machine"),
        (
            '(driver): java.io.IOException: Cannot run program "/x/python3": error=2, No such file\n\tat java',
            'Python: Cannot run program "/x/python3": error=2, No such file; set PYSPARK_PYTHON',
        ),
        (
            "  File datalake\nModuleNotFoundError: No module named 'orjson'\n",
            "No module named 'orjson'.*PYSPARK_PYTHON",
        ),
    ],
)
def test_what_the_user_can_change(text: str, told: str) -> None:
    """One line each."""
    error = failure_of(RuntimeError(text))
    assert isinstance(error, UsageError)
    with pytest.raises(UsageError, match=told):
        raise error


def test_who_is_to_blame() -> None:
    """Spark names the part of the job, and how often it tried."""
    text = "Job aborted due to stage failure: Task 8 in stage 24.0 failed 4 times, Python worker exited unexpectedly"
    error = failure_of(RuntimeError(text))
    assert isinstance(error, SparkFailedError)
    assert (error.partition, error.times) == (8, 4)
    assert str(error) == "Spark's Python worker died; often that means: out of memory"
    unknown = failure_of(RuntimeError("connection\nreset"))
    assert isinstance(unknown, SparkFailedError)
    assert (unknown.partition, str(unknown)) == (None, "Spark: connection reset")


def test_jars_are_found(tmp_path: Path) -> None:
    """By their names, or by a pattern; those of the cluster are the cluster's."""
    for name in ("b.jar", "a.jar"):
        (tmp_path / name).touch()
    assert jar_files([f"{tmp_path}/*.jar", "hdfs://x/y.jar"]) == [
        str(tmp_path / "a.jar"),
        str(tmp_path / "b.jar"),
        "hdfs://x/y.jar",
    ]
    with pytest.raises(UsageError, match="there is no file nowhere"):
        jar_files(["nowhere"])


def test_what_workers_did_together() -> None:
    """What one finished is done already to the other, and counts once."""
    one = AnnotationReport(annotated=5, already_done=13, failed=1, remaining=1, batches=1, run="a")
    other = AnnotationReport(annotated=7, skipped=1, already_done=10, remaining=2, batches=2, run="b")
    both = together([one, other])
    assert (both.annotated, both.skipped, both.failed, both.already_done) == (12, 1, 1, 5)
    assert (both.remaining, both.batches) == (1, 3)
    assert together([AnnotationReport(already_done=4)]).already_done == 4


def test_what_one_did_that_died() -> None:
    """Its tally is in the whole; what failed under it and under who took its place is one failed row."""
    left = AnnotationReport(annotated=7, already_done=6, failed=1, remaining=1, batches=1, run="b")
    tally = Tally(annotated=12, failed=2)
    both = together([left, left_alone := AnnotationReport(already_done=13, remaining=1)], whole_of(tally, lost=1))
    assert (both.annotated, both.failed, both.already_done, both.remaining) == (12, 1, 1, 1)
    assert both.whole is not None
    assert both.whole.lost == 1
    assert together([left, left_alone]).annotated == 7


def whole_of(tally: Tally, *, lost: int) -> Whole:
    """What two workers did."""
    return Whole(number=1, by="c", at="", workers=("a", "b"), lost=lost, tally=tally)


@pytest.fixture
def secrets(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """Secrets Manager, where AWS's library looks for it."""
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)
    return aws


def test_credentials_out_of_a_secret(secrets: Aws) -> None:
    """For each side of each program its own."""
    keys = {"accessKeyId": "k", "secretAccessKey": "s", "sessionToken": "t"}
    text = json.dumps({"mapper": {"read": keys, "write": {"aws_access_key_id": "k"}}})
    client = secrets.client("secretsmanager")
    arn = client.create_secret(Name=fresh_name(), SecretString=text)["ARN"]
    expected = {"access_key": "k", "secret_key": "s", "session_token": "t"}
    assert read_credentials(arn, program="mapper", side="read") == expected
    assert read_credentials(None, program="mapper", side="read") is None
    for program, side in (("mapper", "write"), ("reducer", "read")):
        with pytest.raises(ConfigError, match=rf"does not hold {program}.{side} with accessKeyId") as caught:
            read_credentials(arn, program=program, side=side)
        assert '"k"' not in str(caught.value)
    with pytest.raises(StoreError):
        read_credentials(arn.replace("t-", "u-"), program="mapper", side="read")


def test_an_empty_parcel() -> None:
    """Nothing to run is nothing."""
    assert run_parcels([], order=Order("run-1", 1.0, collect_code([]))) == []


def test_what_is_asked_again_without_a_name_gets_one_that_a_killed_run_leaves_to_the_next(tmp_path: Path) -> None:
    """Workers that share need one. Until it is completed it is gone on with; under another label it is other work."""
    store = FolderStore(tmp_path / "lake", durable=False)

    def named(**more: object) -> str | None:
        document = {
            "datasetName": "d",
            "readConnector": {"connectorDestination": "GENERATOR", "generatorImplementationClassName": "a.Rows"},
            "annotators": [{"annotatorName": "lang", "annotatorImplementationClassName": "a.Lang", **more}],
        }
        config = load_dataset(document, folder=tmp_path)
        return campaign_of(AnnotatorWork(store, config, config.annotators[0]))

    assert named() is named(retry="failed") is None
    assert named(retry="all", campaign="mine") == "mine"
    first = named(retry="all", version="v1")
    assert first != named(retry="all", version="v1"), "nobody has begun it"
    begun = begin(store, "d", "lang", Maker(version="v1"), now=NOW, again="all", name=first)
    assert named(retry="all", version="v1") == first
    assert first not in {named(retry="skipped", version="v1"), named(retry="all")}
    assert begun.campaign is not None
    complete(store, "d", "lang", begun.campaign, now=NOW)
    assert named(retry="all", version="v1") != first
