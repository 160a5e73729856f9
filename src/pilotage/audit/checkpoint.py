"""Signed checkpoints: "the chain had this hash at this row". Key and checkpoint lie beside the
database, not in it, so that who can edit the one file cannot cut its tail unseen."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pilotage.domain.errors import Unavailable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

BEFORE_ALL = "00" * 32


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Row `seq` had `hash` (hex) at `at` (Unix seconds). Row -1, hash 0: no row yet."""

    seq: int
    hash: str
    at: int


class Checkpoints:
    """`folder` holds audit.key (ed25519, mode 0600), audit.pub and audit.checkpoint.

    It is made whole or not at all, before the first row is written. So where there are rows, a
    folder or a file that is missing was taken away.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self) -> None:
        """Make the folder with a new key and a checkpoint of nothing, unless it is there."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        if self._folder.exists():
            return
        self._folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = Path(tempfile.mkdtemp(prefix="audit-", dir=self._folder.parent))
        key = Ed25519PrivateKey.generate()
        _write(new / "audit.pub", key.public_key().public_bytes_raw())
        _write(new / "audit.key", key.private_bytes_raw())
        _write(new / "audit.checkpoint", _signed(key, Checkpoint(-1, BEFORE_ALL, _now())))
        try:
            new.rename(self._folder)
        except OSError:  # another process was first
            shutil.rmtree(new)

    def sign(self, seq: int, digest: str) -> None:
        """Replace the checkpoint unless another process has signed a later row already."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        with self._locked():
            if self.last().seq >= seq:
                return
            try:
                key = Ed25519PrivateKey.from_private_bytes(
                    (self._folder / "audit.key").read_bytes()
                )
            except (OSError, ValueError) as error:
                raise Unavailable(f"the audit key cannot be read: {error}") from None
            temporary = self._folder / "audit.checkpoint.new"
            _write(temporary, _signed(key, Checkpoint(seq, digest, _now())))
            os.replace(temporary, self._folder / "audit.checkpoint")

    def last(self) -> Checkpoint:
        """The newest checkpoint, with its signature checked."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            raw, signature = (self._folder / "audit.checkpoint").read_bytes().splitlines()
            public = Ed25519PublicKey.from_public_bytes((self._folder / "audit.pub").read_bytes())
            public.verify(bytes.fromhex(signature.decode()), raw)
            return msgspec.json.decode(raw, type=Checkpoint)
        except FileNotFoundError as error:
            raise Unavailable(
                f"the audit checkpoint is gone: no {error.filename}", "restore it from a backup"
            ) from None
        except (OSError, ValueError, msgspec.MsgspecError, InvalidSignature) as error:
            raise Unavailable(
                f"the signature of the audit checkpoint does not hold: {error or 'forged'}"
            ) from None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            lock = os.open(self._folder / "audit.lock", os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise Unavailable(f"the audit folder cannot be written: {error}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _now() -> int:
    return int(time.time())


def _signed(key: Ed25519PrivateKey, point: Checkpoint) -> bytes:
    """The checkpoint as a line of JSON, then its signature as a line of hex."""
    raw = msgspec.json.encode(point)
    return raw + b"\n" + key.sign(raw).hex().encode() + b"\n"


def _write(path: Path, content: bytes) -> None:
    """On disk when this returns, readable by the owner alone."""
    descriptor = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
