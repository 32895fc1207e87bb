"""Python modules beside a dataset file, importable without touching ``sys.path``.

Each folder gets a package of its own, named after its path: ``handler.py`` in it is imported as
``_datalake_folder_<digest>.handler``. An import of a sibling (``import helpers``, ``from helpers import x``), wherever
it stands in the code, is compiled as an import from that package, so that each dataset gets its own ``helpers``.
Bytecode is not cached: nothing is written into the user's folder.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from threading import Lock
from types import CodeType, ModuleType

_PREFIX = "_datalake_folder_"
_PRIVATE_NAME = re.compile(_PREFIX + r"[0-9a-f]{16}\.?")
_NEVER_OURS = sys.stdlib_module_names | {"datalake_interfaces", "datalake_service", "datalake_utils"}
"""A dataset file may stand in a checkout of this project, or beside a ``types.py``; neither is meant by an import."""
_lock = Lock()
_stamps: dict[str, dict[str, tuple[int, int]]] = {}
"""For each package, the modification time and size of every file of it that was imported."""


def find_module(name: str, folder: Path) -> str | None:
    """Return the name under which the module ``name`` of ``folder`` can be imported; ``None`` if it has no such file.

    If a file of the folder that was imported before has changed since, the folder's modules are forgotten, so that the
    next import reads them anew.
    """
    root = folder.resolve()
    if not _has_module(root, _top(name)):
        return None
    with _lock:
        package = _package(root)
        _forget_if_changed(package)
    return f"{package}.{name}"


def public_text(text: str) -> str:
    """Return ``text`` (an error message) with our private package names taken out of it."""
    return _PRIVATE_NAME.sub("", text)


def _top(name: str) -> str:
    return name.split(".", maxsplit=1)[0]


def _has_module(root: Path, name: str) -> bool:
    """Whether the folder has a module of this name: a file, or a folder with Python files."""
    if (root / f"{name}.py").is_file() or any((root / f"{name}{suffix}").is_file() for suffix in EXTENSION_SUFFIXES):
        return True
    return any(next((root / name).glob(pattern), None) is not None for pattern in ("*.py", "*/*.py"))


def _package(root: Path) -> str:
    name = _PREFIX + hashlib.blake2b(str(root).encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    if name not in sys.modules:
        package = ModuleType(name, f"Modules of {root}.")
        package.__path__ = [str(root)]
        sys.modules[name] = package
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())  # before the one that would find the same files without redirection
    return name


def _forget_if_changed(package: str) -> None:
    stamps = _stamps.get(package, {})
    if all(_stamp(Path(file)) == stamp for file, stamp in stamps.items()):
        return
    stamps.clear()
    for name in [name for name in sys.modules if name.startswith(f"{package}.")]:
        del sys.modules[name]


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


class _Finder:
    """Finds the modules of our packages; knows nothing of any other name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Answer the import system."""
        if not fullname.startswith(_PREFIX) or path is None:
            return None
        namespace: list[str] = []
        for entry in path:
            # A new FileFinder each time: a kept one trusts the folder's modification time, which is too coarse.
            finder = FileFinder(entry, (ExtensionFileLoader, EXTENSION_SUFFIXES), (_Loader, [".py"]))
            spec = finder.find_spec(fullname, target)
            if spec is not None and spec.loader is not None:
                return spec
            namespace.extend((spec.submodule_search_locations or []) if spec is not None else [])
        if not namespace:
            return None
        spec = ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = namespace
        return spec


class _Loader(SourceFileLoader):
    """Compiles a module with its sibling imports redirected to the folder's package."""

    def get_code(self, fullname: str) -> CodeType:
        """Compile without reading or writing cached bytecode, which the redirection must not end up in."""
        package = _top(fullname)
        stamp = _stamp(Path(self.path))
        if stamp is not None:
            _stamps.setdefault(package, {})[self.path] = stamp
        tree = ast.parse(self.get_data(self.path), self.path)
        root = Path(sys.modules[package].__path__[0])
        redirected = ast.fix_missing_locations(_Redirect(package, root).visit(tree))
        return compile(redirected, self.path, "exec", dont_inherit=True)


class _Redirect(ast.NodeTransformer):
    """Turns absolute imports of siblings into imports from the folder's package."""

    def __init__(self, package: str, root: Path) -> None:
        self._package = package
        self._root = root

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        """``from helpers import x`` becomes ``from <package>.helpers import x``."""
        if node.level == 0 and node.module and self._ours(node.module):
            node.module = f"{self._package}.{node.module}"
        return node

    def visit_Import(self, node: ast.Import) -> list[ast.stmt]:
        """``import helpers`` becomes ``from <package> import helpers``; each name of a list on its own."""
        statements: list[ast.stmt] = []
        for alias in node.names:
            statements.extend(self._ours_imported(alias) if self._ours(alias.name) else [ast.Import([alias])])
        return [ast.copy_location(statement, node) for statement in statements]

    def _ours_imported(self, alias: ast.alias) -> list[ast.stmt]:
        full = f"{self._package}.{alias.name}"
        if alias.asname:
            return [ast.Import([ast.alias(full, alias.asname)])]
        top = _top(alias.name)
        bound: ast.stmt = ast.ImportFrom(self._package, [ast.alias(top)], 0)
        # "import a.b" loads a.b and binds a: the alias below is a name that no one can have written.
        return [ast.Import([ast.alias(full, f"_{_PREFIX}")]), bound] if "." in alias.name else [bound]

    def _ours(self, name: str) -> bool:
        """Whether an import means a file of the folder. The standard library and our interfaces never do."""
        top = _top(name)
        return top not in _NEVER_OURS and _has_module(self._root, top)
