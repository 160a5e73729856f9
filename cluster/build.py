"""The programs of a cluster, built from pinned Go modules, once a machine.

    python -m cluster.build     build what is missing; nothing to say if nothing is

The pins are modules/*/go.mod and go.sum: every byte that is compiled has its hash there, so no
checksum database is asked. What was built is kept under its version and its recipe's digest.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster.error import ClusterError, tail
from cluster.go import cache_folder, find_go

MODULES = Path(__file__).parent / "modules"


@dataclass(frozen=True)
class Recipe:
    """What to build of one go.mod."""

    name: str
    """The folder in modules/ and in the cache."""
    module: str
    """The requirement whose version names the result."""
    programs: Mapping[str, str]
    """Program -> its main package."""
    stamped: tuple[str, ...] = ()
    """Packages that are told their version at link time, as upstream's own build does."""

    @property
    def folder(self) -> Path:
        return MODULES / self.name

    @property
    def version(self) -> str:
        text = (self.folder / "go.mod").read_text("utf-8")
        found = re.search(rf"^\s*(?:require )?{re.escape(self.module)} (v\S+)", text, re.MULTILINE)
        if found is None:
            raise ClusterError(f"{self.folder}/go.mod does not require {self.module}")
        return found[1]

    def digest(self) -> str:
        """Changes with whatever changes the programs, except Go's own version."""
        of = hashlib.sha256()
        for source in ("go.mod", "go.sum", *sorted(one.name for one in self.folder.glob("*.go"))):
            of.update((self.folder / source).read_bytes())
        of.update(repr((sorted(self.programs.items()), self.linked, platform.machine())).encode())
        return of.hexdigest()[:12]

    @property
    def linked(self) -> str:
        """The linker's flags. An unstamped API server has a version no client can parse."""
        major, minor = self.version.removeprefix("v").split(".")[:2]
        said = {
            "gitVersion": self.version,
            "gitMajor": major,
            "gitMinor": minor,
            "gitTreeState": "clean",
            "gitCommit": "0" * 40,
            "buildDate": "2026-01-01T00:00:00Z",
        }
        stamps = [f"-X {of}.{key}={value}" for of in self.stamped for key, value in said.items()]
        return " ".join(["-s -w", *stamps])


def _command(name: str) -> str:
    return f"k8s.io/kubernetes/cmd/{name}"


KUBERNETES = Recipe(
    name="kubernetes",
    module="k8s.io/kubernetes",
    programs={
        "etcd": "go.etcd.io/etcd/server/v3",
        "kube-apiserver": _command("kube-apiserver"),
        "kube-controller-manager": _command("kube-controller-manager"),
        "kubectl": _command("kubectl"),
        "kube-scheduler": _command("kube-scheduler"),
        "kubelet": _command("kubelet"),
        "kube-proxy": _command("kube-proxy"),
    },
    stamped=("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"),
)

COREDNS = Recipe("coredns", "github.com/coredns/coredns", {"coredns": "."})
HELM = Recipe("helm", "helm.sh/helm/v4", {"helm": "helm.sh/helm/v4/cmd/helm"})


def built(recipe: Recipe) -> Path:
    """The folder that has the recipe's programs; whatever is missing there is built first.

    One builder at a time: who comes second waits, and finds the first one's work.
    """
    place = cache_folder() / recipe.name / f"{recipe.version}-{recipe.digest()}"
    if place.is_dir():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with _alone(place.parent / "lock", recipe):
        if not place.is_dir():
            _build(recipe, place)
    return place


@contextlib.contextmanager
def _alone(lock: Path, recipe: Recipe) -> Iterator[None]:
    """Hold the lock. The system lets go of it when its holder dies."""
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"another process builds {recipe.name}: waiting for it")
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _build(recipe: Recipe, place: Path) -> None:
    """Build beside the place, then rename: a folder that exists is whole."""
    go = find_go(recipe.folder)
    for left in place.parent.glob("*.building"):  # of a builder that died: we hold the lock
        shutil.rmtree(left)
    building = place.with_name(f"{place.name}.building")
    building.mkdir()
    began = time.monotonic()
    _say(f"building {recipe.name} {recipe.version} once, from its Go modules (minutes)")
    for number, (program, package) in enumerate(recipe.programs.items(), 1):
        at = time.monotonic()
        _compile(recipe, go, package, building / program)
        took = time.monotonic() - at
        _say(f"  {number} of {len(recipe.programs)}: {program} ({took:.0f} s)")
    for name in ("go.mod", "go.sum"):
        shutil.copy(recipe.folder / name, building / name)
    building.rename(place)
    _say(f"built in {time.monotonic() - began:.0f} s: {place}")


def _compile(recipe: Recipe, go: Path, package: str, program: Path) -> None:
    environment = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
    argv = ["nice", "-n", "10", str(go), "build", "-trimpath", "-buildvcs=false"]
    log = program.with_suffix(".log")
    with log.open("wb") as out:
        code = subprocess.run(
            [*argv, "-ldflags", recipe.linked, "-o", str(program), package],
            cwd=recipe.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        ).returncode
    if code:
        raise ClusterError(f"{program.name} {recipe.version} does not build", tail(log))
    log.unlink()


def _say(line: str) -> None:
    print(f"cluster: {line}", file=sys.stderr, flush=True)


def main() -> int:
    """Before the tests, so that a person sees what takes minutes. Their own cluster needs none."""
    if os.environ.get("PILOTAGE_TEST_CONTEXT"):
        return 0
    try:
        for recipe in (KUBERNETES, COREDNS, HELM):
            built(recipe)
    except ClusterError as error:
        _say(str(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
