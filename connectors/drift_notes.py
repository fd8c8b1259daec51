"""What of a source's schema a person should know: kept in the ledger as long as it is so, recorded when it begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec
import psycopg

from connectors import measures, notices
from connectors.publication import Published
from wakestream import capture, topics
from wakestream.affected import affected
from wakestream.capture import Capture, Revision
from wakestream.config import Config, Loaded
from wakestream.drifting import Difference

Ledger = psycopg.Connection[Any]


class Note(msgspec.Struct, frozen=True):
    """One thing that is so now."""

    what: str
    """In words, with the table."""
    remedy: str
    affected: tuple[str, ...] = ()
    """What in the configuration reads it."""
    harmful: bool = False
    """Whether something does not work until a person has acted."""
    table: str | None = None
    column: str | None = None
    """A column that is gone and that the file still reads."""
    before: int | None = None
    """The last revision that had the column."""

    @property
    def told(self) -> str:
        """In one line: what it is, what reads it, what to do."""
        read = f"; read by {', '.join(self.affected)}" if self.affected else ""
        return f"{self.what}{read}: {self.remedy}"


def standing(loaded: Loaded, newest: Revision, differences: Iterable[Difference]) -> Iterator[Note]:
    """What no revision can follow."""
    for each in differences:
        if each.standing:
            readers = affected(loaded, newest, each.table)
            yield Note(each.label, each.remedy, tuple(readers), harmful=True)


def gone(difference: Difference, readers: Sequence[str], before: int) -> Note:
    """A column is gone, or has another name, that the file still reads."""
    remedy = "correct the file and run `wake apply`, or bring the column back"
    return Note(difference.label, remedy, tuple(readers), True, difference.table, difference.column, before)


def still(readers: Iterable[str], now: Capture) -> list[str]:
    """Those of what read a column that need it now: an entity that was resolved anew has found another way."""
    resolved = tuple(f"entity `{name}` (" for name in now.entities)
    return [each for each in readers if not each.startswith(resolved)]


def kept(loaded: Loaded, newest: Revision, ledger: Ledger) -> Iterator[Note]:
    """Such notes of former looks, as far as they are still true."""
    rows = ledger.execute(
        'select what, remedy, "table", "column", before from wake.drift where source = %s and before is not null',
        (newest.source,),
    ).fetchall()
    for what, remedy, table, column, before in rows:
        known, then = newest.catalogue.table(table), capture.load(ledger, newest.source, before)
        if known is None or then is None or known.column(column) is not None:
            continue
        readers = still(affected(loaded, then, table, column), newest.capture)
        if readers:
            yield Note(what, remedy, tuple(readers), True, table, column, before)


def withheld(newest: Revision) -> Iterator[Note]:
    """Columns that nobody has allowed to be shown."""
    for label, settings in sorted(newest.capture.tables.items()):
        for column in settings.withheld:
            remedy = f"name it in `include`, `mask` or `exclude` of {label} and run `wake apply`"
            yield Note(f"{label}: column {column} is withheld", remedy)


def suspended(loaded: Loaded, newest: Revision) -> Iterator[Note]:
    """Entities that the schema no longer allows."""
    for name, reason in sorted(newest.capture.suspended.items()):
        triggers = [f"trigger `{each}`" for each, t in loaded.config.triggers.items() if t.entity == name]
        remedy = "correct the entity and run `wake apply`, or bring the schema back"
        yield Note(f"entity `{name}` is suspended: {reason}", remedy, tuple(triggers), harmful=True)


def unpublished(source: str, newest: Revision, published: Published | None) -> Iterator[Note]:
    """Tables whose changes are not sent."""
    found = published.tables if published is not None else {}
    for label in sorted(newest.capture.tables):
        if label not in found and newest.catalogue.table(label) is not None:
            what = f"{label}: publication {topics.slot(source)} does not have it, so that its changes are not sent"
            yield Note(what, "run `wake apply`, which declares a gap and reads the table anew", harmful=True)


def write(
    config: Config, ledger: Ledger, source: str, notes: Sequence[Note], record: Callable[[str, str], None]
) -> None:
    """Keep these notes and no others; what is new is recorded and told, and so is what was harmful and is over."""
    known: dict[str, bool] = dict(
        ledger.execute("select what, harmful from wake.drift where source = %s", (source,)).fetchall()
    )
    wanted = {note.what: note for note in notes}
    with ledger.transaction():
        ledger.execute("delete from wake.drift where source = %s and not what = any(%s)", (source, list(wanted)))
        for note in wanted.values():
            ledger.execute(
                'insert into wake.drift (source, what, remedy, affected, harmful, "table", "column", before)'
                " values (%s, %s, %s, %s, %s, %s, %s, %s) on conflict (source, what) do update"
                " set remedy = excluded.remedy, affected = excluded.affected, harmful = excluded.harmful",
                (source, note.what, note.remedy, list(note.affected), note.harmful)
                + (note.table, note.column, note.before),
            )
    harmful = sum(note.harmful for note in wanted.values())
    measures.noted(source, harmful, len(wanted) - harmful)
    new = [note for note in wanted.values() if note.what not in known]
    for note in new:
        record("schema", note.told)
    over = sorted(what for what, was_harmful in known.items() if was_harmful and what not in wanted)
    for what in over:
        record("schema well again", what)
    if new:
        level = "warning" if any(note.harmful for note in new) else "ok"
        notices.send(config, source, "schema.changed", level, tuple(note.told for note in new))
    if over:
        notices.send(config, source, "schema.well", "warning" if harmful else "ok", tuple(over))
