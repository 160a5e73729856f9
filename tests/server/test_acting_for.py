"""A program that brings a person's word, such as an approval that was written in a cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path

import pytest

from server.conftest import make_app, running
from server.wrecking import APPROVALS, Site, site_of

RELAY = """
relay: {effects: [read, write], ask: [destroy], manage: [approvals:write, "act:for:kube:*"]}
"""


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    home, root = tmp_path / "home", tmp_path / "root"
    home.mkdir()
    root.mkdir()
    shipped = files("pilotage.policy").joinpath("roles.yaml").read_text("utf-8")
    (home / "roles.yaml").write_text(shipped + RELAY)
    app = make_app(home, root)
    try:
        async with running(app) as house:
            yield site_of(house)
    finally:
        app.close()


async def test_a_person_approves_what_the_program_asked_for_and_both_are_on_record(
    site: Site,
) -> None:
    relay = site.house.key("relay", name="cluster")
    status, answer = await site.call(key=relay)
    id = answer["approval"]["id"]
    own = await site.post(f"{APPROVALS}/{id}/approve", {}, relay)
    assert (own[0], "nobody approves its own call" in own[1]["error"]) == (403, True)
    person = {"Pilotage-Acting-For": "kube:alice@example.com"}
    said = await site.post(f"{APPROVALS}/{id}/approve", {}, relay, **person)
    assert (said[0], said[1]["state"]) == (200, "approved")
    assert said[1]["votes"][0]["by"] == "kube:alice@example.com via key:cluster"
    status, _ = await site.call(key=relay, approval=id)
    assert (status, len(site.ran)) == (200, 1)
    entry = site.house.app.audit.list(event="approval.approved")[0]
    assert entry.principal == "kube:alice@example.com via key:cluster"


@pytest.mark.parametrize(
    ("role", "person", "status"),
    [
        ("relay", "root", 403),  # it speaks for people of the cluster only
        ("operator", "kube:alice", 403),
        ("admin", "kube:alice", 403),  # `*` does not mean it: who may all would approve its own
        ("relay", "kube:a via key:b", 400),
        ("relay", "kube:\xe4", 400),
    ],
)
async def test_nobody_else_speaks_for_a_person(
    site: Site, role: str, person: str, status: int
) -> None:
    id = await site.asked()
    key = site.house.key(role, name="speaker")
    said = await site.post(f"{APPROVALS}/{id}/approve", {}, key, **{"Pilotage-Acting-For": person})
    assert said[0] == status, said
    assert (await site.call(approval=id))[0] == 403


async def test_one_person_is_one_vote_whatever_else_the_key_says(site: Site) -> None:
    id = await site.asked()
    relay, person = site.house.key("relay", name="cluster"), {"Pilotage-Acting-For": "kube:bob"}
    assert (await site.post(f"{APPROVALS}/{id}/approve", {}, relay, **person))[0] == 200
    another = site.house.key("relay", name="another")
    for key in (relay, another):
        assert (await site.post(f"{APPROVALS}/{id}/approve", {}, key, **person))[0] == 409
