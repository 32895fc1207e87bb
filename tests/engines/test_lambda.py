from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.lakes import Lakes, lines, project
from tests.engines.places import Place
from tests.support.lambda_service import LambdaService

pytestmark = pytest.mark.filterwarnings("ignore")


def test_a_function_whose_time_is_up(
    lambda_place: Place, function: LambdaService, tmp_path: Path, local_rows: Lakes
) -> None:
    """A task of many invocations: some end in order before their time is up, one in a record, without a word."""
    marker = tmp_path / "hangs"
    parameters = {"seconds": 0.1, "hang_at": "0-30", "marker": str(marker)}
    function.told = 3.5  # of which two are kept for the end
    ended: list[int] = []

    def hangs() -> bool:
        if marker.exists() and not ended:
            ended.append(function.invocations)
            return True
        return False

    function.hangs = hangs
    report = lambda_place.run_in_folder(
        project(tmp_path / "code", parameters=parameters, files=1, records=40), tmp_path / "lake"
    )
    assert not report.failures
    assert [failure["errorType"] for failure in function.failures] == ["Sandbox.Timedout"]
    assert 1 < ended[0] < function.invocations
    plain = project(tmp_path / "code", files=1, records=40)
    assert lines(tmp_path / "lake") == local_rows.of("one file", plain)
