"""The sums that JavaScript runners print, as recorded from them."""

from __future__ import annotations

import pytest

from pilotage.suite.npm import printed
from pilotage.suite.results import Results

NODE_SPEC = """✔ good (0.5ms)
ℹ tests 4
ℹ suites 0
ℹ pass 2
ℹ fail 1
ℹ cancelled 0
ℹ skipped 1
ℹ todo 0
"""
NODE_TAP = """1..3
# tests 3
# suites 0
# pass 3
# fail 0
# cancelled 0
# skipped 0
# todo 0
"""
JEST = """Test Suites: 1 failed, 1 total
Tests:       1 failed, 2 skipped, 3 passed, 6 total
Time:        1 s
"""
VITEST = """\x1b[2m Test Files \x1b[22m 1 passed (1)
\x1b[2m      Tests \x1b[22m 1 failed | 3 passed (4)
"""
MOCHA = """  app
    ✔ good

  3 passing (12ms)
  1 pending
  2 failing
"""


@pytest.mark.parametrize(
    ("text", "results"),
    [
        (NODE_SPEC, Results(2, 1, 0, 1)),
        (NODE_TAP, Results(3, 0, 0, 0)),
        (JEST, Results(3, 1, 0, 2)),
        (VITEST, Results(3, 1, 0, 0)),
        (MOCHA, Results(3, 2, 0, 1)),
        ("all tests passed\n", None),
        ("Tests: none\n", None),
        ("", None),
    ],
)
def test_sums_are_read(text: str, results: Results | None) -> None:
    assert printed(text) == results
