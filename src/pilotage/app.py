"""The composition root: the one file that joins engines and shelves."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import logging
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from pilotage import config, shelf
from pilotage.audit.checkpoint import Checkpoints
from pilotage.audit.log import AuditLog
from pilotage.config import Settings
from pilotage.domain.approval import Approval, ApprovalState, Verdict
from pilotage.domain.call import Principal, Report, ToolCall, ToolResult, silent
from pilotage.domain.errors import Conflict, Denied, PilotageError
from pilotage.domain.ids import new_id
from pilotage.domain.run import Kind
from pilotage.pipeline.access import RunAccess
from pilotage.pipeline.catalogue import Known, Wrong
from pilotage.pipeline.files import opened
from pilotage.pipeline.prepare import Terms
from pilotage.pipeline.runs import Runs
from pilotage.pipeline.told import Artifact
from pilotage.policy import policy
from pilotage.policy.reload import Reload
from pilotage.scan.control import Controls
from pilotage.scan.environment import Environments
from pilotage.scan.orchestrate import Scans
from pilotage.scan.report import Format, Formats
from pilotage.scan.scanner import Scanner
from pilotage.store import tools as registered
from pilotage.store.database import Database
from pilotage.store.keys import Keys
from pilotage.tool.approvals import Approvals
from pilotage.tool.fair_use import fair_use
from pilotage.tool.gateway import Gateway
from pilotage.tool.pin import Pins
from pilotage.tool.redact import Redactor
from pilotage.tool.registry import Entry, Registry
from pilotage.tool.roots import Roots
from pilotage.tool.roots import roots as make_roots
from pilotage.tool.tool import Definition, Tool
from pilotage.tool.tracing import TracedGateway, Tracing
from pilotage.tool.tracing import wanted as tracing_wanted
from pilotage.tools.security_scanner import scanner_tool
from pilotage.upstream.builtin import Builtins
from pilotage.upstream.connection import Ways
from pilotage.upstream.egress import Egress
from pilotage.upstream.federation import Federation, Mcp, of_settings, settle
from pilotage.upstream.http_tool import HttpTools
from pilotage.upstream.offers import Offers
from pilotage.upstream.registrations import Registrations
from pilotage.upstream.secrets import Secrets
from pilotage.upstream.session import Outgoing
from pilotage.upstream.shown import Shown

logger = logging.getLogger(__name__)
FOLLOW_SECONDS = 1.0
PARK_SECONDS = 10.0
UPSTREAM_SECONDS = 2.0
"""How long a start waits for upstream servers to be reached; later ones come in when they are."""


class App:
    """Everything one process needs, opened once; close it, or the last audit rows lack a
    checkpoint. `roots` bounds what its tools may read and write. `tools` None: the shelf's."""

    def __init__(
        self, settings: Settings, roots: Roots, tools: Iterable[Definition] | None = None
    ) -> None:
        self.settings, self.roots = settings, roots
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.database = Database(settings.home / "pilotage.db")
        self.checkpoints = Checkpoints(settings.home / "audit")
        self.audit = AuditLog(self.database, self.checkpoints)
        self.keys = Keys(self.database, self.audit.note)
        self.policy = policy.load(settings.roles_file, settings.rules_file)
        self._reload = Reload(self.policy, config.policy_files(settings.home), self._policy_changed)
        self.redactor = Redactor()
        self.pins = Pins(self.database, self.audit.note)
        self.registry = Registry(guard=self.pins.guard)
        self.approvals = self._approvals()
        self.person_here = False  # a person at a terminal uses this process directly
        self.fair = fair_use(settings, self.database, self.redactor, self.policy.roles)
        self.tracing = Tracing() if tracing_wanted(os.environ) else None
        self.gateway = self._gateway(self.registry)
        self.services: dict[type, object] = {
            Scans: _scans(settings),
            Formats: Formats(lambda: shelf.parts("pilotage.formats", Format)),
            Roots: roots,
            Redactor: self.redactor,
            Settings: settings,
        }
        self.runs = self._runs(settings)
        self.run_access = RunAccess(
            self.runs,
            lambda by, action: self.policy.may(by, action),
            lambda who, why: self.audit.refuse(new_id(), "", who, "run", why),
            self._current,
        )
        self._join(_tools(self.services) if tools is None else tools)
        self._take_in()

    def _gateway(self, registry: Registry) -> Gateway:
        parts = (self.policy, self.approvals, self.audit, self.redactor, self.fair)
        if self.tracing is not None:
            return TracedGateway(self.tracing, registry, *parts)
        return Gateway(registry, *parts)

    def _approvals(self) -> Approvals:
        return Approvals(
            self.database,
            self.audit.note,
            self.policy.may,
            self.redactor,
            expire=self.settings.number("approvals.expire"),
            own=self.settings.flag("approvals.own"),
        )

    def _runs(self, settings: Settings) -> Runs:
        timeout = settings.number("mcp.pipeline.timeout")
        terms = Terms(str(self.roots.base), timeout, settings.number("mcp.pipeline.retryCount"))
        runs = Runs(
            self.database,
            settings.home,
            self.gateway.call,
            Tools(self.registry),
            terms,
            self._current,
            self.audit.note,
        )
        runs.judge = self._judge_step
        return runs

    def _join(self, tools: Iterable[Definition]) -> None:
        """Make the engines, then bind each tool to them."""
        self.services[Runs] = self.runs
        self.services[RunAccess] = self.run_access
        for definition in tools:
            self.registry.add(definition.bind(self.services))

    def _take_in(self) -> None:
        """Plugins that are named, then what others registered: in the registry before anybody is
        answered."""
        settings = self.settings
        self.secrets = Secrets(settings.home / "secrets.yaml", self.redactor)
        egress = Egress(settings.words("egress.allow"))
        self.outgoing = Outgoing(egress, authority=settings.authority)
        self.registrations = Registrations(
            self.database,
            self.registry,
            self.pins,
            lambda by, action: self.policy.may(by, action),
            self.audit.note,
        )
        self.shown = Shown(self.registry, self.registrations, lambda: self.policy)
        named = settings.words("plugins")
        for definition in shelf.plugins("pilotage.tools", named, Definition).values():
            self.registry.add(definition.bind(self.services))
        house = dict(self.registry.all)
        self.registrations.add("builtin", Builtins(lambda name: _tool(house.get(name))))
        self.registrations.add("http", HttpTools(self.outgoing, self.secrets))
        self.federation = Federation(Ways(self.outgoing, self.secrets))
        given = of_settings(settings.upstreams)
        mcp = Mcp(self.federation, egress, given)
        self.registrations.add("mcp", mcp)
        settle(given, mcp, self.registry, self.pins, self.database)
        self.registrations.load()
        self.offers = Offers(self.federation)

    def _policy_changed(self, event: str, words: Mapping[str, Any]) -> None:
        self.fair.limits.take(self.policy.roles)
        self.audit.note(event, self.policy.version, Principal("pilotage", frozenset()), words)

    def _current(self, by: Principal) -> Principal:
        """Who started a run, with the rights of today: a key may have been revoked since."""
        if not by.name.startswith("key:"):
            return by
        name = by.name.removeprefix("key:")
        key = next((one for one in self.keys.list() if one.name == name), None)
        if key is None or key.revoked or (key.expires is not None and key.expires <= time.time()):
            raise Denied(f"the API key {name} is not valid any more", "pilotage keys list")
        return Principal(by.name, frozenset(key.roles), key.tools)

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        by: Principal,
        via: str,
        report: Report = silent,
        idempotency_key: str | None = None,
        approval: str | None = None,
        patience: float = 0,
    ) -> ToolResult:
        """One call through the gateway. Where it needs a person, it waits `patience` seconds."""
        call = ToolCall(new_id(), tool, arguments, by, via, idempotency_key, approval=approval)
        if patience:
            return await self.approvals.patiently(self.gateway.call, call, report, patience)
        return await self.gateway.call(call, report)

    async def judge(
        self, approval: str, by: Principal, verdict: Verdict, reason: str = ""
    ) -> Approval:
        """What a person says to an approval. A step of a pipeline that waits for it goes on."""
        one = await self.approvals.judge(approval, by, verdict, reason, at_client=self.person_here)
        if one.run and one.state is not ApprovalState.PENDING:
            await self._tell_run(one, by, reason)
        return one

    async def _judge_step(self, approval: str, by: Principal, kind: Kind, reason: str) -> bool:
        """The same, said to the run."""
        approves = kind is Kind.APPROVED
        try:
            verdict = Verdict.APPROVED if approves else Verdict.REJECTED
            await self.judge(approval, by, verdict, reason)
        except Conflict:
            one = self.approvals.show(approval, by)
            if not approves:
                return False
            if one.state is not ApprovalState.APPROVED:
                raise
            await self._tell_run(one, by, reason)
        return True

    async def _tell_run(self, one: Approval, by: Principal, reason: str) -> None:
        """Once its step has parked, which it may be about to."""
        try:
            async with asyncio.timeout(PARK_SECONDS):
                while one.step not in (stands := self.runs.show(one.run)[1]).waiting:
                    if stands.outcome is not None:
                        return
                    await asyncio.sleep(0.02)
            if one.state is ApprovalState.APPROVED:
                await self.runs.resume(one.run, by, one.step, reason)
            else:
                await self.runs.give_up(one.run, by, one.step, reason)
        except (PilotageError, TimeoutError) as error:
            logger.warning("run %s was not told of approval %s: %s", one.run, one.id, error)

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """While this is open, what other processes decide about tools, and what is written into
        the policy's files, counts here, 1 to 2 s later."""

        async def follow() -> None:
            while True:
                if self.pins.refresh():
                    self.registry.recheck()
                self._reload.look()
                try:
                    await self.registrations.refresh()
                except PilotageError as error:
                    logger.error("registered tools could not be read: %s", error)
                await asyncio.sleep(FOLLOW_SECONDS)

        await self.federation.start(UPSTREAM_SECONDS)
        task = asyncio.create_task(follow())
        try:
            yield
        finally:
            task.cancel()
            await self.federation.stop()

    async def leave(self) -> None:
        """End what runs in this event loop: runs that are driven here, then connections."""
        await self.runs.close()
        await self.fair.attempts.close()
        await self.federation.stop()
        await self.outgoing.close()

    def open_artifact(self, one: Artifact) -> BinaryIO:
        """A file of a run: in the roots, and named by a tool of the house."""
        entries = self.registry.all
        return opened(
            one,
            self.roots.inside,
            lambda tool: tool in entries and not entries[tool].tool.owner,
        )

    def close(self) -> None:
        """Write what is queued, then sign it. Runs that are driven here are let go."""
        self.runs.release()
        self.audit.seal()
        self.database.close()
        if self.tracing is not None:
            self.tracing.close()


