"""How we prove who we are: nothing, a token, a token file, a password, a certificate, a plugin."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec

from pilotage.domain.errors import BadInput, Unavailable
from pilotage.kubernetes.tls import Certificate
from pilotage.process.run import Limits, Program, run

REREAD_SECONDS = 60.0
"""The kubelet renews a pod's token long before it expires; client-go reads it as often."""
PLUGIN_SECONDS = 60.0
EARLY_SECONDS = 60.0
"""A plugin's credential is renewed this long before it expires."""
VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_OURS = ("PILOTAGE_", "MCP_")
"""Variables that hold our own settings and keys: no plugin sees them."""


class Credential(Protocol):
    """`certificate` is shown by new connections."""

    certificate: Certificate | None

    async def header(self) -> str | None:
        """The Authorization header of the next request."""
        ...

    def refused(self) -> bool:
        """The server said 401. May another one be had, so that asking again makes sense?"""
        ...


@dataclass(slots=True)
class Fixed:
    """What does not change: a bearer token, a password (`basic`), a certificate, or nothing."""

    authorization: str | None = field(default=None, repr=False)
    certificate: Certificate | None = None

    async def header(self) -> str | None:
        return self.authorization

    def refused(self) -> bool:
        return False


def bearer(token: str) -> str:
    """A token as a header. A line break in it would be a second header."""
    text = token.strip()
    if not text.isascii() or any(sign.isspace() for sign in text):
        raise BadInput("the token of the cluster holds spaces or line breaks", "write it as it is")
    return f"Bearer {text}"


def basic(user: str, password: str) -> str:
    """A user and a password as a header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


class TokenFile:
    """A token that somebody renews in a file."""

    def __init__(
        self,
        file: Path,
        certificate: Certificate | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.certificate = certificate
        self._file, self._clock = file, clock
        self._header, self._read = "", float("-inf")

    async def header(self) -> str | None:
        if self._clock() - self._read >= REREAD_SECONDS:
            try:
                self._header = bearer(self._file.read_text(encoding="ascii"))
            except (OSError, UnicodeDecodeError) as error:
                if not self._header:  # what was read before may serve a little longer
                    why = f"the token file {self._file} cannot be read: {error}"
                    raise BadInput(why, "is the service account's token mounted?") from None
            self._read = self._clock()
        return self._header

    def refused(self) -> bool:
        stale, self._read = self._header, float("-inf")
        try:
            return bearer(self._file.read_text(encoding="ascii")) != stale
        except (OSError, UnicodeDecodeError, BadInput):
            return False


class Plugin:
    """A program that prints a credential (`exec` in a kubeconfig), run as rarely as it allows.

    It sees our environment without our own settings, no terminal, and has a minute.
    """

    def __init__(
        self,
        given: Mapping[str, Any],
        info: Mapping[str, Any],
        certificate: Certificate | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.certificate = certificate
        self._given, self._info, self._clock = given, info, clock
        self._command, self._version = str(given.get("command")), str(given.get("apiVersion"))
        self._header: str | None = None
        self._until = float("-inf")
        self._running = asyncio.Lock()
        if self._version not in VERSIONS:
            why = f"the kubeconfig's exec says apiVersion {self._version}"
            raise BadInput(why, f"it may be {' or '.join(VERSIONS)}")

    async def header(self) -> str | None:
        async with self._running:
            if self._clock() >= self._until:
                self._take(await self._print())
            return self._header

    def refused(self) -> bool:
        known, self._until = self._until > float("-inf"), float("-inf")
        return known

    async def _print(self) -> dict[str, Any]:
        more = self._given.get("env") or ()
        spec = {"interactive": False, **self._info}
        asked = {"apiVersion": self._version, "kind": "ExecCredential", "spec": spec}
        told = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        told |= {str(one["name"]): str(one["value"]) for one in more}
        told["KUBERNETES_EXEC_INFO"] = msgspec.json.encode(asked).decode()
        argv = (self._command, *(str(one) for one in self._given.get("args") or ()))
        limits = Limits(seconds=PLUGIN_SECONDS, output=1 << 20)
        ended = await run(Program(argv, environment=told, limits=limits))
        if ended.missing:
            hint = str(self._given.get("installHint") or "install it, or name its whole path")
            raise Unavailable(f"the credential plugin {ended.missing}", hint)
        if ended.killed or ended.exit != 0:
            how = ended.killed or f"exit code {ended.exit}"
            said = ended.stderr[-500:].decode("utf-8", "replace").strip()
            raise Unavailable(
                f"the credential plugin {self._command}: {how}: {said}", "log in anew"
            )
        return self._status(ended.stdout)

    def _status(self, printed: bytes) -> dict[str, Any]:
        try:
            told = msgspec.json.decode(printed)
            status = told["status"]
            if told["kind"] != "ExecCredential" or told["apiVersion"] != self._version:
                raise KeyError("kind")
            if not ("token" in status or {"clientCertificateData", "clientKeyData"} <= {*status}):
                raise KeyError("token")
        except (msgspec.DecodeError, KeyError, TypeError):
            why = f"the credential plugin {self._command} prints no ExecCredential {self._version}"
            raise Unavailable(why, "run it by hand and look") from None
        return dict(status)

    def _take(self, status: Mapping[str, Any]) -> None:
        self._header = bearer(status["token"]) if status.get("token") else None
        if "clientCertificateData" in status:
            chain, key = status["clientCertificateData"], status["clientKeyData"]
            self.certificate = Certificate(chain.encode(), key.encode())
        expires = status.get("expirationTimestamp")
        self._until = float("inf")
        if expires:
            left = datetime.fromisoformat(str(expires)).timestamp() - self._clock()
            self._until = self._clock() + max(left - EARLY_SECONDS, left / 2)
