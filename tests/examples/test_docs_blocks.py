from __future__ import annotations

import os
import shutil
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from tests.support import docs_page, warm
from tests.support.docs_page import NOT_INSTALLED
from tests.support.markdown import blocks, links
from tests.support.repository import ROOT, files

PAGES = [str(path.relative_to(ROOT)) for path in files() if path.suffix == ".md"]
FENCE = "`" * 3
EXECUTED = {"python", "pycon", "console", "bash", "sh", "shell"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project's files, as a reader has them after cloning: copies of those that a page may add to or change."""
    folder = tmp_path / "datalake"
    folder.mkdir()
    for path in files():
        name = path.relative_to(ROOT)
        if len(name.parts) == 1 or name.parts[0] == "example_configs":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, folder / name)
        elif not (folder / name.parts[0]).exists():
            (folder / name.parts[0]).symlink_to(ROOT / name.parts[0])
    return folder


def run_page(project: Path, page: str) -> subprocess.CompletedProcess[str]:
    """Run the blocks of a page in the copy; ``python`` is this interpreter, ``datalake`` is forked."""
    programs = project.parent / "bin"
    programs.mkdir()
    warm.write_program(programs / "datalake")
    (programs / "python").symlink_to(Path(sys.executable))
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S3_", "DATALAKE_"))
    }
    environment |= {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(project.parent),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return warm.communicate([page], cwd=project, env=environment, module="tests.support.docs_page")


def is_executed(page: str) -> bool:
    """Whether a page has blocks that do something; the others are read only."""
    found = blocks((ROOT / page).read_text(encoding="utf-8"))
    return any(block.not_run is None and block.language in EXECUTED for block in found)


@pytest.mark.parametrize("page", [page for page in PAGES if is_executed(page)])
def test_every_block_of_a_page_does_what_it_says(project: Path, page: str) -> None:
    """Python and commands run, data parses, and what is exempt says why."""
    done = run_page(project, page)
    assert done.returncode == 0, done.stdout + done.stderr
    missing = [line for line in done.stdout.splitlines() if line.startswith(NOT_INSTALLED)]
    if missing:
        pytest.skip(f"the rest of the page runs; {'; '.join(missing)}: ./build.sh test --engines installs it")


@pytest.mark.parametrize("page", [page for page in PAGES if not is_executed(page)])
def test_every_block_of_a_page_that_runs_nothing_is_what_it_says(page: str) -> None:
    """Data parses, and what is exempt says why."""
    docs_page.main(ROOT / page)


@pytest.mark.parametrize("page", PAGES)
def test_the_links_of_a_page_lead_somewhere(page: str) -> None:
    """A relative link names a file or folder of the project."""
    path = ROOT / page
    targets = [
        target for target in links(path.read_text(encoding="utf-8")) if "://" not in target and ":" not in target
    ]
    assert [target for target in targets if not (path.parent / target).exists()] == []


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("```python\n1 / 0\n```", "page.md:2: this python block failed"),
        ("one\n\n```python\nimport asyncio\nawait asyncio.sleep(0)\nraise KeyError(4)\n```", "line 6"),
        ("```pycon\n>>> 1 + 1\n3\n```", "Expected:"),
        ("```console\n$ false\n```", "status 1"),
        ("```console\n$ echo one\ntwo\n```", "but the page shows"),
        ("```console\n$ exit 3\n```", "ended the shell"),
        ("```bash\nfalse | true\ntrue\n```", "status 1"),
        ("```json\n{\n```", "JSONDecodeError"),
        ("```jsonl\n{}\n{\n```", "JSONDecodeError"),
        ("```yaml\n{\n```", "yaml"),
        ("```toml\n=\n```", "TOMLDecodeError"),
        ("```env\nS3_BUCKET\n```", "S3_BUCKET is set to nothing"),
        ("```rust\n```", "nothing can be done with a block of 'rust'"),
        ("<!-- not run: -->\n```python\n```", "needs a reason"),
        ("```python\n1\n", "never closed"),
        (
            '```json\n{"datasetName": "d", "readConnector": {"connectorDestination": "NOWHERE"}}\n```',
            "allowed: S3, FOLDER",
        ),
    ],
)
def test_a_block_that_does_not_hold_fails_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], page: str, message: str
) -> None:
    """The runner says where, and what is wrong."""
    monkeypatch.chdir(tmp_path)
    Path("page.md").write_text(page, encoding="utf-8")
    with pytest.raises(Exception) as failed:  # noqa: PT011 - which one is for the block to say
        docs_page.main(Path("page.md"))
    assert message in capsys.readouterr().err + "".join(traceback.format_exception(failed.value))


def test_a_page_that_fails_ends_with_a_status(tmp_path: Path) -> None:
    """The program that runs pages, and what stands in for ``datalake``, tell how it ended."""
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "page.md").write_text("```console\n$ datalake lists\n```", encoding="utf-8")
    done = run_page(tmp_path / "page", "page.md")
    assert done.returncode == 1
    assert "page.md:2: this console block failed" in done.stderr
    assert "status 2\ndatalake: No such command 'lists'" in done.stderr


@pytest.mark.parametrize(
    "page",
    [
        "```python\nasync def one():\n    return 1\nx = await one()\n```\n```python\nassert x == 1\n```",
        "```pycon\n>>> y = 3\n>>> y\n3\n```\n```python\nassert y == 3\n```",
        "```console\n$ export A=1\n$ echo $A and \\\n> more\n1 and more\n$ printf 'x 17 z'\nx ... z\n```",
        "```console\n$ false\n$ echo $?\n1\n```",
        "```bash\necho '[1]' > a.json\n```\n```python\nfrom pathlib import Path\nassert Path('a.json').exists()\n```",
        "1. item\n\n   ```python\n   z = 1\n   ```",
        "<!-- not run: needs a bucket -->\n\n```python\n1 / 0\n```",
        "```text\nanything\n```\n~~~\n```python\n1/0\n```\n~~~",
        "```json\n[1]\n```\n```jsonl\n{}\n[]\n```\n```yaml\na: 1\n```\n```toml\na = 1\n```\n```env\nA=1 # one\n```",
    ],
)
def test_a_page_that_holds_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    """Blocks share what they define and what they write."""
    monkeypatch.chdir(tmp_path)
    Path("page.md").write_text(page, encoding="utf-8")
    docs_page.main(Path("page.md"))


def test_blocks_are_found_where_they_stand() -> None:
    """Language, text, line and exemption of each block; a comment holds for the next block only."""
    page = f"a\n<!-- not run: why -->\n{FENCE}sh x\nb\n{FENCE}\n{FENCE}\nc\n{FENCE}\n"
    found = [(block.language, block.text, block.line, block.not_run) for block in blocks(page)]
    assert found == [("sh", "b\n", 4, "why"), ("", "c\n", 7, None)]


def test_links_inside_blocks_are_no_links() -> None:
    """Only prose links, without fragments, and none that stays on the page."""
    assert links(f"[a](b.md#c) [d](#e)\n{FENCE}\n[f](g)\n{FENCE}\n[h](i)") == ["b.md", "i"]


def test_every_page_is_in_the_index() -> None:
    """A page that nobody links to is not read."""
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / target).resolve() for target in links(index.read_text(encoding="utf-8"))}
    pages = {path for path in files() if path.suffix == ".md" and index.parent in path.parents} - {index}
    assert {str(path.relative_to(ROOT)) for path in pages - linked} == set()
