"""What an agent reads beside tools, by the official SDK's client in both eras: scans, findings,
reports and runs as resources; prompts; completions."""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client, MCPError

from pilotage import config
from pilotage.app import App
from pilotage.domain.call import Principal
from pilotage.pipeline import lint, load
from pilotage.pipeline.prepare import Given
from pilotage.server.prompts import PROMPTS
from pilotage.tool.roots import roots
from server.conftest import House, running
from server.test_mcp import connected, era

SCAN = {"source_path": "project", "scan_type": "code"}


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    """With every tool of the shelf, and seven findings to find."""
    project = tmp_path / "root" / "project"
    project.mkdir(parents=True)
    (project / "app.py").write_text("import os\n" + "os.system(input())\n" * 7)
    environment = {**os.environ, "PILOTAGE_HOME": str(tmp_path / "home")}
    app = App(config.read(environment=environment), roots(tmp_path / "root"))
    yield app
    app.close()


@pytest.fixture
async def house(app: App) -> AsyncIterator[House]:
    async with running(app) as house:
        yield house


async def scanned(client: Client) -> str:
    answer = await client.call_tool("security_scanner", {**SCAN, "limit": 1})
    content = answer.content[-1]
    assert isinstance(content, types.TextContent)
    body = answer.structured_content or json.loads(content.text)
    return str(body["scan_id"])


async def read(client: Client, uri: str) -> types.TextResourceContents:
    (content,) = (await client.read_resource(uri)).contents
    assert isinstance(content, types.TextResourceContents)
    assert content.uri == uri
    return content


