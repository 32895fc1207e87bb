from __future__ import annotations

import re
import subprocess
import sys

from tests.support.repository import ROOT

TEMPLATE = ROOT / "deploy" / "template.yaml"
_ACTION = re.compile(r'"((?:kinesis|sqs|dynamodb):[A-Za-z]+)"')
_WRITES = {"kinesis:PutRecords", "sqs:SendMessage", "dynamodb:BatchWriteItem"}
"""The function may write to the lake; for another destination its role needs more."""


def test_the_template_is_one() -> None:
    """AWS's own linter has nothing to say."""
    done = subprocess.run(
        [sys.executable, "-c", "import cfnlint.runner; cfnlint.runner.main()", str(TEMPLATE)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_role_may_do_what_readers_do() -> None:
    """Each permission that a message of the readers names is in the template, and no star."""
    named = {
        action
        for path in (ROOT / "datalake_service").rglob("*.py")
        for action in _ACTION.findall(path.read_text(encoding="utf-8"))
    }
    template = TEMPLATE.read_text(encoding="utf-8")
    assert named - _WRITES
    assert [action for action in sorted(named - _WRITES) if action not in template] == []
    assert ":*" not in template.replace("/stream/*", "")
