"""Calls that need a person, over the wire: who may say what, and each way to cheat."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import replace

import pytest

from pilotage.domain.approval import Verdict
from pilotage.domain.call import Principal, ToolCall
from pilotage.domain.errors import Conflict, NeedsApproval
from pilotage.domain.ids import new_id
from pilotage.tool import approvals as engine
from server.conftest import House, make_app
from server.wrecking import APPROVALS, Site, site
from waiting import until

__all__ = ["site"]


@pytest.mark.parametrize("named", [True, False])
async def test_a_call_that_needs_a_person_runs_once_a_colleague_has_approved_it(
    site: Site, named: bool
) -> None:
    status, answer = await site.call()
    assert (status, answer["success"], site.ran) == (403, False, [])
    told = answer["approval"]
    assert told["id"] in answer["hint"]
    assert (told["state"], told["needed"], told["given"]) == ("pending", 1, 0)
    again = (await site.call())[1]["approval"]
    assert again == told, "asking again asks nobody anew"
    assert (await site.judge(told["id"], reason="it is old"))[0] == 200
    status, answer = await site.call(approval=told["id"] if named else "")
    assert (status, answer["gone"], len(site.ran)) == (200, "all", 1)
    told_of = await site.events(told["id"])
    assert told_of == ["approval.asked", "approval.approved", "approval.used"]
    entry = site.house.app.audit.list(event="approval.approved")[0]
    assert (entry.principal, entry.body["reason"]) == ("key:colleague", "it is old")


# The attack table: one test a row of "Replay of approvals".


async def refused(site: Site, id: str, why: str, target: str = "all", key: str = "") -> None:
    """Sent with this approval, the call is refused, says why, runs nothing and is on record."""
    ran = len(site.ran)
    status, answer = await site.call(target, key=key, approval=id)
    assert (status, len(site.ran)) == (403, ran)
    assert why in answer["error"]
    assert "approval" not in answer
    assert (await site.events(id))[-1] == "approval.refused"


async def test_another_argument_is_not_what_was_approved(site: Site) -> None:
    id = await site.approved("the old one")
    await refused(site, id, "is for other arguments", "the new one")
    assert (await site.call("the old one", approval=id))[0] == 200


async def test_an_approval_is_good_for_one_call(site: Site) -> None:
    id = await site.approved()
    assert (await site.call(approval=id))[0] == 200
    await refused(site, id, "was used already")
    fresh = (await site.call())[1]["approval"]
    assert fresh["id"] != id, "without its id, the call is asked about anew"


async def test_an_approval_of_somebody_else_does_not_count(site: Site) -> None:
    id = await site.approved()
    await refused(site, id, "is not for key:thief", key=site.house.key("admin", name="thief"))
    await refused(site, "01ABC", "there is no approval 01ABC")


async def test_an_approval_expires(site: Site) -> None:
    id = await site.approved()
    site.house.app.database.write_now(
        lambda connection: connection.execute("UPDATE approval SET expires = created + 1")
    )
    await refused(site, id, "has expired")
    assert (await site.get(f"{APPROVALS}/{id}", site.asker))[1]["state"] == "expired"
    fresh = (await site.call())[1]
    assert fresh["approval"]["id"] != id
    assert f"approval {id} has expired" in fresh["error"]
    assert (await site.events(id))[-1] == "approval.expired"


async def test_a_pending_one_that_has_expired_cannot_be_approved(site: Site) -> None:
    site.house.app.approvals.expire = 0
    id = await site.asked()
    status, answer = await site.judge(id)
    assert (status, "has expired" in answer["error"]) == (409, True)


async def test_a_tool_that_has_changed_is_not_what_was_approved(site: Site) -> None:
    id = await site.approved()
    registry = site.house.app.registry
    changed = replace(registry.find("demolish").tool, description="Destroys much more.")
    registry.put(changed)
    await refused(site, id, "the tool has changed")
    assert "the tool has changed" in (await site.call())[1]["error"]


async def test_an_approval_under_another_policy_does_not_count(site: Site) -> None:
    id = await site.approved()
    policy = site.house.app.policy
    before = policy.version
    rule = '@id("more") @approvals("2")\npermit (principal, action == Action::"ask", resource);'
    site.house.app.settings.home.joinpath("policy.cedar").write_text(rule, "utf-8")
    await until(lambda: policy.version != before)
    await refused(site, id, "the policy has changed")
    fresh = (await site.call())[1]
    assert fresh["approval"]["needed"] == 2
    assert "the policy has changed" in fresh["error"]
    assert (await site.events(id))[-1] == "approval.stale"


async def test_many_calls_at_once_use_one_approval_once(site: Site) -> None:
    id = await site.approved()
    answers = await asyncio.gather(*(site.call(approval=id) for _ in range(20)))
    assert sorted(status for status, _ in answers) == [200] + [403] * 19
    assert len(site.ran) == 1


# Who may say what.


async def test_nobody_approves_its_own_call(site: Site) -> None:
    id = await site.asked()
    status, answer = await site.judge(id, key=site.asker)
    assert (status, "nobody approves its own call" in answer["error"]) == (403, True)
    assert (await site.events(id))[-1] == "approval.refused"
    assert (await site.call(approval=id))[0] == 403


async def test_an_approver_needs_a_role_and_a_key_that_fit(site: Site) -> None:
    id = await site.asked()
    for key, why in (
        (site.house.key("developer"), "allows approvals:write"),
        (site.house.key("operator", tools=("scan_*",)), "scan_* only"),
    ):
        status, answer = await site.judge(id, key=key)
        assert (status, why in answer["error"]) == (403, True), answer
    status, _ = await site.judge("01ABC")
    assert status == 404


async def test_two_persons_are_two_persons(site: Site) -> None:
    policy = site.house.app.policy
    roles = "admin: {ask: [destroy], manage: ['*']}\napprovals: [{tools: [demo*], needed: 2}]\n"
    before = policy.version
    site.house.app.settings.home.joinpath("roles.yaml").write_text(roles, "utf-8")
    await until(lambda: policy.version != before)
    first, second = (site.house.key("admin", name=name) for name in ("first", "second"))
    id = await site.asked()
    assert (await site.judge(id, key=first))[1]["state"] == "pending"
    status, answer = await site.judge(id, key=first)
    assert (status, "has spoken already" in answer["error"]) == (409, True)
    status, answer = await site.call(approval=id)
    assert (status, answer["approval"]["given"]) == (403, 1)
    assert (await site.judge(id, key=second))[1]["state"] == "approved"
    assert (await site.call(approval=id))[0] == 200


async def test_who_is_rejected_reads_why(site: Site) -> None:
    id = await site.asked()
    status, answer = await site.judge(id, "reject", reason="it is in use")
    assert (status, answer["state"]) == (200, "rejected")
    await refused(site, id, "was rejected by key:colleague: it is in use")
    assert (await site.judge(id))[0] == 409


async def test_who_asked_may_withdraw(site: Site) -> None:
    id = await site.approved()
    status, answer = await site.judge(id, "reject", key=site.asker)
    assert status == 409, answer
    other = await site.asked("other")
    assert (await site.judge(other, "reject", key=site.asker))[1]["state"] == "rejected"


async def test_everybody_sees_its_own_and_an_approver_all(site: Site) -> None:
    ids = [await site.asked(str(number)) for number in range(3)]
    stranger = site.house.key("developer")
    assert (await site.get(f"{APPROVALS}/{ids[0]}", stranger))[0] == 404
    assert (await site.get(APPROVALS, stranger))[1]["approvals"] == []
    for key in (site.asker, site.colleague):
        page = (await site.get(APPROVALS, key, limit=2))[1]
        rest = (await site.get(APPROVALS, key, limit=2, before=page["next"]))[1]
        listed = [one["id"] for one in (*page["approvals"], *rest["approvals"])]
        assert (listed, rest["next"]) == (ids[::-1], None)
    mine = (await site.get(APPROVALS, site.colleague, mine="true"))[1]
    assert mine["approvals"] == []
    await site.judge(ids[1])
    approved = (await site.get(APPROVALS, site.colleague, state="approved"))[1]["approvals"]
    assert [one["id"] for one in approved] == [ids[1]]
    assert approved[0]["votes"][0]["by"] == "key:colleague"


async def test_an_approver_sees_the_arguments_without_secrets_and_their_whole_digest(
    site: Site,
) -> None:
    given = {"target": "all", "token": "hunter2 and more"}
    answer = (await site.post("/api/v2/tools/call/demolish", given, site.asker))[1]
    shown = (await site.get(f"{APPROVALS}/{answer['approval']['id']}", site.colleague))[1]
    assert shown["arguments"] == {"target": "all", "token": "[redacted]"}
    canonical = json.dumps(given, separators=(",", ":"), sort_keys=True)
    assert shown["digest"] == hashlib.sha256(canonical.encode()).hexdigest()
    await site.house.app.audit.settled()
    assert "hunter2" not in json.dumps([e.body for e in site.house.app.audit.list()], default=str)


async def test_no_one_can_ask_without_end(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PENDING_LIMIT", 2)
    await site.asked("1")
    await site.asked("2")
    assert (await site.call("3"))[0] == 429
    assert (await site.call("2"))[0] == 403


# Waiting, restarts and other processes.


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
@pytest.mark.parametrize("more", [{}, {"Idempotency-Key": "once"}])
async def test_a_caller_can_wait_for_the_person(
    site: Site, accept: str, more: dict[str, str]
) -> None:
    headers = {"Authorization": f"Bearer {site.asker}", "Prefer": "wait=60", "Accept": accept}
    headers |= more
    url = site.house.url + "/api/v2/tools/call/demolish"

    async def patient() -> str:
        request = site.house.session.post(url, json={"target": "all"}, headers=headers)
        async with request as answer:
            assert answer.status == 200
            return await answer.text()

    waits = asyncio.create_task(patient())
    await until(lambda: site.house.app.approvals.waiting() == 1)
    id = (await site.get(APPROVALS, site.colleague))[1]["approvals"][0]["id"]
    assert site.ran == []
    await site.judge(id)
    assert '"gone":"all"' in await waits
    assert len(site.ran) == 1


async def test_who_waits_hears_a_rejection_and_is_not_asked_for_anew(site: Site) -> None:
    waits = asyncio.create_task(site.call(Prefer="wait=60"))
    await until(lambda: site.house.app.approvals.waiting() == 1)
    id = (await site.get(APPROVALS, site.colleague))[1]["approvals"][0]["id"]
    await site.judge(id, "reject", reason="no")
    status, answer = await waits
    assert (status, "was rejected by key:colleague: no" in answer["error"]) == (403, True)
    assert site.house.app.approvals.waiting() == 0


async def test_another_process_agrees_and_a_restart_forgets_nothing(
    site: Site, house: House
) -> None:
    id = await site.asked()
    home = house.app.settings.home
    other = make_app(home, home)
    try:
        by = Principal("key:colleague", frozenset({"operator"}))
        assert other.approvals.show(id, by).tool == "demolish"
        await other.judge(id, by, Verdict.APPROVED)
        tool = house.app.registry.find("demolish").tool
        asker = Principal("key:asker", frozenset({"admin"}))
        decision = house.app.policy.decide(asker, "demolish", tool.effect)

        async def use(app: object) -> bool:
            call = ToolCall(new_id(), "demolish", {"target": "all"}, asker, "rest", approval=id)
            try:
                await app.approvals.settle(call, tool, decision)  # type: ignore[attr-defined]
            except (NeedsApproval, Conflict):
                raise
            except Exception:
                return False
            return True

        used = await asyncio.gather(*(use(app) for app in (house.app, other) * 5))
        assert used.count(True) == 1
    finally:
        other.close()
    assert (await site.get(f"{APPROVALS}/{id}", site.asker))[1]["state"] == "used"
