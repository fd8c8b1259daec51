from __future__ import annotations

import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest
import stamina
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from connectors import connect
from connectors.connect import Connect, types
from tests.unit.connectors.connect_script import (
    HANG_UP,
    JETTY_404,
    REBALANCE,
    TIMED_OUT,
    Answer,
    FakeClock,
    Script,
    error,
    serving,
)

CONFIG = {"connector.class": "io.debezium.connector.postgresql.PostgresConnector", "topic.prefix": "airline"}
INFO = Answer(200, {"name": "a", "config": {**CONFIG, "name": "a"}, "tasks": [], "type": "source"})
CREATED = Answer(201, INFO.body)
OTHER = Answer(200, {"name": "a", "config": {"name": "a"}, "tasks": [], "type": "source"})
MISSING = error(404, "Connector a not found")
NO_STATUS = error(404, "No status found for connector a")
EXISTS = error(409, "Connector a already exists")
NOT_STOPPED = error(400, "Connectors must be in the STOPPED state before their offsets can be modified.")
DONE = Answer(204)
TRACE = (
    "io.debezium.DebeziumException: no slot\n\tat x.Y\nCaused by: org.postgresql.util.PSQLException: ERROR: all used\n"
)


def status(connector: str = "RUNNING", *tasks: str) -> Answer:
    body: dict[str, Any] = {"name": "a", "connector": {"state": connector, "worker_id": "w:1"}, "type": "source"}
    traces = {"FAILED": {"trace": TRACE}}
    body["tasks"] = [{"id": n, "state": t, "worker_id": "w:1", **traces.get(t, {})} for n, t in enumerate(tasks)]
    return Answer(200, body)


@pytest.fixture(autouse=True)
def retries_at_once() -> Generator[None]:
    with stamina.set_testing(True, attempts=6, cap=True):
        set_on_retry_hooks([])
        yield
        set_on_retry_hooks(None)


@contextmanager
def scripted(*answers: Answer, clock: FakeClock | None = None) -> Generator[tuple[Connect, Script]]:
    """A client and its server; at the end the whole script must have been asked for, and no more than it."""
    with serving(Script(list(answers))) as script, Connect(script.url, clock=clock or FakeClock()) as client:
        yield client, script
    assert not script.answers
    assert len(script.requests) == len(answers)


# Repeating


def test_a_rebalance_is_waited_out() -> None:
    with scripted(REBALANCE, REBALANCE, Answer(200, ["a"])) as (client, _):
        assert client.connectors() == ("a",)


@pytest.mark.parametrize(
    "trouble", [TIMED_OUT, error(503, "no"), Answer(502, b"<html>"), HANG_UP, Answer(404, JETTY_404)]
)
def test_what_is_safe_to_repeat_is_repeated(trouble: Answer) -> None:
    with scripted(trouble, Answer(202)) as (client, script):
        client.pause("a")
    assert script.requests == ["PUT /connectors/a/pause"] * 2


def test_refused_then_up() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script, opened = Script([Answer(200, ["a"])]), list[Any]()

    def start(details: RetryDetails) -> None:
        assert isinstance(details.caused_by, connect.ConnectAway)
        assert not details.caused_by.uncertain
        if details.retry_num == 3:
            opened.append(serving(script, port))
            opened[0].__enter__()

    set_on_retry_hooks([start])
    with Connect(f"http://127.0.0.1:{port}") as client:
        assert client.connectors() == ("a",)
    opened[0].__exit__(None, None, None)


def test_giving_up_says_who_is_away_and_hides_the_password() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with Connect(f"http://me:hunter2@127.0.0.1:{port}/") as client, pytest.raises(connect.ConnectAway) as caught:
        client.connectors()
    assert str(caught.value) == (
        f"Kafka Connect at http://127.0.0.1:{port} does not answer (GET /connectors: Connection refused); "
        "check connect.url and that the worker runs"
    )
    assert client.url == f"http://127.0.0.1:{port}"


def test_without_time_for_repetitions_there_are_none() -> None:
    with serving(Script([REBALANCE])) as script, Connect(script.url, retry_s=0) as client:
        with pytest.raises(connect.ConnectAway):
            client.connectors()
        assert script.requests == ["GET /connectors"]


