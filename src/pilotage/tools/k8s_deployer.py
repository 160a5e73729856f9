"""Deploy a manifest to a Kubernetes cluster: a diff first, then a rolling update or a canary, and
back to what was there when it does not come up.

A second run under the same key (a pipeline taken up after a crash) goes on where the first was: its
canary is found by name and mark and never made twice, and the way back is noted at the objects.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from pilotage.config import Settings
from pilotage.domain.call import Effect, Outcome, ToolCall, ToolResult
from pilotage.domain.errors import BadInput
from pilotage.domain.ids import made_at
from pilotage.domain.text import counted, visible
from pilotage.kubernetes import canary, manifests, release
from pilotage.kubernetes.clusters import Clusters, Place
from pilotage.kubernetes.errors import ApiError
from pilotage.kubernetes.hosts import check_own
from pilotage.kubernetes.kind import POD, Object, segment
from pilotage.kubernetes.plan import Item, Work, namespace_of, plan
from pilotage.kubernetes.release import Checked, Release
from pilotage.tool.roots import Roots
from pilotage.tool.tool import Call, tool

if TYPE_CHECKING:
    from pilotage.upstream.probe import Probe

LONGEST = 86_400
DIFF = 50_000
"""Characters of the diff in an answer."""
PERCENTS = (10, 50)
PAUSE_SECONDS = 30
POD_SECONDS = 10.0


class Check(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """One thing to ask of a new version: `url`, from here; `path` and `port`, of each new pod; or
    `prometheus` (its address) and `query`, whose values are `at_most` and `at_least` that much."""

    url: str = ""
    status: int = 200
    times: int = 3
    path: str = ""
    port: int = 0
    prometheus: str = ""
    query: str = ""
    at_most: float | None = None
    at_least: float | None = None


@dataclass(frozen=True, slots=True)
class _Wish:
    """How a call wants it. `percents` are the steps of a canary; none: a rolling update."""

    percents: tuple[int, ...]
    pause: int
    seconds: int
    take_over: bool
    dry_run: bool
    checks: Sequence[Check]


async def _check_call(
    manifest_path: Path,
    namespace: str,
    cluster: str,
    image_tag: str,
    images: dict[str, str] | None,
    rollout_strategy: str,
    canary_percent: list[int] | None,
    canary_pause_seconds: int,
    checks: list[Check] | None,
    timeout_seconds: int,
    *,
    clusters: Clusters,
    roots: Roots,
    here: Call,
) -> None:
    """What can be said against a call without asking the cluster."""
    _steps(canary_percent, canary=rollout_strategy == "canary")
    _check_seconds(canary_pause_seconds, timeout_seconds)
    for one in checks or ():
        _check_check(one)
    place = clusters.get(cluster, here.call.by)
    for one in checks or ():
        _check_address(one, place.tenant)
    found = await _wanted(manifest_path, roots, image_tag, images)
    for where in sorted({namespace_of(one, namespace) for one in found} - {""}):
        place.check_namespace(where)


@tool(Effect.WRITE, idempotent=True, timeout=LONGEST, tasks="optional", check=_check_call)
async def k8s_deployer(
    manifest_path: Path,
    namespace: str = "",
    cluster: str = "",
    image_tag: str = "",
    images: dict[str, str] | None = None,
    rollout_strategy: Literal["rolling", "canary"] = "rolling",
    canary_percent: list[int] | None = None,
    canary_pause_seconds: int = PAUSE_SECONDS,
    checks: list[Check] | None = None,
    timeout_seconds: int = 600,
    take_over: bool = False,
    dry_run: bool = False,
    *,
    clusters: Clusters,
    roots: Roots,
    settings: Settings,
    here: Call,
) -> ToolResult:
    """Apply a manifest to a cluster, wait until it is rolled out, and go back if it does not.

    `manifest_path` is a YAML file or a folder of them. All objects are checked and tried on the
    server before one is changed. `image_tag` (a tag, or sha256:... for a digest) is for the images
    that the manifest leaves without a tag, or for its only one; `images` names them: {"shop/web":
    "1.2"}. A canary runs the new version beside the old at each of `canary_percent`, is looked at
    for `canary_pause_seconds`, must be ready, not restart, and hold the `checks`: {url, status},
    {path, port} of each new pod, or {prometheus, query, at_most}. `timeout_seconds` is for each
    rollout. `take_over`: fields that others manage become ours. `dry_run`: only the diff.
    """
    steps = _steps(canary_percent, canary=rollout_strategy == "canary")
    wish = _Wish(steps, canary_pause_seconds, timeout_seconds, take_over, dry_run, checks or ())
    place = clusters.get(cluster, here.call.by)
    wanted = await _wanted(manifest_path, roots, image_tag, images)
    items = await plan(place, wanted, namespace, _work(here.call), take_over=take_over)
    return await _deployed(place, items, wish, settings, here)


async def _wanted(
    manifest_path: Path, roots: Roots, tag: str, images: dict[str, str] | None
) -> list[Object]:
    """The objects of the manifest, at the versions that the call says."""
    found = await asyncio.to_thread(manifests.read, manifest_path, roots.inside)
    return manifests.with_images(found, tag, images or {})


async def _deployed(
    place: Place, items: tuple[Item, ...], wish: _Wish, settings: Settings, here: Call
) -> ToolResult:
    """What was planned, done as it is wished."""
    birds = []
    if wish.percents:
        birds = await canary.canaries(place.client, items, _mark(here.call))
    _tell_plan(here, items)
    doing = Release(place.client, items, here.tell, wish.seconds, wish.take_over)
    if wish.dry_run:
        return ToolResult(Outcome.SUCCEEDED, _answer(place, doing, "as a dry run: nothing changed"))
    async with contextlib.AsyncExitStack() as stack:
        probe = _probe(settings, place.tenant, stack)
        asked = [_check(place, probe, one) for one in wish.checks]

        async def work(doing: Release) -> None:
            if wish.percents:
                await canary.stepwise(doing, birds, wish.percents, wish.pause, asked)
            else:
                await release.rolling(doing, asked)

        why = await release.released(doing, work)
    return _result(place, doing, why)


def _probe(settings: Settings, tenant: str, stack: contextlib.AsyncExitStack) -> Probe:
    from pilotage.upstream.probe import Probe  # here: a call of another tool never needs it

    made = Probe(settings.words("egress.allow"), settings.authority, tenant)
    stack.push_async_callback(made.close)
    return made


def _steps(given: Sequence[int] | None, *, canary: bool) -> tuple[int, ...]:
    if not canary:
        if given is not None:
            raise BadInput("canary_percent is for a canary", "rollout_strategy: canary")
        return ()
    steps = tuple(PERCENTS if given is None else given)
    if not steps or list(steps) != sorted(set(steps)) or not 1 <= steps[0] <= steps[-1] <= 90:
        raise BadInput(f"canary_percent is {list(steps)}", "1 to 90, each more than the one before")
    return steps


def _check_seconds(pause: int, timeout: int) -> None:
    for name, value in (("canary_pause_seconds", pause), ("timeout_seconds", timeout)):
        if not 0 <= value <= LONGEST:
            raise BadInput(f"{name} is {value}", f"0 to {LONGEST}")


def _check_check(one: Check) -> None:
    """It asks one thing, and all of it."""
    ways = [bool(one.url), bool(one.path or one.port), bool(one.prometheus or one.query)]
    if ways.count(True) != 1:
        raise BadInput("a check asks one of: url; path and port; prometheus and query")
    if ways[1]:
        parts = one.path.split("/")
        odd = set(one.path) & set("?#\\ ") or not one.path.isprintable()
        if not one.path.startswith("/") or not 0 < one.port < 65_536 or odd:
            raise BadInput(f"check: path {one.path!r}, port {one.port}", "/healthz and 8080, say")
        for part in parts[1:]:
            if part:
                segment(part)
    if ways[2]:
        if not (one.prometheus and one.query):
            raise BadInput("check: prometheus and query go together")
        if one.at_most is None and one.at_least is None:
            what = "a Prometheus query without a threshold"
            raise BadInput(what, "at_most, at_least, or both")
    if not 1 <= one.times <= 100:
        raise BadInput(f"check: times is {one.times}", "1 to 100")


def _check_address(one: Check, tenant: str) -> None:
    """Where it asks over HTTP; for a run of a namespace that is nothing of another one."""
    from pilotage.upstream.egress import read_url  # here, as for `_probe`

    if set(one.prometheus) & set("?#"):
        what = f"check: prometheus is {visible(one.prometheus)[:200]}"
        raise BadInput(what, "its address alone: https://prometheus.example")
    if asked := one.url or one.prometheus:
        host = read_url(asked).host or ""
        if tenant:
            check_own(host, tenant)


def _check(place: Place, probe: Probe, one: Check) -> release.Check:
    async def check(pods: Sequence[Object]) -> Checked:
        if one.url:
            return Checked(one.url, *await probe.answers(one.url, one.status, one.times))
        if one.path:
            return await _pods_answer(place, one, pods)
        low = -math.inf if one.at_least is None else one.at_least
        high = math.inf if one.at_most is None else one.at_most
        seen = await probe.measured(one.prometheus, one.query, low, high)
        return Checked(one.query, *seen)

    return check


async def _pods_answer(place: Place, one: Check, pods: Sequence[Object]) -> Checked:
    """Each new pod, through the API server: a Service would answer with old ones too."""
    name, bad = f":{one.port}{one.path}", []
    for pod in pods:
        meta = pod["metadata"]
        at = f"{meta['name']}:{one.port}"
        path = POD.path(meta["namespace"], at, f"proxy{one.path}")
        try:
            await place.client.transport.ask("GET", path, seconds=POD_SECONDS)
        except ApiError as error:
            bad.append(f"{meta['name']} answered {error.status}")
    if not pods:
        return Checked(name, False, "there is no new pod to ask")
    return Checked(name, not bad, "; ".join(bad) or f"{counted(len(pods), 'pod')} answered")


def _mark(call: ToolCall) -> str:
    """Of this very piece of work: the same again for one that a crash has cut off."""
    work = f"{call.by.name}\0{call.idempotency_key or call.id}/{call.attempt}"
    return hashlib.sha256(work.encode()).hexdigest()[:40]


def _work(call: ToolCall) -> Work:
    return Work(_mark(call), 0.0 if call.run is None else made_at(call.run))


def _tell_plan(here: Call, items: Sequence[Item]) -> None:
    for item in items:
        here.tell(
            f"{item.label}: will be {item.change}" if item.diff else f"{item.label}: unchanged"
        )
        for line in item.diff.splitlines()[2:60]:
            here.tell(visible(line))


def _answer(place: Place, doing: Release, message: str) -> dict[str, Any]:
    diff = "\n".join(one.diff for one in doing.items if one.diff)
    return {
        "message": message,
        "cluster": place.name,
        "objects": [
            {"object": one.label, "namespace": one.namespace, "change": one.change}
            for one in doing.items
        ],
        "diff": diff if len(diff) <= DIFF else diff[:DIFF] + "\n... (cut)",
        "images": [image for one in doing.items for image in one.images()],
        "revisions": doing.revisions,
        "steps": [asdict(one) for one in doing.steps],
        "rolled_back": doing.rolled_back,
    }


def _result(place: Place, doing: Release, why: str) -> ToolResult:
    if not why:
        changed = sum(one.change != "unchanged" for one in doing.items)
        said = f"{counted(len(doing.items), 'object')} deployed, {changed} of them changed"
        said = "; ".join([said, *doing.idle])
        return ToolResult(Outcome.SUCCEEDED, _answer(place, doing, said))
    back = "rolled back" if doing.rolled_back else "not deployed, and not all was rolled back"
    value = _answer(place, doing, back)
    return ToolResult(Outcome.FAILED, {**value, "why": why}, error=f"{back}: {why}")
