from __future__ import annotations

import threading

import pytest

from agent import process, testing
from agent.process import Options
from agent.steward import Steward
from tests.unit.agent import airline
from tests.unit.agent.airline import disruption
from tests.unit.agent.conftest import MakeWorld, World
from wakestream import capture
from wakestream.errors import ConfigurationError, FatalError

PATIENCE = 20.0  # seconds


@pytest.fixture
def ready(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> World:
    """A ledger that `apply` has prepared, and a broker that is away."""
    monkeypatch.setattr("wakestream.kafka.REQUEST_TIMEOUT", 0.2)
    world = make_world()
    with world.ledger() as connection:
        capture.store(connection, airline.CATALOGUE, airline.CAPTURE)
    return world


class Running:
    """`process.run` in a thread, and what it raised."""

    def __init__(self, world: World) -> None:
        self.stop = threading.Event()
        self.raised: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, args=(world,))
        self._thread.start()

    def end(self) -> None:
        self.stop.set()
        self.wait()

    def wait(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def _run(self, world: World) -> None:
        try:
            process.run(world.loaded, self.stop, Options(workers=2))
        except BaseException as error:
            self.raised.append(error)


def test_runs_go_on_while_the_broker_is_away(ready: World) -> None:
    ready.model.script = lambda _: testing.decision(("notify", {"text": "t"}))
    ready.feed(disruption(1), disruption(2))
    running = Running(ready)
    ready.receiver.wait_for(2, PATIENCE)
    running.end()
    assert running.raised == []
    assert ready.rows("select state, count(*) from wake.action group by 1") == [("succeeded", 2)]
    assert ready.rows("select state, count(*) from wake.run group by 1") == [("succeeded", 2)]


def test_work_is_taken_up_at_once_when_notified(ready: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.worker.POLL", PATIENCE)  # so that only the bell can be why
    ready.model.script = lambda _: testing.decision()
    ready.feed(disruption())
    running = Running(ready)
    ready.model.wait_for(1, PATIENCE)
    listening = "select pid from pg_stat_activity where query = 'listen wake_letter'"
    while not ready.rows(listening):
        assert not running.raised
    ready.feed(disruption())
    ready.model.wait_for(2, PATIENCE / 2)
    running.end()
    assert running.raised == []


def test_what_is_unfinished_is_handed_back(ready: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE", 0.3)
    ready.model.script = lambda _: testing.Hang()
    ready.feed(disruption())
    running = Running(ready)
    ready.model.wait_for(1, PATIENCE)
    running.end()
    assert running.raised == []
    run = ready.run()
    assert (run["state"], run["attempts"], run["lease_by"]) == ("pending", 0, None)


def test_what_ends_one_thread_ends_the_process(ready: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise FatalError("the ledger's schema changed")

    monkeypatch.setattr(Steward, "run", broken)
    running = Running(ready)
    running.wait()
    assert [str(error) for error in running.raised] == ["the ledger's schema changed"]


def test_nothing_starts_without_a_revision(ready: World) -> None:
    ready.rows("delete from wake.revision returning 1")
    with pytest.raises(ConfigurationError, match="run `wake apply`"):
        process.run(ready.loaded, threading.Event())


def test_nothing_starts_without_the_key_of_marks(ready: World) -> None:
    ready.rows("delete from wake.setting where name = 'mark_key' returning 1")
    with pytest.raises(FatalError, match="run `wake apply`"):
        process.run(ready.loaded, threading.Event())


def test_nothing_starts_without_a_model(make_world: MakeWorld) -> None:
    world = make_world()
    text = world.loaded.document.path.read_text()
    lines = [line for line in text.splitlines() if not line.startswith("  default: {base_url")]
    world.loaded.document.path.write_text("\n".join([*lines, "  default: {provider: local}", ""]))
    from wakestream import config

    with world.ledger() as connection:
        capture.store(connection, airline.CATALOGUE, airline.CAPTURE)
    with pytest.raises(ConfigurationError, match="wake model serve"):
        process.run(config.load(world.loaded.document.path, {}), threading.Event())
