from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from datalake_service.config.load import load_dataset
from datalake_service.engines.spark import SparkEngine
from datalake_service.errors import ConfigError
from datalake_service.pipeline.runs.report import RunReport
from datalake_service.pipeline.runs.run import run_dataset
from datalake_service.storage.base import CreateOnly
from datalake_service.storage.open import open_store
from tests.support.repository import ROOT
from tests.support.servers import S3Server

pytestmark = pytest.mark.filterwarnings("ignore")

PROGRAMS = """
from datalake_interfaces.readers import SparkMapperInterface, SparkReducerInterface
from datalake_service.spark import read_table, spark_session, write_table


class Copy(SparkMapperInterface):
    def mapper(self, app, source, uri, kind, options, to, target, written, mode, how, secret):
        write_table(read_table(uri, file_format=kind, options=options), target,
                    file_format=written, mode=mode, options=how)


class Silent(SparkMapperInterface):
    def mapper(self, *arguments):
        pass


class Fails(SparkMapperInterface):
    def mapper(self, app, source, uri, *others):
        raise OSError("no such thing")


class All(SparkReducerInterface):
    def reducer(self, app, source, uris, kind, options, to, target, written, mode, how, secret):
        table = read_table(uris, file_format=kind, options=options)
        write_table(table.coalesce(1), target, file_format=written, mode=mode, options=how)
"""


class Words:
    """A dataset of Spark programs in a folder."""

    def __init__(self, folder: Path, engine: SparkEngine) -> None:
        self._folder = folder
        self._engine = engine
        self.input = folder / "input"
        self.output = folder / "output" / "d" / "b"
        self.input.mkdir(parents=True)
        (folder / "handler.py").write_text(textwrap.dedent(PROGRAMS), encoding="utf-8")
        self.document: dict[str, Any] = {
            "datasetName": "d",
            "readConnector": {
                "connectorDestination": "FOLDER",
                "path": "input",
                "readerType": "SPARKREADER",
                "sparkMapperInterfaceImplementationClassName": "handler.Copy",
                "sparkReducerInterfaceImplementationClassName": "handler.All",
                "sparkFileFormat": "json",
            },
            "manifestFile": {"fileContents": ""},
            "writeConnector": {
                "connectorDestination": "FOLDER",
                "path": "output",
                "writerType": "Spark",
                "sparkFileFormat": "json",
                "batch": "b",
            },
            "computeEngine": {"computeEngineType": "SPARK", "master": "local[2]"},
        }

    def put(self, name: str, text: str) -> None:
        """A file to read, with its line in the manifest."""
        (self.input / name).write_text(text, encoding="utf-8")
        self.document["manifestFile"]["fileContents"] += f"{name}\n"

    def run(self, mode: str) -> RunReport:
        """Run it, with one of the three modes."""
        self.document["computeEngine"]["runSparkInterfaces"] = mode
        config = load_dataset(self.document, folder=self._folder)
        store = open_store(self._folder / "lake")
        return run_dataset(config, store=store, opener=open_store, engine=self._engine)

    def rows(self, folder: str) -> list[Any]:
        """What was written there as JSON, sorted."""
        files = (self.output / folder).rglob("*.json")
        return sorted((json.loads(line) for file in files for line in file.read_text().splitlines()), key=str)


@pytest.fixture
def words(tmp_path: Path, spark_engine: SparkEngine) -> Words:
    """An empty dataset."""
    return Words(tmp_path / "words", spark_engine)


def test_a_mapper_and_a_reducer(words: Words) -> None:
    """All files are reduced, with the columns of all of them; a second run does nothing, a new file is added."""
    words.put("1.json", '{"a": 1}\n{"a": 2}\n')
    words.put("2.json", '{"b": "x"}\n')
    report = words.run("MAPPER_AND_REDUCER")
    assert (report.tasks.completed, report.failures) == (3, ())
    assert words.rows("result") == [{"a": 1}, {"a": 2}, {"b": "x"}]
    between = list((words.output / "intermediate").rglob("*.gz.parquet"))
    assert sum(pq.read_metadata(file).num_rows for file in between) == 3
    assert words.run("Mapper and Reducer").tasks.already_done == 3
    (words.input / "2.json").write_text('{"b": "yy"}\n', encoding="utf-8")
    again = words.run("MAPPER_AND_REDUCER")
    assert (again.tasks.already_done, again.tasks.completed) == (1, 2)
    assert words.rows("result") == [{"a": 1}, {"a": 2}, {"b": "yy"}]


def test_a_mapper_only(words: Words) -> None:
    """Each writes a result of its own."""
    words.put("1.json", '{"a": 1}\n')
    words.put("2.json", '{"a": 2}\n')
    report = words.run("MAPPER_ONLY")
    assert report.tasks.completed == 2
    folders = [path.name for path in words.output.iterdir()]
    assert len(folders) == 2
    assert sorted(map(str, (words.rows(name) for name in folders))) == ["[{'a': 1}]", "[{'a': 2}]"]


def test_a_reducer_only(words: Words) -> None:
    """It reads the files of the manifest, all of them."""
    words.put("1.json", '{"a": 1}\n')
    words.put("2.json", '{"a": 2}\n')
    assert words.run("REDUCER_ONLY").tasks.completed == 1
    assert words.rows("result") == [{"a": 1}, {"a": 2}]


def test_what_fails_is_told(words: Words) -> None:
    """A mapper that raises fails its task, with its reason; the reducer waits for the next run."""
    words.put("1.json", '{"a": 1}\n')
    words.document["readConnector"]["sparkMapperInterfaceImplementationClassName"] = "handler.Fails"
    report = words.run("MAPPER_AND_REDUCER")
    assert [failure.item for failure in report.failures] == ["1.json"]
    assert report.failures[0].error == "handler.Fails.mapper raised OSError: no such thing (handler.py:19)"
    assert not (words.output / "result").exists()


