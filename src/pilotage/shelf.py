"""Find the parts of a shelf: the module-level values of one type in the files of one package.

A shelf that is empty, a file on it that fails to import or holds no part, and a name that is used
twice all stop the start: a missing part must never look like a clean result.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any, TypeVar

from pilotage.domain.errors import PilotageError

Part = TypeVar("Part")


def parts(package: str, kind: type[Part]) -> dict[str, Part]:
    """Import each file of `package`, return its values of type `kind` by their `name`, sorted."""
    found: dict[str, Part] = {}
    home: dict[str, str] = {}
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if module.ispkg:
            continue
        path = f"{package}.{module.name}"
        here = _parts_in(path, kind)
        if not here:
            raise PilotageError(
                f"{path} holds no {kind.__name__}", "every file on a shelf is a part"
            )
        for part in here:
            name: str = part.name  # type: ignore[attr-defined]
            if name in found:
                raise PilotageError(f"{path} and {home[name]} both hold {kind.__name__} {name!r}")
            found[name], home[name] = part, path
    if not found:
        raise PilotageError(f"the shelf {package} is empty", "reinstall pilotage")
    return dict(sorted(found.items()))


def _parts_in(path: str, kind: type[Part]) -> list[Part]:
    try:
        module = importlib.import_module(path)
    except Exception as error:
        raise PilotageError(
            f"{path} cannot be loaded: {error}", "mend or remove that file"
        ) from error
    values: dict[str, Any] = {k: v for k, v in vars(module).items() if not k.startswith("_")}
    return [value for value in values.values() if isinstance(value, kind)]
