from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from datalake_service.cli.main import datalake as group
from datalake_service.config.schema import schema_text
from datalake_service.config.version import VERSION
from tests.cli.commands import command, datalake, datalake_on_terminal, environment, started
from tests.support.repository import ROOT

GUIDE = (ROOT / "docs" / "guide" / "cli.md").read_text(encoding="utf-8")


def leaves(found: click.Command, name: str = "datalake") -> dict[str, click.Command]:
    """Every command that does something, by what is typed."""
    if not isinstance(found, click.Group):
        return {name: found}
    return {
        path: leaf for word, below in found.commands.items() for path, leaf in leaves(below, f"{name} {word}").items()
    }


LEAVES = leaves(group)


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_and_option_is_documented(name: str) -> None:
    """In the guide, and in its own help."""
    leaf = LEAVES[name]
    assert leaf.help
    assert f"`{name}`" in GUIDE
    for option in leaf.params:
        if isinstance(option, click.Argument):
            assert f"`{option.make_metavar(click.Context(leaf)).strip('[]')}`" in GUIDE
            continue
        assert isinstance(option, click.Option)
        assert option.help, option.name
        assert any(f"`{spelling}" in GUIDE for spelling in option.opts), option.opts


@pytest.mark.parametrize("name", LEAVES)
def test_camel_case_options_have_a_kebab_case_alias(name: str) -> None:
    """The original's spelling, and the one that every other command line uses."""
    for option in LEAVES[name].params:
        for spelling in option.opts:
            kebab = re.sub(r"([A-Z])", lambda match: f"-{match[1].lower()}", spelling)
            assert kebab in option.opts


def test_help_and_version(tmp_path: Path) -> None:
    """The two things that people try first."""
    shown = started("--help", cwd=tmp_path)
    assert shown.status == 0
    assert {"datasets", "tasks", "errors", "clean-up", "export", "schema"} <= set(shown.out.split())
    assert started("--version", cwd=tmp_path).out == f"datalake {VERSION}\n"
    assert datalake("datasets", "create", "--help", cwd=tmp_path).out.startswith("Usage: datalake datasets create")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["datasets", "lsit"], "datalake datasets: No such command 'lsit'."),
        (["datasets", "view"], "datalake datasets view: Missing option '--datasetName'"),
        (["datasets", "view", "--datasetNam", "x"], "No such option"),
        (["tasks", "list", "--datasetName", "a/b"], "dataset name 'a/b' is not allowed"),
        (["tasks", "list", "--datasetName", "none"], "no dataset 'none' in "),
        (["datasets", "view", "--datasetName", "none"], "no dataset 'none' in "),
        (["errors", "list", "--datasetName", "none"], "no dataset 'none' in "),
        (["errors", "list", "--datasetName", "none", "--limit", "0"], "0 is not in the range"),
        (["datasets", "list", "--uri", "gs://x"], "the lake: 'gs://x': allowed: s3://bucket/prefix"),
        (["datasets", "list", "--uri", "s3://bucket/x", "--endpointUrl", "x"], "endpoint URL: 'x': write http://"),
        (["datasets", "create", "--configFile", "none.json"], "none.json: no such file"),
        (["datasets", "create", "--config-file", "."], ".: is a folder; name the file in it"),
        (["export", "--datasetName", "d", "--output", "x.tsv"], "--output x.tsv: its name decides the format"),
        (["export", "--datasetName", "d", "--output", "none/x.jsonl"], "there is no folder none"),
        (["export", "--datasetName", "d", "--output", "x.jsonl", "--filter", "{"], "--filter:1:2: the file ends in"),
        (
            ["export", "--datasetName", "d", "--output", "x.jsonl", "--filter", '{"type": "x"}'],
            "--filter: unknown type",
        ),
        (["export", "--datasetName", "d", "--output", "x.jsonl", "--filter", "@none"], "none: no such file"),
        (["export", "--datasetName", "d", "--output", "x.jsonl", "--columns", "[1]"], "[1] is no JSON list of column"),
        (["export", "--datasetName", "d", "--output", "x.jsonl", "--fraction", "2"], "fraction must be more than 0"),
        (["clean-up", "--memory-limit", "much"], "'much' is not a size"),
        (["clean-up", "--grace", "soon"], "'soon' is not a duration"),
    ],
)
def test_a_mistake_in_the_command_is_one_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    """On standard error, with exit status 2, without a traceback; nothing is made."""
    done = datalake(*arguments, cwd=tmp_path)
    assert done.status == 2, done
    assert said in done.err
    assert done.out == ""
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


def test_nonsense_is_told_in_words(tmp_path: Path) -> None:
    """Whatever any option of any command is given: no internal error, a status that is documented, nothing is made."""
    walk = [sys.executable, "-m", "tests.cli.nonsense"]
    done = subprocess.run(walk, cwd=tmp_path, env=environment(), input="", capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout)
    assert seen["tried"] > 500
    assert seen["surprises"] == []
    assert list(tmp_path.iterdir()) == []


def test_a_group_without_a_command_shows_its_help(tmp_path: Path) -> None:
    """As it is meant to be read, and as a mistake."""
    done = datalake("tasks", cwd=tmp_path)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("Usage: datalake tasks [OPTIONS] COMMAND [ARGS]...\n\n  Look at tasks")


