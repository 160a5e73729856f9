"""One program of the cluster: started with its log in a file, ended with whoever started it."""

from __future__ import annotations

import contextlib
import http.client
import random
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cluster.error import ClusterError, tail

READY_WITHIN = 120.0
"""Seconds a program has to become ready: the slowest machine's, not the usual (about one)."""
STOP_WITHIN = 20.0
"""Seconds a program has to end by itself before it is killed."""


class Program:
    """A child process that can be stopped, frozen and started again with the same arguments.

    `setpriv --pdeathsig` ties its life to its starter's: no crash leaves it behind.
    """

    def __init__(
        self, argv: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.argv = ["setpriv", "--pdeathsig", "KILL", "--", *map(str, argv)]
        self.name = log.stem
        self.log = log
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Of the running process; None when it is stopped."""
        return self._process.pid if self._process else None

    @property
    def ended(self) -> bool:
        """Whether it runs no more, by itself or stopped."""
        return self._process is None or self._process.poll() is not None

    def start(self) -> None:
        """Start it; what it says is added to its log."""
        if self._process is not None:
            raise ClusterError(f"{self.name} runs already")
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=None if self._env is None else dict(self._env),
                start_new_session=True,  # a person's Ctrl-C is for the starter, who stops in order
            )

    def wait_until(self, ready: Callable[[], bool], what: str = "ready") -> None:
        """Return when `ready` says so; if it dies or dawdles, an error with the end of its log."""
        until = time.monotonic() + READY_WITHIN
        while not ready():
            code = self._process.poll() if self._process else "stopped"
            if code is not None:
                raise ClusterError(f"{self.name} ended ({code}) before it was {what}", self._said())
            if time.monotonic() > until:
                late = f"{self.name} is not {what} after {READY_WITHIN:.0f} s"
                raise ClusterError(late, self._said())
            time.sleep(0.05)

    def stop(self, *, kill: bool = False) -> None:
        """End it, politely unless `kill`. Nothing to do if it is stopped already."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def freeze(self) -> None:
        """Stop its clock (SIGSTOP): connections stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise ClusterError(f"{self.name} is not running")
        self._process.send_signal(number)

    def _said(self) -> str:
        return tail(self.log)


def answers(url_host: str, port: int, path: str, *, tls: bool = True) -> bool:
    """Whether a GET is answered with 200. Only readiness is asked, of our own child: no CA yet."""
    connection: http.client.HTTPConnection
    if tls:
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname = False
        trusting.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(url_host, port, timeout=5, context=trusting)
    else:
        connection = http.client.HTTPConnection(url_host, port, timeout=5)
    with contextlib.closing(connection):
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False


def free_port(address: str = "127.0.0.1") -> int:
    """A port nobody listens on, below those that the system gives to outgoing connections."""
    for _ in range(1000):
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
    raise ClusterError(f"no free port on {address} between 20000 and 32000")
