"""Work on large values beside the event loop, which stands still for nobody's answer.

One thread does all of it: with more, they would leave the loop a smaller part of the processor.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from pilotage.domain.call import ToolResult
from pilotage.tool.size import size_of

T = TypeVar("T")
P = ParamSpec("P")
LARGE = 64 << 10
"""In bytes: the worst of this size takes about 20 ms of Python."""


def is_large(result: ToolResult) -> bool:
    """Is it too much to be looked through in the event loop?"""
    return size_of(result, LARGE) > LARGE


async def beside(work: Callable[P, T], *given: P.args, **more: P.kwargs) -> T:
    """What `work` returns, done in the thread. It must touch nothing that changes meanwhile."""
    call = functools.partial(work, *given, **more)
    return await asyncio.get_running_loop().run_in_executor(_thread(), call)


@functools.cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "pilotage-large")
