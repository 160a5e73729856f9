"""A scanner's program that goes wrong in the way that `mode` beside it says.

It stands where the real program stands in the command. `real` (JSON) is the real program; a
recording of a good run lies in `recorded`, with @ROOT@ where the scanned folder's path was.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
WORDS = sys.argv[1:]
STAGE = re.search(r"/[^ ]*/pilotage-stage-[^/ ]+/project", " ".join(WORDS))
ROOT = STAGE.group(0) if STAGE else ""
REPORT = next((w for w in re.findall(r"/[^= ]*/report/[^= ]+", " ".join(WORDS))), "")


def real(words: list[str], folder: str | None = None) -> subprocess.CompletedProcess[bytes]:
    program = json.loads((HERE / "real").read_text())
    return subprocess.run([*program, *words], capture_output=True, check=False, cwd=folder)


def write(stdout: bytes, stderr: bytes, report: bytes | None, code: int) -> None:
    sys.stdout.buffer.write(stdout)
    sys.stderr.buffer.write(stderr)
    if REPORT and report is not None:
        Path(REPORT).write_bytes(report)
    sys.stdout.flush()
    sys.exit(code)


def record() -> None:
    done = real(WORDS)
    report = Path(REPORT).read_bytes() if REPORT else b""
    parts = {"stdout": done.stdout, "stderr": done.stderr, "report": report}
    (HERE / "recorded").mkdir()
    for name, data in parts.items():
        (HERE / "recorded" / name).write_bytes(data.replace(ROOT.encode() or b"\0", b"@ROOT@"))
    (HERE / "recorded" / "exit").write_text(str(done.returncode))
    write(done.stdout, done.stderr, None, done.returncode)


def recorded(name: str) -> bytes:
    return (HERE / "recorded" / name).read_bytes().replace(b"@ROOT@", ROOT.encode())


def half_a_report() -> None:
    stdout, report = recorded("stdout"), recorded("report")
    cut = (stdout, report[: len(report) // 2]) if REPORT else (stdout[: len(stdout) // 2], b"")
    write(cut[0], recorded("stderr"), cut[1], int(recorded("exit")))


def somebody_elses_report() -> None:
    other = (HERE / "other").read_bytes().replace(b"@ROOT@", ROOT.encode())
    write(recorded("stdout") if REPORT else other, recorded("stderr"), other, int(recorded("exit")))


def on_a_copy(change) -> None:  # type: ignore[no-untyped-def]
    """Run the real program on a changed copy and report as if it had been the stage."""
    folder = Path(tempfile.mkdtemp()) / "project"
    shutil.copytree(ROOT, folder)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    change(files)
    words = [word.replace(ROOT, str(folder)) for word in WORDS]
    words = [w for w in words if not (w.startswith(str(folder) + "/") and not os.path.exists(w))]
    at = os.getcwd().replace(ROOT, str(folder))
    done = real(words, at)
    back = (str(folder).encode(), ROOT.encode())
    report = Path(REPORT).read_bytes().replace(*back) if REPORT else None
    write(done.stdout.replace(*back), done.stderr.replace(*back), report, done.returncode)


def half_its_files() -> None:
    on_a_copy(lambda files: [path.unlink() for path in files[::2]])


def blind() -> None:
    on_a_copy(lambda files: [path.write_bytes(b"\n") for path in files])


def replay(code: int | None = None) -> None:
    code = int(recorded("exit")) if code is None else code
    write(recorded("stdout"), recorded("stderr"), recorded("report"), code)


def killed_after_a_whole_report() -> None:
    try:
        replay()
    finally:
        os.kill(os.getpid(), signal.SIGKILL)


MODES = {
    "record": record,
    "replaying a good run": replay,
    "crashing": os.abort,
    "hanging": lambda: time.sleep(600),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "printing nothing": lambda: write(b"", b"", None, json.loads((HERE / "exits").read_text())[-1]),
    "printing an empty report": lambda: write(
        b"", b"", b"", json.loads((HERE / "exits").read_text())[0]
    ),
    "printing an error object": lambda: write(
        b'{"error": {"code": "EBOOM", "summary": "boom"}}', b"boom", b'{"error": "boom"}', 1
    ),
    "printing half a report": half_a_report,
    "printing somebody else's report": somebody_elses_report,
    "crashing after a whole report": lambda: replay(99),
    "killed after a whole report": killed_after_a_whole_report,
    "reading half its files": half_its_files,
    "blind": blind,
}
MODES[(HERE / "mode").read_text()]()
