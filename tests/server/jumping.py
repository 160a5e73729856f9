"""The server of the tools of fair use, whose clock is off by the seconds in the file $CLOCK.

What never goes back (monotonic) is not touched, as on any machine whose clock is set.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_real, _real_ns = time.time, time.time_ns


def _off() -> float:
    try:
        return float(Path(os.environ["CLOCK"]).read_text("utf-8"))
    except (OSError, ValueError):
        return 0.0


time.time = lambda: _real() + _off()
time.time_ns = lambda: _real_ns() + int(_off() * 1e9)

if __name__ == "__main__":
    from server.fair_tools import main  # imports everything that asks what time it is

    main()
