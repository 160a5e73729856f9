"""The image of Dockerfile without Docker: an archive for `ctr`, `kind load` or `podman load`.

    python deploy/image/build.py pilotage.tar [NAME [SCANNER ...]]   as root on Debian: debootstrap

With scanners, pods that cannot reach a package index can scan; without, they install them when they
are first needed. What the source does not change (Debian, the packages of uv.lock by their hashes)
is made once and kept in ~/.cache/pilotage/image, by the digest of what it is made of; so is each
finished archive.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from cluster.error import ClusterError, PartMissing  # noqa: E402
from cluster.go import cache_folder  # noqa: E402
from cluster.images import pack  # noqa: E402

from pilotage.scan.install import client_environment  # noqa: E402

NAME = "localhost/pilotage:0.1.0"
SUITE, PYTHON = "bookworm", "3.11"
PLACE = f"usr/local/lib/python{PYTHON}/dist-packages"
UNWANTED = ("dev", "proc", "sys", "var/lib/apt/lists", "var/cache/apt", "usr/share/doc",
            "usr/share/man", "usr/share/locale", "debootstrap", "tmp")  # fmt: skip
UV = (sys.executable, "-m", "uv")


def image(name: str = NAME, scanners: Sequence[str] = ()) -> Path:
    """The archive of this checkout's image; made if there is none yet."""
    kind = "image-with-scanners" if scanners else "image"
    folder, base = cache_folder() / kind, cache_folder() / "image"
    for one in (folder, base):
        one.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{_digest(name, *scanners, _base_digest(), *_source())}.tar"
    with _alone(base / "lock"):
        if not archive.exists():
            _make(archive, name, _base(base), scanners)
    return archive


def _make(archive: Path, name: str, base: Path, scanners: Sequence[str]) -> None:
    """Beside its place, then renamed; archives of other sources are not kept."""
    settings = declared((HERE / "Dockerfile").read_text("utf-8"))
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        tree = Path(folder) / "tree"
        _run("cp", "--archive", "--link", base, tree)
        _install_ours(tree, Path(folder))
        if scanners:
            _install_scanners(tree, scanners)
        made = pack(
            Path(folder) / "image.tar",
            name,
            tree,
            command=settings["ENTRYPOINT"],
            user=settings["USER"][0],
            environment=dict(one.split("=", 1) for one in settings["ENV"]),
            folder=settings["WORKDIR"][0],
        )
        for old in archive.parent.glob("*.tar"):
            old.unlink()
        made.rename(archive)


def declared(dockerfile: str) -> dict[str, list[str]]:
    """What the last stage says of the image's configuration, each instruction as its words."""
    last = re.split(r"^FROM .*$", dockerfile, flags=re.MULTILINE)[-1]
    found: dict[str, list[str]] = {"ENV": []}
    for word, rest in re.findall(r"^(ENV|USER|WORKDIR|ENTRYPOINT) (.+)$", last, re.MULTILINE):
        words = json.loads(rest) if rest.startswith("[") else shlex.split(rest)
        found[word] = [*found.get(word, []), *words]
    return found


def _base(folder: Path) -> Path:
    """Debian and our dependencies as a tree."""
    base = folder / f"base-{_base_digest()}"
    if base.is_dir():
        return base
    if os.geteuid() or shutil.which("debootstrap") is None:
        raise PartMissing("an image needs root and debootstrap", "apt-get install debootstrap")
    with tempfile.TemporaryDirectory(dir=folder) as making:
        tree = Path(making) / "tree"
        packages = ",".join((HERE / "packages").read_text("utf-8").split())
        print("image: Debian and the packages of uv.lock, once (a minute)", file=sys.stderr)
        _run("debootstrap", "--variant=minbase", f"--include={packages}", SUITE, tree)
        _strip(tree)
        _install_locked(tree, Path(making))
        _compile(tree, f"usr/lib/python{PYTHON}", PLACE)
        for old in folder.glob("base-*"):
            shutil.rmtree(old)
        tree.rename(base)
    return base


