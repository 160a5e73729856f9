"""What goes wrong while a cluster is made: what it is, and the mend."""

from __future__ import annotations

from pathlib import Path


class ClusterError(Exception):
    """`what` names the thing that is wrong, `hint` the mend or the end of a log."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(f"{what}\n{hint}" if hint else what)
        self.what = what
        self.hint = hint


class PartMissing(ClusterError):
    """This machine lacks a part (Go, root, a package): a test skips, except in CI."""


def tail(log: Path, lines: int = 15) -> str:
    """The end of a log, for an error's hint."""
    try:
        text = log.read_text("utf-8", "replace")
    except FileNotFoundError:
        return f"{log} was never written"
    last = text.splitlines()[-lines:]
    return "\n".join([f"the end of {log}:", *(f"  {line[:400]}" for line in last)])
