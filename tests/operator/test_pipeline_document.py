"""A run of the server's as the status of an object holds it."""

from __future__ import annotations

import pytest

from pilotage.domain.ids import new_id
from pilotage.operator.pipeline_document import never_waited

VIEW = {"steps": [{"name": "a.b", "attempt": 2}, {"name": "c", "attempt": None}]}
EARLIER = new_id() + "0123456789ABCDEF" * 2


@pytest.mark.parametrize("id", ["a.b.1", "a.b.2", EARLIER])
def test_what_may_have_waited_before_is_no_slip(id: str) -> None:
    assert never_waited(VIEW, [id]) == ""


@pytest.mark.parametrize("id", ["a.b.3", "c.1", "d.1", "a.b.²", "a.b." + "9" * 190, "look", "a.b."])
def test_an_id_under_which_nothing_can_have_waited_is_told(id: str) -> None:
    assert never_waited(VIEW, [EARLIER, id]) == id
