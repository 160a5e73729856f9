"""Images without Docker: a tree becomes a docker-archive, the same bytes for the same tree."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster.error import PartMissing

NOBODY = "65532:65532"
"""The user of distroless' `nonroot`: a number, so that `runAsNonRoot` can tell."""


def pack(
    archive: Path,
    name: str,
    tree: Path,
    *,
    command: Sequence[str],
    user: str = NOBODY,
    environment: Mapping[str, str] | None = None,
    folder: str = "/",
) -> Path:
    """Write the image `name` (localhost/x:tag) with one layer: the tree, owned by root.

    Modes, symbolic and hard links are kept, times are not. `command` is the entry point,
    `folder` where it starts.
    """
    with tempfile.TemporaryFile() as layer:
        digest = _layer(layer, tree)
        config = json.dumps(_config(digest, command, user, environment or {}, folder)).encode()
        named = f"{hashlib.sha256(config).hexdigest()}.json"
        manifest = [{"Config": named, "RepoTags": [name], "Layers": [f"{digest}/layer.tar"]}]
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive, "w") as out:
            _add(out, named, io.BytesIO(config), len(config))
            size = layer.seek(0, io.SEEK_END)
            layer.seek(0)
            _add(out, f"{digest}/layer.tar", layer, size)
            listed = json.dumps(manifest).encode()
            _add(out, "manifest.json", io.BytesIO(listed), len(listed))
    return archive


def pause_image(archive: Path) -> Path:
    """localhost/pause:1, which holds a pod's namespaces open."""
    with tempfile.TemporaryDirectory() as tree:
        _busybox(Path(tree))
        return pack(archive, "localhost/pause:1", Path(tree), command=["/bin/sleep", "2147483647"])


def web_image(archive: Path, tag: str = "1") -> Path:
    """localhost/web:TAG, a web server on port 8080 whose page says `web TAG`; with a shell."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        _busybox(tree)
        (tree / "www").mkdir(mode=0o755)
        (tree / "www/index.html").write_text(f"web {tag}\n")
        command = ["/bin/httpd", "-f", "-v", "-p", "8080", "-h", "/www"]
        return pack(archive, f"localhost/web:{tag}", tree, command=command)


def _busybox(tree: Path) -> None:
    """The static busybox of Debian, under the names of the programs that are wanted."""
    found = shutil.which("busybox")
    if found is None:
        raise PartMissing("busybox is missing", "apt-get install busybox-static")
    if b"/lib64/ld-linux" in Path(found).read_bytes():
        raise PartMissing(f"{found} is not static", "apt-get install busybox-static")
    tree.chmod(0o755)
    (tree / "bin").mkdir(mode=0o755)
    shutil.copy(found, tree / "bin/busybox")
    (tree / "bin/busybox").chmod(0o755)
    for name in ("cat", "echo", "env", "false", "httpd", "id", "ls", "sh", "sleep", "true", "wget"):
        (tree / "bin" / name).symlink_to("busybox")


def _layer(out: io.BufferedRandom | tempfile._TemporaryFileWrapper[bytes], tree: Path) -> str:
    """Write the tree as a tar, in the order of its names; its digest."""
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as layer:
        for path in sorted(tree.rglob("*")):
            about = layer.gettarinfo(path, str(path.relative_to(tree)))
            about.mtime = about.uid = about.gid = 0
            about.uname = about.gname = ""
            if about.isreg():
                with path.open("rb") as content:
                    layer.addfile(about, content)
            else:
                layer.addfile(about)
    out.seek(0)
    return hashlib.file_digest(out, "sha256").hexdigest()


def _config(
    digest: str, command: Sequence[str], user: str, environment: Mapping[str, str], folder: str
) -> dict[str, object]:
    variables = {"PATH": "/usr/local/bin:/usr/bin:/bin", **environment}
    return {
        "architecture": _architecture(),
        "os": "linux",
        "config": {
            "Entrypoint": list(command),
            "Env": [f"{key}={value}" for key, value in sorted(variables.items())],
            "User": user,
            "WorkingDir": folder,
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created_by": "cluster.images"}],
    }


def _architecture() -> str:
    """As Go names it."""
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _add(out: tarfile.TarFile, name: str, content: io.IOBase, size: int) -> None:
    about = tarfile.TarInfo(name)
    about.size = size
    about.mode = 0o644
    out.addfile(about, content)
