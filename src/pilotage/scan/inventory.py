"""What a project is made of: kinds of files by their names, and by a look inside where names do
not tell (YAML and JSON may be Kubernetes or CloudFormation; a script says so in its first line)."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pilotage.domain.scan import Inventory
from pilotage.domain.text import counted, visible
from pilotage.scan.stage import Stage

_LOOK = 64 << 10
_BY_NAME: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("python", ("*.py", "*.pyw", "*.pyi", "*.ipynb")),
    ("javascript", ("*.js", "*.mjs", "*.cjs", "*.jsx", "*.vue", "*.svelte")),
    ("typescript", ("*.ts", "*.tsx", "*.mts", "*.cts")),
    ("shell", ("*.sh", "*.bash", "*.zsh", "*.ksh")),
    ("go", ("*.go",)),
    ("java", ("*.java", "*.kt", "*.scala")),
    ("c", ("*.c", "*.h", "*.cc", "*.cpp", "*.cxx", "*.hpp")),
    ("csharp", ("*.cs",)),
    ("php", ("*.php",)),
    ("ruby", ("*.rb",)),
    ("rust", ("*.rs",)),
    ("dockerfile", ("Dockerfile", "Dockerfile.*", "*.dockerfile", "*.Dockerfile",
                    "dockerfile", "Containerfile", "Containerfile.*")),
    ("compose", ("docker-compose*.yml", "docker-compose*.yaml", "compose.yml", "compose.yaml")),
    ("terraform", ("*.tf", "*.tf.json", "*.tfvars", "*.tofu")),
    ("github-workflow", (".github/workflows/*.yml", ".github/workflows/*.yaml")),
    ("github-action", ("action.yml", "action.yaml")),
    ("gitlab-ci", (".gitlab-ci.yml", ".gitlab-ci.yaml")),
    ("jenkinsfile", ("Jenkinsfile", "*.jenkinsfile")),
    ("helm-chart", ("Chart.yaml",)),
    ("python-lock", ("*[Rr]equirements*.txt", "**/requirements/*.txt", "poetry.lock", "uv.lock",
                     "Pipfile.lock", "pdm.lock", "pylock.toml")),
    ("npm-lock", ("package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml")),
    ("go-lock", ("go.sum",)),
    ("ruby-lock", ("Gemfile.lock",)),
    ("php-lock", ("composer.lock",)),
    ("rust-lock", ("Cargo.lock",)),
    ("java-lock", ("gradle.lockfile", "pom.xml")),
)  # fmt: skip
_KUBERNETES = re.compile(rb"^apiVersion:[ \t]*\S+", re.MULTILINE)
_WORKLOAD = re.compile(
    rb"^[\"']?kind[\"']?[ \t]*:[ \t]*[\"']?(?:Pod|Deployment|DaemonSet|StatefulSet|ReplicaSet"
    rb"|ReplicationController|Job|CronJob)\b",
    re.MULTILINE,
)
_KIND = re.compile(rb"^kind:[ \t]*[A-Z]\w+", re.MULTILINE)
_CLOUDFORMATION = re.compile(rb"AWSTemplateFormatVersion|[\"']?Type[\"']?\s*:\s*[\"']?AWS::\w+::")
_SCRIPT = re.compile(rb"#![ \t]*\S*/(?:env[ \t]+(?:-S[ \t]+)?)?(\w+)")
_PROGRAMS = {b"python": "python", b"python2": "python", b"python3": "python", b"node": "javascript",
             b"sh": "shell", b"bash": "shell", b"dash": "shell", b"zsh": "shell"}  # fmt: skip


def inventory(stage: Stage) -> Inventory:
    """The kinds of the staged files. A file may be of several kinds, or of none."""
    kinds: dict[str, list[str]] = {}
    for path in stage.files:
        for kind in {*_by_name(path), *_by_content(stage, path)}:
            kinds.setdefault(kind, []).append(path)
    return Inventory(
        files=stage.files,
        kinds={kind: tuple(kinds[kind]) for kind in sorted(kinds)},
        bytes=stage.bytes,
        has_history=stage.has_history,
    )


def describe(inventory: Inventory) -> tuple[str, ...]:
    """The inventory in lines: the largest kinds first, each with the file that shows it."""
    history = "with its git history" if inventory.has_history else "without git history"
    size = counted(len(inventory.files), "file")
    lines = [f"{size}, {inventory.bytes / (1 << 20):.1f} MiB, {history}"]
    for kind, files in sorted(inventory.kinds.items(), key=lambda item: -len(item[1])):
        lines.append(f"{kind}: {len(files)} ({visible(files[0])}{', ...' if files[1:] else ''})")
    return tuple(lines)


def matching(reads: Sequence[str], files: Iterable[str]) -> tuple[str, ...]:
    """The files that one of the globs names. Without `/` a glob is about the last part of a path,
    at any depth; with one it starts at the root, and `**/` stands for any folders."""
    patterns = [_compiled(glob) for glob in reads]
    return tuple(path for path in files if any(pattern.match(path) for pattern in patterns))


@functools.lru_cache(maxsize=1024)
def _compiled(glob: str) -> re.Pattern[str]:
    if "/" not in glob:
        glob = "**/" + glob
    return re.compile("".join(_pieces(glob.removeprefix("/"))) + r"\Z", re.DOTALL)


def _pieces(glob: str) -> Iterator[str]:
    """A glob as pieces of a regular expression: `*` and `?` stay within one part of the path."""
    for token in re.findall(r"\*\*/|\*\*|\*|\?|\[!?[^\]/]+\]|.", glob, re.DOTALL):
        if token == "**/":
            yield "(?:[^/]+/)*"
        elif token in ("**", "*", "?"):
            yield {"**": ".*", "*": "[^/]*", "?": "[^/]"}[token]
        elif len(token) > 1:
            inner = token[1:-1].replace("\\", r"\\")
            yield f"[^{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"
        else:
            yield re.escape(token)


def workloads(stage: Path, files: Iterable[str]) -> Iterator[str]:
    """The files that hold something for Kubernetes to run, of which a scanner that has read one
    has always something to say. Templates of a Helm chart need not say anything by themselves."""
    for path in files:
        if not path.endswith((".yaml", ".yml")) or _of_chart(stage, path):
            continue
        data = (stage / path).read_bytes()
        if b"apiVersion" in data and _WORKLOAD.search(data):
            yield path


def _of_chart(stage: Path, path: str) -> bool:
    above, inside, _ = path.partition("templates/")
    return bool(inside) and (stage / above / "Chart.yaml").is_file()


def _by_name(path: str) -> Iterator[str]:
    for kind, globs in _BY_NAME:
        if matching(globs, (path,)):
            yield kind


def _by_content(stage: Stage, path: str) -> Iterator[str]:
    name = path.rpartition("/")[2]
    if path.endswith((".yml", ".yaml", ".json", ".template")):
        head = _head(stage, path)
        if _CLOUDFORMATION.search(head):
            yield "cloudformation"
        if _KUBERNETES.search(head) and _KIND.search(head):
            yield "kubernetes"
    elif "." not in name:
        script = _SCRIPT.match(_head(stage, path))
        if script and (kind := _PROGRAMS.get(script[1])):
            yield kind


def _head(stage: Stage, path: str) -> bytes:
    with (stage.path / path).open("rb") as file:
        return file.read(_LOOK)
