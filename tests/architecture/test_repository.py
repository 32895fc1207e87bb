from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.repository import PACKAGES, ROOT, files, modules

LONGEST_MODULE = 400
TEXT = [path for path in files() if b"\0" not in path.read_bytes()[:8192]]
OURS = [path for path in TEXT if "input" not in path.parts and path.name != "LICENSE"]

SECRETS = {
    "an AWS access key": r"\b(?:AKIA|ASIA)(?!IOSFODNN7EXAMPLE)[0-9A-Z]{16}\b",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE" + r" KEY-----",
    # Of a host that could exist: names without a dot, addresses and example.com are those of tests.
    "a password in a URL": r"\b[a-z][a-z0-9+]*://[^\s/:@'\"<>{}]+:[^\s/@'\"<>{}]+@(?=[\w-]+(?:\.[\w-]+)*\.[a-z]{2})(?![\w.-]*\bexample\b)",
    "a token": r"\b(?:gh[pousr]_|github_pat_|glpat-|sk-|xox[abp]-)[A-Za-z0-9_-]{16,}",
}
PATHS = {
    "a home directory": r"(?<![\w.])/(?:home|Users)/[a-z]\w*|(?<![\w.])/root/",
    "a folder of one machine": r"(?<![\w.}/])/(?:work|workspace|mnt|tmp/[a-z]+venv|tmp/venv)/",
    "a drive letter": r"\b[A-Z]:\\(?:Users|Temp)",
}
HOSTS = re.compile(r"\bhttps?://(?:[\w.%-]+:[\w.%-]+@)?(?P<host>[\w.-]+)", re.ASCII)
KNOWN_HOSTS = re.compile(
    r"""localhost | host | bucket | [a-z] | 127\.0\.0\.1 | (?:[\w-]+\.)*example(?:\.(?:com|org|net))?
    | (?:[\w-]+\.)*amazonaws\.com(?:\.cn)? | (?:[\w-]+\.)*api\.aws | docs\.aws\.amazon\.com
    | developers\.cloudflare\.com | docs\.cloud\.google\.com | github\.com
    | (?:docs|www|peps)\.python\.org | duckdb\.org | (?:arrow|parquet|www)\.apache\.org | json-schema\.org
    | keepachangelog\.com | semver\.org | jsonlines\.org | www\.rfc-editor\.org | www\.w3\.org""",
    re.VERBOSE,
)


def found(pattern: str, paths: list[Path]) -> list[str]:
    """Where a pattern occurs, without repeating what matched."""
    expression = re.compile(pattern)
    return [
        f"{path.relative_to(ROOT)}:{number}"
        for path in paths
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1)
        if expression.search(line)
    ]


@pytest.mark.parametrize("kind", SECRETS)
def test_no_secret_is_kept(kind: str) -> None:
    """Keys of a test server are words, never anything that a real store could accept."""
    assert found(SECRETS[kind], TEXT) == []


@pytest.mark.parametrize("kind", PATHS)
def test_no_path_of_one_machine_is_kept(kind: str) -> None:
    """The project runs anywhere, so it names no place that only one machine has."""
    assert found(PATHS[kind], [path for path in OURS if path != Path(__file__)]) == []


def test_no_unknown_host_is_named() -> None:
    """Links go to public documentation, examples to names reserved for examples. A new one is added above."""
    unknown = {
        f"{path.relative_to(ROOT)}: {match['host']}"
        for path in OURS
        for match in HOSTS.finditer(path.read_text(encoding="utf-8", errors="replace").replace("\\", ""))
        if not KNOWN_HOSTS.fullmatch(match["host"])
    }
    assert unknown == set()


def test_every_check_that_is_silenced_says_why() -> None:
    """Behind the rules, on their line."""
    silenced = r"# (?:ruff: )?(?:noqa|type: ignore)\b"
    says_why = r"# (?:ruff: )?(?:noqa: [A-Z\d, ]+ - |type: ignore\[[a-z, -]+\]  # (?!noqa))\w"
    paths = [path for path in OURS if path.suffix == ".py" and path != Path(__file__)]
    lines = found(silenced, paths)
    assert len(lines) > 100  # the pattern finds them
    assert sorted(set(lines) - set(found(says_why, paths))) == []


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_file_names_no_place_to_download_from(name: str) -> None:
    """Requirements and hashes only: no index, no URL, no path."""
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        assert re.match(r"(?:#|[A-Za-z0-9]|    --hash=sha256:|    #)", line), line
        assert "://" not in line
        assert not re.search(r"\bfile:|(?:^|\s)/", line), line


def test_every_package_folder_says_so() -> None:
    """A folder without __init__.py would be missed by the import rules and by the build."""
    folders = {path.parent for package in PACKAGES for path in modules(package)}
    assert [str(folder.relative_to(ROOT)) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_ships_its_types(package: str) -> None:
    """PEP 561: type checkers of users read our annotations."""
    assert (ROOT / package / "py.typed").is_file()


def test_no_module_is_long() -> None:
    """One concept per module; what grows past this holds two."""
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for package in PACKAGES
        for path in modules(package)
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_fakes_are_written_not_patched_in() -> None:
    """A mock agrees with everything; a small fake fails when the port changes."""
    assert found(r"^\s*(?:from|import)\s+(?:unittest\.mock|unittest import mock|mock)\b", TEXT) == []


def test_nothing_is_left_for_later() -> None:
    """Work that is not done stands in an issue, not in the code."""
    marks = r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3 + "(?!X)", "HA" + "CK")) + r")\b"
    assert found(marks, [path for path in OURS if path.suffix in {".py", ".md", ".sh", ".toml"}]) == []
