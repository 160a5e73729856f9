"""When a server that does not answer is tried again."""

from __future__ import annotations

from pilotage.upstream.breaker import LAST_SECONDS, Breaker


def test_the_pause_doubles_is_spread_and_has_an_end() -> None:
    breaker = Breaker(threshold=2)
    assert breaker.failed("a") is False
    assert breaker.failed("b") is True
    assert breaker.why == "b"
    pauses = []
    for _ in range(20):
        pauses.append(breaker.pause())
        breaker.open("c")
    assert 0.25 <= pauses[0] <= 0.5
    assert 0.5 <= pauses[1] <= 1.0
    assert max(pauses) <= LAST_SECONDS
    assert len(set(pauses[10:])) > 1
    breaker.succeeded()
    assert breaker.why == "c", "a late answer closes nothing"
    breaker.close()
    assert (breaker.why, breaker.failed("d")) == ("", False)
    breaker.succeeded()
    assert breaker.failed("e") is False, "the count began anew"
