"""Snapshots that are not believed are asked for again, neither at once for ever nor never."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from connectors import revisions, snapshots
from connectors.connect import types
from connectors.drift import DriftGuard
from connectors.snapshots import Settling
from tests.unit.connectors.source_server import MakeDatabase, make_database, source_server
from wakestream import config, ledger
from wakestream.config.models import Kafka

__all__ = ["make_database", "source_server"]

SOURCE = "airline"


class World:
    """A ledger with one table that is not believed, a clock, and what was asked of Debezium."""

    def __init__(self, ledger: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch) -> None:
        self.ledger = ledger
        self.now = 1000.0
        self.asked: list[tuple[float, list[str]]] = []
        self.filters: list[str | None] = []
        monkeypatch.setattr(snapshots.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(snapshots, "signal", self._signal)
        self.settling = Settling(Kafka(bootstrap_servers="nowhere:1"), SOURCE, lambda: ledger)

    def _signal(self, _config: Kafka, _source: str, labels: list[str], *, where: str | None = None) -> None:
        self.asked.append((self.now, labels))
        self.filters.append(where)

    def doubt(self, table: str, why: str | None) -> None:
        self.ledger.execute(
            'insert into wake.mirror_state (source, "table", complete, doubt) values (%s, %s, true, %s)'
            ' on conflict (source, "table") do update set doubt = excluded.doubt',
            (SOURCE, table, why),
        )

    def looks(self, seconds: float) -> list[float]:
        """One look a second; when something was asked for."""
        start, before = self.now, len(self.asked)
        while self.now < start + seconds:
            self.settling.look(self.ledger)
            self.now += 1.0
        return [at - start for at, _ in self.asked[before:]]


def test_what_is_not_believed_is_asked_for_again_more_and_more_rarely(
    make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_database("")
    ledger.migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        world = World(connection, monkeypatch)
        assert world.settling.look(connection)
        world.doubt("public.seat", "Debezium has counted 4 rows and sent 3")
        world.doubt("public.flight", None)
        assert not world.settling.look(connection)
        assert world.looks(120.0) == [15.0, 45.0, 105.0]
        assert [labels for _, labels in world.asked] == [["public.seat"]] * 4
        world.doubt("public.seat", None)
        assert world.settling.look(connection)
        world.doubt("public.seat", "Debezium gave the table up: SQL_EXCEPTION")
        assert world.looks(1.0) == [0.0]


def test_what_was_read_for_its_values_is_read_so_again(
    make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never as a whole: what such a snapshot does not show would be told as deleted."""
    url = make_database("")
    ledger.migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        world = World(connection, monkeypatch)
        world.doubt("public.flight", "in part: Debezium gave the table up: SQL_EXCEPTION")
        world.doubt("public.seat", "Debezium gave the table up: SQL_EXCEPTION")
        assert not world.settling.look(connection)
        assert [labels for _, labels in world.asked] == [["public.seat"], ["public.flight"]]
        assert world.filters == [None, "true"]


@pytest.mark.parametrize(
    ("offsets", "asked"),
    [
        ([], [["public.in_part"], ["public.whole"]]),
        ([{"lsn": 7}], [["public.in_part"], ["public.whole"]]),
        ([{"lsn": 7, "incremental_snapshot_collections": "[{}]"}], []),
    ],
)
def test_what_was_read_when_the_task_failed_is_asked_for_once_more(
    offsets: list[dict[str, Any]], asked: list[list[str]], make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_database("")
    ledger.migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        world = World(connection, monkeypatch)
        connection.cursor().executemany(
            'insert into wake.mirror_state (source, "table", complete, snapshot_from, snapshot_ended, ahead, whole)'
            " values (%s, %s, true, %s, %s, %s, %s)",
            [
                (SOURCE, "public.whole", 5, None, True, True),
                (SOURCE, "public.in_part", 5, None, True, False),
                (SOURCE, "public.ended", 5, 9, True, True),
                (SOURCE, "public.initial", 5, None, False, True),
                (SOURCE, "public.idle", None, None, True, True),
                ("other", "public.whole", 5, None, True, True),
            ],
        )
        found = [types.Offset({"server": SOURCE}, offset) for offset in offsets]
        snapshots.ask_anew(Kafka(bootstrap_servers="nowhere:1"), connection, SOURCE, found)
        assert [labels for _, labels in world.asked] == asked
        assert world.filters == ["true", None][: len(asked)]


def test_what_was_asked_for_and_has_not_begun_is_due_once_more(make_database: MakeDatabase, tmp_path: Path) -> None:
    url = make_database("")
    ledger.migrate(url)
    file = tmp_path / "wake.yaml"
    file.write_text(
        "ledger: {url: 'postgresql://nowhere'}\n"
        "kafka: {bootstrap_servers: 'nowhere:1'}\n"
        "connect: {url: 'http://nowhere', secrets: /nowhere}\n"
        "sources: {airline: {capture: 'postgresql://nowhere', tables: {public.lost: {}}}}\n"
    )
    with psycopg.connect(url, autocommit=True) as connection:
        guard = DriftGuard(config.load(file, {}), SOURCE)
        guard._asked.update(("public.begun", "public.lost"))
        connection.execute(
            'insert into wake.mirror_state (source, "table", complete, snapshot_from) values (%s, %s, true, 5)',
            (SOURCE, "public.begun"),
        )
        guard.note_begun(connection)
        connection.execute("update wake.mirror_state set snapshot_from = null")
        guard.ask_anew(connection)
        assert revisions.due(connection, SOURCE) == ["public.lost"]
