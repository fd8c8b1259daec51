"""A table of seats whose rows change all the time, and what must be true of its mirror."""

from __future__ import annotations

import random
import threading
from typing import LiteralString

from tests.harness.context import ContextLog, exact
from tests.harness.source import AttachedSource

DDL = "create table seat (row int, code text, free boolean, n int, primary key (row, code))"
ROWS = 2000
SEED = 11
STATEMENTS: tuple[LiteralString, ...] = (
    "update seat set n = n + 1 where row = %(row)s and code = %(code)s",
    "delete from seat where row = %(row)s and code = %(code)s",
    "insert into seat values (%(row)s, %(code)s, true, 0) on conflict do nothing",
    "update seat set row = %(away)s where row = %(row)s and code = %(code)s",
)


class Writer:
    """Changes random rows until it is told to stop."""

    def __init__(self, source: AttachedSource, *, away: int, pause: float = 0.0) -> None:
        self._source = source
        self._away = away  # rows from here on are where moved rows go
        self._pause = pause  # seconds between two changes
        self._random = random.Random(SEED)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self.written = 0
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _write(self) -> None:
        with self._source.connect() as connection:
            while not self._stop.wait(self._pause):
                row, code = self._random.randint(1, ROWS), self._random.choice("AB")
                place = {"row": row, "code": code, "away": self._away + self.written}
                connection.execute(self._random.choice(STATEMENTS), place)
                self.written += 1


def verify_mirror(source: AttachedSource) -> list[str]:
    """The store holds what the source holds; returns that, a JSON text for each row."""
    with source.connect() as connection:
        wanted = sorted(text for (text,) in connection.execute("select to_jsonb(s.*)::text from seat as s"))
    with source.ledger() as connection:
        query = f"select to_jsonb(s.*)::text from {source.name}__public.seat as s"
        found = sorted(text for (text,) in connection.execute(query.encode()))
    lost, strange = set(wanted) - set(found), set(found) - set(wanted)
    assert not lost, f"{len(lost)} rows of the source are not in the store, as {min(lost)}; {len(strange)} are others"
    assert not strange, f"{len(strange)} rows are in the store only, as {min(strange)}"
    assert found == wanted, "the store holds rows twice"
    return wanted


def verify_store(source: AttachedSource, context: ContextLog) -> None:
    """And the events led there."""
    wanted = verify_mirror(source)
    last = {each.event["subject"]: each.data["after"] for each in context.unique if each.type.startswith("row.")}
    images = {f"public.seat/{image['row']},{image['code'].replace(' ', '%20')}": image for image in map(exact, wanted)}
    assert {subject: image for subject, image in last.items() if image is not None} == images
