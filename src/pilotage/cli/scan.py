"""Scan a project or an image with every scanner that fits, and gate it."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pilotage import config, shelf
from pilotage.cli import terminal
from pilotage.cli.door import open_door
from pilotage.domain.call import Outcome, Report, silent
from pilotage.domain.errors import BadInput
from pilotage.domain.finding import ScanType
from pilotage.domain.text import visible
from pilotage.domain.verdict import Ruling
from pilotage.scan.report import Format
from pilotage.tool.roots import roots

_WITH_OUTPUT = ["json", "sarif", "html"]


def register(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("path", metavar="PATH", nargs="?", type=Path, help="the project's folder (default: none "
        "with --image, else the working folder)")  # fmt: skip
    add("--image", metavar="IMAGE", help="a docker-archive, an OCI layout folder or an OCI archive")
    add("--profile", default="default", help="what to look at: default, strict, minimal")
    kinds = [kind.value for kind in ScanType]
    add("--type", action="append", default=[], choices=kinds, help="look at this only; repeatable")
    add("--scanner", action="append", default=[], metavar="NAME", help="use this one; repeatable")
    add("--config", type=Path, metavar="FILE", help="rules, such as security_scan_configs.yaml")
    add("--format", action="append", default=[], metavar="NAME",
        help="terminal, json, sarif, html; repeatable (default: terminal, and with --output also "
        "json, sarif and html)")  # fmt: skip
    add("--output", type=Path, metavar="DIR|FILE", help="where reports go; a FILE takes one format")
    add("--quiet", action="store_true", help="no progress")


def run(arguments: argparse.Namespace) -> int:
    settings = config.read(file=arguments.settings)
    formats = _formats(arguments)
    files = _files(formats, arguments.output)

    async def call(report: Report) -> dict[str, Any]:
        async with open_door(settings, roots(*_folders(arguments))) as door:
            return await door.call("security_scanner", _request(arguments, formats), report)

    with nullcontext(silent) if arguments.quiet else terminal.progress() as report:
        answer = asyncio.run(call(report))
    _deliver(answer, formats, files)
    return _exit(answer)


def _request(arguments: argparse.Namespace, formats: list[str]) -> dict[str, Any]:
    """The tool's arguments: paths absolute, so that a server on this machine finds them too."""
    request: dict[str, Any] = {"profile": arguments.profile, "formats": formats}
    if _source(arguments) is not None:
        request["source_path"] = str(_source(arguments))
    if arguments.image:
        image = Path(arguments.image).expanduser()
        request["image"] = str(image.resolve()) if image.exists() else arguments.image
    if arguments.config:
        request["config"] = str(arguments.config.expanduser().resolve())
    return request | {"types": arguments.type, "scanners": arguments.scanner, "limit": 0}


def _source(arguments: argparse.Namespace) -> Path | None:
    if arguments.path is None and arguments.image:
        return None
    source: Path = (arguments.path or Path()).expanduser().resolve()
    return source


def _folders(arguments: argparse.Namespace) -> list[Path]:
    """What the tool may see: exactly what the command line names."""
    named = [_source(arguments), arguments.config]
    if arguments.image and Path(arguments.image).expanduser().exists():
        named.append(Path(arguments.image))
    return [path.expanduser().resolve() for path in named if path is not None]


def _formats(arguments: argparse.Namespace) -> list[str]:
    if arguments.format:
        return list(dict.fromkeys(arguments.format))
    return ["terminal", *_WITH_OUTPUT] if arguments.output else ["terminal"]


def _files(formats: list[str], output: Path | None) -> Mapping[str, Path]:
    """Where each format goes; none for what is printed."""
    if output is None:
        return {}
    known = shelf.parts("pilotage.formats", Format)
    unknown = [name for name in formats if name not in known]
    if unknown:
        raise BadInput(f"there is no format {unknown[0]!r}", "one of " + ", ".join(known))
    names = [name for name in formats if known[name].file]
    if not names:
        raise BadInput("the terminal report goes into no file", "pilotage scan ... > FILE")
    if output.suffix and not output.is_dir():
        if len(names) != 1:
            raise BadInput(f"{output} is one file, for {len(names)} formats", "name a folder")
        return _writable({names[0]: output})
    return _writable({name: output / known[name].file for name in names})


def _writable(files: dict[str, Path]) -> dict[str, Path]:
    """Asked before the scan, so that its reports are not lost after it."""
    for path in files.values():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(
                f"no folder {path.parent}: {error.strerror}", "another --output"
            ) from None
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise BadInput(f"{path} cannot be written", "another --output")
    return files


def _deliver(answer: Mapping[str, Any], formats: list[str], files: Mapping[str, Path]) -> None:
    rendered = answer.get("rendered", {})
    for name in formats:
        if name not in rendered:
            continue
        if name in files:
            files[name].write_text(rendered[name], "utf-8")
        elif name == "terminal":
            terminal.show(rendered[name])
        else:
            print(rendered[name].rstrip("\n"))
    for name, path in files.items():
        if name in rendered:
            print(f"{name}: {path}", file=sys.stderr)
    if "verdict" not in answer:
        print(f"error: {visible(str(answer.get('error', 'no answer')))}", file=sys.stderr)
        if answer.get("hint"):
            print(f"hint:  {visible(str(answer['hint']))}", file=sys.stderr)


def _exit(answer: Mapping[str, Any]) -> int:
    """The verdict's exit code. Without a verdict nothing was scanned: never 0."""
    if "verdict" in answer:
        return Ruling(answer["verdict"]).exit
    if answer.get("outcome") in (Outcome.UNAVAILABLE, Outcome.TIMED_OUT, Outcome.CANCELLED):
        return 3
    return 4 if str(answer.get("error", "")).startswith("security_scanner broke") else 2
