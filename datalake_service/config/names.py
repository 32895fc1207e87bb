"""Names of datasets, batches and annotators: checked once, at the edge, before anything is written."""

from __future__ import annotations

import re

from datalake_service.errors import NameNotAllowedError

_ALLOWED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def check_name(name: object, *, what: str) -> str:
    """Return ``name`` if it may name a dataset, batch or annotator; ``what`` says which, for the message.

    Allowed are letters, digits, ``-``, ``_`` and ``.``, 1 to 128 of them, starting with a letter or digit,
    and not the word ``annotations``: portable in a URL, a file name and an object key.

    Raises:
        NameNotAllowedError: Anything else.
    """
    if isinstance(name, str) and _ALLOWED.fullmatch(name) and name != "annotations":
        return name
    msg = (
        f"{what} name {name!r} is not allowed: use 1 to 128 of A-Z a-z 0-9 '-' '_' '.', starting with a letter "
        "or digit, and not the word 'annotations'"
    )
    raise NameNotAllowedError(msg)
