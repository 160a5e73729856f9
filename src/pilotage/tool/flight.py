"""One run of a tool that several callers wait for."""

from __future__ import annotations

import asyncio

from pilotage.domain.call import Progress, Report, ToolResult


class Flight:
    """`digest` is that of the arguments. Who joins hears the progress from then on."""

    def __init__(self, digest: str = "") -> None:
        self.digest = digest
        self._reports: list[Report] = []
        self._end: asyncio.Future[ToolResult | None] = asyncio.get_running_loop().create_future()

    @property
    def ended(self) -> bool:
        return self._end.done()

    def tell(self, news: Progress) -> None:
        """Progress, for everybody who waits."""
        for report in tuple(self._reports):
            report(news)

    def hear(self, report: Report) -> None:
        self._reports.append(report)

    def end(self, result: ToolResult | None) -> None:
        """Give everybody the result; None: whoever ran it left, and another must."""
        if not self._end.done():
            self._end.set_result(result)

    async def joined(self, report: Report) -> ToolResult | None:
        """What it ends with. Who stops waiting stops nobody else."""
        self._reports.append(report)
        try:
            return await asyncio.shield(self._end)
        finally:
            self._reports.remove(report)
