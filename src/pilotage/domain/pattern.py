"""Regular expressions that cost nothing until they are used: a start compiles none of them."""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast

_VERBS = ("search", "match", "fullmatch", "findall", "finditer", "sub", "split")


def pattern(text: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """What `re.compile` gives, compiled at the first use; from then on just as fast."""
    return cast("re.Pattern[AnyStr]", _Pattern(text, flags))


class _Pattern:
    def __init__(self, text: Any, flags: int) -> None:
        self._said = (text, flags)

    def __getattr__(self, name: str) -> Any:
        """Called once: from then on the verbs are attributes of its own."""
        compiled = re.compile(*self._said)
        vars(self).update((verb, getattr(compiled, verb)) for verb in _VERBS)
        return getattr(compiled, name)
