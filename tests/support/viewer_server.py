"""The viewer as people start it: the command, on a free port of this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.repository import ROOT

_ADDRESS = re.compile(r"http://127\.0\.0\.1:(?P<port>[0-9]+)/")
_START_SECONDS = 60


class ViewerServer:
    """A viewer over a folder. It can be stopped and started again on the same port."""

    def __init__(self, lake: Path, *arguments: str) -> None:
        """Nothing runs yet."""
        self._lake = lake
        self._arguments = arguments
        self._port = 0
        self._process: subprocess.Popen[str] | None = None
        self.output: list[str] = []
        """What it printed."""

    @property
    def url(self) -> str:
        """Where it is, without a slash at its end."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, and wait until it says where it is."""
        command = [
            sys.executable, "-m", "datalake_service", "viewer", "--root", str(self._lake),
            "--port", str(self._port), "--no-open", *self._arguments,
        ]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
        )
        self._process = process
        said = threading.Event()
        threading.Thread(target=self._listen, args=(process, said), daemon=True).start()
        if not said.wait(_START_SECONDS) or process.poll() is not None:
            self.stop()
            raise AssertionError("the viewer did not start:\n" + "".join(self.output))

    def _listen(self, process: subprocess.Popen[str], said: threading.Event) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.output.append(line)
            found = _ADDRESS.search(line)
            if found is not None:
                self._port = int(found["port"])
                said.set()
        said.set()

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.stop()
