"""Tools of other packages: off until they are named, and never half there."""

from __future__ import annotations

import contextlib
import importlib
import sys
from pathlib import Path

import pytest

from pilotage import config
from pilotage.app import App, local_principal
from pilotage.domain.errors import NotFound, PilotageError
from pilotage.store.database import Database
from pilotage.tool.plugins import Plugins
from pilotage.tool.registry import State
from pilotage.tool.roots import roots

TOOL = '''
from pilotage.domain.call import Effect
from pilotage.tool.tool import tool


@tool(Effect.READ)
async def {name}(text: str) -> dict[str, str]:
    """Say it backwards."""
    return {{"said": text[::-1]}}
'''


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that packages are installed into."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    return site


def install(site: Path, package: str, text: str, *entries: str) -> None:
    """A distribution `package` with one module and its entry points, as pip leaves it."""
    sys.modules.pop(package, None)
    (site / f"{package}.py").write_text(text)
    info = site / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "RECORD").write_text(f"{package}.py,,\n{info.name}/METADATA,,\n")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pilotage.tools]\n" + "\n".join(entries) + "\n")


def app(home: Path, plugins: str) -> App:
    """With plugins that are trusted as they are now: see test_plugin_trust.py."""
    environment = {"PILOTAGE_HOME": str(home), "HOME": str(home), "PILOTAGE_PLUGINS": plugins}
    settings = config.read(environment=environment)
    database = Database(home / "pilotage.db")
    try:
        known = Plugins(database, lambda *_: None, home)
        for name in settings.words("plugins"):
            with contextlib.suppress(NotFound):
                known.trust(name, local_principal())
    finally:
        database.close()
    return App(settings, roots(home), ())


def names(home: Path, plugins: str) -> list[str]:
    made = app(home, plugins)
    try:
        return sorted(made.registry.all)
    finally:
        made.close()


def test_a_plugin_is_off_until_it_is_named(tmp_path: Path, installed: Path) -> None:
    install(installed, "plugin_a", TOOL.format(name="mirror"), "looking = plugin_a")
    assert names(tmp_path, "") == []
    assert names(tmp_path, "plugin_a") == ["mirror"]
    assert names(tmp_path, "looking") == ["mirror"]
    assert names(tmp_path, "looking, plugin_a") == ["mirror"]


def test_an_entry_point_names_one_tool_or_all_of_a_module(tmp_path: Path, installed: Path) -> None:
    text = TOOL.format(name="one") + TOOL.format(name="two") + "BOTH = [one, two]\n"
    install(installed, "plugin_b", text, "b1 = plugin_b:one", "b2 = plugin_b:BOTH", "b3 = plugin_b")
    assert names(tmp_path, "b1") == ["one"]
    assert names(tmp_path, "b2") == ["one", "two"]
    assert names(tmp_path, "b3") == ["one", "two"]


async def test_a_tool_of_a_plugin_is_a_tool_of_the_house(tmp_path: Path, installed: Path) -> None:
    install(installed, "plugin_c", TOOL.format(name="mirror"), "c = plugin_c")
    made = app(tmp_path, "c")
    try:
        result = await made.call("mirror", {"text": "abc"}, local_principal(), "cli")
        assert result.value == {"said": "cba"}
    finally:
        made.close()


def test_a_newer_version_that_says_something_else_waits(tmp_path: Path, installed: Path) -> None:
    text = TOOL.format(name="mirror")
    install(installed, "plugin_h", text, "h = plugin_h")
    assert names(tmp_path, "h") == ["mirror"]
    sys.modules.pop("plugin_h")
    importlib.invalidate_caches()
    (installed / "plugin_h.py").write_text(text.replace("backwards.", "backwards, and keep it."))
    made = app(tmp_path, "h")
    try:
        entry = made.registry.all["mirror"]
        assert entry.state is State.QUARANTINED
        assert "its description and title changed since settings" in entry.why
        pins = made.others.pins
        pins.approve("mirror", pins.look("mirror").seen, local_principal())
        made.registry.recheck()
        assert made.registry.all["mirror"].state is State.READY
    finally:
        made.close()


@pytest.mark.parametrize(
    ("text", "entry", "why"),
    [
        ("raise ValueError('boom')\n", "d = plugin_d", "cannot be loaded: ValueError: boom"),
        ("import no_such_module\n", "d = plugin_d", "cannot be loaded: ModuleNotFoundError"),
        (TOOL.format(name="x"), "d = plugin_d:y", "cannot be loaded: AttributeError"),
        ("x = 1\n", "d = plugin_d", "holds no Definition"),
        ("x = 1\n", "d = plugin_d:x", "holds no Definition"),
        ("x = [1]\n", "d = plugin_d:x", "holds no Definition"),
    ],
)
def test_a_plugin_that_does_not_load_stops_the_start(
    tmp_path: Path, installed: Path, text: str, entry: str, why: str
) -> None:
    install(installed, "plugin_d", text, entry)
    with pytest.raises(PilotageError, match="plugin_d") as caught:
        names(tmp_path, "plugin_d")
    assert why in caught.value.what
    assert names(tmp_path, "") == []


def test_a_plugin_that_is_named_and_not_there_stops_the_start(
    tmp_path: Path, installed: Path
) -> None:
    install(installed, "plugin_e", TOOL.format(name="mirror"), "e = plugin_e")
    with pytest.raises(PilotageError, match="'nowhere' is not installed") as caught:
        names(tmp_path, "nowhere")
    assert caught.value.hint == "installed: e"


def test_a_name_that_is_used_twice_stops_the_start(tmp_path: Path, installed: Path) -> None:
    install(installed, "plugin_f", TOOL.format(name="mirror"), "f = plugin_f")
    install(installed, "plugin_g", TOOL.format(name="mirror"), "g = plugin_g")
    with pytest.raises(PilotageError, match="both hold 'mirror'"):
        names(tmp_path, "f,g")
