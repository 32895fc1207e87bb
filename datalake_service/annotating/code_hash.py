"""A hash of an annotator's code: the same wherever it runs, another when what it does may be another.

It is made of syntax trees: comments, blank lines, quotes and docstrings do not count. See
``docs/design/018-annotation-versions.md``.
"""

from __future__ import annotations

import ast
import functools
import inspect
import json
import sys
import textwrap
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from types import ModuleType
from typing import Any, Final

DIGITS: Final = 12
_NOT_A_MODULE: Final = ("__main__", "__mp_main__", "builtins")
_HELD: Final = 500
"""Files whose trees are remembered."""


def code_hash(function: object, parameters: Mapping[str, Any] | None = None) -> str | None:
    """Twelve hexadecimal digits for a class, a function or an object and its parameters; ``None``: it has no source.

    The module that defines it counts as a whole, and what that imports from its own folder or below. Of a function in
    a script, a notebook or another function its own source counts. Values that a function closes over do not.
    """
    found = _unwrapped(function)
    if found is None:
        return None
    target, bound = found
    texts = _texts(target)
    if texts is None:
        return None
    try:
        said = json.dumps([bound, dict(parameters or {})], sort_keys=True, ensure_ascii=True)
    except (TypeError, ValueError):
        return None
    digest = blake2b(digest_size=DIGITS // 2)
    for text in (*texts, said):
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def json_hash(document: object) -> str:
    """The same for what is said in JSON, such as a model and its prompt."""
    said = json.dumps(document, sort_keys=True, ensure_ascii=True)
    return blake2b(said.encode("ascii"), digest_size=DIGITS // 2).hexdigest()


def name_of(function: object) -> str | None:
    """What people call it: ``module.Class`` or ``module.function``; ``None``: nobody knows."""
    found = _unwrapped(function)
    target = function if found is None else found[0]
    name = getattr(target, "__qualname__", None)
    if not isinstance(name, str):
        return None
    module = getattr(target, "__module__", None)
    return f"{module}.{name}" if isinstance(module, str) and module not in _NOT_A_MODULE else name


def _unwrapped(function: object) -> tuple[Any, list[Any]] | None:
    """The class or function that has a source, and what is bound to it."""
    bound: list[Any] = []
    while isinstance(function, functools.partial):
        bound.append([list(function.args), dict(function.keywords)])
        function = function.func
    if inspect.ismethod(function):
        function = function.__func__ if inspect.isclass(function.__self__) else type(function.__self__)
    if inspect.isbuiltin(function):
        return None
    if not (inspect.isfunction(function) or inspect.isclass(function)):
        function = type(function)
    return inspect.unwrap(function) if inspect.isfunction(function) else function, bound


def _texts(target: Any) -> list[str] | None:  # noqa: ANN401 - a class or a function of the user's
    name = target.__qualname__
    if name.endswith("<lambda>"):
        return None
    module = sys.modules.get(target.__module__) if isinstance(target.__module__, str) else None
    file = None if module is None or module.__name__ in _NOT_A_MODULE else _file_of(module)
    if module is not None and file is not None and "<locals>" not in name and _is_from(target, file):
        return [name, *_module_texts(module, file.parent)]
    own = _own_text(target)
    return None if own is None else [own]


def _is_from(target: object, file: Path) -> bool:
    """Whether a function was written in a file, rather than made from text by something in it."""
    code = getattr(target, "__code__", None)
    return code is None or Path(code.co_filename).resolve() == file


def _own_text(target: Any) -> str | None:  # noqa: ANN401 - as above
    try:
        return _tree_text(textwrap.dedent(inspect.getsource(target)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None


def _module_texts(module: ModuleType, folder: Path) -> Iterator[str]:
    """The tree of a module and of those of its folder that it imports, each once, always in the same order."""
    todo, seen = [module.__name__], set()
    while todo:
        name = todo.pop()
        found = sys.modules.get(name)
        file = None if found is None else _file_of(found)
        if name in seen or found is None or file is None or not file.is_relative_to(folder):
            continue
        seen.add(name)
        held = _file_tree(str(file), *_stamp(file))
        if held is None:
            continue
        text, imported = held
        yield text
        package = found.__package__ or ""
        todo += sorted({one for level, one in imported for one in _absolute(level, one, package)}, reverse=True)


def _file_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if isinstance(file, str) and file.endswith(".py") else None


def _stamp(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


@functools.lru_cache(_HELD)
def _file_tree(file: str, _changed: int, _size: int) -> tuple[str, tuple[tuple[int, str], ...]] | None:
    """The tree of a file as text, and what it imports; ``None``: it cannot be read."""
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None
    imported: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            imported += [(node.level, base), *((node.level, f"{base}.{alias.name}") for alias in node.names)]
    return _dumped(tree), tuple(imported)


def _absolute(level: int, name: str, package: str) -> Iterator[str]:
    """The full name of what ``from ..name import`` means in ``package``."""
    if level == 0:
        yield name
        return
    parts = package.split(".")
    if package and level <= len(parts):
        base = ".".join(parts[: len(parts) - level + 1])
        yield f"{base}.{name.strip('.')}".strip(".")


def _tree_text(source: str) -> str:
    return _dumped(ast.parse(source))


def _dumped(tree: ast.AST) -> str:
    """The tree without docstrings and places."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and _docstring(node):
            node.body = node.body[1:]
    return _written(tree)


def _docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    first = node.body[0] if node.body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)


def _written(node: object) -> str:
    """A tree as text that is the same in every Python: fields that are empty are left out, as newer ones do."""
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []) and name != "kind")
        return f"{type(node).__name__}({','.join(f'{name}={_written(value)}' for name, value in fields)})"
    if isinstance(node, list):
        return f"[{','.join(map(_written, node))}]"
    return repr(node)
