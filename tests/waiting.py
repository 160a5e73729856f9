"""Wait for what another task or process does, as long as the slowest machine may need."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LONG = 60.0
"""Seconds after which what did not happen will not happen any more."""


async def until(true: Callable[[], bool]) -> None:
    """Look again and again; TimeoutError after LONG seconds."""
    async with asyncio.timeout(LONG):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