def test_retry_after_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    monkeypatch.setattr("tenacity.nap.time", clock)
    stamina.set_testing(False)
    busy = Answer(429, {"error_code": 429, "message": "slow down"}, {"Retry-After": "7"})
    with scripted(busy, Answer(200, [])) as (client, _):
        client.connectors()
    assert clock.now == 1007.0


def test_an_uncertain_restart_is_not_repeated() -> None:
    with scripted(REBALANCE, HANG_UP) as (client, _), pytest.raises(connect.ConnectAway) as caught:
        client.restart_task("a", 0)
    assert caught.value.uncertain


# Looking before repeating


def test_a_creation_that_timed_out_but_was_carried_out() -> None:
    with scripted(TIMED_OUT, INFO) as (client, script):
        assert client.create("a", CONFIG, initial_state="STOPPED").name == "a"
    assert script.requests == ["POST /connectors", "GET /connectors/a"]
    assert script.bodies[0] == {"name": "a", "config": {**CONFIG, "name": "a"}, "initial_state": "STOPPED"}


def test_a_creation_that_was_not_carried_out() -> None:
    with scripted(HANG_UP, MISSING, CREATED) as (client, script):
        client.create("a", CONFIG)
    assert script.requests == ["POST /connectors", "GET /connectors/a", "POST /connectors"]


def test_a_creation_carried_out_late() -> None:
    with scripted(TIMED_OUT, MISSING, EXISTS, INFO) as (client, _):
        assert client.create("a", CONFIG).name == "a"


def test_a_creation_uncertain_to_the_end() -> None:
    with scripted(*[TIMED_OUT, HANG_UP] * 6) as (client, _), pytest.raises(connect.ConnectAway) as caught:
        client.create("a", CONFIG)
    assert caught.value.uncertain


def test_somebody_elses_connector_is_not_taken_for_ours() -> None:
    with scripted(TIMED_OUT, MISSING, EXISTS, OTHER) as (client, _), pytest.raises(connect.ConnectorExists):
        client.create("a", CONFIG)
    with scripted(EXISTS) as (client, _), pytest.raises(connect.ConnectorExists, match="a exists already"):
        client.create("a", CONFIG)


def test_an_update_that_timed_out_but_was_carried_out() -> None:
    with scripted(TIMED_OUT, INFO) as (client, script):
        client.put_config("a", CONFIG)
    assert script.requests == ["PUT /connectors/a/config", "GET /connectors/a"]


def test_an_update_that_was_not_carried_out_is_sent_again() -> None:
    with scripted(TIMED_OUT, OTHER, INFO) as (client, script):
        client.put_config("a", CONFIG)
    assert script.requests[2] == "PUT /connectors/a/config"


@pytest.mark.parametrize("after", [[MISSING], [INFO, MISSING, MISSING], [HANG_UP, MISSING, MISSING]])
def test_a_deletion_that_timed_out_but_was_carried_out(after: list[Answer]) -> None:
    with scripted(TIMED_OUT, *after) as (client, _):
        client.delete("a")


def test_deleting_what_never_was() -> None:
    with scripted(MISSING) as (client, _), pytest.raises(connect.ConnectorMissing, match="no connector a "):
        client.delete("a")


def test_an_uncertain_restart_of_failed_parts_is_done_when_nothing_is_failed() -> None:
    with scripted(HANG_UP, status("RUNNING", "RESTARTING")) as (client, _):
        assert client.restart("a").tasks[0].state == "RESTARTING"
    with scripted(HANG_UP, status("RUNNING", "FAILED"), Answer(202, status("RUNNING", "RUNNING").body)) as (client, _):
        assert client.restart("a").running


# Waiting


def test_the_first_status_is_waited_for() -> None:
    clock = FakeClock()
    with scripted(NO_STATUS, INFO, NO_STATUS, INFO, status(), clock=clock) as (client, _):
        assert client.status("a").connector.state == "RUNNING"
    assert clock.now == pytest.approx(1000.4)


def test_a_status_that_never_comes() -> None:
    with (
        scripted(*[NO_STATUS, INFO] * 6, clock=FakeClock()) as (client, _),
        pytest.raises(connect.StillWaiting, match="waited 1 s for the first status of connector a"),
    ):
        client.status("a", wait_s=1)


