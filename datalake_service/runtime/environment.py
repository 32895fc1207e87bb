"""The environment of the process, with what ``.env`` adds: worker processes and AWS libraries see it too."""

from __future__ import annotations

import os
from pathlib import Path

from datalake_service.config.settings import ENV_FILE, read_env_file


def add_env_file(path: Path = ENV_FILE) -> None:
    """Set the variables of a ``.env`` file that are not set yet. A missing file is no error.

    Raises:
        ConfigError: The file cannot be read, or a line of it.
    """
    for name, value in read_env_file(path).items():
        if not os.environ.get(name):
            os.environ[name] = value
