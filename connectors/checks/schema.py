"""A schema that has changed since it was attached: what no revision could follow, and what none has followed yet."""

from __future__ import annotations

from collections.abc import Iterator

from connectors import drift_notes, revisions
from connectors.checks.finding import Finding, finding
from connectors.checks.subject import Subject
from connectors.databases import Connection
from connectors.drift_notes import Note
from wakestream import capture, drifting, inspection
from wakestream.affected import affected
from wakestream.config import Loaded

_ELSEWHERE: tuple[drifting.Kind, ...] = ("table dropped", "table unfit")  # which have checks of their own
_APPLY = "run `wake apply`"


def examine(loaded: Loaded, subject: Subject, ledger: Connection) -> Iterator[Finding]:
    """The newest revision against the catalogue and the file, whether a guard runs or not."""
    row = ledger.execute("select to_regclass('wake.drift') is not null").fetchone()
    newest = capture.load(ledger, subject.source) if row and row[0] else None
    if newest is None or revisions.is_ended(ledger, newest):
        return
    found = inspection.read_catalogue(subject.reader, subject.source, newest.capture.tables)
    if (found.system_identifier, found.timeline) != (newest.catalogue.system_identifier, newest.catalogue.timeline):
        return  # another history: `wake repair`
    differences = drifting.compare(newest.catalogue, newest.capture, found)
    notes = [
        *drift_notes.standing(loaded, newest, [each for each in differences if each.kind not in _ELSEWHERE]),
        *drift_notes.withheld(newest),
        *drift_notes.suspended(loaded, newest),
        *drift_notes.kept(loaded, newest, ledger),
    ]
    for note in dict.fromkeys(notes):
        yield _of(note, subject)
    for each in differences:
        if not each.standing:
            readers = affected(loaded, newest, each.table, each.column)
            read = f", read by {', '.join(readers)}" if readers else ""
            remedy = "run: wake guard  # it follows within a minute; see that one runs"
            yield finding("tables.unfollowed", subject.whole, f"{each.label}{read}", remedy)


def _of(note: Note, subject: Subject) -> Finding:
    read = f", read by {', '.join(note.affected)}" if note.affected else ""
    remedy = "run: wake apply" if note.remedy.startswith(_APPLY) else f"none: {note.remedy}"
    check = "tables.drift" if note.harmful else "tables.withheld"
    return finding(check, subject.whole, f"{note.what}{read}", remedy)
