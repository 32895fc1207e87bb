from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from datalake_service.config.settings import VARIABLES, Settings
from datalake_service.errors import ConfigError
from datalake_service.runtime.viewer import TOKEN as VIEWER_TOKEN
from tests.support.repository import ROOT

SECRET = "not-to-be-seen"  # a word of the tests


def load(env_file: Path | None = None, /, uri: str | None = None, **environ: str) -> Settings:
    """Settings of an environment that consists of these variables."""
    return Settings.load(uri=uri, environ=environ, env_file=env_file)


def problems(env_file: Path | None = None, /, **environ: str) -> str:
    """What an environment that cannot work is answered with."""
    with pytest.raises(ConfigError) as caught:
        load(env_file, **environ)
    assert SECRET not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("environ", "uri", "named_by"),
    [
        ({}, "./lake", "default"),
        ({"DATALAKE_URI": "s3://bucket/p/"}, "s3://bucket/p", "DATALAKE_URI"),
        ({"DATALAKE_URI": "folder"}, "folder", "DATALAKE_URI"),
        ({"S3_BUCKET": "bucket"}, "s3://bucket", "S3_BUCKET"),
        ({"S3_BUCKET": "bucket", "S3_PREFIX": "/a/b/"}, "s3://bucket/a/b", "S3_BUCKET"),
        ({"S3_BUCKET": "bucket", "S3_PREFIX": "p", "DATALAKE_URI": "s3://bucket/p"}, "s3://bucket/p", "DATALAKE_URI"),
        ({"S3_BUCKET": "bucket", "DATALAKE_URI": "s3://bucket/p"}, "s3://bucket/p", "DATALAKE_URI"),
        ({"S3_BUCKET": "", "DATALAKE_URI": ""}, "./lake", "default"),
    ],
)
def test_the_environment_names_the_lake(environ: dict[str, str], uri: str, named_by: str) -> None:
    """As a whole, in parts, in both ways if they agree, or not at all: then a folder here."""
    settings = load(**environ)
    assert (settings.uri, settings.named_by) == (uri, named_by)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"DATALAKE_URI": "s3://one/p", "S3_BUCKET": "two"}, "DATALAKE_URI: is 's3://one/p', but S3_BUCKET"),
        ({"DATALAKE_URI": "./lake", "S3_BUCKET": "two"}, "DATALAKE_URI: is './lake', but S3_BUCKET"),
        ({"DATALAKE_URI": "s3://one/p", "S3_BUCKET": "one", "S3_PREFIX": "q"}, "DATALAKE_URI: is 's3://one/p', but"),
        ({"S3_PREFIX": "p"}, "S3_PREFIX: set without S3_BUCKET"),
        ({"S3_BUCKET": "s3://bucket"}, "S3_BUCKET: 's3://bucket' is no name of a bucket"),
        ({"S3_BUCKET": "bucket", "S3_PREFIX": "a//b"}, "S3_PREFIX: prefix 'a//b' is not allowed"),
        ({"DATALAKE_URI": "gs://b"}, "DATALAKE_URI: 'gs://b': allowed: s3://bucket/prefix, or the path of a folder"),
        ({"DATALAKE_URI": f"s3://k:{SECRET}@bucket"}, "DATALAKE_URI: 's3://…@bucket'"),
        ({"S3_ENDPOINT_URL": "minio:9000"}, "S3_ENDPOINT_URL: 'minio:9000': write http://host:port"),
        ({"S3_ENDPOINT_URL": f"http://k:{SECRET}@host"}, "S3_ENDPOINT_URL: put the keys into S3_ACCESS_KEY"),
        ({"S3_ACCESS_KEY": SECRET}, "S3_SECRET_KEY: missing, but S3_ACCESS_KEY is set"),
        ({"S3_SECRET_KEY": SECRET}, "S3_ACCESS_KEY: missing, but S3_SECRET_KEY is set"),
        ({"WSS_MUTEX_BASE_URL": "mutex:8790"}, "WSS_MUTEX_BASE_URL: 'mutex:8790': write ws://host:port or wss://host"),
        ({"WSS_MUTEX_BASE_URL": f"wss://u:{SECRET}@mutex"}, "WSS_MUTEX_BASE_URL: put no user name or password"),
    ],
)
def test_settings_that_cannot_work_are_named(environ: dict[str, str], said: str) -> None:
    """By their variable, and never with a secret."""
    assert said in problems(**environ)


