"""Find the parts of a shelf: the module-level values of one type in the files of one package.

A shelf that is empty, a file on it that fails to import or holds no part, and a name that is used
twice all stop the start: a missing part must never look like a clean result.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from pilotage.domain.errors import PilotageError

if TYPE_CHECKING:
    import importlib.metadata

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


def plugins(
    group: str,
    names: Iterable[str],
    kind: type[Part],
    check: Callable[[importlib.metadata.Distribution], None],
) -> dict[str, Part]:
    """The parts of packages that are not ours, by the entry points of `group` that `names` names:
    a distribution (all of its), or one entry point. An entry point is a part, several, or a module
    that holds some. One that is not there, fails to load or repeats a name stops the start, and so
    does one that `check` raises for: it sees each distribution before anything is imported."""
    from importlib.metadata import entry_points  # here: 10 ms that most starts can save

    found: dict[str, Part] = {}
    home: dict[str, str] = {}
    installed = list(entry_points(group=group))
    for name in names:
        chosen = [one for one in installed if name in (one.name, one.dist and one.dist.name)]
        for dist in {id(one.dist): one.dist for one in chosen}.values():
            if dist is None:
                raise PilotageError(f"the plugin {name!r} is of no package", "install a wheel")
            check(dist)
        if not chosen:
            have = ", ".join(sorted({one.name for one in installed})) or "none"
            raise PilotageError(f"the plugin {name!r} is not installed", f"installed: {have}")
        for one in chosen:
            path = f"{one.value} of the plugin {one.dist.name if one.dist else one.name}"
            for part in _parts_at(one, path, kind):
                key: str = part.name  # type: ignore[attr-defined]
                if key in found and found[key] is not part:
                    raise PilotageError(f"{path} and {home[key]} both hold {key!r}")
                found[key], home[key] = part, path
    return dict(sorted(found.items()))


def _parts_at(entry: importlib.metadata.EntryPoint, path: str, kind: type[Part]) -> list[Part]:
    try:
        value = entry.load()
    except Exception as error:
        raise PilotageError(
            f"{path} cannot be loaded: {type(error).__name__}: {error}",
            "mend it, or take it out of the setting plugins",
        ) from error
    if isinstance(value, ModuleType):
        value = [one for name, one in vars(value).items() if not name.startswith("_")]
        value = [one for one in value if isinstance(one, kind)]
    parts = list(value) if isinstance(value, (list, tuple)) else [value]
    if not parts or not all(isinstance(one, kind) for one in parts):
        raise PilotageError(f"{path} holds no {kind.__name__}", "an entry point names tools")
    return parts
