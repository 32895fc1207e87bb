"""The ``datalake`` command, and ``python -m datalake_service``. An interrupt while it is still loaded is told, too."""

from __future__ import annotations

import sys

INTERRUPTED = 130
"""The exit status of ``cli/main.py`` for it, as a shell reports it."""


def main() -> None:
    """Load the command line, which takes a moment, and run it."""
    try:
        from datalake_service.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was finished is kept\n")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
