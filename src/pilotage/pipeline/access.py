"""Who may see a run, and say what to it: the one answer for REST and for tools.

Whoever started a run sees it, cancels it and tries it again. Anybody else needs runs:read to know
that it is there at all, and runs:approve to say anything. To approve or reject always needs
runs:approve. A namespace of a cluster, for which a program acts, knows its own runs alone, by
whichever key they were started: the key of that program is for all of them.
"""

from __future__ import annotations

from collections.abc import Callable

from pilotage.domain.call import Principal, holder_of, tenant_of
from pilotage.domain.errors import Busy, Denied, NotFound
from pilotage.domain.pipeline import Pipeline
from pilotage.domain.run import RunState, RunSummary
from pilotage.pipeline.prepare import Given
from pilotage.pipeline.runs import Runs
from pilotage.store import runs as rows
from pilotage.store.database import Database
from pilotage.store.runs import ANY, Wanted

READ, WRITE, APPROVE = "runs:read", "runs:write", "runs:approve"
OPEN_EACH = 500
"""Runs of one principal that have not ended, those that wait for a person among them."""


class RunAccess:
    """`may` asks the policy; `refuse` records who was turned away (principal, why); `current`
    gives a principal's rights of now, or raises Denied."""

    def __init__(
        self,
        database: Database,
        runs: Runs,
        may: Callable[[Principal, str], bool],
        refuse: Callable[[str, str], None],
        current: Callable[[Principal], Principal],
    ) -> None:
        self._database, self.runs = database, runs
        self._may, self._refuse, self._current = may, refuse, current

    def check(self, by: Principal, action: str) -> None:
        """Denied, and on record, where no role of theirs allows it."""
        if not self._may(by, action):
            denied = Denied.to_manage(by.name, action)
            self._refuse(by.name, denied.what)
            raise denied

    async def start(self, pipeline: Pipeline, given: Given, by: Principal) -> str:
        """A run of theirs, see Runs.start; Busy where OPEN_EACH of theirs have not ended. That they
        may start one was checked."""
        open_ones = rows.open_of(self._database, holder_of(by))
        if open_ones >= OPEN_EACH and not self.started(by, given.key):
            what = f"{OPEN_EACH} runs of {by.name} have not ended"
            raise Busy(what, "pilotage runs list shows them, pilotage runs cancel ends one")
        return await self.runs.start(pipeline, given, by)

    def started(self, by: Principal, key: str | None) -> bool:
        """Have they started a run under this idempotency key before?"""
        return key is not None and rows.under(self._database, holder_of(by), key) is not None

    def under(self, by: Principal, key: str) -> list[RunSummary]:
        """The run that they have started under this idempotency key, if there is one."""
        found = rows.under(self._database, holder_of(by), key)
        return [] if found is None else [self.runs.summary(found.id)]

    def seen(self, run: str, by: Principal) -> RunSummary:
        """The run; NotFound where it is not there, and the same where it is not theirs to see."""
        found = self.runs.summary(run)
        if found.principal != holder_of(by) and not self._reads(by):
            self._refuse(by.name, f"run {run} of {found.principal} was asked for")
            raise NotFound(f"there is no run {run}", "pilotage runs list")
        return found

    def _reads(self, by: Principal) -> bool:
        return tenant_of(by) is None and self._may(by, READ)

    def still(self, run: str, by: Principal) -> None:
        """For who has been looking at it for a while: raises where it is not theirs any more."""
        self.seen(run, self._current(by))

    def spoken_to(self, run: str, by: Principal, verb: str) -> RunSummary:
        """The same for who wants to `approve`, `reject`, `resume` or `cancel` it."""
        found = self.seen(run, by)
        own = found.principal == holder_of(by) and verb in ("cancel", "resume")
        if not own:
            self.check(by, APPROVE)
        elif verb == "resume":
            self.check(by, APPROVE if self._may(by, APPROVE) else WRITE)
        return found

    def listed(
        self,
        by: Principal,
        limit: int,
        before: str | None = None,
        state: RunState | None = None,
        wanted: Wanted = ANY,
    ) -> list[RunSummary]:
        """The newest first, of those that are theirs to see."""
        if not self._reads(by):
            if wanted.principal not in (None, holder_of(by)):
                return []
            wanted = Wanted(wanted.pipeline, holder_of(by), wanted.begins)
        return self.runs.newest(limit, before, state, wanted)
