"""The user's class, found and constructed: the only module that imports user code.

A reference is ``module.Class``. The module is looked for beside the dataset file first, then among what is installed.
Modules beside a dataset file live under a private package name of their folder: two datasets may both have a
``handler.py`` (and a ``helpers.py`` that it imports) without meeting, and ``sys.path`` stays as it was.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from datalake_service.errors import HandlerLoadError
from datalake_service.handling.folders import find_module
from datalake_service.handling.telling import told

T = TypeVar("T")
_ORIGINAL_METHODS = {
    "SingleFileParser": ("parseDocument",),
    "QueueMessageReader": ("parseMessage",),
    "KinesisRecordReader": ("parseMessage",),
    "DynamoDBStreamsRecordReader": ("parseRecord",),
    "DynamoDBTableItemReader": ("parseDynamoDBItem",),
    "SparkMapperInterface": ("mapper",),
    "SparkReducerInterface": ("reducer",),
    "SagemakerVectorsInterface": ("extractDocumentElementsForVectorization", "constructVectorDoc"),
}
"""By these methods a class is known that was written for the original; ``compat/adapters.py`` makes it one of ours."""


def load_handler(reference: str, *, folder: Path, interface: type[T], parameters: Mapping[str, Any]) -> T:
    """Find a class and construct it as ``Class(**parameters)``. That is the one rule for parameters.

    Works the same in a spawned process: nothing but the arguments is needed.

    Args:
        reference: ``module.Class``; the module may be dotted.
        folder: Where the dataset file is.
        interface: The class from ``datalake_interfaces`` that it has to implement.
        parameters: The ``parameters`` of the dataset file.

    Raises:
        HandlerLoadError: One line that says what to change.
    """
    found = load_class(reference, folder=folder, interface=interface)
    _check_parameters(found, reference, parameters)
    try:
        return found(**parameters)
    except (Exception, SystemExit) as error:
        raise HandlerLoadError(f"{reference}: the constructor raised {told(error, folder.resolve())}") from error


def load_together(wanted: Sequence[tuple[str, type[Any]]], *, folder: Path, parameters: Mapping[str, Any]) -> list[Any]:
    """Find classes that share the parameters of the dataset file: each is constructed with those that it names.

    Args:
        wanted: References, each with the interface that it has to implement; one may occur several times.
        folder: Where the dataset file is.
        parameters: Its ``parameters``; one that none of the classes names is an error.

    Raises:
        HandlerLoadError: One line that says what to change.
    """
    classes = [
        (reference, load_class(reference, folder=folder, interface=interface)) for reference, interface in wanted
    ]
    shares = [_named(found, parameters) for _, found in classes]
    unknown = sorted(set(parameters).difference(*shares))
    if unknown:
        named = ", ".join(dict.fromkeys(reference for reference, _ in classes))
        raise HandlerLoadError(f"no constructor of {named} takes the parameter {unknown[0]!r}")
    return [
        load_handler(reference, folder=folder, interface=interface, parameters=share)
        for (reference, interface), share in zip(wanted, shares, strict=True)
    ]


def _named(found: type, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that a constructor names, or all of them if it takes any."""
    try:
        taken = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):  # as in _check_parameters
        return dict(parameters)
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in taken):
        return dict(parameters)
    names = {parameter.name for parameter in taken}
    return {name: value for name, value in parameters.items() if name in names}


def load_class(reference: str, *, folder: Path, interface: type[T]) -> type[T]:
    """Find a class without constructing it. See ``load_handler``."""
    module_name, _, class_name = reference.rpartition(".")
    if not all(part.isidentifier() for part in [*module_name.split("."), class_name]):
        msg = f"{reference!r} does not name a class: write module.Class, for instance handler.LogParser"
        raise HandlerLoadError(msg)
    module = _import(module_name, reference, folder)
    found = getattr(module, class_name, None)
    if found is None:
        raise HandlerLoadError(_no_such_class(module, class_name, reference, interface))
    if _is_of_the_original(found, interface):
        return _adapted(found, reference, interface)
    problem = _interface_problem(found, interface)
    if problem is not None:
        raise HandlerLoadError(f"{reference} {problem}")
    return found  # type: ignore[no-any-return]  # it was just checked


