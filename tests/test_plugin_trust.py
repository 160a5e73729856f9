"""The supply chain of plugins: a real wheel, installed by uv, loaded only as it was trusted."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

MODULE = '''
import os
from pathlib import Path

from pilotage.domain.call import Effect
from pilotage.tool.tool import tool

Path(os.environ["MARK"]).write_text("imported")


@tool(Effect.READ)
async def mirror(text: str) -> dict[str, str]:
    """Say it backwards."""
    return {"said": text[::-1]}
'''
FILES = {"a_plugin/__init__.py": MODULE, "a_plugin/words.txt": "some words\n"}
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))


def text_of(key: Ed25519PrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def signed(files: dict[str, str], key: Ed25519PrivateKey, version: str = "1.0") -> dict[str, str]:
    """The files with a manifest and its signature, as a publisher makes them."""
    digests = {path: hashlib.sha256(text.encode()).hexdigest() for path, text in files.items()}
    text = json.dumps({"name": "a-plugin", "version": version, "files": digests})
    signature = base64.b64encode(key.sign(text.encode())).decode()
    return {
        **files,
        "a_plugin/pilotage-plugin.json": text,
        "a_plugin/pilotage-plugin.sig": signature,
    }


def wheel(folder: Path, files: dict[str, str], version: str = "1.0") -> Path:
    info = f"a_plugin-{version}.dist-info"
    whole = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: a-plugin\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
        f"{info}/entry_points.txt": "[pilotage.tools]\nlooking-glass = a_plugin\n",
    }
    record = ""
    for path, text in whole.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        record += f"{path},sha256={digest.decode()},{len(text.encode())}\n"
    made = folder / f"a_plugin-{version}-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        for path, text in {**whole, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(path, text)
    return made


class Place:
    """A state folder, and a folder that wheels are installed into."""

    def __init__(self, folder: Path) -> None:
        self.site, self.home, self.mark = folder / "site", folder / "home", folder / "mark"
        self._folder = folder
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(self.site),
            "PILOTAGE_HOME": str(self.home),
            "PILOTAGE_PLUGINS": "a-plugin",
            "MARK": str(self.mark),
        }

    def install(self, files: dict[str, str] = FILES, version: str = "1.0") -> None:
        made = wheel(self._folder, files, version)
        uv = [sys.executable, "-m", "uv", "--quiet", "--no-cache", "--offline", "pip", "install"]
        where = ["--target", str(self.site), "--no-deps", "--upgrade", str(made)]
        subprocess.run([*uv, *where], check=True)

    def pilotage(self, *words: str, **more: str) -> tuple[int, str]:
        """Its exit code, and all that it says. `mark` is there if the plugin was imported."""
        self.mark.unlink(missing_ok=True)
        program = [sys.executable, "-m", "pilotage.cli.main", *words]
        environment = {**self.environment, **more}
        done = subprocess.run(program, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def call(self) -> tuple[int, str]:
        return self.pilotage("call", "mirror", "--arg", "text=abc")

    def refused(self, why: str) -> None:
        """The start is refused for `why`, with the mend, and nothing was imported."""
        code, said = self.call()
        assert code == 2, said
        assert why in said
        assert "pilotage plugins trust a-plugin" in said
        assert not self.mark.exists()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.install()
    return made


def test_a_plugin_is_loaded_once_it_is_trusted_and_no_more_when_it_is_not(place: Place) -> None:
    place.refused("the plugin a-plugin is not trusted")
    code, said = place.pilotage("plugins", "list")
    assert (code, said) == (1, "on   a-plugin 1.0  is not trusted\n")
    code, said = place.pilotage("plugins", "trust", "looking-glass")
    assert code == 0
    assert "a-plugin 1.0 is trusted: " in said
    assert "no signature" in said
    assert not place.mark.exists()
    code, said = place.call()
    assert code == 0
    assert '"said": "cba"' in said
    assert place.mark.exists()
    assert place.pilotage("plugins", "list") == (0, "on   a-plugin 1.0  is trusted\n")
    assert place.pilotage("plugins", "distrust", "a-plugin")[0] == 0
    place.refused("the plugin a-plugin is not trusted")
    said = place.pilotage("audit", "list")[1]
    for event in ("plugin.refused", "plugin.trusted", "plugin.distrusted"):
        assert event in said
    assert place.pilotage("audit", "verify")[0] == 0


def flip(place: Place) -> None:
    file = place.site / "a_plugin/__init__.py"
    text = bytearray(file.read_bytes())
    text[-3] ^= 1
    stat = file.stat()
    file.write_bytes(text)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def add(place: Place) -> None:
    (place.site / "a_plugin/more.py").write_text("")


def lose(place: Place) -> None:
    (place.site / "a_plugin/words.txt").unlink()


def turn(place: Place) -> None:
    (file,) = place.site.glob("*.dist-info/entry_points.txt")
    file.write_text("[pilotage.tools]\nlooking-glass = a_plugin:other\n")


def upgrade(place: Place) -> None:
    place.install(version="2.0")


def shadow(place: Place) -> None:
    """Another module of that name, which Python finds first."""
    first = place.site.parent / "first"
    (first / "a_plugin").mkdir(parents=True)
    (first / "a_plugin/__init__.py").write_text(MODULE)
    place.environment["PYTHONPATH"] = f"{first}{os.pathsep}{place.site}"


def link(place: Place) -> None:
    file = place.site / "a_plugin/words.txt"
    file.rename(place.site.parent / "words.txt")
    file.symlink_to(place.site.parent / "words.txt")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (flip, "a_plugin/__init__.py has changed"),
        (add, "a_plugin/more.py is new"),
        (lose, "a_plugin/words.txt is gone"),
        (turn, "entry_points.txt has changed"),
        (upgrade, "is 2.0, and 1.0 was trusted"),
        (shadow, "a_plugin would be imported from "),
        (link, "words.txt is no plain file"),
    ],
)
def test_what_is_not_what_was_trusted_stops_the_start(
    place: Place, change: Callable[[Place], None], why: str
) -> None:
    assert place.pilotage("plugins", "trust", "a-plugin")[0] == 0
    change(place)
    place.refused(why)
    assert why in place.pilotage("plugins", "list")[1]


def test_bytecode_beside_it_is_not_read(place: Place) -> None:
    """A cache file whose stamp fits its source would run in its place, and no hash sees it."""
    assert place.pilotage("plugins", "trust", "a-plugin")[0] == 0
    source = place.site / "a_plugin/__init__.py"
    stat = source.stat()
    whole = source.read_text()
    source.write_text(whole.replace("text[::-1]", '"evil!!!!"'))
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(place.site)], check=True)
    source.write_text(whole)
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert list(place.site.glob("a_plugin/__pycache__/*.pyc"))
    code, said = place.call()
    assert code == 0
    assert '"said": "cba"' in said


def test_a_signature_is_checked_where_a_key_is_known(place: Place) -> None:
    key, other = text_of(KEY), text_of(OTHER)
    code, said = place.pilotage("plugins", "trust", "a-plugin", "--publisher", key)
    assert code == 2
    assert "a-plugin is not signed" in said
    place.install(signed(FILES, KEY))
    code, said = place.pilotage("plugins", "trust", "a-plugin", "--publisher", other)
    assert code == 2
    assert "is of no publisher that is trusted" in said
    code, said = place.pilotage("plugins", "trust", "a-plugin", PILOTAGE_TRUSTED_PUBLISHERS=other)
    assert code == 2
    assert "is of no publisher that is trusted" in said
    place.refused("is not trusted")
    both = f"{other},{key}"
    code, said = place.pilotage("plugins", "trust", "a-plugin", PILOTAGE_TRUSTED_PUBLISHERS=both)
    assert code == 0
    assert f"signed by {key}" in said
    assert place.call()[0] == 0
    code, said = place.pilotage("plugins", "trust", "a-plugin", "--publisher", "c2hvcnQ=")
    assert code == 2
    assert "is no key of a publisher" in said


@pytest.mark.parametrize(
    ("files", "why"),
    [
        (signed(FILES, KEY) | {"a_plugin/words.txt": "other words"}, "a_plugin/words.txt"),
        (signed(FILES, KEY) | {"a_plugin/more.py": ""}, "a_plugin/more.py"),
        (signed(FILES | {"a_plugin/gone.py": ""}, KEY) | {"a_plugin/gone.py": "x"}, "gone.py"),
        (signed(FILES, KEY, "0.9"), "a-plugin 0.9"),
    ],
)
def test_what_the_publisher_did_not_sign_is_not_trusted(
    place: Place, files: dict[str, str], why: str
) -> None:
    place.install(files)
    code, said = place.pilotage("plugins", "trust", "a-plugin", "--publisher", text_of(KEY))
    assert code == 2
    assert "is not what its publisher signed" in said
    assert why in said
    place.refused("is not trusted")
