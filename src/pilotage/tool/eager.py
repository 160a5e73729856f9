"""Go on with a coroutine that took its first step already, within the task at hand.

Most calls never wait. What never waits needs no deadline, and nobody who watches the client: each
costs more than the call itself. So the first step is taken with `coroutine.send(None)`:
StopIteration is the result; a value is what it waits for, and then it is resumed under them.
"""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


@types.coroutine
def resume(coroutine: Coroutine[Any, Any, T], wants: Any) -> Generator[Any, Any, T]:
    """All that follows the first step, as `await` would have done it. To be awaited next, before
    anything else is."""
    try:
        while True:
            try:
                given = yield wants
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:
                wants = coroutine.throw(error)
            else:
                wants = coroutine.send(given)
    except StopIteration as end:
        value: T = end.value
        return value