def test_an_interrupt_before_the_command_is_loaded_is_told(tmp_path: Path) -> None:
    """Here a library that it needs stands for somebody who is quick."""
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt", encoding="utf-8")
    done = started("datasets", "list", cwd=tmp_path)
    assert (done.status, done.err) == (130, "interrupted; what was finished is kept\n")


def test_wrong_settings_are_told_without_secrets(tmp_path: Path) -> None:
    """Also when they come from a .env file."""
    (tmp_path / ".env").write_text("S3_BUCKET=bucket\nS3_SECRET_KEY=not-to-be-seen\n", encoding="utf-8")
    done = datalake("datasets", "list", cwd=tmp_path)
    assert done.status == 2
    assert "S3_ACCESS_KEY: missing, but S3_SECRET_KEY is set" in done.err
    assert "not-to-be-seen" not in done.err


def test_a_wrong_log_variable_is_a_mistake(tmp_path: Path) -> None:
    """Rather than silence."""
    done = datalake("datasets", "list", cwd=tmp_path, DATALAKE_LOG="jason")
    assert done.status == 2
    assert done.err == "DATALAKE_LOG: 'jason' is not known; allowed: json, debug, info, warning, error\n"


def test_debug_shows_where_a_mistake_was_found(tmp_path: Path) -> None:
    """For those who look for the cause in the code."""
    done = datalake("datasets", "view", "--datasetName", "none", "--debug", cwd=tmp_path)
    assert done.status == 2
    assert "Traceback" in done.err


def test_what_nobody_thought_of_is_one_line_too(tmp_path: Path) -> None:
    """It says how to see more; here a module of the standard library is broken on purpose."""
    (tmp_path / "getpass.py").write_text("", encoding="utf-8")
    breaker = tmp_path / "sitecustomize.py"
    breaker.write_text(
        "import datalake_service.pipeline.reports.overview as o\n"
        "def broken(store): raise RuntimeError('two\\nlines')\n"
        "o.summarise_datasets = broken\n",
        encoding="utf-8",
    )
    path = f"{tmp_path}:{ROOT}"
    done = datalake("datasets", "list", cwd=tmp_path, PYTHONPATH=path)
    assert (done.status, done.out) == (1, "")
    assert done.err == "internal error: RuntimeError: two\\nlines; --debug shows where\n"
    assert "Traceback" in datalake("datasets", "list", "--debug", cwd=tmp_path, PYTHONPATH=path).err


def test_schema_prints_the_schema(tmp_path: Path) -> None:
    """The same text, in a pipe and on a terminal."""
    assert datalake("schema", cwd=tmp_path).out == schema_text() + "\n"
    assert datalake_on_terminal("schema", cwd=tmp_path).out == schema_text() + "\n"


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    """As in ``datalake schema | head -1``: quiet, and the status of a broken pipe."""
    with subprocess.Popen(
        command("schema"), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_is_one_line(tmp_path: Path, number: signal.Signals, status: int) -> None:
    """From the keyboard, or a request to terminate; in the middle of a command.

    The interpreter kills itself after an interrupt that came through code made from text, as imports do. A request to
    terminate has its status all the same.
    """
    raised = f"signal.raise_signal({int(number)})"
    waiting = (
        "import sys, signal\n"
        "from datalake_service.cli import main\n"
        "from datalake_service.pipeline.reports import overview\n"
        f"def wait(store): {raised if number is signal.SIGINT else f'exec({raised!r})'}\n"
        "overview.summarise_datasets = wait\n"
        "sys.argv = ['datalake', 'datasets', 'list']\n"
        "main.main()\n"
    )
    done = subprocess.run(
        [*command()[:1], "-c", waiting], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == status
    assert done.stderr == "interrupted; what was finished is kept\n"


def test_what_fails_after_a_request_to_terminate_ends_with_its_status(tmp_path: Path) -> None:
    """A scheduler is told that it was its own doing, and tries again."""
    waiting = (
        "import signal, sys\n"
        "from datalake_service.cli import main\n"
        "from datalake_service.pipeline.reports import overview\n"
        "def wait(store):\n"
        "    try:\n"
        "        signal.raise_signal(signal.SIGTERM)\n"
        "    except KeyboardInterrupt:\n"
        "        raise RuntimeError('the query was broken off')\n"
        "overview.summarise_datasets = wait\n"
        "sys.argv = ['datalake', 'datasets', 'list']\n"
        "main.main()\n"
    )
    done = subprocess.run([*command()[:1], "-c", waiting], cwd=tmp_path, env=environment(), check=False)
    assert done.returncode == 143


def test_events_are_json_when_asked_for(tmp_path: Path) -> None:
    """One object a line on standard error; the answer stays alone on standard output."""
    import json

    done = datalake("datasets", "list", "--log-json", "--log-level", "info", cwd=tmp_path)
    events = [json.loads(line) for line in done.err.splitlines()]
    assert [event["event"] for event in events] == ["command.started", "command.completed"]
    assert events[0]["command"] == "datalake datasets list"
    assert events[1]["status"] == 0
    assert all({"event", "level", "logger", "timestamp"} <= event.keys() for event in events)
    assert done.json == {"uri": str(tmp_path / "lake"), "datasets": []}
    same = datalake("datasets", "list", cwd=tmp_path, DATALAKE_LOG="json,info")
    assert len(same.err.splitlines()) == 2


def test_nothing_is_logged_by_default(tmp_path: Path) -> None:
    """What works is quiet."""
    assert datalake("datasets", "list", cwd=tmp_path).err == ""
