"""Compares the context store with its source while both go on.

1. The store is waited for until it holds everything that was committed when the comparison began.
2. Both sides are read in the order of keys, a stretch at a time, as digests; of a stretch that differs, row by row.
   No snapshot is held meanwhile: rows that change between the two reads differ, and are few.
3. Rows that differed are looked at again: in the source, in the store until it has passed that moment, and in the
   source once more. A row that stood still in the source meanwhile and is another in the store, twice, differs.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import psycopg

from cdc_consumer.tables import TablePlan
from cdc_consumer.unknown import WHOLE_ROW
from connectors import databases
from console import views
from console.comparing import Found, Side
from console.context import AS_EVENTS, ContextStore
from wakestream import exact_json, remembered
from wakestream.config import Loaded
from wakestream.errors import RefusedError, TransientError
from wakestream.ledger import settings

STRETCH = 20_000  # rows that one digest covers
TOGETHER = 1_000  # rows that are looked at again at once
ROUNDS = 30  # looks at a row that keeps changing
PROOFS = 2  # looks in a row that must show the same difference
PATIENCE = 60.0  # seconds for a consumer that does not move
PAUSE = 0.02  # seconds between two looks at the store


@dataclass(slots=True)
class _Doubt:
    """What is known of a row that differed."""

    proofs: int = 0
    stored: Found | None = None
    """As the store had it at the last proof."""


@dataclass(slots=True)
class _Look:
    """The store's rows while it was waited for."""

    seen: dict[str, list[Found | None]]
    missing: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])


def verify(loaded: Loaded, source: str, table: str | None, limit: int) -> Iterator[views.Verified]:
    """Compare one table, or all that are mirrored, one after another; at most `limit` differences of each.

    Raises `RefusedError` for an adopted source, whose store is at no place of the source's WAL.
    """
    databases.require_own(loaded, source, "place of the WAL to compare at")
    with ContextStore.opened(loaded.config, source) as store, _source(loaded, source, store) as reader:
        tables = [store.table(table)] if table is not None else [p for _, p in sorted(store.plan.tables.items())]
        for plan in tables:
            try:
                yield _Comparison(store, reader, plan, limit).run()
            except (psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedTable) as error:
                raise RefusedError(
                    f"{plan.label} is another in the source than in the store ({_first_line(error)});"
                    " `wake plan` shows its changes"
                ) from error
            except psycopg.Error as error:
                raise databases.convert(error, f"comparing {plan.label} of {source}") from error


