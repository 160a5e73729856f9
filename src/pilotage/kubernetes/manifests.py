"""Manifests as people write them: a YAML file of one or several documents, or a folder of such
files (as `kubectl apply -f`: not the folders in it); and the images that they name."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml

from pilotage.domain.errors import BadInput
from pilotage.domain.pattern import pattern
from pilotage.domain.text import counted
from pilotage.kubernetes.difference import OURS
from pilotage.kubernetes.kind import Object

BYTES = 4 << 20
VALUES, DEPTH = 200_000, 100
"""Values in one file, aliases and merges followed: a file of a kilobyte may hold a billion. And how
deep they lie in each other."""
FILES_AT_MOST = 1_000
FILES = (".yaml", ".yml", ".json")
_DIGEST = r"sha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128})"
_VERSION = pattern(rf"\w[\w.-]{{0,127}}(?:@{_DIGEST})?|{_DIGEST}", re.ASCII)
"""A tag, a digest, or a tag with a digest: nothing that would make it another image."""
_TIME = "tag:yaml.org,2002:timestamp"
_SAFE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_SAFE):  # type: ignore[misc]
    """Times stay text, as the API has them; a key that stands twice is an error."""

    pairs = 0
    """In all mappings so far; one that is merged counts wherever it is."""
    yaml_implicit_resolvers: ClassVar = {
        first: [one for one in tags if one[0] != _TIME]
        for first, tags in _SAFE.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = Counter(key.value for key, _ in node.value if isinstance(key.value, str))
        if twice := [name for name, count in names.items() if count > 1 and name != "<<"]:
            raise BadInput(f"line {_line(node)}: {', '.join(twice)[:200]} stands twice")
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: Any) -> None:
        """Merge what its "<<" name, which may have merged others."""
        super().flatten_mapping(node)
        self.pairs += len(node.value)
        if self.pairs > 2 * VALUES:
            raise BadInput(f"line {_line(node)}: more than {VALUES} values, merges followed")


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1


def read(path: Path, inside: Callable[[Path], Path]) -> list[Object]:
    """The objects in a file or a folder, Lists taken apart, in the order of the files. `inside`
    raises for a file that may not be read: a link may lead anywhere."""
    files = [path]
    if path.is_dir():
        files = sorted(one for one in path.iterdir() if one.suffix in FILES)
    if len(files) > FILES_AT_MOST:
        raise BadInput(f"{path.name} holds {len(files)} files", f"at most {FILES_AT_MOST}")
    found: list[Object] = []
    for file in files:
        found += documents(_content(inside(file)), file.name)
    if not found:
        raise BadInput(f"{path.name} holds no manifest", f"files: {', '.join(FILES)}")
    _check_twice(found)
    return found


def documents(text: bytes, name: str) -> list[Object]:
    """The objects of one file; BadInput says what is wrong with it and where."""
    try:
        loaded = list(yaml.load_all(text.decode("utf-8-sig"), _Loader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadInput(f"{name} is not YAML: {error}") from None
    except BadInput as error:
        raise BadInput(f"{name}: {error.what}") from None
    found: list[Object] = []
    for number, one in enumerate(loaded, 1):
        if one is None:
            continue
        where = f"{name}, document {number}"
        _check_plain(one, where)
        parts = one.get("items") if isinstance(one, dict) and one.get("kind") == "List" else [one]
        if not isinstance(parts, list | None):
            raise BadInput(f"{where}: the items of a List are no list")
        found += [_checked(part, where) for part in parts or ()]
    return found


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            content = opened.read(BYTES + 1)
    except OSError as error:
        raise BadInput(f"{file.name} cannot be read: {error.strerror}", "manifest_path") from None
    if len(content) > BYTES:
        raise BadInput(f"{file.name} is larger than {BYTES >> 20} MiB")
    return content


def _check_plain(value: Any, where: str) -> None:
    """JSON and nothing else, and not too much of it."""
    left, count = [(value, 0)], 0
    while left:
        one, depth = left.pop()
        count += 1
        if count > VALUES:
            raise BadInput(f"{where} grows to more than {VALUES} values", "aliases within aliases?")
        if depth > DEPTH:
            raise BadInput(f"{where} is nested deeper than {DEPTH}")
        if isinstance(one, dict):
            if bad := [key for key in one if not isinstance(key, str)]:
                raise BadInput(f"{where}: the key {bad[0]!r} is no text", "write it in quotes")
            left += [(each, depth + 1) for each in one.values()]
        elif isinstance(one, list):
            left += [(each, depth + 1) for each in one]
        elif not (one is None or isinstance(one, str | bool | int | float)):
            raise BadInput(f"{where}: {str(one)[:80]!r} is no JSON value")


def _checked(given: Any, where: str) -> Object:
    if not isinstance(given, dict):
        raise BadInput(f"{where} is no object", "apiVersion, kind, metadata, ...")
    meta = given.get("metadata")
    notes = meta.get("annotations") if isinstance(meta, dict) else None
    if notes is not None and not isinstance(notes, dict):
        raise BadInput(f"{where}: metadata.annotations is no mapping")
    for what in ("apiVersion", "kind"):
        if not isinstance(given.get(what), str) or not given[what]:
            raise BadInput(f"{where} has no {what}")
    if not isinstance(meta, dict) or not isinstance(meta.get("name"), str) or not meta["name"]:
        raise BadInput(f"{where}: a {given['kind']} without metadata.name")
    return given


_DELETING = (
    "ownerReferences",
    "finalizers",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)
"""By an owner that is not there the cluster's garbage collector deletes an object: who may write it
may not do that."""


def check_head(meta: Mapping[str, Any], label: str) -> None:
    """BadInput for metadata that nobody may write through a tool: what deletes an object, and what
    is kept there for ourselves."""
    for word in _DELETING:
        if word in meta:
            what = f"{label}: metadata.{word} is not for tools: the cluster may delete by it"
            raise BadInput(what, "leave it out")
    for part in ("annotations", "labels"):
        given = meta.get(part)
        if given is not None and not isinstance(given, dict):
            raise BadInput(f"{label}: metadata.{part} is no mapping")
        if ours := [key for key in given or () if str(key).startswith(OURS)]:
            what = f"{label} has {ours[0]} in metadata.{part}"
            raise BadInput(what, f"{OURS} is for Pilotage alone: leave it out")


def _check_twice(found: Sequence[Object]) -> None:
    seen: set[tuple[str, ...]] = set()
    for one in found:
        meta = one["metadata"]
        key = (one["apiVersion"], one["kind"], str(meta.get("namespace") or ""), meta["name"])
        if key in seen:
            raise BadInput(f"{one['kind']} {meta['name']} stands twice in the manifest")
        seen.add(key)


@dataclass(frozen=True, slots=True)
class Image:
    """registry:5000/shop/web:1@sha256:... in its parts."""

    name: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def read(cls, text: str) -> Image:
        rest, _, digest = text.partition("@")
        name, colon, tag = rest.rpartition(":")
        if not colon or "/" in tag:  # the colon of a registry's port
            name, tag = rest, ""
        return cls(name, tag, digest)

    def at(self, version: str) -> str:
        """This image at a tag (1.2), a digest (sha256:...), or both (1.2@sha256:...)."""
        if version.startswith(("sha256:", "sha512:")):
            return f"{self.name}@{version}"
        return f"{self.name}:{version}"


def pod_spec(object: Object) -> dict[str, Any]:
    """Where its containers are: of a Pod, a workload or a CronJob; {}: it has none."""
    spec = object.get("spec")
    for step in ("jobTemplate", "spec", "template", "spec"):
        if isinstance(spec, dict) and isinstance(spec.get(step), dict):
            spec = spec[step]
    found: dict[str, Any] = spec if isinstance(spec, dict) and "containers" in spec else {}
    return found


def containers(object: Object) -> Iterator[dict[str, Any]]:
    """Those that begin a pod, then the others."""
    spec = pod_spec(object)
    for part in ("initContainers", "containers"):
        given = spec.get(part)
        for one in given if isinstance(given, list) else ():
            if isinstance(one, dict) and isinstance(one.get("image"), str):
                yield one


def with_images(objects: Sequence[Object], tag: str, images: Mapping[str, str]) -> list[Object]:
    """The objects at these versions. `images` says the version of an image by its name (or of a
    container by its); `tag` that of the images that the manifest leaves without one, or of its
    only image. A name that no manifest has is BadInput: nothing would change, and look deployed."""
    for version in (tag, *images.values()):
        if version and not _VERSION.fullmatch(version):
            raise BadInput(f"{version[:200]!r} is no version of an image", "1.2, or sha256:...")
    made = copy.deepcopy(list(objects))
    here = [one for each in made for one in containers(each)]
    names = sorted({Image.read(one["image"]).name for one in here})
    there = f"there are: {', '.join(names) or 'none'}"
    left = set(images)
    for one in here:
        image = Image.read(one["image"])
        for key in (one.get("name"), image.name):
            if key in images:
                one["image"] = image.at(images[str(key)])
                left.discard(str(key))
    if left:
        raise BadInput(f"images: the manifest has no image {', '.join(sorted(left))}", there)
    if tag:
        untold = [one for one in here if _names(one).isdisjoint(images)]
        _tag(untold, tag, there)
    return made


def _names(container: Mapping[str, Any]) -> set[str]:
    return {str(container.get("name")), Image.read(container["image"]).name}


def _tag(here: Sequence[dict[str, Any]], tag: str, there: str) -> None:
    bare = [one for one in here if one["image"] == Image.read(one["image"]).name]
    names = {Image.read(one["image"]).name for one in here}
    if not bare and len(names) != 1:
        what = f"image_tag is of which image? the manifest has {counted(len(names), 'image')}"
        raise BadInput(what, f"leave it without a tag there, or use images; {there}")
    for one in bare or here:
        one["image"] = Image.read(one["image"]).at(tag)
