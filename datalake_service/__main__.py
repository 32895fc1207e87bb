"""``python -m datalake_service``: the same as the ``datalake`` command."""

from __future__ import annotations

from datalake_service.cli.main import main

if __name__ == "__main__":
    main()
