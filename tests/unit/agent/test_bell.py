from __future__ import annotations

import threading

import psycopg
import pytest

from agent import backoff
from agent.backoff import Backoff
from agent.bell import CHANNELS, Bell, listen
from tests.unit.agent.conftest import Databases


def test_a_ring_between_looking_and_waiting_is_not_lost() -> None:
    bell = Bell()
    heard = bell.heard()
    bell.ring()
    bell.wait(heard, 60.0)


def test_a_ring_wakes_who_waits() -> None:
    bell, woken = Bell(), threading.Event()
    heard = bell.heard()

    def sleeper() -> None:
        bell.wait(heard, 60.0)
        woken.set()

    thread = threading.Thread(target=sleeper)
    thread.start()
    bell.ring()
    assert woken.wait(10.0)
    thread.join()


def test_nobody_rings() -> None:
    bell = Bell()
    bell.wait(bell.heard(), 0.01)


@pytest.mark.parametrize("channel", CHANNELS)
def test_notifications_ring(databases: Databases, channel: str) -> None:
    rung, stop = threading.Event(), threading.Event()
    told: list[bool] = []
    bell = Bell()

    def ring(*, news: bool = False) -> None:
        told.append(news)
        rung.set()

    bell.ring = ring  # type: ignore[method-assign]
    thread = threading.Thread(target=listen, args=(databases.ledger, bell, stop))
    thread.start()
    with psycopg.connect(databases.ledger, autocommit=True) as connection:
        for _ in range(200):  # it may not listen yet
            connection.execute("select pg_notify(%s, '')", (channel,))
            if rung.wait(0.05):
                break
    stop.set()
    thread.join()
    assert rung.is_set()
    assert set(told) == {channel == "wake_run"}


def test_what_is_known_here_wakes_nobody(databases: Databases) -> None:
    rung, stop = threading.Event(), threading.Event()
    seen: list[str] = []
    bell = Bell()

    def ring(*, news: bool = False) -> None:
        seen.append("news" if news else "ring")
        if "wake_action" in seen:  # it listens to one after the other
            rung.set()

    def is_known(told: psycopg.Notify) -> bool:
        seen.append(told.channel)
        return told.channel == "wake_action"

    bell.ring = ring  # type: ignore[method-assign]
    thread = threading.Thread(target=listen, args=(databases.ledger, bell, stop, is_known))
    thread.start()
    with psycopg.connect(databases.ledger, autocommit=True) as connection:
        for _ in range(200):  # it may not listen yet
            connection.execute("select pg_notify('wake_action', ''), pg_notify('wake_run', '')")
            if rung.wait(0.05):
                break
    stop.set()
    thread.join()
    assert "ring" not in seen
    first = seen.index("wake_action")
    assert seen[first : first + 3] == ["wake_action", "wake_run", "news"]


def test_pauses_double_up_to_a_limit() -> None:
    pauses = [backoff.pause(failures, 1.0, 10.0) for failures in range(1, 8)]
    for expected, pause in zip([1, 2, 4, 8, 10, 10, 10], pauses, strict=True):
        assert 0.8 * expected <= pause <= expected
    assert backoff.pause(10_000, 1.0, 10.0) <= 10.0


def test_success_begins_anew() -> None:
    waiting = Backoff(1.0, 100.0)
    assert waiting.next() <= 1.0 < 1.6 <= waiting.next()
    waiting.reset()
    assert waiting.next() <= 1.0
