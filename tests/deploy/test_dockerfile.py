"""The Dockerfile itself, built by buildah, makes the image of build.py, and scanners into it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import build
import manifests
import pytest

from image_archive import Image
from pilotage.scan.install import client_environment

Buildah = Callable[..., str]
BASE = f"docker.io/library/debian:{build.SUITE}-slim"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
DISTRIBUTION = rf"{re.escape(build.PLACE)}/[^/]+\.dist-info"


@pytest.fixture(scope="module")
def buildah() -> Iterator[Buildah]:
    """buildah with a storage of its own; what it started is gone with the folder."""
    if os.geteuid() or not (shutil.which("buildah") and shutil.which("debootstrap")):
        pytest.skip("a Dockerfile needs root, buildah and debootstrap: apt-get install buildah")
    with tempfile.TemporaryDirectory(prefix="dockerfile-") as folder:
        places = ("--root", f"{folder}/root", "--runroot", f"{folder}/run")
        drivers = {"STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot", "TMPDIR": folder}

        def run(*argv: str | Path) -> str:
            return _said("buildah", *places, *argv, environment=drivers)

        yield run


@pytest.fixture(scope="module")
def made(buildah: Buildah) -> str:
    """The image's name: from Debian by debootstrap, as there is no registry here."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "debian"
        _said("debootstrap", "--variant=minbase", build.SUITE, tree)
        _know_this_machine(tree)
        container = buildah("from", "scratch")
        buildah("add", "--quiet", container, tree, "/")
    for key, value in client_environment(os.environ).items():
        if key != "UV_FIND_LINKS":  # folders of this machine
            buildah("config", "--env", f"{key}={value}", container)
    buildah("commit", "--quiet", "--rm", container, BASE)
    scanners = "SCANNERS=bandit ruff"
    buildah("bud", "--pull-never", "--network", "host", "--build-arg", scanners,
            "--file", "deploy/image/Dockerfile", "--tag", build.NAME, ".")  # fmt: skip
    return build.NAME


def _know_this_machine(tree: Path) -> None:
    """The authorities and settings of pip that a machine behind a proxy gives its base images."""
    for place in (CERTIFICATES, Path("/usr/local/share/ca-certificates/machine.crt")):
        inside = tree / place.relative_to("/")
        inside.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CERTIFICATES, inside)
    if Path("/etc/pip.conf").exists():
        shutil.copy("/etc/pip.conf", tree / "etc")


def _said(*argv: str | Path, environment: Mapping[str, str] = {}) -> str:
    done = subprocess.run(
        list(map(str, argv)),
        cwd=manifests.ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"[-4_000:]
    return done.stdout.strip()


@pytest.fixture(scope="module")
def shell(buildah: Buildah, made: str) -> Callable[[str], str]:
    """A line of shell in the image, as its own user."""
    container = buildah("from", "--pull-never", made)
    return lambda line: buildah("run", container, "--", "sh", "-c", line)


def test_the_dockerfile_makes_the_image_of_build_py(
    buildah: Buildah, made: str, shell: Callable[[str], str], image: Image
) -> None:
    config = json.loads(buildah("inspect", "--type", "image", made))["OCIv1"]["config"]
    for key in ("User", "WorkingDir", "Entrypoint"):
        assert config[key] == image.config[key]
    said = {one for one in image.config["Env"] if not one.startswith("PATH=")}
    assert said <= set(config["Env"])
    packages = {Path(one).name for one in image.members if re.fullmatch(DISTRIBUTION, one)}
    assert set(shell(f"ls -d /{build.PLACE}/*.dist-info | xargs -n 1 basename").split()) == packages


def test_it_scans_as_a_user_without_rights(shell: Callable[[str], str]) -> None:
    assert shell("id -u") == "65532"
    assert shell("find / -xdev -perm /6000 -type f 2>/dev/null || true") == ""
    report, ended = shell(
        """mkdir /tmp/it && cat > /tmp/it/a.py <<END
import subprocess
subprocess.call(input(), shell=True)
END
pilotage scan /tmp/it --type code --scanner bandit --scanner ruff --format json --quiet
echo $?"""
    ).rsplit("\n", 1)
    assert ended == "1"
    ran = {run["tool_name"] for run in json.loads(report)["scan_results"]}
    assert ran == {"bandit", "ruff"}
