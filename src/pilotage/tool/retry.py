"""Try again where that can do no harm: what failed on its way, of tools that are idempotent."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pilotage.domain.errors import Unavailable

T = TypeVar("T")
FIRST_SECONDS, LONGEST_SECONDS = 0.1, 2.0
MOST = 5


async def retried(
    attempt: Callable[[], Awaitable[T]],
    retries: int,
    *,
    idempotent: bool,
    failure: type[Exception] | tuple[type[Exception], ...] = Unavailable,
    still: Callable[[], object] = lambda: None,
) -> T:
    """The result of `attempt`, tried again up to `retries` times where it raises `failure`, each
    time after up to twice as long as before (0 to 0.1 s first, to 2 s at most). A tool that is not
    idempotent has one attempt. The deadline of the call ends it in any case, and so does what
    `still` raises, which is asked before each attempt but the first: may it go on?"""
    for number in range(min(retries, MOST) if idempotent else 0):
        try:
            return await attempt()
        except failure:
            most = min(FIRST_SECONDS * 2**number, LONGEST_SECONDS)
            await asyncio.sleep(random.uniform(0, most))
            still()
    return await attempt()
