"""The way back, object by object: a real API server on which no pod ever comes up."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from cluster_desk import Desk
from deployed_web import settings, web
from pilotage.domain.call import Outcome
from waiting import until

DEPLOY = "k8s_deployer"
SOON: dict[str, Any] = {"image_tag": "2", "timeout_seconds": 1}


def spec(desk: Desk) -> dict[str, Any]:
    found: dict[str, Any] = desk.there("deployment", "web")["spec"]
    return found


async def failed(desk: Desk, *objects: dict[str, Any], **more: Any) -> str:
    """Why it was taken back."""
    done = await desk.call(DEPLOY, manifest_path=desk.write(*objects), **SOON, **more)
    assert done.outcome is Outcome.FAILED, done
    assert done.value["rolled_back"], done
    return str(done.error)


async def test_what_kubectl_applied_and_we_took_over_is_put_back_and_can_be_changed_again(
    desk: Desk,
) -> None:
    theirs = web(image="localhost/web:1", env=[{"name": "COLOR", "value": "blue"}])
    desk.kubectl("apply", "-f", desk.write(theirs))
    before = spec(desk)
    ours = web(env=[{"name": "COLOR", "value": "red"}, {"name": "NEW", "value": "1"}])
    why = await failed(desk, ours, take_over=True)
    assert "is not rolled out after 1 s" in why
    assert "what was there before is not up again" in why, "and that is told as well"
    assert spec(desk) == before
    notes = desk.there("deployment", "web")["metadata"]["annotations"]
    assert not [one for one in notes if one.startswith("pilotage/")]
    desk.kubectl("apply", "-f", desk.write(theirs), "--server-side", "--force-conflicts")
    assert "is not rolled out" in await failed(desk, ours, take_over=True)
    assert spec(desk) == before


async def test_how_many_there_are_stays_the_autoscalers_affair(desk: Desk) -> None:
    mine = web(image="localhost/web:1")
    del mine["spec"]["replicas"]
    desk.kubectl("apply", "--server-side", "--field-manager=pilotage", "-f", desk.write(mine))
    desk.kubectl("scale", "deployment", "web", "--replicas=5")
    await failed(desk, mine | {"spec": {**mine["spec"], "minReadySeconds": 3}})
    assert (spec(desk)["replicas"], spec(desk).get("minReadySeconds")) == (5, None)
    shown = desk.kubectl("get", "deployment", "web", "-o", "json", "--show-managed-fields")
    owners = {
        one["manager"]
        for one in json.loads(shown)["metadata"]["managedFields"]
        if "f:replicas" in one["fieldsV1"].get("f:spec", {})
    }
    assert "pilotage" not in owners, "the number is not ours"


async def test_what_is_new_goes_and_what_may_hold_data_stays(desk: Desk) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Mi"}},
        },
    }
    await failed(desk, settings(a="1"), claim, web())
    assert desk.get("configmap", "settings") is None
    assert desk.get("deployment", "web") is None
    left = desk.there("persistentvolumeclaim", "data")
    assert "pilotage/before" not in left["metadata"].get("annotations", {})
    assert "PersistentVolumeClaim data is new and stays: others may use it" in desk.said


async def test_what_somebody_has_deleted_meanwhile_is_not_made_again(desk: Desk) -> None:
    first = await desk.call(DEPLOY, manifest_path=desk.write(settings(a="1")))
    assert first.succeeded, first
    path = desk.write(settings(a="2"), web())
    later = {**SOON, "timeout_seconds": 4}
    task = asyncio.create_task(desk.call(DEPLOY, manifest_path=path, **later))
    await until(lambda: "ConfigMap settings: changed" in desk.said)
    desk.kubectl("delete", "configmap", "settings")
    done = await task
    assert done.value["rolled_back"], done
    assert "ConfigMap settings: somebody has deleted it meanwhile, and so it stays" in desk.said
    assert desk.get("configmap", "settings") is None