def test_the_status_of_an_unknown_connector() -> None:
    with scripted(NO_STATUS, MISSING) as (client, _), pytest.raises(connect.ConnectorMissing):
        client.status("a")


def passing(*phases: tuple[float, Answer]) -> tuple[FakeClock, Callable[[], Answer]]:
    """A clock, and a server whose answer depends on its time: each phase lasts so many seconds."""
    clock = FakeClock()

    def answer() -> Answer:
        passed = clock.now - 1000
        for seconds, given in phases:
            if passed < seconds:
                return given
            passed -= seconds
        return phases[-1][1]

    return clock, answer


@contextmanager
def in_state(state: Callable[[], Answer], clock: FakeClock) -> Generator[Connect]:
    with serving(Script([], state=state)) as script, Connect(script.url, clock=clock) as client:
        yield client


def test_running_is_waited_for_through_what_was_before() -> None:
    clock, state = passing(
        (1, status("RUNNING", "FAILED")), (1, status("RUNNING", "RUNNING")), (1, status("UNASSIGNED")),
        (1, HANG_UP), (1, status("RUNNING", "RESTARTING")), (9, status("RUNNING", "RUNNING")),
    )  # fmt: skip
    with in_state(state, clock) as client:
        assert client.wait_running("a").running
    assert clock.now == pytest.approx(1000 + 5 + connect.STEADY_FOR, abs=0.3)


def test_a_failure_that_lasts_is_told_by_its_telling_line() -> None:
    clock, state = passing((1, status("RUNNING")), (9, status("RUNNING", "FAILED")))
    with in_state(state, clock) as client, pytest.raises(connect.ConnectorFailed) as caught:
        client.wait_running("a")
    assert str(caught.value) == "connector a: task 0 is FAILED: ERROR: all used"
    assert (caught.value.part, caught.value.reason, caught.value.trace) == ("task 0", "ERROR: all used", TRACE)
    assert clock.now == pytest.approx(1001 + connect.STEADY_FOR, abs=0.3)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (status("STOPPED"), "waited 9 s for RUNNING of connector a STOPPED, no tasks"),
        (status("RUNNING", "UNASSIGNED"), "RUNNING of connector a RUNNING, task 0 UNASSIGNED"),
        (HANG_UP, "a, which has no status yet; Kafka Connect at http://127.0.0.1"),
    ],
)
def test_waiting_for_running_ends(answer: Answer, words: str) -> None:
    clock, state = passing((99, answer))
    with in_state(state, clock) as client, pytest.raises(connect.StillWaiting, match=words):
        client.wait_running("a", 9)
    assert clock.now == pytest.approx(1009, abs=0.3)


def test_stopping_waits_until_the_tasks_are_gone() -> None:
    answers = [DONE, status("RUNNING", "RUNNING"), status("STOPPED", "RUNNING"), HANG_UP, status("STOPPED")]
    with scripted(*answers) as (client, script):
        assert client.stop_and_wait("a").stopped
    assert script.requests == ["PUT /connectors/a/stop"] + ["GET /connectors/a/status"] * 4


def test_deleting_with_offsets() -> None:
    deleted = Answer(200, {"message": "reset"})
    with scripted(DONE, status("STOPPED"), NOT_STOPPED, deleted, DONE, INFO, MISSING) as (client, script):
        assert client.delete_with_offsets("a")
    assert script.requests[2:] == [
        "DELETE /connectors/a/offsets",
        "DELETE /connectors/a/offsets",
        "DELETE /connectors/a",
        "GET /connectors/a",
        "GET /connectors/a",
    ]


@pytest.mark.parametrize(
    "answers",
    [
        [MISSING],
        [DONE, NO_STATUS, MISSING],
        [DONE, status("STOPPED"), MISSING],
        [DONE, status("STOPPED"), Answer(200, {"message": "reset"}), MISSING],
    ],
)
def test_deleting_with_offsets_what_is_gone_already(answers: list[Answer]) -> None:
    with scripted(*answers) as (client, _):
        assert not client.delete_with_offsets("a")


def test_repr_hides_configurations() -> None:
    task = types.TaskInfo(types.TaskId("a", 0), {"database.password": "hunter2"})
    info = types.ConnectorInfo("a", {"database.password": "hunter2"})
    assert "hunter2" not in f"{task!r}{info!r}{[info]}"
