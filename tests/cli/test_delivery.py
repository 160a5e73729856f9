"""A key delivered into a Secret of a real cluster, with the rights that the chart gives for it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cluster.access import Access

from pilotage.cli import main
from pilotage.domain.errors import Unauthenticated
from pilotage.store.database import Database
from pilotage.store.keys import Keys

SECRET = "pilotage-operator-key"
DELIVER = ["keys", "deliver", "operator", "--role", "developer", "--secret", SECRET]
RIGHTS = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: server}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: server}
rules:
  - apiGroups: ['']
    resources: [secrets]
    resourceNames: [pilotage-operator-key]
    verbs: [get, patch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: server}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: server}
subjects: [{kind: ServiceAccount, name: server}]
---
apiVersion: v1
kind: Secret
metadata: {name: pilotage-operator-key}
"""


class Place:
    """A namespace with an empty Secret, and a state folder of a server."""

    def __init__(self, access: Access, namespace: str, home: Path) -> None:
        self.access, self.namespace, self.home = access, namespace, home

    def kubectl(self, *argv: str, input: str | None = None) -> str:
        return self.access.kubectl(*argv, f"--namespace={self.namespace}", input=input)

    def data(self) -> dict[str, str]:
        found = json.loads(self.kubectl("get", "secret", SECRET, "-o=json"))
        return {k: base64.b64decode(v).decode() for k, v in found.get("data", {}).items()}

    def holder(self, text: str) -> str:
        """Who the server takes the holder of that key for."""
        with self.keys() as keys:
            try:
                return keys.principal(text).name
            except Unauthenticated as error:
                return error.what

    @contextmanager
    def keys(self) -> Iterator[Keys]:
        database = Database(self.home / "pilotage.db")
        try:
            yield Keys(database, lambda *_: None)
        finally:
            database.close()


@pytest.fixture
def place(
    control_plane: Access, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Place:
    made = Place(control_plane, namespace, tmp_path / "home")
    made.kubectl("apply", "-f", "-", input=RIGHTS)
    token = made.kubectl("create", "token", "server").strip()
    argv = ["config", "view", "--minify", "--flatten", "--raw", "--output=json"]
    config = json.loads(control_plane.kubectl(*argv))
    config["users"] = [{"name": "server", "user": {"token": token}}]
    config["contexts"][0]["context"] |= {"user": "server", "namespace": namespace}
    own = tmp_path / "kubeconfig"
    own.write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(own))
    monkeypatch.setenv("PILOTAGE_HOME", str(made.home))
    return made


def test_the_first_start_delivers_a_key_and_later_ones_leave_it(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main([*DELIVER, "--with-authority"]) == 0
    first = place.data()
    assert place.holder(first["key"]) == "key:operator"
    assert first["ca.crt"] == (place.home / "tls/ca.pem").read_text()
    assert main.main([*DELIVER, "--with-authority"]) == 0
    said = capsys.readouterr()
    assert place.data() == first
    where = f"in the Secret {place.namespace}/{SECRET}"
    assert said.out == f"a new key operator {where}\nthe key operator is good {where}\n"
    assert first["key"] not in said.out + said.err


def test_a_key_that_was_lost_or_has_other_roles_now_is_renewed_for_the_same_holder(
    place: Place,
) -> None:
    assert main.main(DELIVER) == 0
    first = place.data()["key"]
    gone = [{"op": "remove", "path": "/data/key"}]
    place.kubectl("patch", "secret", SECRET, "--type=json", f"-p={json.dumps(gone)}")
    assert main.main(DELIVER) == 0
    second = place.data()["key"]
    assert place.holder(second) == "key:operator"
    assert place.holder(first).startswith("the API key is not known")
    assert main.main([*DELIVER, "--role", "ci"]) == 0
    third = place.data()["key"]
    assert third != second
    assert place.holder(third) == "key:operator"


def test_a_key_that_somebody_revoked_stays_revoked(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(DELIVER) == 0
    assert main.main(["keys", "revoke", "operator"]) == 0
    before = place.data()
    assert main.main(DELIVER) == 0
    assert "is revoked, and stays so" in capsys.readouterr().out
    assert place.data() == before
    assert "is revoked" in place.holder(before["key"])


def test_without_the_secret_or_the_rights_it_says_what_to_do(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    other = [*DELIVER[:-1], "another"]
    assert main.main(other) != 0
    said = capsys.readouterr().err
    assert 'secrets "another" is forbidden' in said
    assert "bind a Role that allows it to this account" in said
    with place.keys() as keys:
        assert keys.list() == []
    place.kubectl("delete", "secret", SECRET)
    assert main.main(DELIVER) == 2
    assert f"there is no Secret {place.namespace}/{SECRET}" in capsys.readouterr().err