@era
async def test_a_scan_is_read_by_the_page_and_as_a_report(
    house: House, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pilotage.server.own.PAGE", 3)
    async with connected(house, house.key("developer"), mode) as client:
        id = await scanned(client)
        (listed,) = (await client.list_resources()).resources
        assert listed.uri == f"pilotage://scans/{id}"
        assert (listed.title or "").startswith("FAIL: ")
        summary = json.loads((await read(client, listed.uri)).text)
        assert (summary["verdict"], summary["findings_total"]) == ("FAIL", 7)
        assert summary["findings"] == []
        seen, cursor = [], ""
        for _ in range(3):
            page = json.loads((await read(client, f"{listed.uri}/findings?cursor={cursor}")).text)
            seen += [finding["fingerprint"] for finding in page["findings"]]
            cursor = page.get("next_cursor", "")
        assert (len(seen), len(set(seen)), cursor) == (7, 7, "")
        none = json.loads((await read(client, f"{listed.uri}/findings?severity=low")).text)
        assert none["findings_total"] == 0
        sarif = await read(client, f"pilotage://reports/{id}.sarif")
        assert sarif.mime_type == "application/sarif+json"
        assert len(json.loads(sarif.text)["runs"]) >= 1
        html = await read(client, f"pilotage://reports/{id}.html")
        assert (html.mime_type, "<html" in html.text) == ("text/html", True)
        again = await scanned(client)
        page = json.loads((await read(client, f"pilotage://scans/{again}/findings")).text)
        assert {one["fingerprint"] for one in page["findings"]} <= set(seen), "ids are stable"
    await house.app.audit.settled()
    assert {"scan_report", "scan_findings"} <= {c.tool for c in house.app.audit.calls(limit=100)}


@era
async def test_what_is_not_theirs_is_not_found_and_said_as_what_is_not_there(
    house: House, mode: str
) -> None:
    run = await house.app.runs.start(*pipeline(house))
    await house.app.runs.wait(run)
    async with connected(house, house.key("developer"), mode) as owner:
        id = await scanned(owner)
    async with connected(house, house.key("ci"), mode) as other:
        assert (await other.list_resources()).resources == []
        said = set()
        for uri in (
            f"pilotage://scans/{id}",
            f"pilotage://scans/{'0' * 26}",
            f"pilotage://scans/{id}/findings",
            f"pilotage://reports/{id}.sarif",
            f"pilotage://runs/{run}",
            f"pilotage://runs/{'0' * 26}",
            "pilotage://secrets/all",
            "pilotage://scans/../runs",
            "file:///etc/passwd",
        ):
            with pytest.raises(MCPError) as caught:
                await other.read_resource(uri)
            said.add((caught.value.error.code, caught.value.error.message))
            assert caught.value.error.data == {"uri": uri}
        assert said == {(types.INVALID_PARAMS, "Unknown resource")}
        with pytest.raises(MCPError):
            await other.get_prompt("why-did-this-run-fail", {"run": run})


async def test_a_secret_that_a_scan_has_found_is_in_no_report(house: House, app: App) -> None:
    secret = "AKIA" + "Q3EGRJZX6WVTNP2K"
    (app.roots.base / "project" / "settings.py").write_text(f'aws_key = "{secret}"\n')
    async with connected(house, house.key("developer"), "2026-07-28") as client:
        given = {"source_path": "project", "scan_type": "secret"}
        answer = await client.call_tool("security_scanner", given)
        (listed,) = (await client.list_resources()).resources
        places = [listed.uri, f"{listed.uri}/findings"]
        reports = listed.uri.replace("scans", "reports")
        places += [f"{reports}.{kind}" for kind in ("sarif", "html", "json")]
        texts = [answer.model_dump_json(), *[(await read(client, uri)).text for uri in places]]
    assert '"findings_total":1' in texts[1], "it was found"
    assert not [text for text in texts if secret in text]


@era
async def test_a_page_that_cannot_be_is_a_mistake_of_its_own(house: House, mode: str) -> None:
    async with connected(house, house.key("developer"), mode) as client:
        id = await scanned(client)
        for query, says in (
            ("cursor=9999.aa", "the cursor is not of these findings"),
            ("severity=awful", "severity"),
            ("limit=9", "a page takes cursor and severity, each once"),
            ("cursor=&cursor=", "a page takes cursor and severity, each once"),
        ):
            with pytest.raises(MCPError, match=re.escape(says)):
                await client.read_resource(f"pilotage://scans/{id}/findings?{query}")
        with pytest.raises(MCPError, match="the cursor is not one of ours"):
            await client.list_resources(cursor="5")


def pipeline(house: House, by: str = "key:somebody") -> Any:
    text = "name: p\nsteps:\n- {name: a, tool: scan_report, params: {scan_id: gone}}\n"
    linted = lint.checked(lint.lint(load.document(text), house.app.runs.tools))
    return linted, Given({}, {}, {}), Principal(by, frozenset({"developer"}))


@era
async def test_runs_are_listed_by_the_page_read_and_explained(
    house: House, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pilotage.server.own.PAGE", 2)
    key = house.key("developer", name="dev")
    runs = [await house.app.runs.start(*pipeline(house, "key:dev")) for _ in range(5)]
    for run in runs:
        await house.app.runs.wait(run)
    async with connected(house, key, mode) as client:
        found: list[str] = []
        cursor = None
        while True:
            page = await client.list_resources(cursor=cursor)
            found += [one.uri for one in page.resources]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert found == [f"pilotage://runs/{run}" for run in reversed(runs)]
        shown = json.loads((await read(client, found[0])).text)
        assert (shown["state"], shown["success"]) == ("ended", False)
        templates = (await client.list_resource_templates()).resource_templates
        assert [each.uri_template for each in templates] == [
            "pilotage://scans/{scan}",
            "pilotage://scans/{scan}/findings{?cursor,severity}",
            "pilotage://runs/{run}",
            "pilotage://reports/{scan}.{format}",
        ]
        prompt = await client.get_prompt("why-did-this-run-fail", {"run": runs[0]})
        words, about = (message.content for message in prompt.messages)
        assert isinstance(words, types.TextContent)
        assert f"pilotage runs approve|reject|resume {runs[0]}" in words.text
        assert isinstance(about, types.EmbeddedResource)
        assert isinstance(about.resource, types.TextResourceContents)
        assert "no scan gone of yours is kept here" in about.resource.text
        ref = types.PromptReference(type="ref/prompt", name="why-did-this-run-fail")
        given = {"name": "run", "value": runs[0]}
        assert (await client.complete(ref, given)).completion.values == [runs[0]]
        wrong = {"name": "run", "value": "zzz"}
        assert (await client.complete(ref, wrong)).completion.values == []


@era
async def test_prompts_are_those_whose_tools_who_asks_may_call(house: House, mode: str) -> None:
    async with connected(house, house.key("developer"), mode) as client:
        prompts = {each.name: each for each in (await client.list_prompts()).prompts}
        assert list(prompts) == sorted(PROMPTS)
        needed = {a.name: a.required for a in prompts["scan-and-explain"].arguments or ()}
        assert needed == {"source_path": True, "scan_type": False}
        made = await client.get_prompt("scan-and-explain", {"source_path": "project"})
        (message,) = made.messages
        assert isinstance(message.content, types.TextContent)
        assert "source_path 'project' and scan_type 'full'" in message.content.text
        review = await client.get_prompt(
            "review-this-pipeline", {"pipeline": "name: p\nsteps:\n- {name: a, tol: x}\n"}
        )
        last = review.messages[-1].content
        assert isinstance(last, types.TextContent)
        assert json.loads(last.text)["problems"][0]["level"] == "error"
        for name, given, says in (
            ("scan-and-explain", {}, "needs the argument 'source_path'"),
            ("scan-and-explain", {"source_path": "p", "x": "y"}, "takes no argument 'x'"),
            ("scan-and-explain", {"source_path": "p", "scan_type": "odd"}, "no scan_type 'odd'"),
            ("approve-or-reject", {"approval": "0"}, "there is no approval"),
            ("nothing", {}, "Unknown prompt"),
        ):
            with pytest.raises(MCPError, match=says):
                await client.get_prompt(name, given)
    async with connected(house, house.key("viewer"), mode) as client:
        names = [each.name for each in (await client.list_prompts()).prompts]
        assert names == ["approve-or-reject", "review-this-pipeline", "why-did-this-run-fail"]
        with pytest.raises(MCPError, match="Unknown prompt"):
            await client.get_prompt("scan-and-explain", {"source_path": "project"})


def test_prompts_name_tools_that_there_are(app: App) -> None:
    assert "run_logs" in app.registry.entries, "why-did-this-run-fail names it"
    for prompt in PROMPTS.values():
        assert set(prompt.tools) <= app.registry.entries.keys(), prompt.shown.name
    made = PROMPTS["scan-and-explain"].make(app, None, {"source_path": "x"})  # type: ignore[arg-type]
    named = set(re.findall(r"\b[a-z]+_[a-z_]+\b", str(made[0])))
    named -= {"source_path", "scan_type", "not_run", "next_cursor"}
    assert named == set(PROMPTS["scan-and-explain"].tools)
