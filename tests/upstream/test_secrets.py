"""Secrets: kept for their owner's eyes, sent to their hosts, masked everywhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilotage.domain.errors import BadInput, Denied, NotFound, Unavailable
from pilotage.tool.redact import Redactor
from pilotage.upstream.secrets import Reference, Secrets

VALUE = "s3cret-value-1"


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    return Secrets(tmp_path / "home" / "secrets.yaml", Redactor(), {})


def test_a_secret_is_kept_for_its_hosts_alone(secrets: Secrets) -> None:
    secrets.set("TRACKER", VALUE, ["api.example", "*.internal"])
    assert secrets.path.stat().st_mode & 0o777 == 0o600
    for host in ("api.example", "API.example", "a.internal"):
        assert secrets.value("TRACKER", f"https://{host}") == VALUE
    for host in ("evil.example", "api.example.evil.example", "xapi.example", "internal"):
        with pytest.raises(Denied, match="may not go to"):
            secrets.value("TRACKER", f"https://{host}")
    headers = {"Authorization": Reference("TRACKER", "Bearer "), "X": "y"}
    assert secrets.headers(headers, "https://api.example") == {
        "Authorization": f"Bearer {VALUE}",
        "X": "y",
    }


@pytest.mark.parametrize(
    ("entry", "yes", "no"),
    [
        ("a.example", "https://a.example https://a.example:443 http://a.example:80",
         "https://a.example:8443 http://a.example:443 https://a.example:80"),
        ("a.example:8443", "https://a.example:8443 http://A.example:8443", "https://a.example"),
        ("a.example:443", "https://a.example", "http://a.example"),
        ("127.0.0.1:*", "http://127.0.0.1:9 https://127.0.0.1", "http://127.0.0.2:9"),
        ("*.example:8443", "https://a.example:8443", "https://a.example https://example:8443"),
        ("::1", "https://[::1]", "https://[::1]:8443"),
        ("[0:0::1]:8443", "https://[::1]:8443", "https://[::1] https://[::2]:8443"),
        ("stdio:notes", "stdio:notes", "stdio:others https://stdio"),
        ("stdio", "https://stdio", "stdio:stdio"),
    ],
)  # fmt: skip
def test_a_secret_is_for_the_ports_that_are_named(
    secrets: Secrets, entry: str, yes: str, no: str
) -> None:
    secrets.set("TRACKER", VALUE, [entry])
    for origin in yes.split():
        assert secrets.value("TRACKER", origin) == VALUE
    for origin in no.split():
        with pytest.raises(Denied, match="may not go to") as caught:
            secrets.value("TRACKER", origin)
        assert caught.value.hint is not None
        secrets.set("OTHER", VALUE, [caught.value.hint.rpartition(" ")[2]])
        assert secrets.value("OTHER", origin) == VALUE, "the hint mends it"


def test_a_host_named_stdio_gets_no_secret_of_a_program(secrets: Secrets) -> None:
    secrets.set("TRACKER", VALUE, ["stdio:8080"])
    assert secrets.value("TRACKER", "stdio:8080") == VALUE
    for origin in ("https://stdio:8080", "http://stdio:8080", "https://stdio"):
        with pytest.raises(Denied, match="may not go to"):
            secrets.value("TRACKER", origin)


def test_a_secret_that_was_read_is_masked(tmp_path: Path) -> None:
    redactor = Redactor()
    secrets = Secrets(tmp_path / "secrets.yaml", redactor, {})
    secrets.set("TRACKER", VALUE, ["api.example"])
    secrets.value("TRACKER", "https://api.example")
    assert redactor.result({"x": f"a {VALUE} b"}) == {"x": "a [redacted TRACKER] b"}
    secrets.set("TRACKER", "another-value", ["api.example"])
    assert secrets.value("TRACKER", "https://api.example") == "another-value"
    assert redactor.text("another-value") == "[redacted TRACKER]"


def test_the_environment_wins_and_without_hosts_goes_nowhere(tmp_path: Path) -> None:
    environment = {"PILOTAGE_SECRET_TRACKER": "from-the-environment"}
    secrets = Secrets(tmp_path / "secrets.yaml", Redactor(), environment)
    secrets.set("TRACKER", VALUE, ["api.example"])
    with pytest.raises(Denied, match="but to no host"):
        secrets.value("TRACKER", "https://api.example")
    environment["PILOTAGE_HOSTS_TRACKER"] = "api.example,other.example"
    assert secrets.value("TRACKER", "https://other.example") == "from-the-environment"
    assert [one.hosts for one in secrets.list()] == [("api.example", "other.example")]
    assert VALUE not in repr(secrets.list())


def test_a_file_that_others_can_read_is_not_used(secrets: Secrets) -> None:
    secrets.set("TRACKER", VALUE, ["api.example"])
    secrets.path.chmod(0o644)
    with pytest.raises(Unavailable, match="can be read by others"):
        secrets.value("TRACKER", "https://api.example")


@pytest.mark.parametrize(
    "text", ["TRACKER: s3cret-value-1", "[", "TRACKER: {value: s3cret-value-1, x: 1}", "a: b: c"]
)
def test_a_broken_file_is_said_without_quoting_it(secrets: Secrets, text: str) -> None:
    secrets.set("TRACKER", VALUE, ["api.example"])
    secrets.path.write_text(text)
    with pytest.raises(Unavailable) as caught:
        secrets.value("TRACKER", "https://api.example")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "hosts"),
    [
        ("lower", VALUE, ["a.example"]),
        ("A B", VALUE, ["a.example"]),
        ("", VALUE, ["a.example"]),
        ("TRACKER", "short", ["a.example"]),
        ("TRACKER", "two\nlines-of-it", ["a.example"]),
        ("TRACKER", "not-ascii-ä", ["a.example"]),
        ("TRACKER", VALUE, []),
        ("TRACKER", VALUE, ["https://a.example/"]),
        ("TRACKER", VALUE, ["*"]),
        ("TRACKER", VALUE, ["*.*"]),
        ("TRACKER", VALUE, ["[a-z].example"]),
        ("TRACKER", VALUE, ["*.", "a?.example"]),
        ("TRACKER", VALUE, ["a.example:"]),
        ("TRACKER", VALUE, ["a.example:0"]),
        ("TRACKER", VALUE, ["a.example:65536"]),
        ("TRACKER", VALUE, ["a.example:https"]),
        ("TRACKER", VALUE, ["[a.example]:443"]),
        ("TRACKER", VALUE, ["stdio:"]),
    ],
)
def test_what_is_no_usable_secret_is_refused(
    secrets: Secrets, name: str, value: str, hosts: list[str]
) -> None:
    with pytest.raises(BadInput) as caught:
        secrets.set(name, value, hosts)
    assert VALUE not in str(caught.value)
    assert not secrets.path.exists()


def test_what_is_removed_is_gone(secrets: Secrets) -> None:
    secrets.set("TRACKER", VALUE, ["api.example"])
    secrets.remove("TRACKER")
    with pytest.raises(NotFound):
        secrets.value("TRACKER", "https://api.example")
    with pytest.raises(NotFound):
        secrets.remove("TRACKER")
