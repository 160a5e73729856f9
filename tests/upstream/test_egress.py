"""No outgoing call reaches the inside, however its address is written, resolved or redirected."""

from __future__ import annotations

import asyncio
import itertools
import ssl
from pathlib import Path

import pytest

from pilotage.domain.errors import BadInput, Denied, PilotageError, Unavailable
from pilotage.server import tls
from pilotage.upstream.egress import Egress
from pilotage.upstream.session import Outgoing
from upstream.echo import echoing
from waiting import until

INSIDE = (
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "169.254.170.2",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:a9fe:a9fe",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2001::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
)
ODD = (
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.1/",
    "https://0177.0.0.1/",
    "https://127.1/",
    "https://127.0.0.1./",
    "https://0/",
    "https://[::ffff:7f00:1]/",
    "https://[0:0:0:0:0:ffff:127.0.0.1]/",
    "https://a.b.0x7f/",
    "https://exa mple.com/",
    "https://example.com\\@127.0.0.1/",
    "https://user@example.com/",
    "https://user:password@example.com/",
    "https://example.com#@127.0.0.1/",
    "https://127.0.0.1%2f@example.com/",
    "https://%31%32%37.0.0.1/",
    "https://①②⑦.0.0.1/",
    "https://127。0。0。1/",
    "https://",
    "https://:443/",
    "https:example.com",
    "//example.com/",
    "file:///etc/passwd",
    "ftp://example.com/",
    "gopher://example.com/",
    "unix:///run/docker.sock",
    "https://example.com:0/",
    "https://example.com:99999/",
    "https://exa\nmple.com/",
    "",
)


def host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


@pytest.mark.parametrize("address", INSIDE)
def test_no_url_names_an_address_of_the_inside(address: str) -> None:
    with pytest.raises((Denied, BadInput)):
        Egress().check_url(f"https://{host(address)}/latest/meta-data")


@pytest.mark.parametrize("address", INSIDE)
def test_no_name_resolves_to_an_address_of_the_inside(address: str) -> None:
    with pytest.raises(Denied):
        Egress().check_address("example.com", 443, address)


@pytest.mark.parametrize("url", ODD)
def test_what_is_written_oddly_is_refused(url: str) -> None:
    with pytest.raises((Denied, BadInput)):
        Egress(["example.com"]).check_url(url)


@pytest.mark.parametrize("url", ["https://example.com/a?b=c", "https://1.1.1.1/", "https://a:8443"])
def test_https_to_the_outside_is_open(url: str) -> None:
    assert Egress().check_url(url).scheme == "https"


def test_plain_http_is_for_hosts_that_are_named() -> None:
    for allow in ((), ("other.example",), ("example.com:81",), ("10.0.0.0/8",)):
        with pytest.raises(Denied, match="readable by all"):
            Egress(allow).check_url("http://example.com:80/")
    for allow in (("example.com",), ("example.com:80",), ("EXAMPLE.com",), ("*.com",)):
        Egress(allow).check_url("http://example.com:80/")
    Egress(["10.0.0.0/8"]).check_url("http://10.1.1.1/")


@pytest.mark.parametrize(
    ("allow", "address", "port", "open"),
    [
        ("10.0.0.0/8", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "::ffff:10.1.2.3", 443, True),
        ("10.0.0.0/8", "192.168.0.1", 443, False),
        ("10.0.0.0/8:8443", "10.1.2.3", 443, False),
        ("10.0.0.0/8:8443", "10.1.2.3", 8443, True),
        ("[fd00:1::/32]:8443", "fd00:1::5", 8443, True),
        ("fd00:1::/32", "fd00:2::5", 8443, False),
        ("api.internal", "10.1.2.3", 443, True),
        ("api.internal:444", "10.1.2.3", 443, False),
        ("*.internal", "10.1.2.3", 443, True),
        ("api.internal", "169.254.169.254", 443, False),
        ("api.internal", "0.0.0.0", 443, False),
        ("169.254.169.254", "169.254.169.254", 443, True),
        ("xapi.internal", "10.1.2.3", 443, False),
        ("*.api.internal", "10.1.2.3", 443, False),
    ],
)
def test_the_setting_opens_what_it_names_and_no_more(
    allow: str, address: str, port: int, open: bool
) -> None:
    egress = Egress([allow])
    if open:
        egress.check_address("api.internal", port, address)
        return
    with pytest.raises(Denied, match="may not be called"):
        egress.check_address("api.internal", port, address)


@pytest.mark.parametrize(
    "text", ["", "https://a", "a/b", "a b", "0x7f.1", "1.2.3", "a:0", "a:99999", "10.0.0.1/8", "*"]
)
def test_an_entry_of_the_setting_that_means_nothing_stops_the_start(text: str) -> None:
    with pytest.raises(BadInput, match=r"egress\.allow"):
        Egress([text])


async def get(outgoing: Outgoing, url: str) -> tuple[int, str]:
    try:
        async with outgoing.request("GET", url) as answer:
            return answer.status, await answer.text()
    finally:
        await outgoing.close()


