"""How a scanner's environment is made: uv for what comes from PyPI, npm for what comes from npm.

Installing is our own act, so the package clients get the caller's proxies, certificates and index
settings. A scanner gets none of that.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import uv

from pilotage.domain.errors import Unavailable
from pilotage.domain.text import visible
from pilotage.process.run import Limits, Program, run

SECONDS = 900.0
NODE_NEEDED = ((20, 19), (22, 12))
"""ESLint 10 wants Node ^20.19, ^22.12 or newer."""

_PASSED = re.compile(
    r"(?i)(UV_|PIP_|NPM_CONFIG_|XDG_|SSL_CERT_|LC_).*"
    r"|(HTTPS?|ALL|NO|FTP)_PROXY|HOME|PATH|LANG|NETRC|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE"
    r"|NODE_EXTRA_CA_CERTS"
)
_PIP_TO_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
    "trusted-host": "UV_INSECURE_HOST",
    "no-index": "UV_NO_INDEX",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "timeout": "UV_HTTP_TIMEOUT",
}
_OLD_NAMES = {"UV_DEFAULT_INDEX": "UV_INDEX_URL", "UV_INDEX": "UV_EXTRA_INDEX_URL"}


def client_environment(env: Mapping[str, str]) -> dict[str, str]:
    """What a package client gets of ours; pip's own settings are told to uv where uv has none."""
    passed = {key: value for key, value in env.items() if _PASSED.fullmatch(key)}
    for key, value in _pip_settings(env).items():
        name = _PIP_TO_UV[key]
        words = value.split()
        if name == "UV_FIND_LINKS":  # pip lets a folder be absent, uv does not
            words = [",".join(place for place in words if "://" in place or Path(place).is_dir())]
        if words and words[0] and not {name, _OLD_NAMES.get(name, name)} & passed.keys():
            passed[name] = " ".join(words)
    return passed


def _pip_settings(env: Mapping[str, str]) -> dict[str, str]:
    """pip's configuration: files, then environment. Source: pip docs, topics/configuration."""
    home = Path(env.get("HOME") or Path.home())
    places = [Path("/etc/pip.conf"), Path("/etc/xdg/pip/pip.conf"), home / ".pip/pip.conf"]
    places.append(Path(env.get("XDG_CONFIG_HOME") or home / ".config") / "pip/pip.conf")
    if env.get("PIP_CONFIG_FILE"):
        named = env["PIP_CONFIG_FILE"]
        places = [] if named == os.devnull else [*places, Path(named)]
    found: dict[str, str] = {}
    for place in places:
        parser = configparser.RawConfigParser()
        try:
            parser.read(place, "utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                found.update({k.replace("_", "-"): v for k, v in parser.items(section)})
    given = {k[4:].lower().replace("_", "-"): v for k, v in env.items() if k.startswith("PIP_")}
    return {k: v for k, v in {**found, **given}.items() if k in _PIP_TO_UV}


async def install_python(lock: Path, into: Path) -> None:
    """A virtual environment of this Python with exactly what `lock` names, each file by its hash.

    Byte code is made here, once: scanners see the environment read-only.
    """
    command = uv.find_uv_bin()
    await _do((command, "venv", "--quiet", "--python", sys.executable, str(into)), lock.stem)
    await _do(
        (
            *(command, "pip", "install", "--quiet", "--python", str(into / "bin" / "python")),
            *("--require-hashes", "--no-deps", "--compile-bytecode", "-r", str(lock)),
        ),
        lock.stem,
    )


async def install_node(lock: Path, into: Path, node: tuple[str, ...]) -> None:
    """The packages of `lock`, a folder with package.json and package-lock.json. No script of a
    package runs. `node` are the paths of node and of npm's own program."""
    into.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(lock / name, into / name)
    words = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    await _do((*node, *words), lock.name, folder=into, path=Path(node[0]).parent)


async def _do(
    argv: tuple[str, ...], what: str, folder: Path | None = None, path: Path | None = None
) -> None:
    env = client_environment(os.environ)
    if path is not None:
        env["PATH"] = f"{path}:{env.get('PATH', '/usr/bin:/bin')}"
    done = await run(Program(argv, folder, env, limits=Limits(SECONDS, 8 << 30, 1 << 20)))
    if done.exit == 0 and not done.killed:
        return
    said = (done.stderr.strip() or done.stdout.strip()).decode("utf-8", "replace")
    lines = (line.strip(" \t×╰─▶├│") for line in said.splitlines())
    why = done.missing or done.killed or "; ".join(visible(line) for line in lines if line)
    raise Unavailable(
        f"{what} could not be installed: {why[:500] or f'exit {done.exit}'}",
        "check the network and the package index (UV_DEFAULT_INDEX, or pip's index-url), "
        "or name a program of your own: scanners.<name> in the settings",
    )


async def machine_node() -> tuple[str, ...]:
    """Node and npm of this machine where they are recent enough, else nothing."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return ()
    done = await run(Program((node, "--version"), limits=Limits(20, 2 << 30, 4096)))
    match = re.match(rb"v(\d+)\.(\d+)", done.stdout)
    if done.exit != 0 or match is None:
        return ()
    version = (int(match[1]), int(match[2]))
    recent = version[0] > NODE_NEEDED[-1][0] or any(
        version[0] == major and version[1] >= minor for major, minor in NODE_NEEDED
    )
    return (os.path.realpath(node), os.path.realpath(npm)) if recent else ()
