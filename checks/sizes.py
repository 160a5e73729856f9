"""Files stay under 400 lines and functions under 40. Exceptions are listed here and only shrink."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

FILE, FUNCTION = 400, 40
EXCEPTIONS: dict[str, int] = {}
FOLDERS = ("src", "tests", "bench", "checks", "examples", "cluster")


def oversized(path: Path) -> list[str]:
    """What is too long in one file; a listed exception allows as many lines as it names."""
    text = path.read_text("utf-8")
    found = []
    lines = text.count("\n")
    if lines >= EXCEPTIONS.get(str(path), FILE):
        found.append(f"{path}: {lines} lines (limit {FILE})")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            name = f"{path}:{node.name}"
            if length >= EXCEPTIONS.get(name, FUNCTION):
                found.append(f"{path}:{node.lineno} {node.name}: {length} lines (limit {FUNCTION})")
    return found


def main() -> int:
    """Print what is too long; 1 if anything is."""
    files = [path for folder in FOLDERS for path in sorted(Path(folder).rglob("*.py"))]
    own = [
        path for path in files if "vulnerable" not in path.parts and "repaired" not in path.parts
    ]
    found = [line for path in own for line in oversized(path)]
    print("\n".join(found) or f"sizes: {len(own)} files, all small")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