def _is_of_the_original(found: object, interface: type) -> bool:
    """Whether a class was written for the framework that the interfaces are modelled on: its methods are camelCase."""
    if not inspect.isclass(found) or issubclass(found, interface):
        return False
    return any(hasattr(found, method) for method in _ORIGINAL_METHODS.get(interface.__name__, ()))


def _adapted(found: type, reference: str, interface: type[T]) -> type[T]:
    from datalake_interfaces.compat.adapters import adapted, why_not  # costs nothing where no such handler is used

    problem = why_not(found, interface)
    if problem is not None:
        raise HandlerLoadError(f"{reference} {problem}")
    return adapted(found, interface)  # type: ignore[arg-type]  # an abstract class is as hashable as any


def _import(name: str, reference: str, folder: Path) -> ModuleType:
    private = find_module(name, folder)
    target = private or name
    try:
        return importlib.import_module(target)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{target}.".startswith(f"{error.name}."):  # not an import inside the module
            msg = (
                f"{reference}: there is no module {name!r}: neither {name.replace('.', '/')}.py "
                f"in {folder} nor an installed one"
            )
            raise HandlerLoadError(msg) from None
        raise HandlerLoadError(f"{reference}: importing {name} failed: {told(error, folder.resolve())}") from error
    except (Exception, SystemExit) as error:
        raise HandlerLoadError(f"{reference}: importing {name} failed: {told(error, folder.resolve())}") from error


def _no_such_class(module: ModuleType, name: str, reference: str, interface: type) -> str:
    classes = [
        key for key, value in vars(module).items() if inspect.isclass(value) and value.__module__ == module.__name__
    ]
    nearest = difflib.get_close_matches(name, classes, n=1)
    if nearest:
        hint = f"did you mean {nearest[0]}?"
    elif classes:
        hint = f"it has {', '.join(sorted(classes))}"
    else:
        hint = f"write: class {name}({interface.__name__})"
    return f"{reference}: {_file(module)} has no {name}; {hint}"


def _file(module: ModuleType) -> str:
    return Path(module.__file__).name if module.__file__ else module.__name__


def _interface_problem(found: object, interface: type) -> str | None:
    """What keeps ``found`` from being used as an ``interface``, as the rest of a sentence."""
    wanted = f"{interface.__name__} is needed"
    if not inspect.isclass(found):
        return f"is {_a(type(found).__name__)}, and a class that implements {interface.__name__} is needed"
    if not issubclass(found, interface):
        other = [base.__name__ for base in found.__mro__[1:] if base.__module__.split(".")[0] == "datalake_interfaces"]
        missing = [name for name in sorted(getattr(interface, "__abstractmethods__", ())) if not hasattr(found, name)]
        is_a = f"is {_a(other[0])}, but {_a(wanted)}" if other else f"is no {interface.__name__}"
        lacks = f", with {', '.join(missing)}" if missing else ""
        return f"{is_a}: write class {found.__name__}({interface.__name__}){lacks}"
    if inspect.isabstract(found):
        lacking = sorted(getattr(found, "__abstractmethods__", ()))
        return f"lacks {', '.join(lacking)}, which {_a(interface.__name__)} has to have"
    return None


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0].lower() in "aeiou" else f"a {noun}"


def _check_parameters(found: type, reference: str, parameters: Mapping[str, Any]) -> None:
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # classes of extension modules may have none: the call itself will tell
        return
    try:
        signature.bind(**parameters)
    except TypeError as error:
        taken = [str(parameter) for parameter in signature.parameters.values()]
        takes = f"takes ({', '.join(taken)})" if taken else "takes none"
        msg = f"{reference}: the dataset file's parameters do not fit the constructor: {error}; it {takes}"
        raise HandlerLoadError(msg) from None
