"""A repository that tries to run code in its scanner, or to silence it.

Every row of both tables of measured tricks for bandit, ruff, pylint, eslint, zizmor and hadolint,
and the same tricks where a scanner is not in them. Each runs twice: through the whole engine, and
with the scanner's own flags on the bare repository, so that neither fence leans on the other.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from pilotage import shelf
from pilotage.config import cache_folder
from pilotage.domain.call import silent
from pilotage.domain.finding import Finding
from pilotage.domain.verdict import Ruling
from pilotage.scan.control import Controls
from pilotage.scan.environment import Environments
from pilotage.scan.orchestrate import ScanRequest, Scans
from pilotage.scan.rules import parse_rules
from pilotage.scan.run_pass import Ground, run_pass
from pilotage.scan.scanner import Scanner
from scanners.looking import plant

SHELF = shelf.parts("pilotage.scanners", Scanner)
CACHE = cache_folder(os.environ)
RULES = parse_rules(
    b"""
scan_tools:
  code: [bandit, ruff, pylint, eslint]
  container: [hadolint]
  infrastructure: [zizmor]
risk_level_config:
  critical: {threshold: 0, action: fail}
  high: {threshold: 0, action: fail}
  medium: {threshold: 0, action: fail}
  low: {threshold: 9, action: info}
scan_profiles:
  default: {code: true, container: true, dependency: false, infrastructure: true, secret: false}
