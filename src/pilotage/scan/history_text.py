"""What a log of a history does not show, as text in one more commit of it, so that it is searched.

`git log -p` prints neither the words of a tag nor, to who reads its changes, those of a commit; of
a file that git calls binary it says only that it differs; and letters with a zero byte between
them are no word to anybody. All of that stands in this commit, under names that say where it is.
"""

from __future__ import annotations

from pathlib import Path

from pilotage.domain.scan import Unread
from pilotage.domain.text import counted, visible
from pilotage.scan.git import GitFailed
from pilotage.scan.history_files import strange_files
from pilotage.scan.history_objects import objects_of
from pilotage.scan.history_page import Page
from pilotage.scan.history_words import words_of


async def searchable(bare: Path) -> tuple[tuple[str, ...], tuple[Unread, ...]]:
    """Write that commit to `bare`. Returns notes, and what could not be made text."""
    page = Page(bare)
    files, unread = 0, list[Unread]()
    try:
        objects = await objects_of(bare)
        try:
            files, left = await strange_files(bare, objects, page)
            unread += left
        finally:
            unread += await words_of(bare, objects, page)
    except GitFailed as wrong:
        why = f"not all that a log leaves out of it could be made text: {visible(str(wrong))}"
        unread.append(Unread(".git", why))
    verb = "was" if files == 1 else "were"
    note = f"history: {counted(files, 'file')} of the past {verb} searched as text"
    return (f"{note} (binary, or in another encoding)",) if files else (), tuple(unread)