async def test_one_bad_address_of_many_closes_the_name() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["93.184.215.14", "127.0.0.1"]

    async with echoing() as echo:
        outgoing = Outgoing(Egress(), resolve=resolve)
        with pytest.raises(Denied, match="this machine"):
            await get(outgoing, f"https://example.com:{echo.port}/")
        assert echo.seen == []


async def test_a_name_that_flips_cannot_answer_check_and_call_differently() -> None:
    """A good address for the check, loopback for the call: there is one look-up, and what it gave
    is what is connected to."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    async with echoing() as echo:
        outgoing = Outgoing(Egress(["flip.example"]), resolve=resolve)
        status, _ = await get(outgoing, f"http://flip.example:{echo.port}/")
        assert (status, len(asked), len(echo.seen)) == (200, 1, 1)
        with pytest.raises(Denied, match="link-local"):
            await get(outgoing, f"http://flip.example:{echo.port}/")
        assert len(echo.seen) == 1


async def test_a_name_that_flips_at_each_look_up_never_gets_inside() -> None:
    addresses = itertools.cycle((["192.0.2.1"], ["127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"]))

    async def resolve(host: str, port: int) -> list[str]:
        return next(addresses)

    async with echoing() as echo:
        for _ in range(8):
            with pytest.raises(Denied):
                await get(Outgoing(Egress(), resolve=resolve), f"https://example.com:{echo.port}/")
        assert echo.seen == []


@pytest.mark.parametrize(
    "where",
    [
        "http://127.0.0.1:{other}/",
        "http://localhost:{other}/",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]:{other}/",
        "http://2130706433:{other}/",
        "//127.0.0.1:{other}/",
        "file:///etc/passwd",
    ],
)
async def test_a_redirect_inside_is_refused(where: str) -> None:
    async with echoing() as echo, echoing() as other:
        outgoing = Outgoing(Egress([f"127.0.0.1:{echo.port}"]))
        target = where.format(other=other.port)
        with pytest.raises((Denied, BadInput), match="redirects"):
            await get(outgoing, f"{echo.url}/how/to?where={target}")
        assert other.seen == []


async def test_a_redirect_to_another_origin_is_not_followed_even_where_that_is_open() -> None:
    async with echoing() as echo, echoing() as other:
        outgoing = Outgoing(Egress(["127.0.0.1"]))
        status, _ = await get(outgoing, f"{echo.url}/how/to?where={other.url}/secret")
        assert (status, other.seen) == (307, [])


async def test_a_redirect_in_the_same_origin_is_followed_a_few_times() -> None:
    async with echoing() as echo:
        outgoing = Outgoing(Egress(["127.0.0.1"]))
        status, text = await get(outgoing, f"{echo.url}/how/to?where=/here")
        assert status == 200
        assert "/here" in text
        with pytest.raises(Unavailable, match="without an end"):
            await get(outgoing, f"{echo.url}/how/to")


async def test_one_connection_serves_many_calls_and_no_cookie_is_kept() -> None:
    async with echoing() as echo:
        outgoing = Outgoing(Egress(["127.0.0.1"]))
        for _ in range(20):
            async with outgoing.request("GET", f"{echo.url}/") as answer:
                await answer.read()
        await outgoing.close()
        assert len(echo.connections) == 1
        assert len(echo.seen) == 20


async def test_what_is_not_there_or_breaks_off_is_unavailable() -> None:
    async with echoing() as echo:
        outgoing = Outgoing(Egress(["127.0.0.1"]))
        with pytest.raises(Unavailable, match="cannot be reached"):
            await get(outgoing, f"{echo.url}/how/cut")
        gone = echo.url
    with pytest.raises(Unavailable, match="cannot be reached"):
        await get(outgoing, gone)


async def test_the_environments_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with echoing() as echo, echoing() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert (await get(Outgoing(Egress(["127.0.0.1"])), echo.url))[0] == 200
        assert proxy.seen == []


async def test_an_unfinished_call_that_is_cancelled_leaves_nothing_open() -> None:
    async with echoing() as echo:
        outgoing = Outgoing(Egress(["127.0.0.1"]))
        task = asyncio.create_task(get(outgoing, f"{echo.url}/how/hang"))
        await until(lambda: bool(echo.seen))
        task.cancel()
        with pytest.raises((asyncio.CancelledError, PilotageError)):
            await task


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    files = tls.automatic(authority, ("localhost", "127.0.0.1"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    async with echoing(context) as echo:
        url = f"https://localhost:{echo.port}/"
        with pytest.raises(Unavailable, match="certificate"):
            await get(Outgoing(Egress(["localhost"])), url)
        assert echo.seen == []
        assert (await get(Outgoing(Egress(["localhost"]), authority=authority), url))[0] == 200


async def test_a_name_that_is_nowhere_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        await get(Outgoing(Egress()), "https://no-such-host.invalid/")
