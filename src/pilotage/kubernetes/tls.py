"""TLS to a cluster: how the server proves itself, and the certificate that we show."""

from __future__ import annotations

import contextlib
import os
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from pilotage.domain.errors import BadInput


@dataclass(frozen=True, slots=True)
class Certificate:
    """A client certificate and its key, both PEM."""

    chain: bytes = field(repr=False)
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Trust:
    """How the server proves itself: by `authority` (PEM; None: the machine's authorities) under
    `server_name` (None: its host). `insecure` asks for no proof, as the kubeconfig says."""

    authority: bytes | None = field(default=None, repr=False)
    server_name: str | None = None
    insecure: bool = False

    def context(self, certificate: Certificate | None) -> ssl.SSLContext:
        """For TLS to the server."""
        try:
            data = self.authority.decode("ascii") if self.authority is not None else None
            context = ssl.create_default_context(cadata=data)
        except (ssl.SSLError, UnicodeDecodeError, ValueError) as error:
            why = f"the certificate authority of the cluster cannot be read: {error}"
            raise BadInput(why, "it is PEM, base64 in a kubeconfig") from None
        # Newer Pythons refuse authorities without a key identifier, which many clusters have.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if self.insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if certificate is not None:
            present(context, certificate)
        return context


def present(context: ssl.SSLContext, certificate: Certificate) -> None:
    """From now on, new connections of `context` show `certificate`. The key touches a file that
    only we can read for as long as this takes: the ssl module reads nothing else."""
    handle, name = tempfile.mkstemp(prefix="pilotage-")  # 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(certificate.chain.rstrip() + b"\n" + certificate.key)
        context.load_cert_chain(name)
    except (ssl.SSLError, OSError) as error:
        why = f"the client certificate cannot be used: {error}"
        raise BadInput(why, "certificate and key are PEM and belong together") from None
    finally:
        with contextlib.suppress(OSError):
            Path(name).unlink()
