"""A process of ours whose settings name one real cluster, "test": its tools, called as a person at
the terminal calls them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from cluster.access import Access

from pilotage import config
from pilotage.app import App, local_principal
from pilotage.domain.call import Principal, Progress, ToolCall, ToolResult
from pilotage.domain.errors import PilotageError
from pilotage.domain.ids import new_id
from pilotage.tool.roots import roots
from pilotage.upstream.wanted import Wanted

ROLES = """
admin: {effects: [read, write, destroy], manage: ["*"]}
worker: {effects: [read, write], ask: [destroy]}
asker: {effects: [read], ask: [write, destroy]}
reader: {effects: [read]}
"""


@dataclass
class Desk:
    """`said` is all progress so far. `folder` is its only root."""

    app: App
    access: Access
    namespace: str
    folder: Path
    by: Principal
    said: list[str] = field(default_factory=list)

    def hear(self, news: Progress) -> None:
        self.said.append(news.message)

    async def call(self, tool: str, **arguments: Any) -> ToolResult:
        """In the test's namespace, unless the call names another."""
        given = {"namespace": self.namespace, **arguments}
        return await self.app.call(tool, given, self.by, "cli", self.hear)

    async def register(self, tool: str) -> None:
        """One that nobody can call until somebody does this."""
        await self.app.others.registrations.put(tool, Wanted("builtin", {"tool": tool}), self.by)

    async def step(self, tool: str, key: str, attempt: int = 1, **arguments: Any) -> ToolResult:
        """As a step of a run calls it: under a key, straight past the answers that are kept."""
        given = {"namespace": self.namespace, **arguments}
        call = ToolCall(new_id(), tool, given, self.by, "step", key, step=tool, attempt=attempt)
        return await self.app.registry.find(tool).tool.run(call, self.hear)

    def write(self, *objects: Mapping[str, Any], name: str = "manifest.yaml") -> str:
        """A manifest; its path as a caller gives it."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump_all(objects))
        return str(path)

    def kubectl(self, *argv: str, input: str | None = None) -> str:
        return self.access.kubectl(*argv, f"--namespace={self.namespace}", input=input)

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        done = self.access.run_kubectl(
            "get", kind, name, f"--namespace={self.namespace}", "-o", "json"
        )
        if done.returncode:
            assert "NotFound" in done.stderr, done.stderr
            return None
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def there(self, kind: str, name: str) -> dict[str, Any]:
        found = self.get(kind, name)
        assert found is not None, f"there is no {kind} {name}"
        return found


@asynccontextmanager
async def desk_at(
    access: Access, namespace: str, folder: Path, **bounds: Any
) -> AsyncIterator[Desk]:
    """`bounds` are those of the cluster in the settings file."""
    home, work = folder / "home", folder / "work"
    home.mkdir(mode=0o700, parents=True)
    work.mkdir()
    cluster = {"kubeconfig": str(access.kubeconfig), "context": "admin", **bounds}
    (home / "roles.yaml").write_text(ROLES)
    (home / "config.yaml").write_text(yaml.safe_dump({"clusters": {"test": cluster}}))
    allow = {"PILOTAGE_EGRESS_ALLOW": "127.0.0.1 10.0.0.0/8"}
    settings = config.read(environment={"PILOTAGE_HOME": str(home), "HOME": str(home), **allow})
    app = App(settings, roots(work))
    try:
        yield Desk(app, access, namespace, work, local_principal())
    finally:
        await app.leave()
        app.close()


async def refused(desk: Desk, tool: str, **arguments: Any) -> str:
    """Why it does not do it."""
    try:
        result = await desk.call(tool, **arguments)
    except PilotageError as error:
        return str(error)
    assert not result.succeeded, result
    return f"{result.error} ({result.hint})"