class _Comparison:
    """One table."""

    def __init__(self, store: ContextStore, reader: databases.Connection, plan: TablePlan, limit: int) -> None:
        self._store = store
        self._reader = reader
        self._plan = plan
        self._limit = limit
        self._theirs = Side.of_source(reader, plan)
        self._ours = Side.of_store(store.connection, plan)
        self._differing: list[views.Difference] = []
        self._unsettled: list[str] = []

    def run(self) -> views.Verified:
        """The whole comparison."""
        if not self._plan.settings.mirror:
            return self._verdict("not mirrored", 0)
        if not self._store.state(self._plan.label).trusted:
            return self._verdict("incomplete", 0)
        self._wait(databases.end_of_wal(self._reader))  # 1
        rows = 0
        doubts: list[str] = []
        for count, keys in self._stretches():  # 2
            rows += count
            doubts += keys
            while len(doubts) >= TOGETHER and not self._is_enough:
                self._settle(doubts[:TOGETHER])
                del doubts[:TOGETHER]
            if self._is_enough:
                break
        while doubts and not self._is_enough:
            self._settle(doubts[:TOGETHER])  # 3
            del doubts[:TOGETHER]
        return self._verdict("differs" if self._differing else "unsettled" if self._unsettled else "same", rows)

    @property
    def _is_enough(self) -> bool:
        return len(self._differing) >= self._limit

    def _stretches(self) -> Iterator[tuple[int, list[str]]]:
        """For each stretch its rows in the source, and the keys of those that are not the same on both sides."""
        after: str | None = None
        while True:
            upto = self._theirs.bound(after, STRETCH)
            digest = self._theirs.digest(after, upto)
            if digest == self._ours.digest(after, upto):
                yield digest.rows, []
            else:
                theirs, ours = self._theirs.rows(after, upto), self._ours.rows(after, upto)
                yield digest.rows, self._sift([key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key)])
            if upto is None:
                return
            after = upto

    def _sift(self, keys: list[str]) -> list[str]:
        """Those that differ by more than what the store does not know."""
        left: list[str] = []
        for start in range(0, len(keys), TOGETHER):
            part = keys[start : start + TOGETHER]
            unknown = self._missing(part)
            if unknown:
                theirs, ours = self._theirs.find(list(unknown)), self._ours.find(list(unknown))
                part = [k for k in part if k not in unknown or not _same(ours.get(k), theirs.get(k), unknown[k])]
            left += part
        return left

    def _settle(self, keys: Iterable[str]) -> None:
        """Look at these rows again until each is the same or proven to differ."""
        doubts = {key: _Doubt() for key in keys}
        for _ in range(ROUNDS):
            if not doubts:
                return
            self._look(doubts)
        self._unsettled += doubts

    def _look(self, doubts: dict[str, _Doubt]) -> None:
        before = self._theirs.find(list(doubts))
        look = self._follow(databases.end_of_wal(self._reader), list(doubts))
        after = self._theirs.find(list(doubts))
        for key in list(doubts):
            unknown = look.missing.get(key, frozenset[str]())
            stored, seen = look.seen[key][-1], look.seen[key]
            stood = before.get(key) == after.get(key)
            if WHOLE_ROW in unknown or _same(stored, after.get(key), unknown):
                del doubts[key]
            elif not stood:
                # It changes all the time; then the store must have passed through what the source had.
                doubts[key] = _Doubt()
                if any(_same(each, before.get(key), unknown) for each in seen):
                    del doubts[key]
            else:
                self._prove(doubts, key, before.get(key), stored, unknown)

    def _prove(
        self,
        doubts: dict[str, _Doubt],
        key: str,
        theirs: Found | None,
        stored: Found | None,
        unknown: frozenset[str],
    ) -> None:
        doubt = doubts[key]
        doubt.proofs = doubt.proofs + 1 if doubt.proofs and doubt.stored == stored else 1
        doubt.stored = stored
        if doubt.proofs >= PROOFS:
            del doubts[key]
            if not self._is_enough:
                self._differing.append(_difference(key, theirs, stored, unknown))

    def _follow(self, end: int, keys: list[str]) -> _Look:
        """The store's rows at each look until it has passed this LSN; the last one is behind it."""
        look = _Look({key: [] for key in keys})
        with contextlib.closing(self._positions()) as positions:
            for commit in positions:
                found = self._ours.find(keys)
                for key, seen in look.seen.items():
                    stored = found.get(key)
                    if not seen or seen[-1] != stored:
                        seen.append(stored)
                if commit >= end:
                    look.missing = self._missing(keys)
                    break
        return look

    def _wait(self, end: int) -> None:
        with contextlib.closing(self._positions()) as positions:
            for commit in positions:
                if commit >= end:
                    return

    def _positions(self) -> Generator[int]:
        """The store's position again and again, each inside a snapshot of the ledger in which it may be read."""
        moved, last = time.monotonic(), -1
        while True:
            with self._store.connection.transaction():
                self._store.connection.execute("set transaction isolation level repeatable read")
                row = self._store.connection.execute(
                    'select coalesce("commit", 0) from wake.source_position where source = %s', (self._store.source,)
                ).fetchone()
                commit = int(row[0]) if row else 0
                yield commit
            if commit != last:
                moved, last = time.monotonic(), commit
            elif time.monotonic() - moved > PATIENCE:
                raise TransientError(
                    f"the store of {self._store.source} has not moved for {PATIENCE:.0f} s; `wake status` says why"
                )
            time.sleep(PAUSE)

    def _missing(self, keys: list[str]) -> dict[str, frozenset[str]]:
        rows = self._store.connection.execute(
            'select subject, columns from wake.missing_value where source = %s and "table" = %s and subject = any(%s)',
            (self._store.source, self._plan.label, [remembered.subject(key) for key in keys]),
        ).fetchall()
        found = {subject: frozenset[str](columns) for subject, columns in rows}
        return {key: found[subject] for key in keys if (subject := remembered.subject(key)) in found}

    def _verdict(self, state: str, rows: int) -> views.Verified:
        row = self._store.connection.execute(
            'select coalesce(sum(cardinality(columns)), 0) from wake.missing_value where source = %s and "table" = %s',
            (self._store.source, self._plan.label),
        ).fetchone()
        return views.Verified(
            source=self._store.source,
            table=self._plan.label,
            state=state,
            rows=rows,
            differing=self._differing,
            unsettled=[exact_json.load(key) for key in self._unsettled],
            missing=int(row[0]) if row else 0,
            position=self._store.position(),
        )


def _same(stored: Found | None, theirs: Found | None, unknown: frozenset[str]) -> bool:
    """Whether a row is the same on both sides, but for columns that the store does not know."""
    if stored is None or theirs is None:
        return stored is theirs
    return not _differing(stored, theirs, unknown)


def _differing(stored: Found, theirs: Found, unknown: frozenset[str]) -> list[str]:
    names = theirs.columns.keys() - unknown
    return sorted(name for name in names if stored.columns.get(name) != theirs.columns[name])


def _difference(key: str, theirs: Found | None, stored: Found | None, unknown: frozenset[str]) -> views.Difference:
    if theirs is not None and stored is not None:
        return views.Difference(key=_load(key), how="differs", columns=_differing(stored, theirs, unknown))
    return views.Difference(key=_load(key), how="surplus" if theirs is None else "absent", columns=[])


def _load(key: str) -> views.Json:
    return exact_json.load(key)


def _source(loaded: Loaded, source: str, store: ContextStore) -> databases.Connection:
    """A read-only session with the source that prints values as events have them and carries the key of the masks.

    The key comes with the start of the session, so that no statement's text holds it.
    """
    options = f"{databases.UNTIMED} {AS_EVENTS}"
    if any(plan.settings.mask for plan in store.plan.tables.values()):
        options += f" -c wake.mask_key={settings.key(store.connection, settings.MASK_KEY).hex()}"
    where = f"{loaded.document.place(('sources', source, 'capture'))}: sources.{source}.capture"
    return databases.reader(loaded.config.sources[source].capture, where, purpose="verify", options=options)


def _first_line(error: psycopg.Error) -> str:
    return str(error).partition("\n")[0]