class Tools(Mapping[str, Known]):
    """What pipelines know of the tools that are there now."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def __getitem__(self, name: str) -> Known:
        entries = self._registry.entries
        if name not in entries:
            raise KeyError(name)
        tool, arguments = entries[name].tool, entries[name].arguments
        return Known(
            tool.idempotent,
            tool.timeout,
            lambda given: [Wrong(*one) for one in arguments.problems(given)],
        )

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._registry.entries))

    def __len__(self) -> int:
        return len(self._registry.entries)


def _tool(entry: Entry | None) -> Tool | None:
    return None if entry is None else entry.tool


def _scans(settings: Settings) -> Scans:
    scanners = shelf.parts("pilotage.scanners", Scanner)
    environments = Environments(settings.cache, settings.programs)
    network = settings.flag("scan.network")
    return Scans(scanners, environments, Controls(settings.cache), network=network)


def _tools(services: Mapping[type, object]) -> Iterator[Definition]:
    """The tools of the shelf, and each scanner as a tool of its own name."""
    yield from shelf.parts("pilotage.tools", Definition).values()
    scans = services[Scans]
    assert isinstance(scans, Scans)
    for scanner in scans.scanners.values():
        yield scanner_tool(scanner)


@contextlib.contextmanager
def tools_here(settings: Settings) -> Iterator[Tools]:
    """The tools that a process with these settings has, without touching its state."""
    with tempfile.TemporaryDirectory(prefix="pilotage-") as home:
        app = App(replace(settings, home=Path(home)), make_roots())
        try:
            app.registrations.borrow(registered.peek(settings.home / "pilotage.db"))
            yield Tools(app.registry)
        finally:
            app.close()


def local_principal() -> Principal:
    """Whoever sits at this terminal owns this state folder, so may do what an admin may."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return Principal(f"local:{user}", frozenset({"admin"}))
