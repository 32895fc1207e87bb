"""What is written below the attributes of a class."""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import pairwise


def attribute_docstrings(described: type) -> dict[str, str]:
    """The text below each annotated attribute that has one, from the source of the class.

    Raises:
        OSError: The class has no source.
    """
    (statement,) = ast.parse(textwrap.dedent(inspect.getsource(described))).body
    body = statement.body if isinstance(statement, ast.ClassDef) else []
    found: dict[str, str] = {}
    for attribute, below in pairwise(body):
        match attribute, below:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                found[name] = inspect.cleandoc(text)
    return found
