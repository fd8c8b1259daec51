from __future__ import annotations

import inspect
import io
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from requests import exceptions as rx

from connectors import connect_errors as errors
from connectors.connect import Connect, telling_line
from tests.unit.connectors.connect_script import JETTY_404, TIMED_OUT, Answer, Script, error, serving
from wakestream.errors import ConfigurationError, FatalError, RefusedError, TransientError, WakeError

CONFIG = {"connector.class": "Postgres", "database.password": "hunter2"}
INVALID = error(
    400,
    "Connector configuration is invalid and contains the following 2 error(s):\n"
    "The 'topic.prefix' value is invalid: A value is required\nConnection refused\n"
    "You can also find the above list of errors at the endpoint `/connector-plugins/{connectorType}/config/validate`",
)
NO_PLUGIN = (
    "Failed to find any class that implements Connector and which name matches Nope, available connectors are: …"
)

SDK = [
    cls
    for _, cls in inspect.getmembers(rx, inspect.isclass)
    if issubclass(cls, rx.RequestException) and cls.__module__ == rx.__name__
]


def refused(answer: Answer, call: str = "GET /connectors/a", name: str | None = "a") -> WakeError:
    """Our error for an answer as requests hands it to us."""
    response = requests.Response()
    response.status_code = answer.status or 0
    response.raw = io.BytesIO(answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode())
    response.headers.update(answer.headers)
    return errors.from_response(response, "http://c:8083", call, name=name)


@contextmanager
def answering(*answers: Answer) -> Generator[tuple[Connect, Script]]:
    """A client that does not repeat, and its server."""
    with serving(Script(list(answers))) as script, Connect(script.url, retry_s=0) as client:
        yield client, script


# What requests raises


@pytest.mark.parametrize("cls", SDK)
def test_every_exception_of_requests_has_a_home(cls: type[rx.RequestException]) -> None:
    assert cls in errors.HOMES
    exc = cls("words", "", 0) if cls is rx.JSONDecodeError else cls("words")
    assert isinstance(
        errors.from_exception(exc, "http://c:8083", "GET /"), (TransientError, ConfigurationError, FatalError)
    )


def test_the_list_of_exceptions_is_not_empty() -> None:
    assert len(SDK) == len(errors.HOMES) >= 20


def test_a_new_subclass_goes_where_its_parent_goes() -> None:
    class Novel(rx.ReadTimeout):
        pass

    assert isinstance(errors.from_exception(Novel(), "http://c", "GET /"), errors.ConnectAway)


def test_only_what_was_never_sent_is_certain() -> None:
    read, connection = rx.ReadTimeout("x"), rx.ConnectTimeout("x")
    for exc, uncertain in [(read, True), (connection, False), (rx.ConnectionError("x"), True)]:
        ours = errors.from_exception(exc, "http://c", "GET /")
        assert isinstance(ours, errors.ConnectAway)
        assert ours.uncertain is uncertain


@pytest.mark.parametrize("url", ["127.0.0.1:8083", "localhost", "", "ftp://x", "http://", "http://h:port"])
def test_what_is_not_a_url(url: str) -> None:
    with (
        Connect(url) as client,
        pytest.raises(ConfigurationError, match=r"^connect\.url: .*should look like http://host"),
    ):
        client.connectors()


def test_a_silent_server_is_uncertain() -> None:
    release = threading.Event()

    def silent() -> Answer:
        release.wait(30)
        return Answer(200, [])

    with serving(Script([], state=silent)) as script, Connect(script.url, timeout_s=0.05, retry_s=0) as client:
        with pytest.raises(errors.ConnectAway, match="read timeout=0.05") as caught:
            client.connectors()
        release.set()
    assert caught.value.uncertain


# What Connect answers


@pytest.mark.parametrize("body", [b"<html>", {"error_code": 1, "message": "m"}, {"error_code": 1, "message": None}])
def test_every_code_has_a_home(body: Any) -> None:
    for status in range(300, 600):
        ours = refused(Answer(status, body))
        assert isinstance(ours, (ConfigurationError, RefusedError, TransientError, FatalError))
        assert isinstance(ours, TransientError) == (status >= 500 or status in (408, 409, 425, 429))
        assert isinstance(ours, errors.ConnectDenied) == (status in (401, 403, 407))
        assert str(status) in str(ours) or isinstance(ours, errors.ConnectorMissing)


def test_codes_that_may_have_taken_effect() -> None:
    for answer, uncertain in [(TIMED_OUT, True), (error(503, "x"), True), (error(409, "rebalance"), False)]:
        ours = refused(answer)
        assert isinstance(ours, errors.ConnectAway)
        assert ours.uncertain is uncertain


