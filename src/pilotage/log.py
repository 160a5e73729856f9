"""The program's log: lines of text, or JSON objects, one a line. Standard output may be a protocol,
so it goes to a file or to standard error. No line holds a secret that we know or that looks so."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pilotage.config import Settings
from pilotage.domain import trace
from pilotage.domain.text import visible

Clean = Callable[[str], str]
FIELDS = "fields"
"""Under this name, `extra` of a record holds what stands beside its message: plain JSON values."""


class Lines(logging.Formatter):
    """A record as text. Whoever wrote a part of the message cannot begin a line of its own."""

    def __init__(self, clean: Clean) -> None:
        super().__init__()
        self._clean = clean

    def format(self, record: logging.LogRecord) -> str:
        told = self.told(record)
        more = "".join(f" {key}={_word(value)}" for key, value in told.items() if key not in _HEAD)
        line = f"{told['at']} {told['level']} {told['logger']}: {visible(told['message'])}{more}"
        found = self.error(record).splitlines()
        return "\n".join((line, *(f"    {visible(one)}" for one in found)))

    def told(self, record: logging.LogRecord) -> dict[str, Any]:
        """What both forms say."""
        told: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._clean(record.getMessage()),
        }
        if request := trace.request.get():
            told["request"] = request
        for key, value in (getattr(record, FIELDS, None) or {}).items():
            told[key] = self._clean(value) if isinstance(value, str) else value
        return told

    def error(self, record: logging.LogRecord) -> str:
        """The traceback, if there is one."""
        return self._clean(self.formatException(record.exc_info)) if record.exc_info else ""


_HEAD = ("at", "level", "logger", "message")


class Objects(Lines):
    """A record as one JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        told = self.told(record)
        if found := self.error(record):
            told["error"] = found
        return json.dumps(told, ensure_ascii=True, default=str)


def _word(value: object) -> str:
    text = visible(str(value))
    return text if text and " " not in text else json.dumps(text)


class Log:
    """What `install` has begun. `clean` takes secrets out; give it as soon as it is there."""

    def __init__(self) -> None:
        self.clean: Clean = str

    def cleaned(self, text: str) -> str:
        return self.clean(text)


def install(settings: Settings) -> Log:
    """From now on, our records of the level that is set are written, and warnings of all others."""
    log = Log()
    file = settings.text("mcp.log.file")
    handler = logging.FileHandler(file) if file else logging.StreamHandler(sys.stderr)
    kind = Objects if settings.text("mcp.log.format") == "json" else Lines
    handler.setFormatter(kind(log.cleaned))
    for name in ("", "pilotage"):
        logging.getLogger(name).addHandler(handler)
    ours = logging.getLogger("pilotage")
    ours.setLevel(settings.text("mcp.log.level").upper().replace("WARN", "WARNING"))
    ours.propagate = False
    return log
