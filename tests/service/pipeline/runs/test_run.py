from __future__ import annotations

import gzip
import json
import threading
from pathlib import Path

import pytest

from datalake_service.catalog.datasets import RunStatus, load_dataset
from datalake_service.catalog.deletions import mark_deleted
from datalake_service.catalog.tasks import TaskEvent, TaskStatus, load_tasks, move, save_task
from datalake_service.config.load import load_dataset as read_config
from datalake_service.config.settings import Settings
from datalake_service.engines.local import LocalEngine
from datalake_service.errors import ConfigError, DatasetNotFoundError, HandlerLoadError
from datalake_service.pipeline.runs.progress import RunProgress, RunStep
from datalake_service.pipeline.runs.run import create_dataset
from datalake_service.pipeline.views.plan import ViewRequest
from datalake_service.pipeline.views.views import DatasetView
from tests.support.project import Project
from tests.support.servers import S3Server


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two files of lines."""
    made = Project(tmp_path)
    made.write("a.log", "doc one\ndoc two\nskip x\nbad y\n")
    made.write("b.log", "doc three\ndoc two\n")
    return made


def test_a_run_reads_merges_and_reports(project: Project) -> None:
    """The counts say what became of every record."""
    report = project.run()
    assert report.status is RunStatus.COMPLETED
    assert project.texts() == ["one", "three", "two", "two"]
    told = report.to_dict()
    counted = ("records", "documents", "skips", "errors", "duplicates", "rows", "bytes")
    assert {name: told[name] for name in counted} == dict(zip(counted, (6, 4, 1, 1, 0, 4, 47), strict=True))
    assert told["tasks"] == {"planned": 2, "alreadyDone": 0, "completed": 2, "failed": 0, "stopped": 0}
    assert told["results"] == {
        "merged": [f"{project.lake}/d/b/merged.parquet"],
        "rejected": [f"{project.lake}/d/b/rejected/"],
        "annotations": [],
    }
    assert all(Path(place).exists() for places in told["results"].values() for place in places)
    assert json.loads(json.dumps(told)) == told


def test_a_report_has_lines_for_people(project: Project) -> None:
    """With commands to go on."""
    lines = list(project.run().lines())
    assert lines[0].startswith("d: completed in ")
    assert lines[1:] == [
        "  tasks        2 completed",
        "  records      6: 4 documents, 1 skipped, 1 errors",
        "  rows         4 in batch b (4 new)",
        f"  merged       {project.lake}/d/b/merged.parquet",
        f"  rejected     {project.lake}/d/b/rejected/",
        "",
        "look at it:",
        f"  datalake datasets view --datasetName d --uri {project.lake}",
        f"  datalake errors list --datasetName d --uri {project.lake}",
        f"  datalake export --datasetName d --uri {project.lake} --output d.jsonl",
    ]


def test_duplicates_are_taken_out(project: Project) -> None:
    """By the columns of the dataset file."""
    project.document["writeConnector"]["deduplicateOn"] = ["text"]
    report = project.run()
    assert project.texts() == ["one", "three", "two"]
    assert (report.duplicates, report.rows) == (1, {"b": 3})


# Again --------------------------------------------------------------------------------------------------------------


def test_running_again_adds_nothing_and_pays_for_nothing(project: Project) -> None:
    """No task runs, no row is annotated, no object changes."""
    project.annotate()
    project.run()
    before, asked = project.objects(), project.log.read_text(encoding="utf-8")
    report = project.run()
    assert report.status is RunStatus.COMPLETED
    assert project.engine.ran == []
    assert (project.objects(), project.log.read_text(encoding="utf-8")) == (before, asked)
    assert (report.tasks.already_done, report.tasks.counts.records, report.rows) == (2, 0, {"b": 4})
    assert report.annotators[0].report.already_done == 4


def test_a_new_file_is_added(project: Project) -> None:
    """And only that is read."""
    project.run()
    project.write("c.log", "doc four\n")
    report = project.run()
    assert project.engine.ran == ["c.log"]
    assert project.texts() == ["four", "one", "three", "two", "two"]
    assert (report.tasks.completed, report.tasks.already_done) == (1, 1 + 1)


def test_a_file_that_grew_is_read_again(project: Project) -> None:
    """Its old records are what they were, its new ones are added."""
    project.run()
    project.write("b.log", "doc three\ndoc two\ndoc more\n")
    report = project.run()
    assert project.engine.ran == ["b.log"]
    assert report.notes == ("b.log has changed since it was read; it is read again",)
    assert project.texts() == ["more", "one", "three", "two", "two"]
    assert report.tasks.counts.documents == 3


def test_a_file_that_is_gone_stays_read(project: Project) -> None:
    """Its rows are published."""
    project.document["manifestFile"] = {"fileContents": "a.log\nb.log"}
    project.run()
    (project.folder / "input/a.log").unlink()
    report = project.run()
    assert (report.status, project.engine.ran) == (RunStatus.COMPLETED, [])
    assert project.texts() == ["one", "three", "two", "two"]


def test_a_task_that_failed_is_tried_again(project: Project) -> None:
    """The others were merged without it."""
    project.document["manifestFile"] = {"fileContents": ["a.log", "c.log"]}
    report = project.run()
    assert report.status is RunStatus.FAILED
    assert not report.succeeded
    assert [(failure.item, "no object 'c.log'" in failure.error) for failure in report.failures] == [("c.log", True)]
    assert project.texts() == ["one", "two"]
    project.write("c.log", "doc late\n")
    assert project.run().status is RunStatus.COMPLETED
    assert project.engine.ran == ["c.log"]
    assert project.texts() == ["late", "one", "two"]


def test_a_stopped_run_is_finished_by_the_next(project: Project) -> None:
    """Nothing is merged or annotated in a hurry."""
    project.annotate()
    stop = threading.Event()
    stop.set()
    report = project.run(stop=stop)
    assert (report.status, report.tasks.stopped, report.merged, report.annotators) == (RunStatus.STOPPED, 2, (), ())
    report = project.run()
    assert (report.status, report.rows) == (RunStatus.COMPLETED, {"b": 4})
    assert [run.status for run in load_dataset(project.store, "d").runs] == [RunStatus.STOPPED, RunStatus.COMPLETED]


def test_a_run_that_was_interrupted_before_its_merge_is_finished_by_the_next(project: Project) -> None:
    """Which batches have to be merged is remembered before they are written."""

    def interrupt(progress: RunProgress) -> None:
        if progress.step is RunStep.MERGE:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        project.run(observer=interrupt)
    state = load_dataset(project.store, "d")
    assert (state.unmerged, state.runs[-1].status) == (("b",), RunStatus.STOPPED)
    report = project.run()
    assert (project.engine.ran, report.rows) == ([], {"b": 4})
    assert load_dataset(project.store, "d").unmerged == ()


def test_progress_is_told(project: Project) -> None:
    """Step by step, with what is left."""
    project.annotate()
    heard: list[RunProgress] = []
    project.run(observer=heard.append)
    assert list(dict.fromkeys(progress.step for progress in heard)) == list(RunStep)
    tasks = [progress for progress in heard if progress.step is RunStep.TASKS]
    assert (tasks[-1].tasks_done, tasks[-1].tasks_total, tasks[-1].counts.records, tasks[-1].share) == (2, 2, 6, 1.0)


def test_a_task_that_another_run_has_taken_is_not_called_done(project: Project) -> None:
    """Both runs go on with what is theirs; this one says what it does not know."""
    project.write("b.log", "doc x\n" * 50)
    other: list[str] = []

    def take(_progress: RunProgress) -> None:
        for stored in load_tasks(project.store, "d"):
            if stored.state.item == "b.log" and stored.state.status is TaskStatus.RUNNING and not other:
                other.append(stored.state.id)
                taken = move(stored.state, TaskEvent.START, worker="elsewhere:1", attempt=2)
                save_task(project.store, "d", taken, etag=stored.etag)

    report = project.run(observer=take)
    assert len(other) == 1
    assert (report.status, report.tasks.completed, report.tasks.stopped) == (RunStatus.FAILED, 1, 1)
    assert report.notes == ("b.log: another worker has taken the task over",)
    assert project.run().status is RunStatus.COMPLETED


# Batches ------------------------------------------------------------------------------------------------------------


def test_a_date_is_filled_in_when_a_task_is_created(project: Project) -> None:
    """Tomorrow adds what is new tomorrow, to tomorrow's batch; what was read today stays in today's."""
    project.document["writeConnector"]["batch"] = "{date}"
    project.run()
    project.clock.advance(86_400)
    assert project.run().rows == {"20261120": 4}
    project.write("c.log", "doc four\n")
    report = project.run()
    assert report.rows == {"20261120": 4, "20261121": 1}
    assert project.texts("20261121") == ["four"]


def test_a_run_that_passes_midnight_ends_in_the_batch_it_began_in(project: Project) -> None:
    """A batch does not depend on when a task was interrupted."""
    project.document["writeConnector"]["batch"] = "{date}"
    stop = threading.Event()
    stop.set()
    project.run(stop=stop)
    project.clock.advance(86_400)
    assert project.run().rows == {"20261120": 4}


def test_another_batch_reads_everything_again(project: Project) -> None:
    """That is how a better handler is let loose on the same files."""
    project.run()
    project.document["writeConnector"]["batch"] = "b2"
    project.document["readConnector"]["singleFileParserImplementationClassName"] = "handler.MoreLines"
    assert project.run().rows == {"b": 4, "b2": 4}


def test_a_batch_is_read_in_one_way_only(project: Project) -> None:
    """Two handlers in one batch would mix rows of two kinds; the error shows the difference."""
    project.run()
    before = project.objects()
    project.document["readConnector"]["singleFileParserImplementationClassName"] = "handler.MoreLines"
    with pytest.raises(ConfigError) as caught:
        project.run()
    assert caught.value.message == (
        "dataset 'd': its batch 'b' was read in another way before. One batch holds one reading: name another batch in "
        "writeConnector.batch, or another datasetName, or change this back"
    )
    assert caught.value.problems == (
        'readConnector.singleFileParserImplementationClassName: was "handler.Lines", is "handler.MoreLines"',
    )
    assert project.objects() == before


def test_a_generator_runs_once_for_each_batch(project: Project) -> None:
    """It has no items that could be known already."""
    project.document["readConnector"] = {
        "connectorDestination": "GENERATOR",
        "generatorImplementationClassName": "handler.Numbers",
    }
    project.document["writeConnector"]["batch"] = "{date}"
    assert project.run().rows == {"20261120": 5}
    assert project.run().tasks.already_done == 1
    project.clock.advance(86_400)
    assert project.run().rows == {"20261120": 5, "20261121": 5}


# Limits -------------------------------------------------------------------------------------------------------------


def test_a_limit_holds_over_all_tasks(project: Project) -> None:
    """When it is passed nothing is merged; under a higher one the run goes on."""
    for name in ("a.log", "b.log", "c.log"):
        project.write(name, "bad 1\ndoc x\nbad 2\n")
    project.document["onError"] = {"maxErrors": 3}
    report = project.run()
    assert report.status is RunStatus.FAILED
    assert report.limit == "4 records were rejected; onError.maxErrors allows 3"
    assert project.engine.ran == ["a.log", "b.log"]
    assert report.merged == ()
    project.document["onError"] = {"maxErrors": 6}
    report = project.run()
    assert (report.status, report.limit, report.rows) == (RunStatus.COMPLETED, None, {"b": 3})


def test_a_share_is_judged_in_the_end(project: Project) -> None:
    """However few records there are."""
    project.document["onError"] = {"maxErrorShare": 0.1}
    report = project.run()
    assert report.limit == "1 of 6 records (16.67%) were rejected; onError.maxErrorShare allows 10.00%"
    assert (report.status, report.merged) == (RunStatus.FAILED, ())
    project.document["onError"] = {"maxErrorShare": 0.2}
    assert project.run().status is RunStatus.COMPLETED
    assert project.texts() == ["one", "three", "two", "two"]


def test_the_policy_fail_leaves_other_tasks_alone(project: Project) -> None:
    """One bad record fails its task only."""
    project.document["onError"] = {"policy": "fail"}
    report = project.run()
    assert report.status is RunStatus.FAILED
    assert [failure.item for failure in report.failures] == ["a.log"]
    assert project.texts() == ["one", "three", "two", "two"]


# Annotators ---------------------------------------------------------------------------------------------------------


def test_annotators_run_after_the_merge(project: Project) -> None:
    """And only on rows that have no annotation yet."""
    project.annotate()
    project.write("b.log", "doc skip me\n")
    report = project.run()
    (outcome,) = report.annotators
    assert (outcome.report.annotated, outcome.report.skipped, outcome.report.failed) == (2, 1, 0)
    project.write("c.log", "doc four\n")
    project.log.unlink()
    assert project.run().annotators[0].report.annotated == 1
    assert project.log.read_text(encoding="utf-8") == "four\n"


def test_an_annotator_that_cannot_work_fails_the_run_and_not_the_next_one(project: Project) -> None:
    """What is merged stays merged, and the annotator behind it runs."""
    project.annotate("Closed")
    project.annotate()
    report = project.run()
    assert report.status is RunStatus.FAILED
    closed, length = report.annotators
    assert closed.error is not None
    assert "no model" in closed.error
    assert (length.error, length.report.annotated) == (None, 4)


def test_an_annotator_without_rows_has_nothing_to_do(project: Project) -> None:
    """That is no error."""
    project.annotate()
    for name in ("a.log", "b.log"):
        project.write(name, "skip all\n")
    report = project.run()
    assert (report.status, report.rows, report.annotators) == (RunStatus.COMPLETED, {"b": 0}, ())


# Places -------------------------------------------------------------------------------------------------------------


def test_source_and_lake_may_be_buckets(project: Project, s3_server: S3Server) -> None:
    """Worker processes read from one and write to the other."""
    source, lake = s3_server.make_bucket(), s3_server.make_bucket()
    body = gzip.compress("".join(f"doc {number}\n" for number in range(50)).encode())
    for name in ("logs/1.gz", "logs/2.gz", "other.gz"):
        s3_server.client().put_object(Bucket=source, Key=name, Body=body)
    project.document["readConnector"] |= {"connectorDestination": "S3", "bucketName": source}
    del project.document["readConnector"]["path"]
    project.document["manifestFile"] = {"manifestType": "GLOB", "globs": ["logs/*.gz"]}
    project.annotate()
    config = read_config(project.document, folder=project.folder)
    options = s3_server.options
    settings = Settings.load(uri=f"s3://{lake}/some/prefix", environ={}, env_file=None, **options)
    report = create_dataset(config, settings=settings, engine=LocalEngine(concurrency=2))
    assert (report.status, report.rows) == (RunStatus.COMPLETED, {"b": 100})
    assert report.annotators[0].report.annotated == 100
    store = s3_server.store_in(lake)
    ids = {row["id"] for row in DatasetView(store, ViewRequest(dataset="d"))}
    assert len(ids) == 100
    again = create_dataset(config, settings=settings, engine=project.engine)
    assert (again.tasks.already_done, again.annotators[0].report.already_done) == (2, 100)


# What is wrong with it ----------------------------------------------------------------------------------------------


def test_an_annotator_that_cannot_be_loaded_is_told_before_anything_is_read(project: Project) -> None:
    """Not after hours."""
    project.annotate(annotatorImplementationClassName="notes.Nothing")
    with pytest.raises(HandlerLoadError, match="has no Nothing"):
        project.run()
    assert project.objects() == {}


def test_a_folder_that_is_not_there_is_told(project: Project) -> None:
    """With the key of the dataset file; the run is recorded as failed."""
    project.document["readConnector"]["path"] = "nowhere"
    with pytest.raises(ConfigError, match=r"readConnector\.path: there is no folder .*nowhere"):
        project.run()
    (run,) = load_dataset(project.store, "d").runs
    assert run.status is RunStatus.FAILED
    assert run.error is not None
    assert "there is no folder" in run.error


def test_a_manifest_in_a_file_is_read(project: Project) -> None:
    """Beside the dataset file; a line that occurs twice is noted."""
    (project.folder / "manifest.txt").write_text("# mine\nb.log\nb.log\n", encoding="utf-8")
    project.document["manifestFile"] = {"manifestType": "S3ReaderS3LinkManifestFile", "manifestFileUri": "manifest.txt"}
    report = project.run()
    assert project.engine.ran == ["b.log"]
    assert ["stands on the lines 2, 3" in note for note in report.notes] == [True]


def test_a_manifest_that_is_not_there_is_told(project: Project) -> None:
    """With its name."""
    project.document["manifestFile"] = {"manifestType": "S3ReaderS3LinkManifestFile", "manifestFileUri": "none.txt"}
    with pytest.raises(ConfigError, match=r"manifestFileS3Uri: .*none\.txt cannot be read: No such file"):
        project.run()


def test_a_glob_without_files_is_noted(project: Project) -> None:
    """There is nothing to do, which may be a mistake."""
    project.document["manifestFile"] = {"manifestType": "GLOB", "globs": ["*.csv"]}
    report = project.run()
    assert (report.status, report.notes) == (RunStatus.COMPLETED, ("no file matches '*.csv'",))


def test_a_deleted_dataset_is_not_brought_back_by_accident(project: Project) -> None:
    """It has to be restored, or another name taken."""
    project.run()
    mark_deleted(project.store, "d")
    with pytest.raises(DatasetNotFoundError, match="datasets restore"):
        project.run()


def test_the_dataset_file_is_kept_without_secrets(project: Project) -> None:
    """Whatever somebody wrote into the parameters of an annotator."""
    project.annotate(parameters={"log": str(project.log)})
    project.document["tenantId"] = "t"
    kept = {"apiKey": "k", "nested": [{"client_secret": "s", "model": "m"}], "token": 5}
    project.document["readConnector"]["parameters"] = kept
    with pytest.raises(HandlerLoadError):
        project.run()
    config = load_dataset(project.store, "d").config
    assert config["tenantId"] == "t"
    assert config["readConnector"]["parameters"] == {
        "apiKey": "(hidden)",
        "nested": [{"client_secret": "(hidden)", "model": "m"}],
        "token": "(hidden)",
    }
    assert {stored.state.status for stored in load_tasks(project.store, "d")} == {TaskStatus.CREATED}
