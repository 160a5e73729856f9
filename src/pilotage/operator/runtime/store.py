"""The objects of one kind, as the API server last told them.

Each lies here as JSON without managedFields: about a kilobyte where dicts take five, and whoever
reads one gets a copy of his own that he may change. Reading one takes microseconds. Of what weighs
more than HEAVY only the light parts are kept: whoever may write a few objects, of 1.5 MB each, must
not fill the memory that is for all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from pilotage.kubernetes.kind import Object, key_of

Index = Callable[[Object], Iterable[str]]
"""What an object is found by: its owners, the names of its Secrets."""

HEAVY, HEAVY_PART = 256 << 10, 16 << 10
"""In bytes of JSON: an object that is not kept whole, and parts that are left out of it then."""
LEFT_OUT = "(too large: left out)"
"""What stands in the spec in the place of such a part. Elsewhere it is not there."""
_log = logging.getLogger(__name__)
_encode, _decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(Object).decode


class Kept(msgspec.Struct, frozen=True, gc=False):
    """One object."""

    version: str
    data: bytes


class Store:
    """Objects by key, and keys by each index."""

    def __init__(self, indexes: Mapping[str, Index] | None = None) -> None:
        self._objects: dict[str, Kept] = {}
        self._indexes = dict(indexes or {})
        self._found: dict[str, dict[str, set[str]]] = {name: {} for name in self._indexes}

    def __len__(self) -> int:
        return len(self._objects)

    def __contains__(self, key: object) -> bool:
        return key in self._objects

    def index(self, name: str, by: Index) -> None:
        """One more index, over what is there as well."""
        self._indexes[name], self._found[name] = by, {}
        for key, kept in self._objects.items():
            self._enter(key, _decode(kept.data), (name,))

    def get(self, key: str) -> Object | None:
        """A copy."""
        kept = self._objects.get(key)
        return None if kept is None else _decode(kept.data)

    def version(self, key: str) -> str | None:
        """Its resourceVersion."""
        kept = self._objects.get(key)
        return None if kept is None else kept.version

    def __iter__(self) -> Iterator[str]:
        """All keys, as of now."""
        return iter(tuple(self._objects))

    def objects(self) -> Iterator[Object]:
        """Copies of all that are there, one at a time."""
        for key in self:
            if (found := self.get(key)) is not None:
                yield found

    def by(self, index: str, value: str) -> tuple[str, ...]:
        """The keys of the objects that have `value` in `index`."""
        return tuple(self._found[index].get(value, ()))

    def put(self, object: Object) -> tuple[Object | None, bool]:
        """What was there before (None: nothing), and whether this is anything new."""
        meta = object["metadata"]
        meta.pop("managedFields", None)
        key, version = key_of(object), meta["resourceVersion"]
        kept = self._objects.get(key)
        if kept is not None and kept.version == version:
            return None, False
        old = None if kept is None else _decode(kept.data)
        if old is not None:
            self._leave(key, old)
        data = _encode(object)
        if len(data) > HEAVY:
            object = _light(object)
            data = _encode(object)
        self._objects[key] = Kept(version, data)
        self._enter(key, object, self._indexes)
        return old, True

    def drop(self, key: str) -> Object | None:
        """What was there; None: nothing."""
        kept = self._objects.pop(key, None)
        if kept is None:
            return None
        old = _decode(kept.data)
        self._leave(key, old)
        return old

    def _enter(self, key: str, object: Object, names: Iterable[str]) -> None:
        for name in names:
            for value in self._values(name, object):
                self._found[name].setdefault(value, set()).add(key)

    def _leave(self, key: str, object: Object) -> None:
        for name in self._indexes:
            for value in self._values(name, object):
                keys = self._found[name].get(value, set())
                keys.discard(key)
                if not keys:
                    self._found[name].pop(value, None)

    def _values(self, name: str, object: Object) -> tuple[str, ...]:
        """One object that an index does not foresee must not end the process: it has no values."""
        try:
            return tuple(self._indexes[name](object))
        except Exception:
            _log.exception("index %s fails on %s", name, key_of(object))
            return ()


def _light(object: Object) -> Object:
    """What is left of a heavy one."""
    kept: Object = {}
    for name, part in object.items():
        if isinstance(part, dict):
            light = {key: one for key, one in part.items() if len(_encode(one)) <= HEAVY_PART}
            left = dict.fromkeys(part.keys() - light.keys(), LEFT_OUT) if name == "spec" else {}
            kept[name] = light | left
        elif len(_encode(part)) <= HEAVY_PART:
            kept[name] = part
    return kept