def _strip(tree: Path) -> None:
    for path in UNWANTED:
        shutil.rmtree(tree / path, ignore_errors=True)
    for path in ("dev", "proc", "sys", "tmp"):
        (tree / path).mkdir()
    (tree / "tmp").chmod(0o1777)
    _run("find", tree, "-xdev", "-perm", "/6000", "-type", "f", "-exec", "chmod", "a-s", "{}", "+")


def _install_locked(tree: Path, folder: Path) -> None:
    listed = folder / "requirements.txt"
    export = ("export", "--quiet", "--frozen", "--no-dev", "--no-emit-project")
    _run(*UV, *export, "--output-file", listed)
    _pip(tree, "--require-hashes", "--only-binary", ":all:", "--requirement", listed)


def _install_ours(tree: Path, folder: Path) -> None:
    _run(*UV, "build", "--quiet", "--wheel", "--out-dir", folder / "wheel")
    (wheel,) = (folder / "wheel").glob("*.whl")
    _pip(tree, "--no-deps", wheel)
    _compile(tree, f"{PLACE}/pilotage")
    shutil.copy(HERE / "pilotage", tree / "usr/local/bin/pilotage")
    state = tree / "var/lib/pilotage"
    state.mkdir(mode=0o755)


def _install_scanners(tree: Path, names: Sequence[str]) -> None:
    """By the image's own Python, as it would in a pod, with the network settings of this machine.
    What is mounted for that is seen by this one command alone."""
    print(f"image: the scanners {', '.join(names)}", file=sys.stderr)
    mounts = [f"mount -t proc proc {tree}/proc", f"mount --rbind /dev {tree}/dev"]
    for path in ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs"):
        if not path.endswith("certs"):
            (tree / path[1:]).touch()
        mounts.append(f"mount --bind {path} {tree}{path}")
    own = {"HOME": "/tmp", "PILOTAGE_HOME": "/tmp/state", "PILOTAGE_CACHE": "/opt/pilotage"}
    kept = client_environment(os.environ) | own | {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    kept.pop("UV_FIND_LINKS", None)  # folders of this machine
    words = ["env", "-i", *(f"{key}={value}" for key, value in kept.items())]
    inside = ["chroot", str(tree), *words, "pilotage", "scanners", "install", *names]
    script = " && ".join([*mounts, f"exec {shlex.join(inside)}"])
    _run("unshare", "--mount", "sh", "-c", script)
    for left in (tree / "tmp").iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def _pip(tree: Path, *what: str | Path) -> None:
    _run(*UV, "pip", "install", "--quiet", "--python-version", PYTHON, "--link-mode", "copy",
         "--target", tree / PLACE, *what)  # fmt: skip


def _compile(tree: Path, *folders: str) -> None:
    """Bytecode that holds whatever the times of its sources are: the root is read-only later, and
    images have no times. By the image's own Python."""
    places = (f"/{folder}" for folder in folders)
    mode = ("--invalidation-mode", "unchecked-hash")
    _run("chroot", tree, "/usr/bin/python3", "-m", "compileall", "-qf", *mode, *places)


def _base_digest() -> str:
    own = Path(__file__).resolve()
    return _digest(SUITE, platform.machine(), HERE / "packages", ROOT / "uv.lock", own)


def _source() -> Iterator[Path]:
    yield from (HERE / "Dockerfile", HERE / "pilotage", ROOT / "pyproject.toml")
    for path in sorted((ROOT / "src").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path


def _digest(*parts: str | Path) -> str:
    of = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            of.update(str(part.relative_to(ROOT)).encode() + b"\0")
            of.update(hashlib.sha256(part.read_bytes()).digest())
        else:
            of.update(part.encode() + b"\0")
    return of.hexdigest()[:16]


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _run(*argv: str | Path) -> None:
    done = subprocess.run(list(map(str, argv)), cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        said = f"{done.stdout}\n{done.stderr}".strip()[-2_000:]
        raise ClusterError(f"{Path(argv[0]).name} {argv[1]} failed", said)


def main(argv: Sequence[str]) -> int:
    """2: a part is missing, or a step failed; it says which."""
    if not argv:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        shutil.copyfile(image(*argv[1:2], scanners=argv[2:]), argv[0])
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