""",
    "any medium finding fails",
)
PYTHON_CANARY = "open('%CANARY%', 'w').close()"
NODE_CANARY = "require('fs').writeFileSync('%CANARY%', '');"
MODULE_CANARY = "import fs from 'fs'; fs.writeFileSync('%CANARY%', '');"

WEAK: Mapping[str, tuple[str, str, str]] = {
    "bandit": ("app.py", "import os\nos.system(input())\n", "B605"),
    "ruff": ("app.py", "import os\nos.system(input())\n", "S605"),
    "pylint": ("app.py", "eval(input())\n", "W0123"),
    "eslint": ("app.js", "eval(process.argv[2]);\n", "no-eval"),
    "zizmor": (
        ".github/workflows/ci.yml",
        "on: issues\npermissions: {}\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n"
        '      - run: echo "${{ github.event.issue.title }}"\n',
        "template-injection",
    ),
    "hadolint": ("Dockerfile", "FROM debian:12\nRUN sudo true $A\nUSER 1000\n", "DL3004"),
}


@dataclass(frozen=True)
class Trick:
    """`files` lie beside the weak file of `scanner`, or replace it (`%WEAK%` is its content).
    `rule`: what it would silence, where that is not the usual one. `flags`: the scanner's own
    flags stop it without the stage."""

    scanner: str
    name: str
    files: Mapping[str, str | bytes]
    rule: str = ""
    flags: bool = True

    def __str__(self) -> str:
        return f"{self.scanner}-{self.name}"


def tricks() -> Iterator[Trick]:
    yield from python_tricks()
    yield from javascript_tricks()
    yield from other_tricks()


def python_tricks() -> Iterator[Trick]:
    loud = "import os\nos.system(input())"
    yield Trick("bandit", "ini", {".bandit": "[bandit]\nskips: B605\nexclude: app.py\n"})
    yield Trick("bandit", "pyproject", {"pyproject.toml": '[tool.bandit]\nskips = ["B605"]\n'})
    yield Trick("bandit", "setup-cfg", {"setup.cfg": "[bandit]\nskips = B605\n"})
    yield Trick("bandit", "tox-ini", {"tox.ini": "[bandit]\nskips = B605\n"})
    yield Trick("bandit", "yaml", {"bandit.yaml": "skips: [B605]\n"})
    yield Trick("bandit", "nosec", {"app.py": f"{loud}  # nosec\n"})
    yield Trick("bandit", "nosec-rule", {"app.py": f"{loud}  # nosec B605 - safe, trust me\n"})
    yield Trick("ruff", "pyproject", {"pyproject.toml": '[tool.ruff]\nexclude = ["*.py"]\n'})
    yield Trick("ruff", "ruff-toml", {"ruff.toml": 'exclude = ["*.py"]\n'})
    yield Trick("ruff", "hidden-toml", {".ruff.toml": 'extend-exclude = ["app.py"]\n'})
    yield Trick("ruff", "noqa", {"app.py": f"{loud}  # noqa\n"})
    yield Trick("ruff", "noqa-rule", {"app.py": f"{loud}  # noqa: S605\n"})
    yield Trick("ruff", "noqa-file", {"app.py": f"# ruff: noqa\n{loud}\n"})
    yield Trick("ruff", "noqa-flake8", {"app.py": f"# flake8: noqa: S605\n{loud}\n"})
    yield Trick("ruff", "ignore", {"app.py": f"{loud}  # ruff: ignore[S605]\n"})
    yield Trick("ruff", "disable", {"app.py": f"# ruff: disable[S605]\n{loud}\n"})
    yield Trick("ruff", "gitignore", {".gitignore": "*.py\n"})
    yield Trick("ruff", "ignore-list", {".ignore": "*.py\n"})
    hook = f'[MASTER]\ninit-hook="{PYTHON_CANARY}"\n[MESSAGES CONTROL]\ndisable=all\n'
    yield Trick("pylint", "pylintrc", {".pylintrc": hook})
    yield Trick("pylint", "plain-pylintrc", {"pylintrc": hook})
    yield Trick(
        "pylint", "toml", {"pylintrc.toml": f'[tool.pylint]\ninit-hook="{PYTHON_CANARY}"\n'}
    )
    toml = f'[tool.pylint.main]\ninit-hook = "{PYTHON_CANARY}"\nignore-paths = [".*"]\n'
    yield Trick("pylint", "pyproject", {"pyproject.toml": toml})
    yield Trick("pylint", "setup-cfg", {"setup.cfg": f"[pylint.main]\ninit-hook={PYTHON_CANARY}\n"})
    yield Trick("pylint", "plugin", {".pylintrc": "[MASTER]\nload-plugins=evil\n",
                                     "evil.py": PYTHON_CANARY + "\n"})  # fmt: skip
    yield Trick("pylint", "own-isort", {"isort.py": PYTHON_CANARY + "\n"})
    yield Trick("pylint", "skip-file", {"app.py": "# pylint: skip-file\n%WEAK%"})
    yield Trick("pylint", "disable", {"app.py": "eval(input())  # pylint: disable=eval-used\n"})
    yield Trick("pylint", "disable-all", {"app.py": "#pylint:disable-msg=all\n%WEAK%"})
    utf7 = b"# coding: utf-7\neval(input()) +ACM pylint: disable+AD0-eval-used\n"
    yield Trick("pylint", "disable-in-utf-7", {"app.py": utf7})


def javascript_tricks() -> Iterator[Trick]:
    flat = MODULE_CANARY + '\nexport default [{ ignores: ["**"] }];\n'
    yield Trick("eslint", "flat-config", {"eslint.config.mjs": flat})
    yield Trick("eslint", "typed-config", {"eslint.config.ts": flat})
    yield Trick("eslint", "old-config", {".eslintrc.js": NODE_CANARY + " module.exports = {};\n"})
    off = '{"root": true, "ignorePatterns": ["*.js"], "rules": {"no-eval": "off"}}'
    yield Trick("eslint", "json-config", {".eslintrc.json": off})
    package = '{"eslintConfig": ' + off + ', "eslintIgnore": ["app.js"]}'
    yield Trick("eslint", "package", {"package.json": package})
    yield Trick("eslint", "ignore-list", {".eslintignore": "*.js\n", ".gitignore": "*.js\n"})
    yield Trick("eslint", "bulk", {"eslint-suppressions.json":
                                   '{"app.js": {"no-eval": {"count": 9}}}'})  # fmt: skip
    yield Trick("eslint", "disable", {"app.js": "/* eslint-disable */\n%WEAK%"})
    yield Trick("eslint", "line", {"app.js": "eval(process.argv[2]); // eslint-disable-line\n"})
    yield Trick("eslint", "next", {"app.js": "// eslint-disable-next-line no-eval\n%WEAK%"})
    yield Trick("eslint", "inline", {"app.js": "/* eslint no-eval: 0 */\n%WEAK%"})
    plugin = {"package.json": '{"main": "index.js"}', "index.js": NODE_CANARY}
    names = ("eslint-plugin-security", "@typescript-eslint/parser", "espree")
    planted = {
        f"node_modules/{name}/{file}": text for name in names for file, text in plugin.items()
    }
    yield Trick("eslint", "own-plugin", planted)


def other_tricks() -> Iterator[Trick]:
    weak = WEAK["zizmor"][1]
    off = "rules:\n  template-injection:\n    disable: true\n    ignore: [ci.yml]\n"
    yield Trick("zizmor", "config", {"zizmor.yml": off})
    yield Trick("zizmor", "github-config", {".github/zizmor.yml": off, ".github/zizmor.yaml": off})
    said = weak.replace("      - run", "      # zizmor: ignore[template-injection]\n      - run")
    line = weak.rstrip() + " # zizmor: ignore[template-injection]\n"
    yield Trick("zizmor", "comment", {".github/workflows/ci.yml": line})
    yield Trick("zizmor", "comment-above", {".github/workflows/ci.yml": said})
    yield Trick("zizmor", "gitignore", {".gitignore": ".github/\n"})
    yield Trick("zizmor", "broken-neighbour", {".github/workflows/a.yml": "name: [\n"})
    yield Trick("hadolint", "config", {".hadolint.yaml": "ignored: [DL3004]\n"})
    yield Trick("hadolint", "yml", {".hadolint.yml": "override: {info: [DL3004]}\n"})
    yield Trick("hadolint", "plain", {"hadolint.yaml": "no-fail: true\nignored: [DL3004]\n"})
    sudo = "FROM debian:12\n# hadolint ignore=DL3004\nRUN sudo true $A\nUSER 1000\n"
    yield Trick("hadolint", "comment", {"Dockerfile": sudo})
    yield Trick("hadolint", "global", {"Dockerfile": "# hadolint global ignore=DL3004\n%WEAK%"})
    shell = "# hadolint shell=powershell\n%WEAK%"
    yield Trick("hadolint", "shell", {"Dockerfile": shell}, rule="SC2086", flags=False)


def planted(trick: Trick, folder: Path, canary: Path) -> Path:
    name, weak, _ = WEAK[trick.scanner]
    files: dict[str, str | bytes] = {name: weak}
    for path, text in trick.files.items():
        if isinstance(text, str):
            text = text.replace("%CANARY%", str(canary)).replace("%WEAK%", weak)
        files[path] = text
    plant(folder, files)
    for command in (["init", "-q"], ["add", "-Af"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def found(trick: Trick, findings: tuple[Finding, ...]) -> bool:
    path, _, rule = WEAK[trick.scanner]
    return any((each.rule, each.location.path) == (trick.rule or rule, path) for each in findings)


@pytest.mark.parametrize("trick", list(tricks()), ids=str)
async def test_the_engine_neither_runs_code_of_it_nor_is_silenced(
    trick: Trick, tmp_path: Path
) -> None:
    """Without the sandbox, which would hide that code has run."""
    canary = tmp_path / "canary"
    source = planted(trick, tmp_path / "repository", canary)
    scans = Scans(SHELF, Environments(CACHE), Controls(CACHE), sandbox=False)
    scan = await scans.scan(ScanRequest(source, scanners=(trick.scanner,), rules=RULES))
    assert not canary.exists()
    assert found(trick, scan.runs[0].findings), scan.runs[0].why
    assert scan.verdict.ruling is Ruling.FAIL


@pytest.mark.parametrize("trick", [each for each in tricks() if each.flags], ids=str)
async def test_its_own_flags_alone_would_do(trick: Trick, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    source = planted(trick, tmp_path / "repository", canary)
    scanner = SHELF[trick.scanner]
    installed = await Environments(CACHE).ensure(scanner, silent)
    names = sorted(str(p.relative_to(source)) for p in source.rglob("*") if p.is_file())
    ground = Ground(source, tuple(n for n in names if not n.startswith(".git/")), sandboxed=False)
    run = await run_pass(scanner, scanner.passes[0], installed, ground)
    assert not canary.exists()
    assert found(trick, run.findings), run.why