@pytest.mark.parametrize(
    ("answer", "call", "kind", "words"),
    [
        (error(404, "Connector a not found"), "GET /connectors/a", errors.ConnectorMissing, "no connector a in Kafka"),
        (error(404, "Unknown task: a-5"), "POST /connectors/a/tasks/5/restart", RefusedError, "Unknown task: a-5"),
        (error(404, "No status found for task a-5"), "GET /connectors/a/tasks/5/status", RefusedError, "a-5"),
        (error(404, "Logger x not found."), "GET /admin/loggers/x", RefusedError, "Logger x not found"),
        (error(404, "Unknown plugin Nope."), "GET /connector-plugins/Nope/config", RefusedError, "Unknown plugin"),
        (error(409, "Connector a already exists"), "POST /connectors", errors.ConnectorExists, "update it, or delete"),
        (error(409, "Connector b already exists"), "POST /connectors", errors.ConnectAway, "409"),
        (error(400, "must be in the STOPPED state"), "DELETE /x", errors.ConnectorNotStopped, "Stop it first"),
        (error(400, NO_PLUGIN), "POST /connectors", errors.InvalidConnector, "connector.class: the worker has no such"),
        (error(500, f"x.Y: {NO_PLUGIN}"), "PUT /v", errors.InvalidConnector, "matches Nope"),
        (error(403, "Topic tracking is disabled."), "GET /connectors/a/topics", RefusedError, "topic.tracking"),
        (error(403, "Forbidden"), "GET /", errors.ConnectDenied, "credentials"),
        (Answer(404, b"<html>nginx"), "GET /connectors/a", errors.NotConnect, "REST listener"),
        (Answer(404, JETTY_404), "GET /connectors/a", errors.ConnectAway, "still starting"),
        (Answer(404, b"x", {"Server": "Jetty(12.0.34)"}), "GET /", errors.ConnectAway, "still starting"),
        (Answer(400, b"x", {"Server": "Jetty(12.0.34)"}), "GET /connectors/a%2Fb", RefusedError, "400"),
        (Answer(301, b""), "GET /", errors.NotConnect, "301"),
        (error(405, "HTTP 405 Method Not Allowed"), "PATCH /connectors/a/config", errors.NotConnect, "3.9 or newer"),
    ],
)  # fmt: skip
def test_answers(answer: Answer, call: str, kind: type[WakeError], words: str) -> None:
    ours = refused(answer, call)
    assert type(ours) is kind
    assert words in str(ours)


def test_retry_after_is_kept() -> None:
    for value, seconds in [("7", 7.0), ("Sun, 22 Nov 2026 12:00:00 GMT", None)]:
        ours = refused(Answer(503, b"", {"Retry-After": value}))
        assert isinstance(ours, TransientError)
        assert ours.retry_after_s == seconds


@pytest.mark.parametrize("body", [b"<html>hello", {"connectors": []}, b""])
def test_an_answer_that_connect_does_not_give(body: Any) -> None:
    words = "answers GET /connectors with something"
    with answering(Answer(200, body)) as (client, _), pytest.raises(errors.NotConnect, match=words):
        client.connectors()


# Invalid configurations


def validation(**problems: list[str]) -> Answer:
    fields = [{"definition": {}, "value": {"name": k.replace("_", "."), "errors": v}} for k, v in problems.items()]
    return Answer(200, {"name": "Postgres", "error_count": len(problems), "groups": [], "configs": fields})


def test_an_invalid_configuration_is_told_field_by_field() -> None:
    judged = validation(topic_prefix=["A value is\n required"], database_hostname=["refused", "no"], slot_name=[])
    with answering(INVALID, judged) as (client, script), pytest.raises(errors.InvalidConnector) as caught:
        client.put_config("a", CONFIG)
    assert caught.value.problems == (
        "connector a: topic.prefix: A value is required",
        "connector a: database.hostname: refused",
        "connector a: database.hostname: no",
    )
    assert caught.value.fields["database.hostname"] == ("refused", "no")
    assert script.requests == ["PUT /connectors/a/config", "PUT /connector-plugins/Postgres/config/validate"]


def test_a_patch_is_judged_with_what_is_there() -> None:
    stored = Answer(200, {**CONFIG, "name": "a", "slot.name": "s"})
    answers, words = (INVALID, stored, validation(topic_prefix=["no"])), r"connector a: topic\.prefix: no"
    with answering(*answers) as (client, script), pytest.raises(errors.InvalidConnector, match=words):
        client.patch_config("a", {"topic.prefix": "x", "slot.name": None})
    assert script.bodies[2] == {**CONFIG, "name": "a", "topic.prefix": "x"}


@pytest.mark.parametrize("judged", [error(400, "no"), TIMED_OUT, validation()])
def test_without_a_validation_the_plain_lines_remain(judged: Answer) -> None:
    with answering(INVALID, judged) as (client, _), pytest.raises(errors.InvalidConnector) as caught:
        client.create("a", CONFIG)
    assert caught.value.problems == (
        "connector a: The 'topic.prefix' value is invalid: A value is required",
        "connector a: Connection refused",
    )


def test_a_configuration_without_class_never_leaves() -> None:
    with Connect("http://127.0.0.1:9") as client:
        for send in (client.create, client.put_config, client.validate):
            with pytest.raises(errors.InvalidConnector, match=r"connector a: connector\.class: is missing") as caught:
                send("a", {"database.password": "hunter2"})
            assert "hunter2" not in str(caught.value)


# Traces


@pytest.mark.parametrize(
    ("trace", "line"),
    [
        ("a.B: outer\nCaused by: c.D: middle\n\t... 3 more\nCaused by: e.F: inner: why\n  Detail: d\n", "inner: why"),
        ("a.B: alone\n\tat x\n", "alone"),
        ("a.B: outer\n\tat x\nCaused by: java.lang.NullPointerException\n\tat y\n", "outer"),
        ("java.lang.NullPointerException\n\tat x\n", "java.lang.NullPointerException"),
        ("a.B: outer\nCaused by: c.D: cause\n\tSuppressed: e.F: close\n\tCaused by: g.H: not this\n", "cause"),
        ("a.B: outer\r\nCaused by: c.D$E: windows\r\n", "windows"),
        ("no class: just words", "no class: just words"),
        ("", ""),
    ],
)  # fmt: skip
def test_telling_line(trace: str, line: str) -> None:
    assert telling_line(trace) == line