def test_all_problems_are_told_at_once() -> None:
    """One line for each."""
    told = problems(S3_PREFIX="p", S3_ENDPOINT_URL="x", S3_ACCESS_KEY="k").splitlines()
    assert [line.partition(":")[0].strip() for line in told[1:]] == ["S3_PREFIX", "S3_ENDPOINT_URL", "S3_SECRET_KEY"]


def test_arguments_win_over_the_environment() -> None:
    """Nothing is asked of variables that do not count then."""
    settings = load(uri="here", DATALAKE_URI="s3://one", S3_BUCKET="two")
    assert (settings.uri, settings.named_by) == ("here", "argument")
    settings = Settings.load(
        endpoint_url="http://a:1",
        access_key="k",
        secret_key=SECRET,
        environ={"S3_ENDPOINT_URL": "http://b:1"},
        env_file=None,
    )
    assert settings.store_options() == {
        "endpoint_url": "http://a:1",
        "access_key": "k",
        "secret_key": SECRET,
        "mutex_url": None,
        "mutex_token": None,
    }


def test_the_mutex_is_named_with_its_token() -> None:
    """By variables, or by arguments, which win."""
    environ = {"WSS_MUTEX_BASE_URL": "wss://one/base/", "WSS_MUTEX_TOKEN": SECRET}
    options = load(**environ).store_options()
    assert (options["mutex_url"], options["mutex_token"]) == ("wss://one/base", SECRET)
    settings = Settings.load(mutex_url="ws://two:1", mutex_token="other", environ=environ, env_file=None)
    assert (settings.store_options()["mutex_url"], settings.store_options()["mutex_token"]) == ("ws://two:1", "other")
    assert "other" not in f"{settings!r}"


def test_secrets_do_not_show() -> None:
    """Neither in repr nor in str; a store gets them all the same, also in another process."""
    settings = load(S3_BUCKET="bucket", S3_ACCESS_KEY="key", S3_SECRET_KEY=SECRET)
    assert SECRET not in f"{settings!r} {settings}"
    assert pickle.loads(pickle.dumps(settings)).store_options()["secret_key"] == SECRET


def test_a_dot_env_file_adds_what_the_environment_does_not_say(tmp_path: Path) -> None:
    """With or without export, quoted or not."""
    path = tmp_path / ".env"
    path.write_text(
        "# where\nexport S3_BUCKET=bucket\nS3_PREFIX='a/b'  # in it\nexport S3_ACCESS_KEY=\"key\"\n"
        f"S3_SECRET_KEY={SECRET}\n\nS3_ENDPOINT_URL=http://127.0.0.1:9000\nOTHER=x\n",
        encoding="utf-8",
    )
    settings = load(path)
    assert settings.uri == "s3://bucket/a/b"
    assert settings.store_options() == {
        "endpoint_url": "http://127.0.0.1:9000",
        "access_key": "key",
        "secret_key": SECRET,
        "mutex_url": None,
        "mutex_token": None,
    }
    assert load(path, S3_BUCKET="other").uri == "s3://other/a/b"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"A=1\nS3_BUCKET\nB=2\n", ".env:2: write NAME=value"),
        (b"A=1\n\n# c\n= not-to-be-seen\n", ".env:4: write NAME=value"),
        (b"A='not-to-be-seen\n", ".env:1: write NAME=value"),
        (b"A=\xff\n", ".env: not UTF-8"),
    ],
)
def test_a_dot_env_file_that_cannot_be_understood_is_an_error(tmp_path: Path, data: bytes, said: str) -> None:
    """With the line, and without what stands there."""
    path = tmp_path / ".env"
    path.write_bytes(data)
    assert said in problems(path)


def test_no_dot_env_file_is_no_error(tmp_path: Path) -> None:
    """Nor is a folder of that name, which some keep their Python in."""
    (tmp_path / ".env").mkdir()
    assert load(tmp_path / ".env") == load(tmp_path / "nothing") == Settings()


def test_every_variable_is_in_the_example() -> None:
    """example.env shows all of them, and no other."""
    lines = (ROOT / "example.env").read_text(encoding="utf-8").splitlines()
    shown = {
        line.lstrip("# ").partition("=")[0]
        for line in lines
        if "=" in line and line.lstrip("# ").split("=")[0].isupper()
    }
    assert shown == {*VARIABLES, VIEWER_TOKEN}