def test_a_mapper_that_writes_nothing(words: Words) -> None:
    """Is told where it had to write."""
    words.put("1.json", '{"a": 1}\n')
    words.document["readConnector"]["sparkMapperInterfaceImplementationClassName"] = "handler.Silent"
    (failure,) = words.run("MAPPER_ONLY").failures
    assert failure.error.startswith("handler.Silent.mapper wrote nothing to file://")


def test_a_file_that_is_not_there(words: Words) -> None:
    """Fails its own task."""
    words.put("1.json", '{"a": 1}\n')
    words.document["manifestFile"]["fileContents"] += "2.json\n"
    report = words.run("MAPPER_ONLY")
    assert ([failure.item for failure in report.failures], report.tasks.completed) == (["2.json"], 1)


def test_an_empty_manifest(words: Words) -> None:
    """Nothing to map is nothing; nothing to reduce is an error."""
    (words.input / "1.json").touch()
    words.document["manifestFile"] = {"globs": ["*.none"]}
    assert words.run("MAPPER_ONLY").tasks.planned == 0
    with pytest.raises(ConfigError, match=r"manifestFile: it names no file, and a reducer needs one at least"):
        words.run("REDUCER_ONLY")


FORMATS = {
    "csv": ("name,n\nx,1\ny,2\n", {"header": "true"}, {"header": "true"}),
    "text": ("x 1;y 2;", {"lineSep": ";"}, {"lineSep": ";"}),
    "json": ('{"name": "x", "n": 1}|{"name": "y", "n": 2}', {"lineSep": "|"}, {"lineSep": "|"}),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_formats_both_ways(words: Words, kind: str) -> None:
    """What is read in a format and written in it is the same."""
    text, options, written = FORMATS[kind]
    words.put(f"1.{kind}", text)
    words.document["readConnector"] |= {"sparkFileFormat": kind, "sparkReadOptions": options}
    words.document["writeConnector"] |= {"sparkFileFormat": kind, "sparkWriteOptions": written}
    assert not words.run("REDUCER_ONLY").failures
    (part,) = (words.output / "result").glob("part-*")
    found = part.read_text(encoding="utf-8")
    if kind == "json":
        assert [json.loads(line) for line in found.split("|") if line] == [json.loads(line) for line in text.split("|")]
    else:
        assert found == text


def test_parquet_both_ways(words: Words) -> None:
    """Through the intermediate files of another dataset, compressed as asked."""
    words.put("1.json", '{"a": 1}\n')
    words.document["writeConnector"] |= {"sparkFileFormat": "parquet", "sparkWriteOptions": {"compression": "gzip"}}
    words.run("REDUCER_ONLY")
    (part,) = (words.output / "result").glob("part-*.gz.parquet")
    (words.input / "2.parquet").write_bytes(part.read_bytes())
    words.document["manifestFile"]["fileContents"] = "2.parquet\n"
    words.document["readConnector"]["sparkFileFormat"] = "parquet"
    assert not words.run("REDUCER_ONLY").failures
    (part,) = (words.output / "result").glob("part-*")
    assert pq.read_table(part).to_pylist() == [{"a": 1}]


def test_the_example(spark_engine: SparkEngine, tmp_path: Path) -> None:
    """What the texts hold."""
    folder = ROOT / "example_configs" / "spark_words"
    document = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    document["writeConnector"]["path"] = str(tmp_path / "output")
    config = load_dataset(document, folder=folder)
    run_dataset(config, store=open_store(tmp_path / "lake"), opener=open_store, engine=spark_engine)
    (part,) = (tmp_path / "output" / "words" / "poems" / "result").glob("part-*")
    counts = [json.loads(line) for line in part.read_text(encoding="utf-8").splitlines()]
    assert {row["word"]: row["count"] for row in counts if row["count"] > 2} == {"the": 8, "field": 3}
    assert [row["word"] for row in counts] == sorted(row["word"] for row in counts)


def test_a_bucket_without_the_connector(spark_engine: SparkEngine, tmp_path: Path, s3_server: S3Server) -> None:
    """Files pass through this machine, both ways, lake and all; what a run before left in the result is gone."""
    bucket = s3_server.make_bucket()
    words = Words(tmp_path / "words", spark_engine)
    options = s3_server.options

    def opened(uri: str) -> Any:
        return open_store(uri, **options)

    store = opened(f"s3://{bucket}")
    store.put("in/1.json", b'{"a": 1}\n', mode=CreateOnly())
    store.put("in/2.json", b'{"a": 2}\n', mode=CreateOnly())
    store.put("out/d/b/result/part-old.json", b'{"a": 0}\n', mode=CreateOnly())
    read, write = words.document["readConnector"], words.document["writeConnector"]
    del read["path"], write["path"]
    words.document |= {
        "readConnector": read | {"connectorDestination": "S3", "bucketName": bucket},
        "writeConnector": write | {"connectorDestination": "S3", "bucketName": bucket, "prefix": "out"},
        "manifestFile": {"fileContents": "in/1.json\nin/2.json"},
    }
    config = load_dataset(words.document, folder=tmp_path / "words")
    report = run_dataset(config, store=opened(f"s3://{bucket}/lake"), opener=opened, engine=spark_engine)
    assert (report.failures, report.tasks.completed) == ((), 3)
    names = [meta.key for meta in store.list("out/d/b/result/")]
    rows = [json.loads(line) for name in names for line in store.get(name)[0].splitlines()]
    assert sorted(row["a"] for row in rows) == [1, 2]
    assert not [name for name in names if "old" in name]
