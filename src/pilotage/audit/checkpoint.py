"""Signed checkpoints: "the chain had this hash at this row". Key and checkpoint lie beside the
database, not in it, so that who can edit the one file cannot cut its tail unseen."""

from __future__ import annotations

import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pilotage.domain.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Row `seq` had `hash` (hex) at `at` (Unix seconds)."""

    seq: int
    hash: str
    at: int


class Checkpoints:
    """`folder` holds audit.key (ed25519, mode 0600), audit.pub and audit.checkpoint."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def sign(self, seq: int, digest: bytes) -> None:
        """Replace the checkpoint unless another process has signed a later row already."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(self._folder / "audit.lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = self._stored()
            if known is not None and known[0].seq >= seq:
                return
            key = Ed25519PrivateKey.from_private_bytes(self._key())
            point = msgspec.json.encode(Checkpoint(seq, digest.hex(), int(time.time())))
            text = point + b"\n" + key.sign(point).hex().encode() + b"\n"
            temporary = self._folder / "audit.checkpoint.new"
            with open(temporary, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._folder / "audit.checkpoint")

    def last(self) -> Checkpoint | None:
        """The newest checkpoint with its signature checked; None where none was ever signed."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        stored = self._stored()
        if stored is None:
            if (self._folder / "audit.key").exists():
                raise Unavailable(
                    "the audit checkpoint is gone", "restore audit.checkpoint from a backup"
                )
            return None
        point, raw, signature = stored
        try:
            public = Ed25519PublicKey.from_public_bytes((self._folder / "audit.pub").read_bytes())
            public.verify(signature, raw)
        except (OSError, ValueError, InvalidSignature) as error:
            raise Unavailable(
                f"the audit checkpoint's signature does not hold: {error or 'wrong signature'}"
            ) from None
        return point

    def _stored(self) -> tuple[Checkpoint, bytes, bytes] | None:
        try:
            raw, signature = (self._folder / "audit.checkpoint").read_bytes().splitlines()
            return msgspec.json.decode(raw, type=Checkpoint), raw, bytes.fromhex(signature.decode())
        except FileNotFoundError:
            return None
        except (ValueError, msgspec.MsgspecError) as error:
            raise Unavailable(f"the audit checkpoint cannot be read: {error}") from None

    def _key(self) -> bytes:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        path = self._folder / "audit.key"
        try:
            return path.read_bytes()
        except FileNotFoundError:
            key = Ed25519PrivateKey.generate()
            (self._folder / "audit.pub").write_bytes(key.public_key().public_bytes_raw())
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(key.private_bytes_raw())
            return key.private_bytes_raw()
