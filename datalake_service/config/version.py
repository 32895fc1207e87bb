"""The version of this software; a test compares it with ``pyproject.toml``."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"
"""As packaged."""
SHORT_VERSION: Final = VERSION.rpartition(".")[0]
"""What changes when features come."""
