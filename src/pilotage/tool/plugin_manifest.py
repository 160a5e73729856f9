"""What a publisher says of a plugin: `pilotage-plugin.json`, and beside it its ed25519 signature.

    {"name": "a-plugin", "version": "1.0", "files": {"a_plugin/__init__.py": "SHA-256 in hex", ...}}

It names every file but itself, its signature (`pilotage-plugin.sig`, base64 of 64 bytes, over the
bytes of the manifest) and what installers write (*.dist-info). A key is base64 of its 32 bytes.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution
from pathlib import Path, PurePosixPath

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from pilotage.domain.errors import BadInput, Denied

MANIFEST, SIGNATURE = "pilotage-plugin.json", "pilotage-plugin.sig"


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See above."""

    name: str
    version: str
    files: dict[str, str]


def signer(one: Distribution, name: str, files: Mapping[str, str], keys: Iterable[str]) -> str:
    """Which of the keys has signed exactly these files; "" where it has no manifest, or there is
    no key to check it by. Raises Denied where no key fits, or the files are others."""
    keys = list(keys)
    found = [path for path in files if PurePosixPath(path).name == MANIFEST]
    if not found or not keys:
        return ""
    if len(found) > 1:
        raise Denied(f"{name} has {len(found)} manifests", "a plugin has one")
    manifest = Path(str(one.locate_file(found[0])))
    signature = manifest.with_name(SIGNATURE)
    text = manifest.read_bytes()
    signed = _base64(signature.read_text("ascii", "replace")) if signature.is_file() else b""
    key = next((key for key in keys if _holds(key, signed, text)), "")
    if not key:
        raise Denied(
            f"the signature of {name} is of no publisher that is trusted",
            "trusted_publishers, or pilotage plugins trust --publisher KEY",
        )
    try:
        said = msgspec.json.decode(text, type=Manifest)
    except msgspec.MsgspecError as error:
        raise Denied(f"{MANIFEST} of {name}: {error}", "ask who published it") from None
    own = str(PurePosixPath(found[0]).with_name(SIGNATURE))
    there = {
        path: digest
        for path, digest in files.items()
        if path not in (found[0], own) and not PurePosixPath(path).parts[0].endswith(".dist-info")
    }
    wrong = sorted(path for path, _ in there.items() ^ said.files.items())
    if (said.name, said.version) != (name, one.version):
        wrong = [f"{said.name} {said.version}", *wrong]
    if wrong:
        what = f"{name} is not what its publisher signed: {wrong[0]}"
        raise Denied(what, "install it anew, from where it was published")
    return key


def _holds(key: str, signature: bytes, text: bytes) -> bool:
    raw = _base64(key)
    if len(raw) != 32:
        raise BadInput(f"{key[:60]!r} is no key of a publisher", "base64 of 32 bytes (ed25519)")
    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, text)
    except InvalidSignature:
        return False
    return True


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""
